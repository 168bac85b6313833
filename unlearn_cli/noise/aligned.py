"""Crops of faces as recognisers see them, as a differentiable function of the square that a pattern covers.

A pattern lies on a square that turns with the face's landmarks (``banks.provenance.SPAN`` boxes wide). A recogniser
sees a crop of 112 pixels that is aligned to ``faces.TEMPLATE``. Between both is a similarity transform that is the same
for every face. A scraper's landmarks differ a little from ours, so a search draws residual transforms around it.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from unlearn_cli.banks.provenance import SPAN
from unlearn_cli.faces import BOX_OFFSET, BOX_SIDE, TEMPLATE, TEMPLATE_SIDE

DRAWS = 4
"""How many random numbers one residual transform takes: its angle, its scale and its shift."""
MOST_ANGLE = math.radians(7)
MOST_ZOOM = 0.1
MOST_SHIFT = 0.05
"""The largest residual transform: the shift is a share of the crop's side. Alignments differ by half as much; what was
optimised for more of it moves unknown recognisers further (docs/results/recognisers.md)."""

SQUARE = BOX_SIDE * SPAN
"""The side of the square, in pixels of the template."""
CENTRE = complex(TEMPLATE.mean()) + BOX_OFFSET
"""The square's centre, in pixels of the template."""


def aligned(squares: Tensor, draws: Tensor) -> Tensor:
    """Return aligned crops ``[B, 3, 112, 112]`` of squares ``[B, 3, S, S]``, by ``draws`` ``[4, B]`` from 0 to 1.

    Draws of 0.5 are the exact alignment. Pixel values pass unchanged, whatever their unit.
    """
    angle, zoom, right, down = (2 * draws - 1).unbind(0)
    scale = (TEMPLATE_SIDE / SQUARE) * (1 + MOST_ZOOM * zoom)
    cosine, sine = scale * (MOST_ANGLE * angle).cos(), scale * (MOST_ANGLE * angle).sin()
    middle = TEMPLATE_SIDE / 2 * (1 + 1j) - CENTRE
    step = 2 * MOST_SHIFT * TEMPLATE_SIDE / SQUARE
    across = 2 * middle.real / SQUARE + step * right
    along = 2 * middle.imag / SQUARE + step * down
    matrix = torch.stack([torch.stack([cosine, -sine, across], 1), torch.stack([sine, cosine, along], 1)], 1)
    grid = F.affine_grid(matrix, [len(squares), 3, TEMPLATE_SIDE, TEMPLATE_SIDE], align_corners=False)
    return F.grid_sample(squares, grid, align_corners=False, padding_mode="reflection")
