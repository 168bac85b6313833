"""Executing several runs at once, in processes on this machine or as Ray tasks on many machines.

All of them write into one folder. Each takes a run that no other is working on, and reuses the results that are there.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Generator, Iterator, Sequence
from dataclasses import replace
from multiprocessing.queues import SimpleQueue
from pathlib import Path
from threading import Thread
from typing import Any, Literal

import torch

from unlearn_cli.errors import UnlearnError, UsageError, WorkError
from unlearn_cli.evaluation.attackers.recognisers import file_of
from unlearn_cli.evaluation.cell import Cell, Images, NoisePlan
from unlearn_cli.evaluation.run import Runner
from unlearn_cli.training.augmentations import FROM_FILE
from unlearn_cli.training.devices import keep_freed_memory
from unlearn_cli.training.workers import usable_cores

Engine = Literal["local", "ray"]
"""What runs the trainings: processes on this machine, or Ray."""
SECONDS_BETWEEN_LOOKS = 1.0


def spread(
    cells: Sequence[Cell], output: Path, device: torch.device, command: str, *, jobs: int, engine: Engine = "local"
) -> Generator[None, None, None]:
    """Execute the runs in ``jobs`` processes, which take the machine's GPUs in turn; with Ray, each run as a task.

    It yields every ``SECONDS_BETWEEN_LOOKS`` seconds until all have ended. If it is closed before, or one of them
    fails, the others are stopped. Raises ``WorkError`` if one fails, and ``UsageError`` if Ray is asked for and not
    installed.
    """
    if engine == "ray":
        yield from _by_ray(cells, output, device, command, jobs)
        return
    context = multiprocessing.get_context("spawn")
    problems = context.SimpleQueue()
    threads = threads_of_each(jobs)
    processes = [
        context.Process(
            target=_work_and_tell,
            args=(problems, list(cells), output, str(_device(device, job)), command, threads),
            daemon=True,
        )
        for job in range(jobs)
    ]
    for process in processes:
        process.start()
    try:
        # A problem ends the others too, because whoever waits wants to know at once.
        while problems.empty() and not any(process.exitcode for process in processes):
            alive = [process for process in processes if process.is_alive()]
            if not alive:
                break
            alive[0].join(SECONDS_BETWEEN_LOOKS)
            yield
        problem = problems.get() if not problems.empty() else None
    finally:
        failed = any(process.exitcode for process in processes)
        for process in processes:
            process.terminate()
    if problem is not None:
        raise WorkError(f"{problem} The results of finished runs are kept.")
    if failed:
        raise WorkError(
            "A process of --jobs ended early, perhaps because memory ran out. The results of finished runs are kept; "
            "try fewer --jobs."
        )


def threads_of_each(jobs: int) -> int:
    """Return how many threads each of several processes gets, so that together they use every core."""
    return max(1, usable_cores() // jobs)


def _work_and_tell(
    problems: SimpleQueue[str], cells: list[Cell], output: Path, device: str, command: str, threads: int
) -> None:
    Thread(target=_end_with_parent, daemon=True).start()
    try:
        _work(cells, output, device, command, threads)
    except UnlearnError as error:
        problems.put(str(error))
    except OSError as error:
        problems.put(f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}.")
    except KeyboardInterrupt:
        pass  # The parent process reports it.


def _end_with_parent() -> None:
    """Wait for the parent's end, however it ends, and end this process too, which would lock its run otherwise."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _device(device: torch.device, job: int) -> torch.device:
    if device.type == "cuda" and device.index is None:
        return torch.device("cuda", job % torch.cuda.device_count())
    return device


def _work(cells: list[Cell], output: Path, device: str, command: str, threads: int) -> None:
    torch.set_num_threads(threads)
    keep_freed_memory()
    for _ in Runner(output, torch.device(device), command=command).run(cells):
        pass


def _by_ray(cells: Sequence[Cell], output: Path, device: torch.device, command: str, jobs: int) -> Iterator[None]:
    try:
        import ray  # type: ignore[import-not-found, unused-ignore]
    except ModuleNotFoundError as error:
        raise UsageError(
            "The engine ray needs the extra 'ray'. In unlearn's source folder, run: pip install '.[ray]'"
        ) from error
    threads = threads_of_each(jobs)
    # Nobody knows how many cores the machines of a cluster have; here, the tasks share the cores.
    alone = device.type == "cpu" and not os.environ.get("RAY_ADDRESS")
    if not ray.is_initialized():
        # A cluster that happens to run here is used only if RAY_ADDRESS names it.
        cores = jobs * threads if device.type == "cpu" else None
        here: dict[str, Any] = {} if os.environ.get("RAY_ADDRESS") else {"address": "local", "num_cpus": cores}
        ray.init(**here, log_to_driver=False, include_dashboard=False)
    task = ray.remote(num_cpus=threads if alone else 1, num_gpus=1 if device.type == "cuda" else 0)(_work)
    folder, cells = output.absolute(), [_absolute(cell) for cell in cells]
    tasks = [task.remote([cell], folder, device.type, command, threads) for cell in cells]
    try:
        while tasks:
            ended, tasks = ray.wait(tasks, timeout=SECONDS_BETWEEN_LOOKS)
            ray.get(ended)
            yield
    except GeneratorExit:
        for task_ in tasks:
            ray.cancel(task_)
        raise
    except ray.exceptions.RayTaskError as error:
        raise WorkError(f"A Ray task failed: {error.cause} The results of finished runs are kept.") from error
    except ray.exceptions.RayError as error:
        raise WorkError(f"Ray failed: {error}. The results of finished runs are kept.") from error


def _absolute(cell: Cell) -> Cell:
    """Return a run with absolute paths, so that a task with another working folder finds its files."""

    def images(of: Images) -> Images:
        kind, _, path = of.spec.source.partition(":")
        source = f"folder:{Path(path).absolute()}" if kind == "folder" else of.spec.source
        data_dir = of.spec.data_dir.absolute() if of.spec.data_dir is not None else None
        return replace(of, spec=replace(of.spec, source=source, data_dir=data_dir))

    def noise(of: NoisePlan) -> NoisePlan:
        bank = str(Path(of.bank).absolute()) if of.bank is not None and Path(of.bank).is_file() else of.bank
        made_on = images(of.made_on) if of.made_on is not None else None
        return replace(of, bank=bank, made_on=made_on, parts=tuple(noise(part) for part in of.parts))

    def network(name: str) -> str:
        before, file = file_of(name)
        return f"{before}{Path(file).absolute()}" if Path(file).is_file() else name

    augment = cell.training.augment
    if augment.startswith(FROM_FILE):
        augment = f"{FROM_FILE}{Path(augment.removeprefix(FROM_FILE)).absolute()}"
    return replace(
        cell,
        training=replace(cell.training, augment=augment),
        images=images(cell.images),
        joined=images(cell.joined) if cell.joined is not None else None,
        noise=noise(cell.noise) if cell.noise is not None else None,
        frozen=replace(cell.frozen, recogniser=network(cell.frozen.recogniser)) if cell.frozen is not None else None,
        pretrained=network(cell.pretrained) if cell.pretrained is not None else None,
        pairs=cell.pairs.absolute() if cell.pairs is not None else None,
        protected_tree=cell.protected_tree.absolute() if cell.protected_tree is not None else None,
    )
