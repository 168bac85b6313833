"""Protecting photos one by one, so that trouble with one photo does not affect the others."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Generator, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from unlearn_cli.photos.copying import One, Run
from unlearn_cli.photos.manifest import Manifest
from unlearn_cli.photos.names import Task
from unlearn_cli.photos.outcome import OPTIONS, Options, PhotoDone
from unlearn_cli.photos.protection import Protection
from unlearn_cli.photos.scan import WHERE, Plan, Where, plan


def protect_folder(
    folder: Path,
    protection: Protection,
    where: Where = WHERE,
    options: Options = OPTIONS,
) -> Generator[PhotoDone, None, None]:
    """Protect the photos below a folder (or a single photo), each as ``protect_photos`` says.

    Raises ``UsageError`` and ``WorkError`` as ``scan.plan`` and ``protect_photos`` do.
    """
    where = replace(where, format=options.writing.format)
    yield from protect_photos(plan([folder], where), {"": protection}, options)


def protect_photos(
    todo: Plan, protections: Mapping[str, Protection], options: Options = OPTIONS
) -> Generator[PhotoDone, None, None]:
    """Protect each photo and yield its result, in order, once its file is complete on the disk.

    ``protections`` has one entry for each name of ``Task.folder``, or a single one for ``""`` that applies to all.
    Originals are only ever read, unless a task has a backup for them. ``jobs`` photos are processed at once, in
    threads, since decoding, adding and encoding all run outside the interpreter's lock. At most as many more wait,
    however many there are. Raises ``WorkError`` if a manifest cannot be written, or another run holds it.
    """
    with contextlib.ExitStack() as stack:
        manifests = {path: stack.enter_context(Manifest(path)) for path in {task.manifest for task in todo.tasks}}
        run = Run(todo, protections, options, manifests)
        pool = ThreadPoolExecutor(max(options.jobs, 1))
        waiting: deque[Future[PhotoDone]] = deque()
        try:
            yield from _drain(run, todo.tasks, pool, waiting, options)
        finally:
            # When interrupted, or no longer iterated, the photos that have begun are finished and the rest never
            # begins.
            pool.shutdown(wait=True, cancel_futures=True)


def pending(todo: Plan, protections: Mapping[str, Protection], options: Options = OPTIONS) -> list[Task]:
    """Return the tasks that no earlier run has done, judging by sizes and times only; nothing is written."""
    manifests = {path: Manifest(path, write=False) for path in {task.manifest for task in todo.tasks}}
    run = Run(todo, protections, options, manifests, clean=False)
    return [task for task in todo.tasks if not One(run, task).is_done()]


def _drain(
    run: Run, tasks: Iterable[Task], pool: ThreadPoolExecutor, waiting: deque[Future[PhotoDone]], options: Options
) -> Generator[PhotoDone, None, None]:
    for task in tasks:
        waiting.append(pool.submit(run.protect, task))
        if len(waiting) >= 2 * options.jobs:
            done = waiting.popleft().result()
            yield done
            if options.fail_fast and done.status == "failed":
                for future in waiting:
                    future.cancel()
                break
    while waiting:
        future = waiting.popleft()
        if future.cancelled():
            continue
        done = future.result()
        yield done
        if options.fail_fast and done.status == "failed":
            for other in waiting:
                other.cancel()
