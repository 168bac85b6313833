"""What photos of a class are protected with: one pattern for all of them, or one that is made for each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from unlearn_cli.banks.catalog import Choice
from unlearn_cli.photos.decode import Photo
from unlearn_cli.photos.encode import to_image
from unlearn_cli.photos.noise import DEEP, UNIT, Pattern

OVERSAMPLED = 4
"""A large photo is averaged down to about so many pixels for each that is wanted, before it is resized."""


@dataclass(frozen=True, eq=False)
class PerPhoto:
    """Noise that is made for each photo, by whoever has networks; this room has none."""

    make: Callable[[NDArray[np.uint8]], NDArray[np.int8]]
    """Of a photo's reduced pixels ``[S, S, 3]``: its pattern, ``[3, S, S]``, in levels; may be called from threads."""
    size: int
    """S."""
    fingerprint: str
    """Of all that decides the noise besides the photo."""


@dataclass(frozen=True, eq=False)
class Protection:
    """What a class of photos is protected with."""

    pattern: Pattern
    class_name: str
    bank: str
    bank_sha256: str
    bank_epsilon: int
    """The bound that the bank was made and measured with."""
    bank_path: Path = Path()
    per_photo: PerPhoto | None = None
    """Instead of the pattern, of which only the bound holds then."""

    @classmethod
    def of(cls, choice: Choice, class_name: str, epsilon: int | None = None) -> Protection:
        """With a bank's pattern, scaled down to ``epsilon``. Raises ``UsageError`` for one above the bank's."""
        bank, bound = choice.bank, choice.bank.provenance.epsilon
        pattern = Pattern(bank.noise[choice.index], bound).scaled(bound if epsilon is None else epsilon)
        return cls(pattern, class_name, bank.name, bank.sha256, bound, bank.path)

    @property
    def form(self) -> str:
        """``class-wise`` or ``sample-wise``."""
        return "class-wise" if self.per_photo is None else "sample-wise"

    @property
    def fingerprint(self) -> str:
        """Of all that decides the noise besides the photo."""
        return self.pattern.fingerprint if self.per_photo is None else self.per_photo.fingerprint

    def pattern_for(self, photo: Photo) -> Pattern:
        """The pattern to lay on a photo."""
        if self.per_photo is None:
            return self.pattern
        return Pattern(self.per_photo.make(reduced(photo, self.per_photo.size)), self.pattern.epsilon)


def reduced(photo: Photo, size: int) -> NDArray[np.uint8]:
    """A photo as a model sees it: uint8 ``[size, size, 3]``, the whole picture squeezed into a square.

    Many pixels are averaged in blocks first, some rows at a time, so that a large photo is never copied.
    """
    pixels = photo.pixels if photo.pixels.ndim == 3 else photo.pixels[..., None]
    height, width, bands = pixels.shape
    down, across = max(1, height // (OVERSAMPLED * size)), max(1, width // (OVERSAMPLED * size))
    few = np.empty((height // down, width // across, bands), np.uint8)
    for row in range(len(few)):
        block = pixels[row * down : (row + 1) * down, : few.shape[1] * across]
        total = block.reshape(down, -1, across, bands).sum(axis=(0, 2), dtype=np.uint32)
        few[row] = total // (down * across * (UNIT if photo.mode == DEEP else 1))
    mode = "L" if photo.mode == DEEP else photo.mode
    image = to_image(few if bands > 1 else few[..., 0], mode).convert("RGB")
    return np.asarray(image.resize((size, size), Image.Resampling.BOX))
