"""Making noise for the calls of several threads in batches."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from unlearn_cli.errors import PhotoError

Item = TypeVar("Item")
Noise = NDArray[np.int8]


class Together(Generic[Item]):
    """A function that makes noise, which several threads may call, and which works on all waiting calls at once.

    A call that comes during another's work waits, and is then processed in one batch with all other waiting calls.
    """

    def __init__(self, work: Callable[[list[Item]], Noise]) -> None:
        """Prepare to call ``work``, which returns noise int8 ``[B, 3, S, S]``, in pixel levels, for B items."""
        self.work = work
        self._waiting: list[tuple[Item, Future[Noise]]] = []
        self._queue, self._at_work = threading.Lock(), threading.Lock()

    def __call__(self, item: Item) -> Noise:
        """Return the noise for an item, ``[3, S, S]``. Raises ``PhotoError`` if memory runs out or the device fails."""
        mine: Future[Noise] = Future()
        with self._queue:
            self._waiting.append((item, mine))
        with self._at_work:
            with self._queue:
                batch, self._waiting = self._waiting, []
            if batch:
                self._process(batch)
        return mine.result()

    def _process(self, batch: list[tuple[Item, Future[Noise]]]) -> None:
        try:
            results = self.work([item for item, _ in batch])
        except Exception as error:  # PyTorch raises the same exception for most failures, of memory or of a device.
            why = (str(error).splitlines() or [type(error).__name__])[0]
            for _, future in batch:
                future.set_exception(PhotoError(f"its noise could not be made ({why})", "noise-failed"))
            return
        for noise, (_, future) in zip(results, batch, strict=True):
            future.set_result(noise)
