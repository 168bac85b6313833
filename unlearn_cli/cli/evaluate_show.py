"""Showing evaluations in the terminal: which there are, estimates, progress and tables of results."""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from unlearn_cli.cli.console import (
    SECONDS_A_LONG_LINE,
    Lines,
    duration,
    err,
    out,
    plain,
    print_table,
    progress_bar,
)

if TYPE_CHECKING:
    from unlearn_cli.evaluation.experiment import Evaluated, EvaluationEstimated, SeveralAtOnce
    from unlearn_cli.evaluation.forecast import Expected
    from unlearn_cli.evaluation.recipe import Planned
    from unlearn_cli.evaluation.report import Report, Row
    from unlearn_cli.evaluation.run import Event
    from unlearn_cli.noise.events import Event as NoiseEvent


LEAST_WIDTH_OF_A_COLUMN = 20
"""With less room for each column, a table of results is harder to read than a list."""


def watch(
    events: Generator[EvaluationEstimated | SeveralAtOnce | Event | Evaluated, None, None],
    planned: Sequence[Planned],
    *,
    hidden: bool,
) -> Report:
    """Show the events of an evaluation as they come, and return its report."""
    from unlearn_cli.evaluation.experiment import Evaluated

    # Closing the events stops the processes that work for them, if the user interrupts.
    progress = _Progress(planned, hidden=hidden)
    with closing(events), progress.bar:
        for event in events:
            if isinstance(event, Evaluated):
                return event.report
            progress.show(event)
    raise AssertionError("an evaluation ends with its report")


class _Progress:
    """The progress of an evaluation: a bar for all runs and one for what is done now, or a line now and then."""

    def __init__(self, planned: Sequence[Planned], *, hidden: bool) -> None:
        self.planned, self.bar = planned, progress_bar(hidden=hidden)
        self.lines = Lines(SECONDS_A_LONG_LINE, hidden=hidden)
        # Runs differ in cost: the bar counts per cent of time.
        self.whole = self.bar.add_task("All runs", total=100, detail="", visible=False)
        self.row = self.bar.add_task("Training", total=None, detail="", visible=False)
        self.now = ""
        self._begin([])

    def _begin(self, each: Sequence[Expected]) -> None:
        from unlearn_cli.evaluation.forecast import Expected, Forecast

        # Only the first worker estimates, and what several processes have done is only read.
        self.forecast = Forecast(each or [Expected()] * len(self.planned))
        self.began = time.perf_counter()

    def show(self, event: EvaluationEstimated | SeveralAtOnce | Event) -> None:
        """Show how far the evaluation is after an event."""
        from unlearn_cli.evaluation.experiment import EvaluationEstimated, SeveralAtOnce
        from unlearn_cli.evaluation.noise_store import NoiseMaking
        from unlearn_cli.evaluation.run import CellBegan, CellEnded
        from unlearn_cli.training.train import EpochEnded

        if isinstance(event, EvaluationEstimated):
            self._begin(event.each)
            self.bar.console.print(_told(event))
        elif isinstance(event, SeveralAtOnce):  # All that follows are their results.
            self._begin([])
            self._all(event.passed, event.left, f"{event.ended} of {event.todo} runs done")
        elif isinstance(event, CellBegan):
            self.forecast.began(event.index)
            self._ahead()
        elif isinstance(event, NoiseMaking):
            self._making(event.event)
        elif isinstance(event, EpochEnded):
            self.forecast.is_training(event.epoch, event.epochs, event.seconds)
            self._step("Training", event.epoch, event.epochs, f"clean accuracy {event.clean_accuracy:.3f}")
        elif isinstance(event, CellEnded):
            self.forecast.index = event.index
            self.forecast.ended()
            self.now = ""
            self._ahead()

    def _making(self, event: NoiseEvent) -> None:
        from unlearn_cli.noise.events import Improving, Iterated, Resumed

        if isinstance(event, Resumed):
            self.forecast.resumed_noise(event.iteration)
        elif isinstance(event, Improving):
            # The forecast waits for whole iterations: much of what was done before this share is done only once.
            done = event.iteration - 1 + event.share
            self._step("Making noise", done, event.max_iterations, f"{event.share:.0%} of iteration {event.iteration}")
        elif isinstance(event, Iterated):
            self.forecast.is_making_noise(event.iteration)
            self._step("Making noise", event.iteration, event.max_iterations, f"error rate {event.error:.3f}")

    def _step(self, doing: str, done: float, of: int, detail: str) -> None:
        self.bar.update(self.row, description=doing, total=of, completed=done, visible=True, detail=detail)
        self.now = f"; {doing.lower()} {int(done)} of {of}, {detail}"
        self._ahead()

    def _ahead(self) -> None:
        at = min(self.forecast.index + 1, len(self.planned))
        what = f"run {at} of {len(self.planned)}: {', '.join(self.planned[at - 1].labels.values())}"
        self._all(time.perf_counter() - self.began, self.forecast.left, what)

    def _all(self, passed: float, left: float, what: str) -> None:
        detail = f"about {duration(left)} left, {what}"
        self.bar.update(self.whole, completed=100 * passed / (passed + left or 1.0), visible=True, detail=detail)
        self.lines.tell(f"{detail}{self.now}")


def _told(estimate: EvaluationEstimated) -> str:
    """Return a sentence that says how much there is to do."""
    todo = estimate.todo
    if not todo:
        return f"All {estimate.planned} trainings are already done."
    left = estimate.planned - len(todo)
    done = f"{left} of {estimate.planned} trainings are already done; " if left else ""
    networks = dict.fromkeys(
        cell.training.model + (f", {cell.training.epochs} epochs each" if cell.frozen is None else "") for cell in todo
    )
    made = f", of which {duration(estimate.noise)} to make the noise" if estimate.noise else ""
    made += f", {estimate.at_once} at a time" if estimate.at_once > 1 else ""
    return (
        f"{done}{len(todo)} to do ({'; '.join(networks)}; on {estimate.device}): "
        f"about {duration(estimate.seconds)}{made}."
    )


def show(report: Report, output: Path) -> None:
    """Print the results, and where the report is."""
    from unlearn_cli.evaluation.page import percent

    _print_results(report)
    seeds = max((row.seeds for row in report.rows), default=0)
    out().print(
        f"{plain(report.ran)}; {seeds} {'seed' if seeds == 1 else 'seeds'}, chance {percent(report.chance)}. "
        f"Report: {plain(str(output / 'report.html'))}"
    )
    noise = {row.labels["noise"]: row.separability for row in reversed(report.rows) if row.separability is not None}
    for name, of in noise.items():
        out().print(
            f"The noise alone ({plain(name)}): a linear classifier names the class of {percent(of.held_out)} of noise "
            "that it was not fitted to."
        )
    if any(row.white_box for row in report.rows):
        out().print("White-box: this network took part in making the noise, so it says nothing about other networks.")
    if report.missing:
        err().print(
            f"{report.missing} runs are not in this report yet, because another process is still working on them."
        )


def _print_results(report: Report) -> None:
    """Print the results: as a table on a wide terminal, as a list on a narrow one, and elsewhere with tabs."""
    from rich.padding import Padding

    columns, rows = _columns(report), [_cells(row, report) for row in report.rows]
    kept = [place for place, _ in enumerate(columns) if any(cells[place] != "-" for cells in rows)]
    columns, rows = [columns[place] for place in kept], [[cells[place] for place in kept] for cells in rows]
    if not out().is_terminal:
        print_table(columns, rows)
        return
    out().print("Clean accuracy (on clean test images), with 95 % confidence intervals")
    if out().width >= LEAST_WIDTH_OF_A_COLUMN * len(columns):
        print_table(columns, rows)
        return
    for name, *cells in rows:
        told = "; ".join(f"{column} {cell}" for column, cell in zip(columns[1:], cells, strict=True) if cell != "-")
        out().print(f"\n[bold]{plain(name)}[/]", soft_wrap=False)
        out().print(Padding(plain(told), (0, 0, 0, 2)), soft_wrap=False)
    out().print()


def _columns(report: Report) -> list[str]:
    return [
        *("training images", "last epoch", "best epoch"),
        *("protected classes", "same classes, unprotected", "worst class", "other classes"),
        *("AUC", "AUC unprotected", "trigger"),
        *(["paper"] if any(row.reported for row in report.rows) else []),
    ]


def _cells(row: Row, report: Report) -> list[str]:
    """Return a row's cells in the order of ``_columns``, with a dash where there is nothing."""
    from unlearn_cli.evaluation.page import fared, percent
    from unlearn_cli.evaluation.published import told

    some = row.protected is not None
    cells = [row.name, percent(row.final), percent(row.peak)]
    cells += [percent(of.final) if some and of else "-" for of in (row.protected, row.unprotected)]
    cells += [fared(row.worst_class) if some else "-", percent(row.others.final) if row.others else "-"]
    cells += [f"{auc:.3f}" if auc is not None else "-" for auc in (row.auc, row.auc_unprotected)]
    cells += [percent(row.figure("trigger"))]
    return cells + ([told(row.reported)] if any(of.reported for of in report.rows) else [])


def record(report: Report, bank: str) -> None:
    """Add each protected row of the report, with its clean baseline, to the bank's card, once no run is missing."""
    from unlearn_cli.banks.card import add_results
    from unlearn_cli.banks.catalog import open_bank
    from unlearn_cli.evaluation.for_card import for_card

    if report.missing:
        err().print("Nothing was added to the bank's card. Run the same command again once the other process is done.")
        return
    of = open_bank(bank)
    add_results(of.path, of.sha256, for_card(report))


def show_recipes() -> None:
    """Print the recipes, with the time of their trainings."""
    from unlearn_cli.evaluation.recipe_file import load_recipe, recipe_names

    recipes = map(load_recipe, recipe_names())
    rows = [(recipe.name, recipe.title, recipe.time, recipe.source) for recipe in recipes]
    print_table(("recipe", "experiment", "trainings at --scale cpu, on one core", "source"), rows)
