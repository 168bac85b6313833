"""Checking, estimating, executing and reporting planned runs, as a stream of events that ends with the report."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from unlearn_cli.evaluation.cell import Cell, Library, hash_of, identity
from unlearn_cli.evaluation.estimate import estimate_each
from unlearn_cli.evaluation.forecast import Expected
from unlearn_cli.evaluation.noise_store import NoiseStore
from unlearn_cli.evaluation.page import write_report
from unlearn_cli.evaluation.recipe import Planned
from unlearn_cli.evaluation.report import About, Report, make_report
from unlearn_cli.evaluation.result import RunResult
from unlearn_cli.evaluation.run import CellEnded, Event, Runner, is_done
from unlearn_cli.evaluation.scenario import check
from unlearn_cli.evaluation.spread import Engine, spread
from unlearn_cli.training.workers import ALONE, Workers

SECONDS_BETWEEN = 20.0


@dataclass(frozen=True, kw_only=True)
class Where:
    """Where an evaluation runs and keeps its results."""

    output: Path
    """The folder of the report, the results of the runs, and the noise that is made for them."""
    device: torch.device
    workers: Workers = ALONE
    jobs: int = 1
    """How many trainings run at once, each in a process or task of its own."""
    engine: Engine = "local"


@dataclass(frozen=True)
class EvaluationEstimated:
    """Says how much there is to do, before anything is trained."""

    planned: int
    """The number of runs; figures that come from one run count once."""
    todo: tuple[Cell, ...]
    """The runs without a result."""
    each: tuple[Expected, ...]
    """The expected time of each planned run on this machine, in the order in which they are done."""
    device: str
    """PyTorch's name of the kind of device."""

    @property
    def seconds(self) -> float:
        """Return how long the runs take one after the other."""
        return sum(one.seconds for one in self.each)

    @property
    def noise(self) -> float:
        """Return how much of that is making noise; a search may end earlier or later than most."""
        return sum(one.noise for one in self.each)


@dataclass(frozen=True)
class Evaluated:
    """The report is on the disk: the last event of ``evaluate``."""

    report: Report


def evaluate(
    planned: Sequence[Planned], about: About, where: Where
) -> Iterator[EvaluationEstimated | Event | Evaluated]:
    """Execute the planned runs that have no result yet; yield the events, of which the last is ``Evaluated``.

    Each result is on the disk when its run ends. The report is written then too, but at most every ``SECONDS_BETWEEN``
    seconds, because drawing its charts takes seconds, and at the end. Raises ``UsageError``, ``WorkError`` or
    ``BankError`` before anything is trained, for runs that could not be executed.
    """
    library, leads = Library(), where.workers.rank == 0
    for one in planned:
        check(one.cell, library)
    if leads:
        estimate = _estimate(planned, library, where)
        yield estimate
        if estimate.todo and (where.jobs > 1 or where.engine == "ray"):
            cells = [one.cell for one in planned]
            spread(cells, where.output, where.device, about.command, jobs=where.jobs, engine=where.engine)
    results: dict[int, RunResult] = {}
    written = time.perf_counter()
    runner = Runner(where.output, where.device, library, command=about.command, workers=where.workers)
    for event in runner.run([one.cell for one in planned]):
        if isinstance(event, CellEnded):
            results[event.index] = event.result
            if leads and time.perf_counter() - written >= SECONDS_BETWEEN:
                write_report(make_report(about, planned, results), where.output)
                written = time.perf_counter()
        yield event
    report = make_report(about, planned, results)
    if leads:
        write_report(report, where.output)
    yield Evaluated(report)


def _estimate(planned: Sequence[Planned], library: Library, where: Where) -> EvaluationEstimated:
    names = [hash_of(identity(one.cell, library)) for one in planned]
    todo: dict[str, int] = {}
    for index, (name, one) in enumerate(zip(names, planned, strict=True)):
        if name not in todo and not is_done(where.output / "cells" / f"{name}.json", one.cell):
            todo[name] = index
    cells = tuple(planned[index].cell for index in todo.values())
    store = NoiseStore(where.output, where.device, library, "", where.workers)
    expected = dict(zip(todo.values(), estimate_each(cells, library, store), strict=True))
    each = tuple(expected.get(index, Expected()) for index in range(len(planned)))
    return EvaluationEstimated(len(set(names)), cells, each, where.device.type)
