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
"""A large photo is thinned to so many pixels for each that is wanted, before they are averaged."""


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

    Rows and columns are thinned first where there are many, so that a large photo is never copied.
    """
    pixels = photo.pixels
    step_y, step_x = (max(1, side // (OVERSAMPLED * size)) for side in pixels.shape[:2])
    few = np.ascontiguousarray(pixels[step_y // 2 :: step_y, step_x // 2 :: step_x])
    if photo.mode == DEEP:
        few, mode = (few // UNIT).astype(np.uint8), "L"
    else:
        mode = photo.mode
    image = to_image(few, mode).convert("RGB")
    return np.asarray(image.resize((size, size), Image.Resampling.BOX))
