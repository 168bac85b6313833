"""JPEG as a differentiable function: what a platform does to a photo, so that noise can be made to outlast it.

The rounding of coefficients, which has no useful gradient, is passed straight through: forward
it is JPEG's own, backward it is the identity. (Shin and Song, 2017, replace it by a cubic; then
the forward pass is no JPEG any more.)
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
"""JFIF 1.02: luma and the two colour differences, without their offset of 128."""

TO_RGB = ((1.0, 0.0, 1.402), (1.0, -0.344136286, -0.714136286), (1.0, 1.772, 0.0))


def jpeg(images: Tensor, quality: Tensor) -> Tensor:
    """Compress and decompress pixel levels ``[B, 3, H, W]`` (0..255), each image at its own quality ``[B]``, 1..100.

    Baseline JPEG with libjpeg's tables and scaling, 4:2:0 as platforms have it, for any size.
    What comes out is not rounded to whole levels. Gradients pass as if coefficients were not rounded.
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
    """Libjpeg's scaling of a table: ``[B, 64]``."""
    quality = quality.float().round().clamp(1, 100)
    percent = torch.where(quality < 50, (5000 / quality).floor(), 200 - 2 * quality)
    steps = constant(table, quality.device)
    return ((steps * percent[:, None] + 50) / 100).floor().clamp(1, 255)


def _quantised(planes: Tensor, table: Tensor) -> Tensor:
    """Cosine transform, rounding to the table's steps, and back: planes ``[B, C, H, W]`` of whole blocks."""
    count, bands, height, width = planes.shape
    grid = (count, bands, height // BLOCK, BLOCK, width // BLOCK, BLOCK)
    blocks = planes.reshape(grid).transpose(3, 4).reshape(count, grid[1] * grid[2] * grid[4], BLOCK * BLOCK)
    basis = _basis(planes.device)
    steps = torch.matmul(blocks, basis.T) / table[:, None]
    blocks = torch.matmul(_rounded(steps) * table[:, None], basis)
    split = blocks.reshape(count, bands, height // BLOCK, width // BLOCK, BLOCK, BLOCK)
    return split.transpose(3, 4).reshape(planes.shape)


def _rounded(values: Tensor) -> Tensor:
    """Rounded, with the gradient of what was not; its own is zero nearly everywhere."""
    return values + (values.round() - values).detach()


@cache
def constant(values: tuple[object, ...], device: torch.device) -> Tensor:
    """Numbers on a device, brought there once: each copy to a GPU would wait for it."""
    return torch.tensor(values, dtype=torch.float32, device=device)


@cache
def _basis(device: torch.device) -> Tensor:
    """The two-dimensional cosine transform of a block as one orthogonal matrix ``[64, 64]``."""
    at = torch.arange(BLOCK, dtype=torch.float64)
    one = torch.cos((2 * at + 1) * at[:, None] * math.pi / (2 * BLOCK)) * math.sqrt(2 / BLOCK)
    one[0] /= math.sqrt(2)
    return torch.kron(one, one).float().to(device)


def _upsampled(chroma: Tensor) -> Tensor:
    """Twice as wide and high, as libjpeg does it: a triangle of 3/4 and 1/4."""
    return F.interpolate(chroma, scale_factor=2, mode="bilinear", align_corners=False)
