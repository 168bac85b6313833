"""The visibility of noise as a differentiable loss: the colour part of FLIP, without its spatial filter.

FLIP (Andersson et al., HPG 2020) compares colours by the HyAB distance of Hunt-adjusted L*a*b* values (equations 5 to
8), raised to the power 0.7, and maps up to 0.4 of the largest distance onto 0 to 0.95; here the same slope holds for
larger distances too. Without FLIP's filter for the eye's contrast sensitivity the loss is too strict for fine noise,
but noise that survives compression and resizing is coarse. The power makes a few strong spots cheaper than a faint veil
over the whole image, which decides the shape of the noise.
"""

from __future__ import annotations

import torch
from torch import Tensor

from unlearn_cli.noise.diffjpeg import constant

TO_XYZ = (
    (0.4124564 / 0.95047, 0.3575761 / 0.95047, 0.1804375 / 0.95047),
    (0.2126729, 0.7151522, 0.0721750),
    (0.0193339 / 1.08883, 0.1191920 / 1.08883, 0.9503041 / 1.08883),
)
"""The matrix from linear sRGB to XYZ, divided by the white point D65."""

POWER = 0.7
LARGEST = 41.2
"""The largest distance after the power, which is that of green and blue (FLIP, section 4.1.3)."""
SHARE, MAPPED = 0.4, 0.95
"""This share of ``LARGEST`` is mapped onto ``MAPPED``."""
NEAR_ZERO = 0.05
"""Added to each distance, because the slope of the power at zero is infinite; its own power is subtracted again."""


def visibility(before: Tensor, after: Tensor) -> Tensor:
    """Return how visibly two batches ``[B, 3, H, W]`` (0..255) differ: the mean over each image's pixels, ``[B]``.

    0 means equal; 0.95 is reached at 0.4 of the largest possible distance.
    """
    one, other = _hunt_lab(before), _hunt_lab(after)
    colour = torch.sqrt(((one[1:] - other[1:]) ** 2).sum(0) + 1e-3)
    distance = (one[0] - other[0]).abs() + colour - 1e-3**0.5
    error = (distance + NEAR_ZERO) ** POWER - NEAR_ZERO**POWER
    seen: Tensor = error.mean((1, 2)) * (MAPPED / (SHARE * LARGEST))
    return seen


def _hunt_lab(levels: Tensor) -> Tensor:
    """Return L* and the Hunt-adjusted a* and b* of sRGB images (0..255): ``[3, B, H, W]``."""
    unit = (levels / 255).clamp(0, 1)
    linear = torch.where(unit <= 0.04045, unit / 12.92, ((unit + 0.055) / 1.055) ** 2.4)
    ratio = torch.einsum("dc,bchw->dbhw", constant(TO_XYZ, levels.device), linear)
    cut = 6 / 29
    root = torch.where(ratio > cut**3, ratio.clamp(min=1e-6) ** (1 / 3), ratio / (3 * cut**2) + 4 / 29)
    lightness = 116 * root[1] - 16
    hunt = 0.01 * lightness
    return torch.stack([lightness, hunt * 500 * (root[0] - root[1]), hunt * 200 * (root[1] - root[2])])
