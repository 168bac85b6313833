"""Runs an evaluation and shows it in the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unlearn_cli.cli.console import duration, err, out, plain, progress_bar

if TYPE_CHECKING:
    import torch

    from unlearn_cli.evaluation.recipe import Planned
    from unlearn_cli.evaluation.report import About
    from unlearn_cli.evaluation.run import Result
    from unlearn_cli.training.workers import Workers

Report = dict[str, Any]


def run(
    planned: Sequence[Planned],
    about: About,
    output: Path,
    device: torch.device,
    workers: Workers,
    *,
    jobs: int,
    engine: str,
) -> Report:
    """Execute the planned runs and return the report, which is written after each, in case of an interruption."""
    from unlearn_cli.evaluation.cell import Library
    from unlearn_cli.evaluation.page import write_report
    from unlearn_cli.evaluation.report import make_report
    from unlearn_cli.evaluation.scenario import check

    library = Library()
    for one in planned:
        check(one.cell, library)
    todo = _tell_estimate(planned, library, output, device) if workers.rank == 0 else 0
    if todo and (jobs > 1 or engine == "ray"):
        from unlearn_cli.evaluation.spread import spread

        spread([one.cell for one in planned], output, device, about.command, jobs=jobs, engine=engine)
    results: dict[int, Result] = {}
    report: Report = make_report(about, planned, results)
    for index, result in _watch(planned, library, output, device, workers, about.command):
        results[index] = result
        report = make_report(about, planned, results)
        if workers.rank == 0:
            write_report(report, output)
    return report


def _tell_estimate(planned: Sequence[Planned], library: Any, output: Path, device: torch.device) -> int:
    from unlearn_cli.evaluation.cell import hash_of, identity
    from unlearn_cli.evaluation.estimate import estimate_seconds

    names = [hash_of(identity(one.cell, library)) for one in planned]
    todo = [
        one.cell for name, one in zip(names, planned, strict=True) if not (output / "cells" / f"{name}.json").exists()
    ]
    if not todo:
        err().print(f"All {len(planned)} trainings are there already.")
        return 0
    seconds = estimate_seconds(todo, library, device)
    done = (
        f"{len(planned) - len(todo)} of {len(planned)} trainings are there already; "
        if len(todo) < len(planned)
        else ""
    )
    networks = ", ".join(dict.fromkeys(cell.training.model for cell in todo))
    made = (
        ", and the time to make the noise" if any(c.noise and (c.noise.settings or c.noise.parts) for c in todo) else ""
    )
    err().print(
        f"{done}{len(todo)} to do of {networks} on {device.type}, {todo[0].training.epochs} epochs each: "
        f"about {duration(seconds)}{made}."
    )
    return len(todo)


def _watch(
    planned: Sequence[Planned], library: Any, output: Path, device: torch.device, workers: Workers, command: str
) -> Any:
    from unlearn_cli.evaluation.noise_store import NoiseMaking
    from unlearn_cli.evaluation.run import CellBegan, CellEnded, Runner
    from unlearn_cli.noise.events import Iterated
    from unlearn_cli.training.train import EpochEnded

    runner = Runner(output, device, library, command=command, workers=workers)
    with progress_bar(hidden=workers.rank > 0) as bar:
        whole = bar.add_task("Cells", total=len(planned), detail="")
        row = bar.add_task("Training", total=None, detail="", visible=False)
        for event in runner.run([one.cell for one in planned]):
            if isinstance(event, CellBegan):
                bar.update(whole, detail=", ".join(planned[event.index].labels.values()))
            elif isinstance(event, NoiseMaking) and isinstance(event.event, Iterated):
                made = event.event
                bar.update(
                    row, description="Making noise", total=made.max_iterations, completed=made.iteration, visible=True,
                    detail=f"error rate {made.error:.3f}",
                )  # fmt: skip
            elif isinstance(event, EpochEnded):
                bar.update(
                    row, description="Training", total=event.epochs, completed=event.epoch, visible=True,
                    detail=f"clean accuracy {event.clean_accuracy:.3f}",
                )  # fmt: skip
            elif isinstance(event, CellEnded):
                bar.update(whole, advance=1)
                yield event.index, event.result


def show(report: Report, output: Path) -> None:
    """Print the table of results and where the report is."""
    from rich.table import Table

    from unlearn_cli.evaluation.page import percent

    rows = report["rows"]
    parts, verified = any(row["protected"] for row in rows), any(row["verification"] for row in rows)
    columns = ["training images", "final", "best epoch"]
    columns += ["protected classes", "the same, unprotected", "others"] if parts else []
    columns += ["AUC"] if verified else []
    columns += ["paper"] if any(row["reported"] is not None for row in rows) else []
    table = Table(title="Accuracy on clean test images, with 95 % intervals")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        cells = [row["name"], percent(row["final"]), percent(row["peak"])]
        if parts:
            shown = [row[part] if row["protected"] else None for part in ("protected", "unprotected", "others")]
            cells += [percent(of["final"]) if of else "-" for of in shown]
        if verified:
            cells.append(f"{row['auc']:.3f}" if row["auc"] is not None else "-")
        if "paper" in columns:
            cells.append(percent(row["reported"]))
        table.add_row(*map(plain, cells))
    out().print(table)
    seeds = max((row["seeds"] for row in rows), default=0)
    out().print(
        f"Scale {report['scale']}, {seeds} {'seed' if seeds == 1 else 'seeds'}, chance {percent(report['chance'])}. "
        f"Report: {plain(str(output / 'report.html'))}"
    )
    if report["missing"]:
        err().print(f"{report['missing']} cells are another process's, and not in this report yet.")


def record(report: Report, bank: str) -> None:
    """Add each protected row of the report, with its clean baseline, to the bank's card."""
    from unlearn_cli.banks.card import add_result
    from unlearn_cli.banks.catalog import open_bank
    from unlearn_cli.evaluation.report import recorded

    of = open_bank(bank)
    for result in recorded(report):
        add_result(of.path, of.sha256, result)
