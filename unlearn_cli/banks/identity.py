"""One person's own pattern, from their key and a bank of a family's patterns.

Not a mixture of the bank's patterns: those lie in the span of a few public vectors, which anyone can project out of a
photo. The key cuts a soft mosaic instead, of six pieces: patterns that it chooses, shifts around and mirrors, each
where a smooth random field of its own is the highest. The mosaics of a bank span nearly all that a pattern can be.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unlearn_cli.banks.keys import Key

PIECES = 6
GRID = 5
"""Of the random fields: so many values a side, with a smooth curve between them."""
SHARPNESS = 4.0
LABEL = "identity"

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Mosaic:
    """How a key puts a pattern together."""

    patterns: NDArray[np.int64]
    """``[PIECES]``: which of the bank's."""
    source: NDArray[np.int64]
    """``[PIECES, H * W]``: the place in that pattern which each place takes, row by row."""
    weights: Floats
    """``[PIECES, H * W]``: each piece's share there; they add up to 1."""


def mosaic(key: Key, count: int, height: int, width: int) -> Mosaic:
    """The mosaic of a key, of ``count`` patterns of this size: always the same."""
    draws = np.frombuffer(key.stream(LABEL, 4 * PIECES * (4 + GRID**2)), "<u4").reshape(PIECES, -1)
    at = np.arange(height * width).reshape(height, width)
    source = []
    for down, across, turned in draws[:, 1:4].tolist():
        piece = np.roll(at, (down % height, across % width), axis=(0, 1))
        source.append((piece[:, ::-1] if turned % 2 else piece).ravel())
    bits = np.ascontiguousarray(draws[:, 4:]).view(np.uint8).reshape(PIECES, GRID, GRID, 4)
    values: Floats = bits.astype(np.float64).sum(axis=3) - 510  # Four bytes together are about normal.
    fields = (_curve(height) @ (values / 148) @ _curve(width).T).reshape(PIECES, -1)
    weights = np.exp(SHARPNESS * (fields - fields.max(axis=0)))
    return Mosaic(draws[:, 0].astype(np.int64) % count, np.stack(source), weights / weights.sum(axis=0))


def identity_pattern(noise: NDArray[np.int8], key: Key) -> NDArray[np.int8]:
    """A pattern ``[3, H, W]`` in pixel levels, within the bound of the bank's ``[K, 3, H, W]``.

    The same key and bank give the same pattern.
    """
    count, bands, height, width = noise.shape
    of = mosaic(key, count, height, width)
    pieces = noise.reshape(count, bands, -1)[of.patterns[:, None], :, of.source]  # [PIECES, H * W, bands]
    levels: Floats = (of.weights[..., None] * pieces).sum(axis=0)
    return np.rint(levels.T.reshape(bands, height, width)).astype(np.int8)


def _curve(size: int) -> Floats:
    """The matrix ``[size, GRID]`` that lays a smooth curve through values at equal distances."""
    at = np.linspace(0, GRID - 1, size)
    left = np.minimum(at.astype(int), GRID - 2)
    share = at - left
    share = share**2 * (3 - 2 * share)
    matrix = np.zeros((size, GRID))
    matrix[np.arange(size), left] = 1 - share
    matrix[np.arange(size), left + 1] = share
    return matrix
