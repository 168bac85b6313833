"""How far a written photo is from its original."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from unlearn_cli.errors import PhotoError
from unlearn_cli.photos.noise import DEEP

ROWS = 16
"""Rows compared at a time, so that what is compared stays in the cache."""


def largest_change(original: Image.Image, encoded: bytes) -> float:
    """The L-infinity distance, in pixel levels, of an encoded photo to the pixels it was made from.

    Colour beneath full transparency does not count, since lossy encoders do as they like there.
    Raises ``PhotoError`` if it cannot be decoded.
    """
    try:
        with Image.open(io.BytesIO(encoded)) as image:
            image.load()
            same = image.mode == original.mode or original.mode in DEEP
            after = np.asarray(image if same else image.convert(original.mode))
    except Exception as error:  # As with any decoding: no file may end the whole run.
        raise PhotoError(f"its copy could not be decoded again ({error or type(error).__name__})") from error
    before = np.asarray(original)
    hides = original.mode in ("RGBA", "LA")
    largest = 0
    for top in range(0, len(before), ROWS):
        one, other = before[top : top + ROWS], after[top : top + ROWS]
        difference = np.maximum(one, other) - np.minimum(one, other)
        if hides:
            difference[one[..., -1] == 0] = 0
        largest = max(largest, int(difference.max()))
    return largest / (257 if original.mode in DEEP else 1)
