"""Protecting the batches of a long run as Ray tasks, on this machine or on a cluster.

Each result streams back when its copy is complete. If a worker or a machine dies, the photos whose results have not
arrived are protected again, each in a batch of its own, so that one that kills its worker takes no others with it.
"""

from __future__ import annotations

import logging
import os
import secrets
import signal
import threading
import time
import warnings
from collections import deque
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from unlearn_cli.errors import UsageError, WorkError
from unlearn_cli.photos.bulk.each import Ended, Item, Job, died, protect_item
from unlearn_cli.photos.bulk.stream import Unit
from unlearn_cli.photos.outcome import PhotoDone
from unlearn_cli.photos.pipeline import in_order
from unlearn_cli.photos.resample import Workspace

ADDRESS = "RAY_ADDRESS"
AHEAD = 2
"""How many batches are under way for each core of the cluster, so that no worker waits for the next one."""
SECONDS_A_LOOK = 10
"""How often the cluster's size is looked at, because machines join and leave."""
THREADS = 2
"""How many photos a worker has under way, so that one is computed while another is read or written."""
DEATHS = 3
"""How often the process of one photo, alone in its batch, may die before the photo counts as failed."""

FRUITLESS = 100
"""After how many deaths without any result between them the run gives up."""

INSTALL = "The engine ray needs the extra 'ray'. In unlearn's source folder, run: pip install '.[ray]'"


@dataclass(frozen=True)
class Began:
    """A worker has begun with a photo that is alone in its batch; from now on its death counts."""


@dataclass
class _Batch:
    items: dict[str, Item]
    """The photos whose results have not arrived, by their names."""
    deaths: int = 0
    began: bool = False
    results: Any = field(default=None, repr=False)


class OnRay:
    """Spreads the units of a run over the workers of a Ray cluster."""

    def __init__(self, address: str | None, jobs: int | None) -> None:
        """Connect to the cluster at an address, or to that of ``RAY_ADDRESS``, or start one on this machine.

        Raises ``UsageError`` if Ray is not installed, and ``WorkError`` if there is no cluster at the address.
        """
        try:
            import ray
        except ModuleNotFoundError as error:
            raise UsageError(INSTALL) from error
        self._ray, self._fruitless, self._ours = ray, 0, not ray.is_initialized()
        if not self._ours:
            return  # The program that calls this has a cluster, and goes on to have it.
        address = address or os.environ.get(ADDRESS) or None
        stopping = signal.getsignal(signal.SIGTERM)
        quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                if address is None:
                    ray.init(address="local", num_cpus=jobs, include_dashboard=False, **quiet)
                else:
                    # The code travels to the workers; what it imports has to be installed there.
                    package = str(Path(__file__).resolve().parents[2])
                    ray.init(address=address, runtime_env={"py_modules": [package]}, **quiet)
        except Exception as error:  # Ray raises bare exceptions, for example if its processes are slow to start.
            raise WorkError(
                f"There is no Ray cluster at {address}, or it wants a token. Check the address, set "
                "RAY_AUTH_MODE=token if it has one, or leave the address out to use this machine."
                if address is not None
                else f"Ray cannot start on this machine ({error})."
            ) from error
        finally:
            if threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGTERM, stopping)  # Ray takes it, but it is to end a run as Ctrl-C does.

    def __call__(self, job: Job, units: Iterator[Unit]) -> Generator[Ended | PhotoDone, None, None]:
        """Yield the results of all units, each as soon as it is there; closing this cancels what has begun."""
        ray = self._ray
        of_all, run = ray.put(job), secrets.token_hex(4)
        task = ray.remote(num_cpus=1, max_retries=0, num_returns="streaming", name="unlearn-protect")(_protect)
        running: dict[Any, _Batch] = {}
        again: deque[_Batch] = deque()
        # These come again after all others, in turns. The first photo of a new worker takes longest, so that one that
        # came again at once would be hit each time, and would count as the cause.
        stop, room, asked = False, 0, float("-inf")
        try:
            while True:
                if time.monotonic() >= asked + SECONDS_A_LOOK:
                    room, asked = AHEAD * max(1, int(ray.cluster_resources().get("CPU", 1))), time.monotonic()
                while len(running) < room and not stop:
                    if (unit := next(units, None)) is not None:
                        yield from unit.done
                        if not unit.items:
                            continue
                        batch = _Batch({item.file.name: item for item in unit.items})
                    elif again:
                        batch = again.popleft()
                    else:
                        break
                    batch.began = False
                    batch.results = task.remote([of_all], tuple(batch.items.values()), run, batch.deaths)
                    running[batch.results] = batch
                if not running:
                    return
                for results in ray.wait(list(running), num_returns=1, timeout=10)[0]:
                    batch = running[results]
                    for ended in self._arrived(batch, running, again, job):
                        yield ended
                        photo = ended.photo
                        stop |= job.options.fail_fast and photo is not None and photo.status == "failed"
                if stop:
                    again.clear()
        finally:
            for results in running:
                ray.cancel(results, force=False)

    def _arrived(self, batch: _Batch, running: dict[Any, _Batch], again: deque[_Batch], job: Job) -> Iterator[Ended]:
        """Yield the next result of a batch; a batch that is complete or dead is taken out of ``running``."""
        ray = self._ray
        try:
            result = ray.get(next(batch.results))
        except StopIteration:
            del running[batch.results]
            if batch.items:  # The worker ended without an error.
                yield from self._dead(batch, again, job)
            return
        except (ray.exceptions.RayTaskError, ray.exceptions.TaskCancelledError) as error:
            raise WorkError(f"A Ray task failed: {getattr(error, 'cause', error)}. {GO_ON}") from error
        except (ray.exceptions.RaySystemError, ray.exceptions.WorkerCrashedError, ray.exceptions.RayError) as error:
            del running[batch.results]
            if not ray.is_initialized():
                raise WorkError(f"The Ray cluster is gone ({type(error).__name__}). {GO_ON}") from error
            yield from self._dead(batch, again, job)
            return
        if isinstance(result, Began):
            batch.began = True
            return
        self._fruitless = 0
        batch.items.pop(result.name, None)
        yield result

    def _dead(self, batch: _Batch, again: deque[_Batch], job: Job) -> Iterator[Ended]:
        self._fruitless += 1
        if self._fruitless > FRUITLESS:
            raise WorkError(f"Ray's workers die before they protect anything. See Ray's own logs. {GO_ON}")
        if len(batch.items) > 1 or not batch.began:
            again += [_Batch({name: item}, max(batch.deaths, 1)) for name, item in batch.items.items()]
            return
        for name, item in batch.items.items():
            if batch.deaths >= DEATHS:
                yield died(job, item)
            else:
                again.append(_Batch({name: item}, batch.deaths + 1))

    def close(self) -> None:
        """Disconnect from the cluster, or end the one on this machine, unless the program had it before."""
        if self._ours:
            self._ray.shutdown()


GO_ON = "What is finished is recorded; run the same command again to go on."

_kept: dict[str, tuple[Job, Workspace]] = {}
"""The run that this worker works for, so that the pattern is loaded once."""


def _protect(job_in: list[Any], items: tuple[Item, ...], run: str, deaths: int) -> Iterator[Began | Ended]:
    """Protect the photos of a batch in a worker, and yield what became of each."""
    if run not in _kept:
        import ray
        from PIL import Image

        warnings.filterwarnings("ignore", module=r"PIL\.")
        _kept.clear()
        job = ray.get(job_in[0])
        Image.MAX_IMAGE_PIXELS = job.largest
        _kept[run] = job, Workspace()
    job, workspace = _kept[run]
    if deaths:
        yield Began()
    yield from in_order(lambda item: protect_item(job, item, workspace), items, THREADS)
