"""One person's own pattern, from their key and a bank of a family's patterns.

It is no mixture of the bank's patterns: mixtures lie in the span of a few public vectors, which anyone can project out
of a photo. Instead the key chooses a pattern, mirrors it or not, and warps it by a smooth random field of its own. So
the result stays close to what was optimised, but two keys that choose the same pattern get different results. Mosaics
of several patterns have less in common with each other, but protect less (docs/results/person.md).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from unlearn_cli.banks.keys import Key

GRID = 5
"""The number of values per side of the random fields; a smooth curve connects them."""
WARP = 0.08
"""The standard deviation of the displacement in each direction, as a share of the pattern's side."""
LABEL = "identity"

Floats = NDArray[np.float64]


def identity_pattern(noise: NDArray[np.int8], key: Key) -> NDArray[np.int8]:
    """Return a pattern ``[3, H, W]`` in pixel levels, within the bound of the bank's ``[K, 3, H, W]``.

    The same key and bank give the same pattern. Every key's pattern is scaled to the average strength of the bank's.
    """
    count, _, height, width = noise.shape
    draws = np.frombuffer(key.stream(LABEL, 4 * (2 + 2 * GRID**2)), "<u4")
    bits = np.ascontiguousarray(draws[2:]).view(np.uint8).reshape(2, GRID, GRID, 4)
    # The sum of four random bytes is about normally distributed.
    values: Floats = (bits.astype(np.float64).sum(axis=3) - 510) / 148
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
    """Return the matrix ``[size, GRID]`` that interpolates smoothly between equally spaced values."""
    at = np.linspace(0, GRID - 1, size)
    left = np.minimum(at.astype(int), GRID - 2)
    share = at - left
    share = share**2 * (3 - 2 * share)
    matrix = np.zeros((size, GRID))
    matrix[np.arange(size), left] = 1 - share
    matrix[np.arange(size), left + 1] = share
    return matrix
