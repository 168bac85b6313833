"""Checking, estimating, executing and reporting planned runs, as a stream of events that ends with the report."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import torch

from unlearn_cli.evaluation.cell import Cell, Library, hash_of, identity
from unlearn_cli.evaluation.estimate import estimate_each
from unlearn_cli.evaluation.forecast import Expected, left_of_several
from unlearn_cli.evaluation.noise_store import NoiseStore
from unlearn_cli.evaluation.page import write_report
from unlearn_cli.evaluation.recipe import Planned
from unlearn_cli.evaluation.report import About, Report, make_report
from unlearn_cli.evaluation.result import RunResult
from unlearn_cli.evaluation.run import CellEnded, Event, Runner, is_done
from unlearn_cli.evaluation.scenario import check
from unlearn_cli.evaluation.spread import Engine, spread, threads_of_each
from unlearn_cli.training.workers import ALONE, Workers, usable_cores

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
    at_once: int = 1
    """How many runs go on at the same time."""

    @property
    def seconds(self) -> float:
        """Return how long the runs take."""
        return sum(one.seconds for one in self.each) / self.at_once

    @property
    def noise(self) -> float:
        """Return how much of that is making noise; a search may end earlier or later than most."""
        return sum(one.left_of("noise") for one in self.each) / self.at_once


@dataclass(frozen=True)
class SeveralAtOnce:
    """Reports now and then how far runs are that go on at the same time."""

    ended: int
    todo: int
    left: float
    """The seconds that the rest is expected to take."""
    passed: float
    """The seconds since the first began."""


@dataclass(frozen=True)
class Evaluated:
    """The report is on the disk: the last event of ``evaluate``."""

    report: Report


def evaluate(
    planned: Sequence[Planned], about: About, where: Where
) -> Generator[EvaluationEstimated | SeveralAtOnce | Event | Evaluated, None, None]:
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
            yield from _spread([one.cell for one in planned], estimate, library, about, where)
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


def _spread(
    cells: Sequence[Cell], estimate: EvaluationEstimated, library: Library, about: About, where: Where
) -> Iterator[SeveralAtOnce]:
    """Execute the runs at the same time, and report now and then how far they are."""
    expected: dict[str, float] = {}
    for cell, one in zip(cells, estimate.each, strict=True):
        name = hash_of(identity(cell, library))  # Several planned runs may be one, whose time counts at the first.
        expected[name] = expected.get(name, 0.0) + one.seconds
    todo = {hash_of(identity(cell, library)): cell for cell in estimate.todo}
    each, ended, began = [expected[name] for name in todo], dict.fromkeys(todo, False), time.perf_counter()
    looks = spread(cells, where.output, where.device, about.command, jobs=where.jobs, engine=where.engine)
    with closing(looks):
        for _ in looks:
            for name, cell in todo.items():
                ended[name] = ended[name] or is_done(where.output / "cells" / f"{name}.json", cell)
            passed = time.perf_counter() - began
            left = left_of_several(each, list(ended.values()), passed, estimate.at_once)
            yield SeveralAtOnce(sum(ended.values()), len(ended), left, passed)


def _estimate(planned: Sequence[Planned], library: Library, where: Where) -> EvaluationEstimated:
    names = [hash_of(identity(one.cell, library)) for one in planned]
    todo: dict[str, int] = {}
    for index, (name, one) in enumerate(zip(names, planned, strict=True)):
        if name not in todo and not is_done(where.output / "cells" / f"{name}.json", one.cell):
            todo[name] = index
    cells = tuple(planned[index].cell for index in todo.values())
    store = NoiseStore(where.output, where.device, library, "", where.workers)
    threads, at_once = torch.get_num_threads(), max(1, min(where.jobs, usable_cores(), len(cells)))
    if where.jobs > 1:
        torch.set_num_threads(threads_of_each(where.jobs))  # Each run will have as many.
    try:
        expected = dict(zip(todo.values(), estimate_each(cells, library, store, where.output), strict=True))
    finally:
        torch.set_num_threads(threads)
    each = tuple(expected.get(index, Expected()) for index in range(len(planned)))
    return EvaluationEstimated(len(set(names)), cells, each, where.device.type, at_once)
