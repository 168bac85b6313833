"""Stretching a pattern over a photo of any size, one strip of rows at a time.

The interpolation is bicubic, as in Pillow (Keys, 1981, a = -1/2, widened for reduction). Its weights are rounded to
binary fractions so coarse that every sum is exact in float32. So every machine produces the same noise, in whatever
order its matrix library adds, and whether a photo is processed in one strip or in many.
"""

from __future__ import annotations

import contextlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

STRIP = 1 << 20
"""The number of values of a pattern that are interpolated at a time: few enough to need little memory, enough to need
few strips. A photo with a face takes 3 ms longer in strips of an eighth of this."""

CACHE_BYTES = 256 << 20
"""The limit of the cache of stretched patterns, which exists because the photos of a folder mostly share a few
sizes."""

LARGEST_KEPT = 128 << 20
"""The largest buffer, in bytes, that is retained for the next photo."""

LARGE = 100_000_000
"""The number of pixels above which a photo is processed without another such one at the same time."""

# The sum of 7 bits of noise, a factor of at most 1.25 for bicubic's overshoot, and these bits is below float32's 24.
WEIGHT_BITS = 10
BETWEEN_BITS = 4


SMALL_BOUND = 80
"""A bound in pixel levels that interpolation, which overshoots by at most 1.25 in each direction, cannot carry
beyond int8: 80 * 1.25 * 1.25 = 125."""


class Stretched:
    """A pattern of ``C`` planes over ``width`` x ``height`` pixels, as strips of whole rows."""

    def __init__(self, planes: NDArray[np.int8], bound: int, width: int, height: int) -> None:
        self.width, self.height, self.bound = width, height, bound
        self.rows = max(1, STRIP // (width * len(planes)))
        self._same = planes.shape[1:] == (height, width)
        self._planes = planes
        if not self._same:
            across = _weights(planes.shape[2], width)
            scale = 1 << BETWEEN_BITS
            wide = np.rint(planes.astype(np.float32) @ across.T * scale) / scale  # [C, h, width]
            self._wide = np.ascontiguousarray(wide.transpose(1, 2, 0).astype(np.float32))
            self._down = _weights(planes.shape[1], height)

    def strips(self) -> Iterator[NDArray[np.int8]]:
        """Yield the noise from top to bottom: int8 ``[rows, width, C]``, never outside the bound."""
        for top in range(0, self.height, self.rows):
            yield self.strip(top, min(top + self.rows, self.height))

    def strip(self, top: int, bottom: int) -> NDArray[np.int8]:
        """Return the noise of some rows: int8 ``[bottom - top, width, C]``."""
        if self._same:
            return np.ascontiguousarray(self._planes[:, top:bottom].transpose(1, 2, 0))
        weights = self._down[top:bottom]
        used = np.flatnonzero(weights.any(axis=0))
        first, last = int(used[0]), int(used[-1]) + 1
        source = self._wide[first:last]
        levels = weights[:, first:last] @ source.reshape(last - first, -1)
        np.rint(levels, out=levels)
        if self.bound > SMALL_BOUND:
            np.clip(levels, -self.bound, self.bound, out=levels)
        strip: NDArray[np.int8] = levels.astype(np.int8)
        if self.bound <= SMALL_BOUND:  # Small enough for what is not yet clipped, and four times as fast.
            np.clip(strip, -self.bound, self.bound, out=strip)
        return strip.reshape(bottom - top, *source.shape[1:])


@lru_cache(maxsize=8)
def _weights(size: int, wanted: int) -> NDArray[np.float32]:
    """Return the matrix ``[wanted, size]`` that resamples a line of values; its weights have ``WEIGHT_BITS`` bits."""
    ratio = size / wanted
    wide = max(ratio, 1.0)
    centres = (np.arange(wanted) + 0.5) * ratio
    distance = np.abs((np.arange(size) + 0.5)[None, :] - centres[:, None]) / wide
    near = (1.5 * distance - 2.5) * distance**2 + 1
    far = ((-0.5 * distance + 2.5) * distance - 4) * distance + 2
    weights = np.where(distance < 1, near, np.where(distance < 2, far, 0.0))
    weights /= weights.sum(axis=1, keepdims=True)
    scale = 1 << WEIGHT_BITS
    rounded = np.rint(weights * scale)
    # What rounding lost goes to the largest weight, so that a flat pattern stays flat.
    rounded[np.arange(wanted), weights.argmax(axis=1)] += scale - rounded.sum(axis=1)
    exact: NDArray[np.float32] = (rounded / scale).astype(np.float32)
    return exact


class StripCache:
    """The strips of the most recently used patterns, up to ``CACHE_BYTES``, shared by the workers of a run."""

    def __init__(self, limit: int = CACHE_BYTES) -> None:
        self._limit = limit
        self._kept: OrderedDict[tuple[object, ...], list[NDArray[np.int8]]] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def strips(self, key: tuple[object, ...], values: int, make: Callable[[], Stretched]) -> Iterator[NDArray[np.int8]]:
        """Yield the strips of what ``make`` returns, made once for each key as long as there is room.

        A pattern whose number of ``values`` would take more than half of the cache is not stored but made each time,
        one strip after another.
        """
        if values > self._limit // 2:
            yield from make().strips()
            return
        with self._lock:
            kept = self._kept.get(key)
            if kept is not None:
                self._kept.move_to_end(key)
        if kept is not None:
            yield from kept
            return
        made = []
        for strip in make().strips():
            made.append(strip)
            yield strip
        with self._lock:
            if key not in self._kept:
                self._kept[key] = made
                self._bytes += values
            while self._bytes > self._limit:
                _, dropped = self._kept.popitem(last=False)
                self._bytes -= sum(strip.nbytes for strip in dropped)


class Workspace:
    """Memory that is reused from photo to photo, because allocating it costs as much as filling it.

    The workers of a run share the stretched patterns, and each thread has two buffers.
    """

    def __init__(self) -> None:
        self.cache = StripCache()
        self._buffers = threading.local()
        self._large = threading.Lock()

    def room(self, pixels: int) -> contextlib.AbstractContextManager[object]:
        """Return a context in which a photo of this many pixels may use memory; only one large photo may at a time."""
        return self._large if pixels > LARGE else contextlib.nullcontext()

    def buffer(self, size: int, which: str) -> NDArray[np.uint8]:
        """Return ``size`` uninitialised bytes; calls in one thread with the same ``which`` share their memory."""
        kept: NDArray[np.uint8] | None = getattr(self._buffers, which, None)
        if kept is None or kept.size < size:
            kept = np.empty(size, np.uint8)
            if size <= LARGEST_KEPT:
                setattr(self._buffers, which, kept)
        return kept[:size]
