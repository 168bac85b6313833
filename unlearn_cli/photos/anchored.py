"""Noise that is tied to faces: a pattern over each face's square, and another over the rest of the photo.

A scraper crops to the face, at a scale that nobody knows in advance. If a pattern covers the whole photo, such a crop
contains a random part of it. A pattern that is tied to the face stays complete.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from unlearn_cli.banks.provenance import EDGE
from unlearn_cli.photos.apply import Pattern, apply_strips
from unlearn_cli.photos.resample import StripCache
from unlearn_cli.pixels import fade

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Square:
    """A square on a photo that a pattern covers, in pixels of the upright photo."""

    centre: complex
    """Its column + row * 1j."""
    side: float
    turn: complex = 1
    """The direction of its upper edge, from left to right, as a complex number of length 1; 1 for an upright square."""


@dataclass(frozen=True, eq=False)
class Anchored:
    """A person's noise, for the faces of one photo."""

    pattern: Pattern
    """The pattern on faces; it covers the whole photo if there are none."""
    squares: tuple[Square, ...]
    """The squares that the pattern covers; a later one covers an earlier one."""
    beneath: Pattern | None
    """The pattern over the rest of the photo; None leaves the rest unchanged."""
    faces_found: int | None = None
    """How many faces the photo has, if they were counted; there are fewer squares if only the largest gets one."""
    own: tuple[Pattern, ...] = ()
    """For noise that was made for each face, the pattern of each square instead of ``pattern``."""

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
        if not self.squares:
            return self.pattern.apply(pixels, mode, cache)
        return apply_strips(pixels, mode, self._strips(mode, pixels.shape[1], pixels.shape[0], cache), self.epsilon)

    def _strips(self, mode: str, width: int, height: int, cache: StripCache | None) -> Iterator[NDArray[np.int8]]:
        patterns = self.own or (self.pattern,) * len(self.squares)
        faces = [_face(*pair, mode) for pair in zip(patterns, self.squares, strict=True)]
        top = 0
        for strip in self._rest(mode, width, height, cache):
            bottom = top + len(strip)
            touched = [face for face in faces if face.top < bottom and face.bottom > top]
            # A strip of the cache must not be written to.
            blended = strip.copy() if touched and cache is not None else strip
            for face in touched:
                face.blend(blended, top)
            yield blended
            top = bottom

    def _rest(self, mode: str, width: int, height: int, cache: StripCache | None) -> Iterable[NDArray[np.int8]]:
        if self.beneath is not None:
            return self.beneath.strips(mode, width, height, cache)
        stretched = self.pattern.stretched(mode, width, height)
        bands = len(self.pattern.planes(mode))
        tops = range(0, height, stretched.rows)
        return (np.zeros((min(stretched.rows, height - top), width, bands), np.int8) for top in tops)


class _OnFace(Protocol):
    """A pattern on one square, which covers some rows of the photo, from ``top`` to before ``bottom``."""

    top: int
    bottom: int

    def blend(self, strip: NDArray[np.int8], top: int) -> None:
        """Blend the square's rows inside a strip, whose first row is ``top``, over the noise that is there."""


def _face(pattern: Pattern, square: Square, mode: str) -> _OnFace:
    return _Upright(pattern, square, mode) if square.turn == 1 else _Turned(pattern, square, mode)


def _blend(there: NDArray[np.int8], noise: NDArray[Any], share: Floats) -> None:
    """Replace noise by a share of other noise, in place; ``share`` is ``[rows, columns, 1]``, from 0 to 1.

    A mean of two values within the bound is within the bound too.
    """
    mixed = noise.astype(np.float32)
    mixed -= there
    mixed *= share
    mixed += there
    np.rint(mixed, out=mixed)
    np.copyto(there, mixed, casting="unsafe")


def _within(whole: slice, start: int, size: int) -> slice:
    """Return the part of a slice that lies in ``size`` places from ``start`` on, counted from there; perhaps empty."""
    first = min(max(whole.start - start, 0), size)
    return slice(first, max(first, min(whole.stop - start, size)))


class _Upright:
    """A pattern over one upright square."""

    def __init__(self, pattern: Pattern, square: Square, mode: str) -> None:
        self.side = max(1, round(square.side))
        self.left, self.top = (round(at - square.side / 2) for at in (square.centre.real, square.centre.imag))
        self.bottom = self.top + self.side
        self.noise = pattern.stretched(mode, self.side, self.side)
        self.share: Floats = fade(self.side, EDGE)
        whole = np.flatnonzero(self.share == 1)
        self.inner = slice(int(whole[0]), int(whole[-1]) + 1) if len(whole) else slice(0, 0)
        """The rows and columns of the square in which the pattern is not blended with anything."""

    def blend(self, strip: NDArray[np.int8], top: int) -> None:
        """Blend the square's rows inside a strip, whose first row is ``top``, over the noise that is there."""
        first, last = max(self.top, top), min(self.bottom, top + len(strip))
        left, right = max(self.left, 0), min(self.left + self.side, strip.shape[1])
        if first >= last or left >= right:
            return
        there = strip[first - top : last - top, left:right]
        start, row = left - self.left, first - self.top
        noise = self.noise.strip(row, last - self.top)[:, start : right - self.left]
        # Most of the square is only copied; blending with floats costs five times as much.
        rows, columns = (_within(self.inner, begin, size) for begin, size in ((row, len(there)), (start, right - left)))
        there[rows, columns] = noise[rows, columns]
        for edge in (np.s_[: rows.start], np.s_[rows.stop :]):
            self._blend_part(there, noise, edge, np.s_[:], row, start)
        for edge in (np.s_[: columns.start], np.s_[columns.stop :]):
            self._blend_part(there, noise, rows, edge, row, start)

    def _blend_part(
        self, there: NDArray[np.int8], noise: NDArray[np.int8], rows: slice, columns: slice, row: int, column: int
    ) -> None:
        """Blend a part of the square's visible part, whose first row and column in the square are given."""
        down, across = self.share[row:][: len(there)][rows], self.share[column:][: there.shape[1]][columns]
        if len(down) and len(across):
            _blend(there[rows, columns], noise[rows, columns], (down[:, None] * across)[..., None])


class _Turned:
    """A pattern over one square that is turned by any angle, interpolated linearly."""

    def __init__(self, pattern: Pattern, square: Square, mode: str) -> None:
        import cv2  # OpenCV takes a moment to load, and has found this face already.

        planes = pattern.planes(mode)
        rows, columns = planes.shape[1:]
        noise = np.ascontiguousarray(planes.transpose(1, 2, 0)).astype(np.float32)
        if square.side < min(rows, columns):  # Averaging first, because a smaller face would get every n-th value.
            side = max(1, round(square.side))
            smaller: Any = cv2.resize(noise, (side, side), interpolation=cv2.INTER_AREA)
            noise = smaller.reshape(side, side, len(planes))
        self.noise, self.bound = noise, pattern.epsilon
        # photo = centre + turn * (u, v - 1/2 of the side each), with u and v in pixels of the square.
        self.square = square
        half = square.side / 2 * (abs(square.turn.real) + abs(square.turn.imag))
        self.top, self.bottom = (int(np.floor(square.centre.imag + sign * half)) + (sign > 0) for sign in (-1, 1))
        self.left, self.right = (int(np.floor(square.centre.real + sign * half)) + (sign > 0) for sign in (-1, 1))

    def blend(self, strip: NDArray[np.int8], top: int) -> None:
        """Blend the square's rows inside a strip, whose first row is ``top``, over the noise that is there."""
        import cv2

        first, last = max(self.top, top), min(self.bottom, top + len(strip))
        left, right = max(self.left, 0), min(self.right, strip.shape[1])
        if first >= last or left >= right:
            return
        # The inverse transform: where each pixel of the photo lies in the square, from 0 to 1 from edge to edge.
        columns = np.arange(left, right, dtype=np.float64) + 0.5 - self.square.centre.real
        lines = np.arange(first, last, dtype=np.float64)[:, None] + 0.5 - self.square.centre.imag
        back = self.square.turn.conjugate() / self.square.side
        across = (back.real * columns - back.imag * lines + 0.5).astype(np.float32)
        down = (back.imag * columns + back.real * lines + 0.5).astype(np.float32)
        ramp = np.minimum(np.minimum(across, 1 - across), np.minimum(down, 1 - down))
        share = np.clip(ramp / EDGE, 0, 1, dtype=np.float32)
        noise = cv2.remap(
            self.noise,
            across * self.noise.shape[1] - 0.5,
            down * self.noise.shape[0] - 0.5,
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        ).reshape(last - first, right - left, self.noise.shape[2])
        # A linear mean of values within the bound is within it, but for rounding.
        np.clip(noise, -self.bound, self.bound, out=noise)
        _blend(strip[first - top : last - top, left:right], noise, share[..., None])


def under(square: Square, plane: Floats) -> Floats:
    """Return the part of a plane ``[H, W, bands]`` under a square, turned upright: ``[side, side, bands]``.

    What lies outside the plane is zero.
    """
    import cv2

    side = max(1, round(square.side))
    corner = square.centre + square.turn * (0.5 - side / 2) * (1 + 1j) - (0.5 + 0.5j)
    if square.turn == 1:
        # As the pattern is applied: to whole pixels.
        corner = complex(*(round(at - square.side / 2) for at in (square.centre.real, square.centre.imag)))
    turn = square.turn
    matrix = np.array([[turn.real, -turn.imag, corner.real], [turn.imag, turn.real, corner.imag]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    part: Any = cv2.warpAffine(plane, matrix, (side, side), flags=flags)
    return np.asarray(part, np.float32).reshape(side, side, plane.shape[2])
