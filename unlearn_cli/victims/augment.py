"""The victim's standard augmentation, as differentiable functions of a batch.

A random shift with zero padding and a random horizontal flip are together one gather, and so is their adjoint. Written
out as such, the backward pass avoids autograd's scatter-add, which makes it cheap on a CPU.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

SHIFT_SHARE = 8
"""Images are shifted by up to ``size // SHIFT_SHARE`` pixels: 4 at 32 pixels, as in the paper."""


def flip_and_shift(images: Tensor, generator: torch.Generator) -> Tensor:
    """Flip each image with probability 1/2 and shift it by up to an eighth of its size.

    This is the standard CIFAR augmentation (Huang et al., 2021, section 4: random flip, random
    crop after padding by 4). ``images`` is ``[B, 3, H, W]`` of any dtype; pixels that are shifted in
    are zero. Gradients flow to ``images`` if it has a floating dtype. The generator is on the CPU, so
    that a seed gives the same draws on every device.
    """
    # All three draws go to the device at once, because a copy to a GPU costs more than drawing the numbers.
    return flip_and_shift_by(images, torch.rand((3, len(images)), generator=generator).to(images.device))


def flip_and_shift_by(images: Tensor, draws: Tensor) -> Tensor:
    """Do what ``flip_and_shift`` does, by given draws ``[3, B]`` in [0, 1): for the rows, the columns and the flip."""
    height, width = images.shape[-2:]
    pad_y, pad_x = height // SHIFT_SHARE, width // SHIFT_SHARE
    shift_y = (draws[0] * (2 * pad_y + 1)).long()
    shift_x = (draws[1] * (2 * pad_x + 1)).long()
    result: Tensor = _FlipAndShift.apply(images, shift_y, shift_x, draws[2] < 0.5)
    return result


class _FlipAndShift(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, images: Tensor, shift_y: Tensor, shift_x: Tensor, flipped: Tensor) -> Tensor:
        ctx.save_for_backward(shift_y, shift_x, flipped)
        return _gather(images, shift_y, shift_x, flipped)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        shift_y, shift_x, flipped = ctx.saved_tensors
        height, width = gradient.shape[-2:]
        # The adjoint of a shift is the shift back; a shift combined with a flip is its own adjoint.
        back_y = 2 * (height // SHIFT_SHARE) - shift_y
        back_x = torch.where(flipped, shift_x, 2 * (width // SHIFT_SHARE) - shift_x)
        return _gather(gradient, back_y, back_x, flipped), None, None, None


def _gather(images: Tensor, shift_y: Tensor, shift_x: Tensor, flipped: Tensor) -> Tensor:
    count, _, height, width = images.shape
    pad_y, pad_x = height // SHIFT_SHARE, width // SHIFT_SHARE
    padded = F.pad(images, (pad_x, pad_x, pad_y, pad_y))
    device = images.device
    columns = torch.arange(width, device=device).expand(count, width)
    columns = torch.where(flipped[:, None], width - 1 - columns, columns) + shift_x[:, None]
    rows = torch.arange(height, device=device) + shift_y[:, None]
    index = torch.arange(count, device=device)[:, None, None]
    # Advanced indices around a slice put the channels last in memory, which is the layout that training uses.
    return padded[index, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
