"""Laying noise on pixels: signed integer arithmetic, at any size, in every mode a photo can have.

There are no floats near the pixels, so the L-infinity bound holds for the result exactly.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from unlearn_cli.errors import UsageError

STRIP = 1 << 17
"""Values worked on at a time: small enough to stay in the cache, large enough to be few."""

LUMA = (0.299, 0.587, 0.114)
"""ITU-R BT.601, which Pillow and JPEG use."""

DEEP = ("I;16", "I;16L", "I;16B")
"""Pillow's modes of 16-bit grey. A level there is 257 values, as 65535 / 255."""


SUPPORTED_MODES = ("RGB", "RGBA", "L", "LA", "CMYK", *DEEP)


@dataclass(frozen=True)
class Change:
    """What adding noise did to the pixels, measured while it was added, in pixel levels."""

    linf: float
    """The largest change of any value."""
    squared_error: float
    """Sum of the squared changes over all values that can carry noise."""
    values: int
    """How many such values there are; transparency is none."""

    @property
    def psnr(self) -> float:
        """Peak signal-to-noise ratio in dB, infinite when nothing changed."""
        if self.squared_error == 0:
            return math.inf
        return 10 * math.log10(255**2 * self.values / self.squared_error)


def add_noise(pixels: NDArray[Any], noise: NDArray[Any]) -> Change:
    """Add signed noise to unsigned pixels in place, saturating, and measure the change.

    ``pixels`` is uint8 and ``noise`` int8, or uint16 and int16, of the same shape and units;
    no noise is the most negative value of its type, and ``pixels`` is C-contiguous. No value
    moves by more than the noise asks for. The measures are in the units of ``pixels``.
    """
    flat, added = pixels.reshape(-1), noise.reshape(-1)
    signed = np.empty((2, min(STRIP, flat.size)), added.dtype)
    room, change = np.empty_like(signed[0], flat.dtype), np.empty_like(signed[0], np.float32)
    linf, squared = 0, 0.0
    for start in range(0, flat.size, STRIP):
        part = flat[start : start + STRIP]
        size = part.size
        # Saturate by shrinking the noise to the room there is: no wider type is needed.
        up, down = _both_ways(added[start : start + STRIP], signed[:, :size])
        np.minimum(up, np.invert(part, out=room[:size]), out=up)
        np.minimum(down, part, out=down)
        part += up
        part -= down
        up += down  # one of the two is zero everywhere
        linf = max(linf, int(up.max()))
        change[:size] = up
        squared += float(np.dot(change[:size], change[:size]))
    return Change(linf, squared, flat.size)


def _both_ways(noise: NDArray[Any], buffer: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """How far noise goes up and how far down, each unsigned, in the two rows of ``buffer``."""
    np.maximum(noise, 0, out=buffer[0])
    np.subtract(buffer[0], noise, out=buffer[1])
    unsigned = np.dtype(f"u{buffer.dtype.itemsize}")
    return buffer[0].view(unsigned), buffer[1].view(unsigned)


@dataclass(frozen=True, eq=False)
class Pattern:
    """One class's noise, ready to be laid on photos of any size and mode."""

    noise: NDArray[np.int8]
    """``[3, H, W]``, pixel levels."""
    epsilon: int

    def protect(self, image: Image.Image) -> tuple[Image.Image, Change]:
        """A protected copy of an upright image, in the same mode, and what changed.

        RGB and RGBA get the noise, grey its luma, CMYK its complement in the three inks, 16-bit
        grey the luma at 257 values a level. Alpha is never touched, nor the colour beneath full
        transparency. Raises ``UsageError`` for a mode that is not in ``SUPPORTED_MODES``.
        """
        if image.mode not in SUPPORTED_MODES:
            raise UsageError(f"Noise cannot be added in mode {image.mode}. Convert the image to RGB or L first.")
        pixels = np.array(image)
        noise = self._for_mode(image.mode, *image.size)
        if image.mode in ("RGBA", "LA"):
            noise = noise * (pixels[..., -1:] > 0)
        if image.mode in DEEP:
            native = pixels.astype(np.uint16)
            change = add_noise(native, noise)
            change = Change(change.linf / 257, change.squared_error / 257**2, change.values)
            return Image.frombytes(image.mode, image.size, native.astype(pixels.dtype).tobytes()), change
        change = add_noise(pixels, noise)
        colours = len(image.getbands()) - (image.mode in ("RGBA", "LA", "CMYK"))
        values = image.width * image.height * colours
        return Image.fromarray(pixels, image.mode), Change(change.linf, change.squared_error, values)

    def _for_mode(self, mode: str, width: int, height: int) -> NDArray[Any]:
        colour = resize_noise(self, width, height)
        if mode == "RGB":
            return colour
        if mode in ("L", "LA", *DEEP):
            # Rounding a weighted mean of bounded values cannot leave the bound.
            grey = np.rint(colour @ np.array(LUMA, np.float32)).astype(np.int8)
            if mode == "L":
                return grey
            if mode in DEEP:
                return grey.astype(np.int16) * 257
            return np.dstack([grey, np.zeros_like(grey)])
        fourth = np.zeros((height, width, 1), np.int8)
        # More ink is less light.
        return np.concatenate([-colour if mode == "CMYK" else colour, fourth], axis=2)


@lru_cache(maxsize=2)
def resize_noise(pattern: Pattern, width: int, height: int) -> NDArray[np.int8]:
    """A pattern stretched over ``width`` x ``height`` pixels: int8 ``[height, width, 3]``.

    Bicubic, which keeps more of the pattern through the way back down than bilinear does; its
    overshoot is clipped, so that the bound holds. The last two sizes are kept, since the photos
    of a folder mostly share theirs.
    """
    offset = (pattern.noise.astype(np.int16) + 128).astype(np.uint8).transpose(1, 2, 0)
    image = Image.fromarray(np.ascontiguousarray(offset), "RGB")
    if image.size != (width, height):
        image = image.resize((width, height), Image.Resampling.BICUBIC)
    levels = np.asarray(image).astype(np.int16) - 128
    return np.clip(levels, -pattern.epsilon, pattern.epsilon).astype(np.int8)
