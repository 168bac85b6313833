"""JPEG compression as a differentiable function, so that noise can be optimised to survive it.

The gradient of rounding is zero nearly everywhere, so a straight-through estimator replaces it: the forward pass rounds
as JPEG does, and the backward pass is the identity. (Shin and Song, 2017, replace rounding by a cubic function, which
changes the forward pass.)
"""

from __future__ import annotations

import math
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

BLOCK = 8

LUMINANCE = (
    16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56,
    14, 17, 22, 29, 51, 87, 80, 62, 18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92,
    49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99,
)  # fmt: skip
"""ITU-T T.81, table K.1."""

CHROMINANCE = (
    17, 18, 24, 47, 99, 99, 99, 99, 18, 21, 26, 66, 99, 99, 99, 99, 24, 26, 56, 99, 99, 99, 99, 99,
    47, 66, 99, 99, 99, 99, 99, 99, *(99,) * 32,
)  # fmt: skip
"""ITU-T T.81, table K.2."""

TO_YCC = ((0.299, 0.587, 0.114), (-0.168735892, -0.331264108, 0.5), (0.5, -0.418687589, -0.081312411))
"""The JFIF 1.02 matrix from RGB to luma and the two colour differences, without their offset of 128."""

TO_RGB = ((1.0, 0.0, 1.402), (1.0, -0.344136286, -0.714136286), (1.0, 1.772, 0.0))
"""The inverse of ``TO_YCC``."""


def jpeg(images: Tensor, quality: Tensor) -> Tensor:
    """Compress and decompress images ``[B, 3, H, W]`` (0..255), each at its own quality ``[B]``, 1..100.

    This is baseline JPEG with libjpeg's tables and scaling, and with 4:2:0 subsampling as platforms use it. Images may
    have any size. The result is not rounded to whole levels. Gradients pass as if nothing had been rounded.
    """
    height, width = images.shape[-2:]
    padded = _padded(images.contiguous(), 2 * BLOCK)
    ycc = torch.einsum("dc,bchw->bdhw", constant(TO_YCC, padded.device), padded)
    luma, chroma = _rounded(ycc[:, :1]) - 128, _rounded(F.avg_pool2d(ycc[:, 1:], 2))
    luma = _rounded(_quantised(luma, _table(LUMINANCE, quality))) + 128
    chroma = _upsampled(_rounded(_quantised(chroma, _table(CHROMINANCE, quality))))
    back = torch.einsum("dc,bchw->bdhw", constant(TO_RGB, padded.device), torch.cat([luma, chroma], 1))
    return back[..., :height, :width].clamp(0, 255)


def _padded(images: Tensor, multiple: int) -> Tensor:
    height, width = images.shape[-2:]
    return F.pad(images, (0, -width % multiple, 0, -height % multiple), mode="replicate")


def _table(table: tuple[int, ...], quality: Tensor) -> Tensor:
    """Scale a quantisation table to each quality as libjpeg does: ``[B, 64]``."""
    quality = quality.float().round().clamp(1, 100)
    percent = torch.where(quality < 50, (5000 / quality).floor(), 200 - 2 * quality)
    steps = constant(table, quality.device)
    return ((steps * percent[:, None] + 50) / 100).floor().clamp(1, 255)


def _quantised(planes: Tensor, table: Tensor) -> Tensor:
    """Quantise the cosine transform of planes ``[B, C, H, W]`` by the table; H and W are multiples of 8."""
    count, bands, height, width = planes.shape
    grid = (count, bands, height // BLOCK, BLOCK, width // BLOCK, BLOCK)
    blocks = planes.reshape(grid).transpose(3, 4).reshape(count, grid[1] * grid[2] * grid[4], BLOCK * BLOCK)
    basis = _basis(planes.device)
    steps = torch.matmul(blocks, basis.T) / table[:, None]
    blocks = torch.matmul(_rounded(steps) * table[:, None], basis)
    split = blocks.reshape(count, bands, height // BLOCK, width // BLOCK, BLOCK, BLOCK)
    return split.transpose(3, 4).reshape(planes.shape)


def _rounded(values: Tensor) -> Tensor:
    """Round the values, with the gradient of the identity."""
    return values + (values.round() - values).detach()


@cache
def constant(values: tuple[object, ...], device: torch.device) -> Tensor:
    """Return the numbers as a cached float32 tensor, because a fresh copy to a GPU would wait for the GPU."""
    return torch.tensor(values, dtype=torch.float32, device=device)


@cache
def _basis(device: torch.device) -> Tensor:
    """Return the two-dimensional cosine transform of a block as one orthogonal matrix ``[64, 64]``."""
    at = torch.arange(BLOCK, dtype=torch.float64)
    one = torch.cos((2 * at + 1) * at[:, None] * math.pi / (2 * BLOCK)) * math.sqrt(2 / BLOCK)
    one[0] /= math.sqrt(2)
    return torch.kron(one, one).float().to(device)


def _upsampled(chroma: Tensor) -> Tensor:
    """Double the width and height as libjpeg does, with a triangle filter of weights 3/4 and 1/4."""
    return F.interpolate(chroma, scale_factor=2, mode="bilinear", align_corners=False)
