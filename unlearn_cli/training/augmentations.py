"""The augmentations that victims train with, by name, as functions of a batch.

Each takes float or uint8 images ``[B, 3, H, W]`` (0..255), their labels ``[B]``, the number of classes K and a CPU
generator. It returns images and targets, which are the labels, or each class's share ``[B, K]`` where images are mixed.
All except ``none`` and ``resized-crop`` begin with the standard flips and shifts, as in the paper (appendix D).

A random shift with zero padding and a random horizontal flip are together one gather, and so is their adjoint. Written
out as such, the backward pass avoids autograd's scatter-add, which makes it cheap on a CPU.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from unlearn_cli.errors import UsageError
from unlearn_cli.training.policy import apply_policy, read_policy

Augment = Callable[[Tensor, Tensor, int, torch.Generator], tuple[Tensor, Tensor]]
"""A function of images, labels, the number of classes and a generator; it returns images and targets."""

GREY = 127.5
"""The pixel value that the networks of ``models`` normalise to zero."""
POLICY_GROUP = 8
"""How many images of a batch share one random policy, or one change of colours."""
FROM_FILE = "fast-autoaugment:"
CUTMIX_PROBABILITY = 0.5
ROTATION = 20.0
"""The largest rotation of CIFAR-100's images in the paper's official code, in degrees."""
CROP_AREA, CROP_RATIO = (0.08, 1.0), (3 / 4, 4 / 3)
"""The least and largest share of an image that ``resized-crop`` keeps, and of its width to its height."""
COLOR_JITTER = {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.2}
"""The changes of ImageNet's colours in the paper's official code."""


def none(images: Tensor, labels: Tensor, classes: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:  # noqa: ARG001
    """Return images and labels unchanged."""
    return images, labels


def standard(images: Tensor, labels: Tensor, classes: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:  # noqa: ARG001
    """Flip images at random and shift them by up to an eighth of their size."""
    return flip_and_shift(images, generator), labels


def cutout(images: Tensor, labels: Tensor, classes: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:  # noqa: ARG001
    """Put a grey square of half the size around a random pixel of each image (DeVries and Taylor, 2017: 16 of 32)."""
    return _cut_out(flip_and_shift(images, generator), generator), labels


def _cut_out(images: Tensor, generator: torch.Generator) -> Tensor:
    """Return the images with a grey square of half their size around a random pixel of each."""
    size = images.shape[-1]
    centre = torch.randint(0, size, (2, len(images), 1), generator=generator).to(images.device)
    near = ((torch.arange(size, device=images.device) - centre + 0.5).abs() <= size / 4).float()
    hole = near[0][:, None, :, None] * near[1][:, None, None, :]
    return images.float() * (1 - hole) + GREY * hole


def mixup(images: Tensor, labels: Tensor, classes: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Mix each image with another, by one share for the whole batch from Beta(1, 1) (Zhang et al., 2018)."""
    images = flip_and_shift(images, generator).float()
    share, order = _share_and_order(len(images), generator)
    order = order.to(images.device)
    return images * share + images[order] * (1 - share), _mixed(labels, labels[order], share, classes)


def cutmix(images: Tensor, labels: Tensor, classes: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Paste a box of another image into each; its area is a share from Beta(1, 1) (Yun et al., 2019).

    Place and area are the same for the whole batch. Half of the batches are left as they are, as its authors do it for
    CIFAR.
    """
    images = flip_and_shift(images, generator).float()
    if torch.rand((), generator=generator).item() >= CUTMIX_PROBABILITY:
        return images, labels
    share, order = _share_and_order(len(images), generator)
    order, size = order.to(images.device), images.shape[-1]
    half = int(size * (1 - share) ** 0.5) // 2
    y, x = torch.randint(0, size, (2,), generator=generator).tolist()
    top, bottom, left, right = max(0, y - half), min(size, y + half), max(0, x - half), min(size, x + half)
    mixed = images.clone()
    mixed[:, :, top:bottom, left:right] = images[order, :, top:bottom, left:right]
    kept = 1 - (bottom - top) * (right - left) / size**2
    return mixed, _mixed(labels, labels[order], kept, classes)


def autoaugment(images: Tensor, labels: Tensor, classes: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:  # noqa: ARG001
    """Apply flips, shifts and torchvision's AutoAugment, with the policies for CIFAR-10 (Cubuk et al., 2019).

    One policy is drawn for every few images instead of for each, so that a batch takes few calls.
    """
    return _in_groups(flip_and_shift(images, generator), _policy(), generator), labels


def fast_autoaugment_like(
    images: Tensor,
    labels: Tensor,
    classes: int,  # noqa: ARG001
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """Change contrast, brightness, sharpness and rotation at random, two of them a time, and cut a square out.

    This is what Huang et al. (2021), appendix D, say of their Fast AutoAugment policy (Lim et al., 2019). The policy
    itself was searched for and is not in either paper: our strengths are drawn from AutoAugment's ranges. With its
    authors' file, ``fast-autoaugment:FILE`` is the policy itself.
    """
    images = _in_groups(flip_and_shift(images, generator), lambda part: _two_changes(part, generator), generator)
    return _cut_out(images, generator), labels


def rotation(images: Tensor, labels: Tensor, classes: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:  # noqa: ARG001
    """Flip, shift and rotate each image by up to 20 degrees; the corners become black."""
    images = flip_and_shift(images, generator).float()
    angle = math.radians(ROTATION) * (2 * torch.rand(len(images), generator=generator) - 1)
    zero = torch.zeros_like(angle)
    rows = ((angle.cos(), -angle.sin(), zero), (angle.sin(), angle.cos(), zero))
    return _resampled(images, torch.stack([torch.stack(row, 1) for row in rows], 1), "nearest"), labels


def resized_crop(images: Tensor, labels: Tensor, classes: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:  # noqa: ARG001
    """Crop a random part of each image, resize it back, flip it and change its colours, as is usual for ImageNet."""
    images = images.float()
    area, ratio, x, y, flip = torch.rand((5, len(images)), generator=generator)
    area = CROP_AREA[0] + (CROP_AREA[1] - CROP_AREA[0]) * area
    ratio = torch.exp(math.log(CROP_RATIO[0]) + (math.log(CROP_RATIO[1]) - math.log(CROP_RATIO[0])) * ratio)
    width, height = (area * ratio).sqrt().clamp(max=1), (area / ratio).sqrt().clamp(max=1)
    zero, sign = torch.zeros_like(area), torch.where(flip < 0.5, -1.0, 1.0)
    rows = ((sign * width, zero, (1 - width) * (2 * x - 1)), (zero, height, (1 - height) * (2 * y - 1)))
    cropped = _resampled(images, torch.stack([torch.stack(row, 1) for row in rows], 1), "bilinear")
    return _in_groups(cropped, _jitter(), generator), labels


AUGMENTATIONS: dict[str, Augment] = {
    "none": none,
    "standard": standard,
    "cutout": cutout,
    "mixup": mixup,
    "cutmix": cutmix,
    "autoaugment": autoaugment,
    "fast-autoaugment-like": fast_autoaugment_like,
    "rotation": rotation,
    "resized-crop": resized_crop,
}


def augmentation(name: str) -> Augment:
    """Return the augmentation of this name; ``fast-autoaugment:FILE`` reads its policy from a file.

    Raises ``UsageError`` if there is none.
    """
    if name.startswith(FROM_FILE):
        return _fast_autoaugment(Path(name.removeprefix(FROM_FILE)))
    if name not in AUGMENTATIONS:
        raise UsageError(f"There is no augmentation '{name}'. Use one of {', '.join(AUGMENTATIONS)}, {FROM_FILE}FILE.")
    return AUGMENTATIONS[name]


def _fast_autoaugment(path: Path) -> Augment:
    """Return what a policy's authors do to CIFAR-10: the policy, flips and shifts, and a grey square."""
    policy = read_policy(path)

    def augment(images: Tensor, labels: Tensor, classes: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:  # noqa: ARG001
        pixels = images.round().clamp(0, 255).to(torch.uint8) if images.is_floating_point() else images
        return _cut_out(flip_and_shift(apply_policy(pixels, policy, generator), generator), generator), labels

    return augment


def _share_and_order(count: int, generator: torch.Generator) -> tuple[float, Tensor]:
    # Beta(1, 1), which both papers use for CIFAR-10, is the uniform distribution.
    return torch.rand((), generator=generator).item(), torch.randperm(count, generator=generator)


def _mixed(labels: Tensor, others: Tensor, share: float, classes: int) -> Tensor:
    one, other = (F.one_hot(of, classes).float() for of in (labels, others))
    return share * one + (1 - share) * other


def _in_groups(images: Tensor, change: Callable[[Tensor], Tensor], generator: torch.Generator) -> Tensor:
    """Return the images as uint8 after a random ``change``, which gets a few of them at a time."""
    if images.is_floating_point():
        images = images.round().clamp(0, 255)  # A defence's filter may leave values outside this range.
    changed = images.to(torch.uint8).contiguous()
    for group in torch.randperm(len(images), generator=generator).split(POLICY_GROUP):
        chosen = group.to(images.device)
        changed[chosen] = change(changed[chosen])
    return changed


def _two_changes(images: Tensor, generator: torch.Generator) -> Tensor:
    """Return the images after two different changes of ``fast_autoaugment_like``."""
    from torchvision.transforms import functional as change  # Importing it takes seconds.

    for kind in torch.randperm(4, generator=generator)[:2].tolist():
        strength = 2 * torch.rand((), generator=generator).item() - 1
        if kind == 0:
            images = change.rotate(images, 30 * strength)
        else:
            adjust = (change.adjust_contrast, change.adjust_brightness, change.adjust_sharpness)[kind - 1]
            images = adjust(images, 1 + 0.9 * strength)
    return images


def _resampled(images: Tensor, affine: Tensor, mode: str) -> Tensor:
    """Return each image after an affine map ``[B, 2, 3]`` from its new to its old coordinates."""
    grid = F.affine_grid(affine.to(images.device), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, mode=mode, padding_mode="zeros", align_corners=False)


@cache
def _policy() -> Any:
    from torchvision.transforms import AutoAugment, AutoAugmentPolicy  # Importing it takes seconds.

    return AutoAugment(AutoAugmentPolicy.CIFAR10)


@cache
def _jitter() -> Any:
    from torchvision.transforms import ColorJitter

    return ColorJitter(**COLOR_JITTER)


SHIFT_SHARE = 8
"""Images are shifted by up to ``size // SHIFT_SHARE`` pixels: 4 at 32 pixels, as in the paper."""


def flip_and_shift(images: Tensor, generator: torch.Generator, flipped: Tensor | None = None) -> Tensor:
    """Flip each image with probability 1/2, or those of a mask ``[B]``, and shift it by up to an eighth of its size.

    This is the standard CIFAR augmentation: random flips and crops (Huang et al., 2021, appendix D), the crops after
    padding by 4 pixels (their code). ``images`` is ``[B, 3, H, W]`` of any dtype; pixels that are shifted in
    are zero. Gradients flow to ``images`` if it has a floating dtype. The generator is on the CPU, so
    that a seed gives the same draws on every device.
    """
    # All three draws go to the device at once, because a copy to a GPU costs more than drawing the numbers.
    draws = torch.rand((3, len(images)), generator=generator)
    if flipped is not None:
        draws[2] = torch.where(flipped, 0.0, 1.0)
    return flip_and_shift_by(images, draws.to(images.device))


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
