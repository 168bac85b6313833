"""Protecting photos one by one, so that an error with one photo does not affect the others."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from unlearn_cli.photos.copying import Run
from unlearn_cli.photos.manifest import Manifest
from unlearn_cli.photos.names import Task
from unlearn_cli.photos.outcome import OPTIONS, Options, PhotoDone
from unlearn_cli.photos.pipeline import in_order
from unlearn_cli.photos.protection import Protection
from unlearn_cli.photos.scan import WHERE, Plan, Where, plan
from unlearn_cli.photos.single import format_by_name

DONE_AT_ONCE = 200
"""How many photos that are up to date are told of at once, so that the progress moves."""


def protect_folder(
    folder: Path,
    protection: Protection,
    where: Where = WHERE,
    options: Options = OPTIONS,
) -> Generator[PhotoDone, None, None]:
    """Protect the photos below a folder (or a single photo), each as ``protect_photos`` says.

    Raises ``UsageError`` and ``WorkError`` as ``scan.plan`` and ``protect_photos`` do.
    """
    wanted = format_by_name([folder], where.output, options.writing.format)
    where, options = replace(where, format=wanted), replace(options, writing=replace(options.writing, format=wanted))
    yield from protect_photos(plan([folder], where), {"": protection}, options)


def protect_photos(
    todo: Plan, protections: Mapping[str, Protection], options: Options = OPTIONS
) -> Generator[PhotoDone, None, None]:
    """Protect each photo and yield its result, in order, once its file is complete on the disk.

    ``protections`` has one entry for each name of ``Task.folder``, or a single one for ``""`` that applies to all.
    Originals are only ever read, unless a task has a backup for them. ``jobs`` photos are processed at once, in
    threads, since decoding, adding and encoding all run outside the interpreter's lock. At most as many more wait,
    however many there are. Raises ``WorkError`` if a manifest cannot be written, or another run is writing to it.
    """
    with contextlib.ExitStack() as stack:
        manifests = {path: stack.enter_context(Manifest(path)) for path in {task.manifest for task in todo.tasks}}
        run = Run(todo, protections, options, manifests)

        def work(unit: Task | list[PhotoDone]) -> list[PhotoDone]:
            return unit if isinstance(unit, list) else [run.protect(unit)]

        for results in in_order(work, _units(run, todo.tasks), options.jobs, _failed if options.fail_fast else None):
            yield from results


def _units(run: Run, tasks: Iterable[Task]) -> Iterator[Task | list[PhotoDone]]:
    """Yield each photo, and between them the results of those that are up to date, which need no thread."""
    done: list[PhotoDone] = []
    for task in tasks:
        photo = run.unchanged(task)
        if photo is not None:
            done.append(photo)
        if done and (photo is None or len(done) >= DONE_AT_ONCE):
            yield done
            done = []
        if photo is None:
            yield task
    if done:
        yield done


@dataclass(frozen=True)
class Foreseen:
    """Says what a run would do. No photo is read for it, so only sizes and times of files count."""

    pending: list[Task]
    """The photos that it would protect, if all can be read."""
    unchanged: int
    """How many photos an earlier run has protected."""
    skipped: int
    """How many photos it would skip because a file is in the place of their copies (``skip_existing``)."""


def foresee(todo: Plan, protections: Mapping[str, Protection], options: Options = OPTIONS) -> Foreseen:
    """Return what ``protect_photos`` would do; nothing is written. Raises ``WorkError`` for an unreadable manifest."""
    manifests = {path: Manifest(path, write=False) for path in {task.manifest for task in todo.tasks}}
    run = Run(todo, protections, options, manifests, clean=False)
    states = [state for task in todo.tasks if not (state := run.state(task)).is_done()]
    pending = [state.task for state in states if not state.is_to_be_skipped()]
    return Foreseen(pending, len(todo.tasks) - len(states), len(states) - len(pending))


def _failed(photos: list[PhotoDone]) -> bool:
    return any(photo.status == "failed" for photo in photos)
