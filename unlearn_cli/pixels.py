"""Facts about pixel values, and weights for noise, that several packages need."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

LUMA = (0.299, 0.587, 0.114)
"""The weights of red, green and blue in the luma of ITU-R BT.601, which Pillow and JPEG use."""


def fade(size: int, edge: float) -> NDArray[np.float32]:
    """Return the weight of noise along a side of its square, float32 ``[size]``: it rises to 1 from both ends.

    Each rise takes a share ``edge`` of the side.
    """
    ramp = np.minimum((np.arange(size, dtype=np.float32) + 0.5) / max(edge * size, 0.5), 1)
    weights: NDArray[np.float32] = np.minimum(ramp, ramp[::-1])
    return weights
