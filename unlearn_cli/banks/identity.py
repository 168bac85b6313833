"""One person's own pattern, from their key and a bank of a family's patterns.

Not a mixture of the bank's patterns: those lie in the span of a few public vectors, which anyone can project out of a
photo. The key cuts a mosaic instead, of three pieces: patterns that it chooses, mirrors and warps, each where a smooth
random field of its own is the highest. Each piece stays about where it was made, for noise for faces is made to the
measure of a face, and edges are sharp, for a mean of two patterns is weaker than either.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from unlearn_cli.banks.keys import Key

PIECES = 3
GRID = 5
"""Of the random fields: so many values a side, with a smooth curve between them."""
WARP = 0.08
"""How far a place is taken from, in sides of the pattern: the standard deviation, in each direction."""
SHARPNESS = 40.0
LABEL = "identity"

Floats = NDArray[np.float64]


def identity_pattern(noise: NDArray[np.int8], key: Key) -> NDArray[np.int8]:
    """A pattern ``[3, H, W]`` in pixel levels, within the bound of the bank's ``[K, 3, H, W]``.

    The same key and bank give the same pattern.
    """
    count, _, height, width = noise.shape
    draws = np.frombuffer(key.stream(LABEL, 4 * PIECES * (2 + 3 * GRID**2)), "<u4").reshape(PIECES, -1)
    bits = np.ascontiguousarray(draws[:, 2:]).view(np.uint8).reshape(PIECES, 3, GRID, GRID, 4)
    values: Floats = (bits.astype(np.float64).sum(axis=4) - 510) / 148  # Four bytes together are about normal.
    fields = _curve(height) @ values @ _curve(width).T  # [PIECES, 3, H, W]
    rows = np.rint(np.arange(height)[:, None] + WARP * height * fields[:, 1]).clip(0, height - 1).astype(int)
    columns = np.rint(np.arange(width) + WARP * width * fields[:, 2]).clip(0, width - 1).astype(int)
    mirrored = (draws[:, 1] % 2 == 1)[:, None, None]
    columns = np.where(mirrored, width - 1 - columns, columns)
    weights = np.exp(SHARPNESS * (fields[:, 0] - fields[:, 0].max(axis=0)))
    weights /= weights.sum(axis=0)
    which = (draws[:, 0] % count).astype(int)[:, None, None]
    # Indices about a slice put the channels last.
    levels: Floats = (weights[..., None] * noise[which, :, rows, columns]).sum(axis=0)
    # A mosaic of a few patterns' weak places would protect nobody: all are brought to the bank's own strength.
    bound = int(np.abs(noise).max())
    levels *= np.sqrt(np.square(noise, dtype=np.float64).mean() / max(np.square(levels).mean(), 1e-9))
    return np.rint(levels.clip(-bound, bound).transpose(2, 0, 1)).astype(np.int8)


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
