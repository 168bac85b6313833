"""Checkpoints of a search, with which an interrupted search continues to the same result, bit for bit."""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Protocol

import torch

from unlearn_cli.errors import WorkError
from unlearn_cli.noise.events import Resumed
from unlearn_cli.noise.settings import Joint, NoiseSettings
from unlearn_cli.training.checkpoint import open_checkpoint, peek, save_checkpoint
from unlearn_cli.training.datasets import ImageSet, digest
from unlearn_cli.training.workers import Workers

SECONDS_BETWEEN = 10.0
"""The smallest number of seconds between two checkpoints; the end of a search is always saved."""
SHARE = 20.0
"""The time between two checkpoints is at least this many times the time to save one, which is long for large noise."""

ENDS = ("max_iterations", "patience", "stop_error")
"""The settings that only decide when a search ends, except in a joint search, where they decide how long a round is."""


@dataclass(frozen=True)
class Progress:
    """The progress of a search."""

    iteration: int = 0
    epoch: int = 0
    """Finished epochs of the surrogate's clean training, for error-maximizing noise."""
    error: float = math.nan
    best: float = math.inf
    """The best error rate so far, or its negative where the error rate is to be large."""
    since_best: int = 0
    """The number of iterations since the best error rate."""
    seconds: float = 0.0

    def next(self, error: float, seconds: float, *, upwards: bool = False) -> Progress:
        """Return the progress one iteration later, given that iteration's error rate.

        With ``upwards``, a larger error rate is better.
        """
        value = -error if upwards else error
        since = 0 if value < self.best else self.since_best + 1
        return Progress(self.iteration + 1, self.epoch, error, min(value, self.best), since, seconds)


def iterations_in(folder: Path) -> int:
    """Return after how many iterations a search was saved in a checkpoint folder; 0 if nothing readable is there.

    Any worker's file tells it, because all of them are from the same moment.
    """
    found = next(iter(sorted(folder.glob("search-*-of-*.pt"))), None)
    content = peek(found) if found is not None else None
    return int(content["progress"]["iteration"]) if content is not None else 0


class Search(Protocol):
    """A search that can be interrupted and continued."""

    def state(self) -> dict[str, Any]:
        """Return everything that a later process needs to continue this search."""

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a result of ``state``."""


class Checkpoint:
    """The checkpoint folder of a search, in which every worker has its own file; without a folder nothing is saved."""

    def __init__(
        self, folder: Path | None, data: ImageSet, settings: NoiseSettings, device: torch.device, workers: Workers
    ) -> None:
        self.device, self.workers = device, workers
        self.path = None if folder is None else folder / f"search-{workers.rank}-of-{workers.count}.pt"
        # The settings that end a search do not change its steps, so a search may continue with other ones.
        ends = () if isinstance(settings, Joint) else ENDS
        way = {name: value for name, value in asdict(settings).items() if name not in ends}
        self.identity = {"settings": way, "images": digest(data)} if folder is not None else {}
        self.defaults = {item.name: item.default for item in fields(settings)}
        self.last_kept, self.between = time.perf_counter(), SECONDS_BETWEEN

    def begin(self, search: Search) -> Progress:
        """Restore a fresh search from its checkpoint, if every worker has one, and return its progress.

        Raises ``WorkError`` if the checkpoint is damaged, belongs to other settings or images, or does not fit those
        of the other workers, or if the folder cannot be written.
        """
        if self.path is None:
            return Progress()
        there = torch.tensor(float(self.path.exists()), device=self.device)
        if self.workers.sum(there).item() < self.workers.count:
            self._claim()
            return Progress()
        with open_checkpoint(self.path, self.device, "the search") as content:
            identity = content["identity"]
            # A checkpoint of an earlier version lacks the settings that did not exist then.
            newer = {
                name: self.defaults[name] for name in self.identity["settings"] if name not in identity["settings"]
            }
            if {**identity, "settings": identity["settings"] | newer} != self.identity:
                raise WorkError(
                    f"The checkpoint {self.path} belongs to a search with other settings or images. "
                    "Name another folder with --checkpoint, or delete the file."
                )
            search.restore(content["search"])
            at = Progress(**content["progress"])
        steps = torch.zeros(self.workers.count, device=self.device)
        steps[self.workers.rank] = at.iteration + at.epoch
        if len(self.workers.sum(steps).unique()) > 1:
            raise WorkError(
                f"The checkpoints in {self.path.parent} are not from the same moment of the search. "
                "Delete them to begin the search again."
            )
        return at

    def resumed(self, at: Progress) -> Iterator[Resumed]:
        """Yield a ``Resumed`` event if the search continues from a checkpoint."""
        if self.path is not None and (at.iteration or at.epoch):
            yield Resumed(self.path, at.iteration, at.epoch)

    def keep(self, search: Search, at: Progress, *, last: bool = False) -> None:
        """Save the search's state, unless it was saved too recently; with ``last``, save it in any case."""
        if self.path is None:
            return
        # The first worker decides for all, because their clocks differ.
        due = last or time.perf_counter() - self.last_kept >= self.between
        if not self.workers.agree(due, self.device):
            return
        start = time.perf_counter()
        save_checkpoint(self.path, {"identity": self.identity, "progress": asdict(at), "search": search.state()})
        self.last_kept = time.perf_counter()
        self.between = max(SECONDS_BETWEEN, SHARE * (self.last_kept - start))

    def _claim(self) -> None:
        """Make the folder, and raise ``WorkError`` now rather than later if it cannot be written."""
        assert self.path is not None
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.path.parent):
                pass
        except OSError as error:
            raise WorkError(
                f"The checkpoint folder {self.path.parent} cannot be written: {error.strerror or error}. "
                "Name another folder with --checkpoint."
            ) from error
