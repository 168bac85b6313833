"""One person's own pattern, from their key and a bank of a family's patterns.

Not a mixture of the bank's patterns: those lie in the span of a few public vectors, which anyone can project out of a
photo. The key chooses a pattern, mirrors it or not, and warps it by a smooth random field of its own. So it stays about
what was optimised, while two keys of one pattern differ. Mosaics of several patterns have less in common with each
other and protect less (docs/results/person.md).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from unlearn_cli.banks.keys import Key

GRID = 5
"""Of the random fields: so many values a side, with a smooth curve between them."""
WARP = 0.08
"""How far a place is taken from, in sides of the pattern: the standard deviation, in each direction."""
LABEL = "identity"

Floats = NDArray[np.float64]


def identity_pattern(noise: NDArray[np.int8], key: Key) -> NDArray[np.int8]:
    """A pattern ``[3, H, W]`` in pixel levels, within the bound of the bank's ``[K, 3, H, W]``.

    The same key and bank give the same pattern. Every key's is as strong as the bank's are on average.
    """
    count, _, height, width = noise.shape
    draws = np.frombuffer(key.stream(LABEL, 4 * (2 + 2 * GRID**2)), "<u4")
    bits = np.ascontiguousarray(draws[2:]).view(np.uint8).reshape(2, GRID, GRID, 4)
    values: Floats = (bits.astype(np.float64).sum(axis=3) - 510) / 148  # Four bytes together are about normal.
    down, across = WARP * (_curve(height) @ values @ _curve(width).T)  # [H, W] each
    rows = np.rint(np.arange(height)[:, None] + height * down).clip(0, height - 1).astype(int)
    columns = np.rint(np.arange(width) + width * across).clip(0, width - 1).astype(int)
    if draws[1] % 2:
        columns = width - 1 - columns
    levels: Floats = noise[draws[0] % count][:, rows, columns].astype(np.float64)
    bound = int(np.abs(noise).max())
    levels *= np.sqrt(np.square(noise, dtype=np.float64).mean() / max(np.square(levels).mean(), 1e-9))
    own: NDArray[np.int8] = np.rint(levels.clip(-bound, bound)).astype(np.int8)
    return own


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
