"""Showing evaluations in the terminal: which there are, estimates, progress and tables of results."""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from unlearn_cli.cli.console import duration, err, out, plain, print_table, progress_bar

if TYPE_CHECKING:
    from unlearn_cli.evaluation.experiment import Evaluated, EvaluationEstimated, SeveralAtOnce
    from unlearn_cli.evaluation.recipe import Planned
    from unlearn_cli.evaluation.report import Report
    from unlearn_cli.evaluation.run import Event


def watch(
    events: Generator[EvaluationEstimated | SeveralAtOnce | Event | Evaluated, None, None],
    planned: Sequence[Planned],
    *,
    hidden: bool,
) -> Report:
    """Show the events of an evaluation as they come, and return its report."""
    from unlearn_cli.evaluation.experiment import Evaluated, EvaluationEstimated, SeveralAtOnce
    from unlearn_cli.evaluation.forecast import Expected, Forecast
    from unlearn_cli.evaluation.noise_store import NoiseMaking
    from unlearn_cli.evaluation.run import CellBegan, CellEnded
    from unlearn_cli.noise.events import Iterated, Resumed
    from unlearn_cli.training.train import EpochEnded

    # Closing the events stops the processes that work for them, if the user interrupts.
    with closing(events), progress_bar(hidden=hidden) as bar:
        # The bar of all runs counts per cent of the time, which is corrected as runs end, because they differ in cost.
        whole = bar.add_task("All runs", total=100, detail="", visible=False)
        row = bar.add_task("Training", total=None, detail="", visible=False)
        forecast, began = Forecast([Expected()] * len(planned)), time.perf_counter()  # Only the first worker estimates.

        def ahead() -> None:
            left, passed = forecast.left, time.perf_counter() - began
            at = min(forecast.index + 1, len(planned))
            detail = f"run {at} of {len(planned)}: {', '.join(planned[at - 1].labels.values())}"
            bar.update(
                whole, completed=100 * passed / (passed + left or 1.0), visible=True,
                detail=f"about {duration(left)} left, {detail}",
            )  # fmt: skip

        for event in events:
            if isinstance(event, EvaluationEstimated):
                forecast, began = Forecast(event.each), time.perf_counter()
                bar.console.print(_told(event))
            elif isinstance(event, SeveralAtOnce):
                bar.update(
                    whole, completed=100 * event.passed / (event.passed + event.left or 1.0), visible=True,
                    detail=f"about {duration(event.left)} left, {event.ended} of {event.todo} runs done",
                )  # fmt: skip
            elif isinstance(event, CellBegan):
                forecast.began(event.index)
                ahead()
            elif isinstance(event, NoiseMaking) and isinstance(event.event, Resumed):
                forecast.resumed_noise(event.event.iteration)
            elif isinstance(event, NoiseMaking) and isinstance(event.event, Iterated):
                made = event.event
                forecast.is_making_noise(made.iteration)
                bar.update(
                    row, description="Making noise", total=made.max_iterations, completed=made.iteration, visible=True,
                    detail=f"error rate {made.error:.3f}",
                )  # fmt: skip
                ahead()
            elif isinstance(event, EpochEnded):
                forecast.is_training(event.epoch, event.epochs, event.seconds)
                bar.update(
                    row, description="Training", total=event.epochs, completed=event.epoch, visible=True,
                    detail=f"clean accuracy {event.clean_accuracy:.3f}",
                )  # fmt: skip
                ahead()
            elif isinstance(event, CellEnded):
                forecast.index = event.index
                forecast.ended()
                ahead()
            elif isinstance(event, Evaluated):
                return event.report
    raise AssertionError("an evaluation ends with its report")


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
    """Print the table of results and where the report is."""
    from rich.table import Table

    from unlearn_cli.evaluation.page import fared, percent
    from unlearn_cli.evaluation.published import told

    rows = report.rows
    parts, verified = any(row.protected for row in rows), any(row.verification for row in rows)
    columns = ["training images", "last epoch", "best epoch"]
    columns += ["protected classes", "same classes, unprotected", "worst class", "other classes"] if parts else []
    columns += ["AUC", "same, unprotected"] if verified else []
    triggered = any(row.trigger for row in rows)
    columns += ["trigger"] if triggered else []
    columns += ["paper"] if any(row.reported for row in rows) else []
    table = Table(title=f"Clean accuracy (on clean test images), with 95 % confidence intervals\n{plain(report.ran)}")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        cells = [row.name, percent(row.final), percent(row.peak)]
        if parts:
            own, clean, others = (row.protected, row.unprotected, row.others) if row.protected else (None, None, None)
            cells += [percent(of.final) if of else "-" for of in (own, clean)]
            cells += [fared(row.worst_class) if own else "-", percent(others.final) if others else "-"]
        if verified:
            cells += [f"{auc:.3f}" if auc is not None else "-" for auc in (row.auc, row.auc_unprotected)]
        if triggered:
            cells.append(percent(row.figure("trigger")))
        if "paper" in columns:
            cells.append(told(row.reported))
        table.add_row(*map(plain, cells))
    out().print(table)
    seeds = max((row.seeds for row in rows), default=0)
    out().print(
        f"Scale {report.scale}, {seeds} {'seed' if seeds == 1 else 'seeds'}, chance {percent(report.chance)}. "
        f"Report: {plain(str(output / 'report.html'))}"
    )
    noise = {row.labels["noise"]: row.separability for row in reversed(rows) if row.separability is not None}
    for name, of in noise.items():
        out().print(
            f"The noise alone ({plain(name)}): a linear classifier names the class of {percent(of.held_out)} of noise "
            "that it was not fitted to."
        )
    if any(row.white_box for row in rows):
        out().print("White-box: this network took part in making the noise, so it says nothing about other networks.")
    if report.missing:
        err().print(
            f"{report.missing} runs are not in this report yet, because another process is still working on them."
        )


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
