"""Applying noise to pixels with signed integer arithmetic, at any size and in every mode that a photo can have.

The addition uses no floating-point numbers, so the L-infinity bound holds exactly for the result.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from unlearn_cli.errors import UsageError
from unlearn_cli.photos.resample import Stretched, StripCache
from unlearn_cli.pixels import LUMA

DEEP = "I;16"
"""Pillow's mode for 16-bit grey, in which one level of 255 is 257 values (65535 / 255)."""

UNIT = 257
"""How many values of a 16-bit photo make one level of 255."""

SUPPORTED_MODES = ("RGB", "RGBA", "L", "LA", "CMYK", DEEP)

GREY_MODES = ("L", "LA", DEEP)
ALPHA_MODES = ("RGBA", "LA")

PART = 1 << 17
"""The number of values that noise is added to at a time: few enough to stay in the processor's cache."""

MOSTLY_CHROMA = 0.5
"""If the luma has less than this share of a pattern's root mean square, the pattern hardly protects a grey photo."""


def add_noise(pixels: NDArray[Any], noise: NDArray[Any]) -> int:
    """Add signed noise to unsigned pixels in place, saturating, and return the largest change.

    ``pixels`` is uint8 and ``noise`` int8, or uint16 and int16, with the same shape and units, both C-contiguous. No
    noise may be the most negative value of its type. No pixel value moves by more than its noise.
    """
    return _add(pixels, noise, _Scratch(noise.dtype, min(PART, noise.size)))


class _Scratch:
    """Buffers that stay in the processor's cache over all strips of a photo."""

    def __init__(self, dtype: np.dtype[Any], size: int) -> None:
        self.size = max(size, 1)
        # An array of zeros makes numpy 13 times as fast as the number zero.
        self.zeros = np.zeros(self.size, dtype)
        self.up, self.down = np.empty_like(self.zeros), np.empty_like(self.zeros)
        self.room = np.empty(self.size, f"u{dtype.itemsize}")


def _add(
    pixels: NDArray[Any], noise: NDArray[Any], scratch: _Scratch, largest: int = 0, bound: int | None = None
) -> int:
    """Add noise and return the largest change, or ``largest`` if that is more.

    Changes are no longer measured once ``largest`` has reached the ``bound`` of the noise.
    """
    flat, added = pixels.reshape(-1), noise.reshape(-1)
    for start in range(0, flat.size, scratch.size):
        part = flat[start : start + scratch.size]
        wanted, size = added[start : start + scratch.size], part.size
        # These are the unsigned changes up and down; one of the two is zero everywhere.
        up = np.maximum(wanted, scratch.zeros[:size], out=scratch.up[:size])
        down = np.subtract(up, wanted, out=scratch.down[:size])
        up, down = up.view(part.dtype), down.view(part.dtype)
        # The noise is reduced to the range that is left, so that saturating needs no wider type.
        np.minimum(up, np.invert(part, out=scratch.room[:size]), out=up)
        np.minimum(down, part, out=down)
        part += up
        part -= down
        if largest != bound:
            largest = max(largest, int(np.maximum(up, down, out=up).max()))
    return largest


@dataclass(frozen=True, eq=False)
class Pattern:
    """One class's noise, ready to be applied to photos of any size and mode."""

    noise: NDArray[np.int8]
    """The noise ``[3, H, W]``, in pixel levels."""
    epsilon: int
    """The bound on the noise's absolute values, in pixel levels."""

    def scaled(self, epsilon: int) -> Pattern:
        """Return the pattern scaled down to a smaller bound. Raises ``UsageError`` for a larger one, or one below 1."""
        if not 1 <= epsilon <= self.epsilon:
            raise UsageError(
                f"The noise was made for an epsilon of {self.epsilon} levels and can only be scaled down. "
                f"Choose --epsilon from 1 to {self.epsilon}."
            )
        if epsilon == self.epsilon:
            return self
        return Pattern(np.rint(self.noise * (epsilon / self.epsilon)).astype(np.int8), epsilon)

    @cached_property
    def fingerprint(self) -> str:
        """Return a digest of the noise and its bound, which serves as a cache key."""
        return hashlib.sha256(np.ascontiguousarray(self.noise).tobytes() + bytes([self.epsilon])).hexdigest()

    @cached_property
    def mostly_chroma(self) -> bool:
        """Return whether the noise hardly protects a grey photo, which can only carry its luma."""
        whole = np.sqrt(np.square(self.noise.astype(np.float64)).mean())
        luma = np.sqrt(np.square(self.planes("L").astype(np.float64)).mean())
        return bool(luma < MOSTLY_CHROMA * whole)

    def planes(self, mode: str) -> NDArray[np.int8]:
        """Return the noise for each band of a mode: int8 ``[bands, H, W]``.

        RGB and RGBA get the noise, grey gets its luma, CMYK its complement in the three inks, since more ink is less
        light. Alpha and black get none. Raises ``UsageError`` for a mode that is not in ``SUPPORTED_MODES``.
        """
        if mode not in SUPPORTED_MODES:
            raise UsageError(f"Noise cannot be added to an image in mode {mode}. Convert the image to RGB or L first.")
        if mode == "RGB":
            return self.noise
        if mode in GREY_MODES:
            # Rounding a weighted mean of bounded values cannot exceed the bound.
            luma = np.tensordot(np.array(LUMA), self.noise, axes=1)
            planes = np.rint(luma).astype(np.int8)[None]
            return np.concatenate([planes, np.zeros_like(planes)]) if mode == "LA" else planes
        fourth = np.zeros((1, *self.noise.shape[1:]), np.int8)
        return np.concatenate([-self.noise if mode == "CMYK" else self.noise, fourth])

    def stretched(self, mode: str, width: int, height: int) -> Stretched:
        """Return the noise for each band of a mode, stretched over this many pixels."""
        return Stretched(self.planes(mode), self.epsilon, width, height)

    def at(self, width: int, height: int) -> NDArray[np.int8]:
        """Return the noise stretched to this size: int8 ``[height, width, 3]``."""
        return np.concatenate(list(self.stretched("RGB", width, height).strips()))

    def apply(self, pixels: NDArray[Any], mode: str, cache: StripCache | None = None) -> float:
        """Apply the noise to the pixels of an upright photo in place; return the largest change, in levels of 255.

        ``pixels`` is C-contiguous ``[H, W]`` or ``[H, W, bands]``, uint8, or uint16 in mode ``I;16``. Alpha is never
        touched, nor the colour beneath full transparency. Raises ``UsageError`` for a mode that is not in
        ``SUPPORTED_MODES``.
        """
        height, width = pixels.shape[:2]
        return apply_strips(pixels, mode, self.strips(mode, width, height, cache), self.epsilon)

    def strips(self, mode: str, width: int, height: int, cache: StripCache | None = None) -> Iterator[NDArray[np.int8]]:
        """Yield the noise stretched over this many pixels in strips of rows, int8 ``[rows, width, bands]``.

        Strips that come from a cache must not be written to.
        """
        if cache is None:
            return self.stretched(mode, width, height).strips()
        values = width * height * len(self.planes(mode))
        key = (self.fingerprint, mode, width, height)
        return cache.strips(key, values, lambda: self.stretched(mode, width, height))


def apply_strips(pixels: NDArray[Any], mode: str, strips: Iterable[NDArray[np.int8]], epsilon: int) -> float:
    """Add noise that comes in strips of rows; return the largest change, in levels of 255.

    The strips are ``[rows, W, bands]``, from top to bottom. Transparency is treated as in ``Pattern.apply``.
    """
    wide: Iterable[NDArray[Any]] = strips
    if mode == DEEP:
        wide = (strip.astype(np.int16) * UNIT for strip in strips)
    first, wide = _peek(wide)
    scratch = _Scratch(first.dtype, min(PART, first.size))
    bound = epsilon * (UNIT if mode == DEEP else 1)
    top = largest = 0
    for strip in wide:
        part = pixels[top : top + len(strip)]
        top += len(strip)
        if mode in ALPHA_MODES:
            strip = strip * (part[..., -1:] > 0)
        largest = _add(part, strip, scratch, largest, bound)
    return largest / (UNIT if mode == DEEP else 1)


class Noise(Protocol):
    """Noise that can be applied to a photo."""

    @property
    def epsilon(self) -> int:
        """Return the bound on the change of any pixel value, in pixel levels."""

    @property
    def mostly_chroma(self) -> bool:
        """Return whether the noise hardly protects a grey photo, which can only carry its luma."""

    def apply(self, pixels: NDArray[Any], mode: str, cache: StripCache | None = None) -> float:
        """Apply the noise to the pixels of an upright photo in place; return the largest change, in levels of 255."""


def _peek(strips: Iterable[NDArray[Any]]) -> tuple[NDArray[Any], Iterable[NDArray[Any]]]:
    iterator = iter(strips)
    first = next(iterator)
    return first, itertools.chain([first], iterator)
