"""Noise that is tied to faces: a pattern over each face's square, and another over the rest of the photo.

A scraper crops to the face, at a scale that nobody knows in advance. If a pattern covers the whole photo, such a crop
contains a random part of it. A pattern that is tied to the face stays complete.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from unlearn_cli.banks.provenance import EDGE
from unlearn_cli.photos.apply import Pattern, apply_strips
from unlearn_cli.photos.resample import StripCache

if TYPE_CHECKING:
    from unlearn_cli.faces import Box

Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Anchored:
    """A person's noise, for the faces of one photo."""

    pattern: Pattern
    """The pattern on faces; it covers the whole photo if there are none."""
    boxes: tuple[Box, ...]
    """The squares that the pattern covers, in pixels of the photo; a later one covers an earlier one."""
    beneath: Pattern | None
    """The pattern over the rest of the photo; None leaves the rest unchanged."""

    @property
    def mostly_chroma(self) -> bool:
        """Return whether the noise hardly protects a grey photo, which can only carry its luma."""
        return self.pattern.mostly_chroma

    @property
    def epsilon(self) -> int:
        """Return the bound on the change of any pixel value, in pixel levels."""
        return max(self.pattern.epsilon, self.beneath.epsilon if self.beneath is not None else 0)

    def apply(self, pixels: NDArray[Any], mode: str, cache: StripCache | None = None) -> float:
        """Apply the noise to the pixels of an upright photo in place, as ``Pattern.apply`` does."""
        if not self.boxes:
            return self.pattern.apply(pixels, mode, cache)
        return apply_strips(pixels, mode, self._strips(mode, *pixels.shape[1::-1]), self.epsilon)

    def _strips(self, mode: str, width: int, height: int) -> Iterator[NDArray[np.int8]]:
        faces = [_Face(self.pattern, box, mode) for box in self.boxes]
        top = 0
        for strip in self._rest(mode, width, height):
            for face in faces:
                face.blend(strip, top)
            yield strip
            top += len(strip)

    def _rest(self, mode: str, width: int, height: int) -> Iterable[NDArray[np.int8]]:
        stretched = (self.beneath or self.pattern).stretched(mode, width, height)
        if self.beneath is not None:
            # The cache is not used, because its strips must not be written to.
            return stretched.strips()
        bands = len(self.pattern.planes(mode))
        tops = range(0, height, stretched.rows)
        return (np.zeros((min(stretched.rows, height - top), width, bands), np.int8) for top in tops)


class _Face:
    """A pattern over one square."""

    def __init__(self, pattern: Pattern, box: Box, mode: str) -> None:
        self.side = max(1, round(box.side))
        self.left, self.top = round(box.left), round(box.top)
        self.noise = pattern.stretched(mode, self.side, self.side)
        ramp = np.minimum((np.arange(self.side, dtype=np.float32) + 0.5) / (EDGE * self.side), 1)
        self.share: Floats = np.minimum(ramp, ramp[::-1])

    def blend(self, strip: NDArray[np.int8], top: int) -> None:
        """Blend the rows inside a strip, whose first row is ``top``, over the noise that is there."""
        first, last = max(self.top, top), min(self.top + self.side, top + len(strip))
        left, right = max(self.left, 0), min(self.left + self.side, strip.shape[1])
        if first >= last or left >= right:
            return
        there = strip[first - top : last - top, left:right]
        rows, columns = slice(first - self.top, last - self.top), slice(left - self.left, right - self.left)
        noise = self.noise.strip(rows.start, rows.stop)[:, columns]
        share = (self.share[rows, None] * self.share[None, columns])[..., None]
        # A mean of two values within the bound is within the bound too.
        np.copyto(there, np.rint(there + share * (noise.astype(np.float32) - there)).astype(np.int8))
