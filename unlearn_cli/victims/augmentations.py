"""The augmentations that victims train with, by name, as functions of a batch.

Each takes float or uint8 images ``[B, 3, H, W]`` (0..255), their labels ``[B]``, the number of classes K and a CPU
generator. It returns images and targets, which are the labels, or each class's share ``[B, K]`` where images are mixed.
All except ``none`` begin with the standard flips and shifts, as in the paper (section 4.4).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from unlearn_cli.errors import UsageError
from unlearn_cli.victims.augment import flip_and_shift

Augment = Callable[[Tensor, Tensor, int, torch.Generator], tuple[Tensor, Tensor]]
"""A function of images, labels, the number of classes and a generator; it returns images and targets."""

GREY = 127.5
"""The pixel value that the networks of ``models`` normalise to zero."""
POLICY_GROUP = 8
"""How many images of a batch share one random AutoAugment policy."""


def none(images: Tensor, labels: Tensor, classes: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:  # noqa: ARG001
    """Return images and labels unchanged."""
    return images, labels


def standard(images: Tensor, labels: Tensor, classes: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:  # noqa: ARG001
    """Flip images at random and shift them by up to an eighth of their size."""
    return flip_and_shift(images, generator), labels


def cutout(images: Tensor, labels: Tensor, classes: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:  # noqa: ARG001
    """Put a grey square of half the size around a random pixel of each image (DeVries and Taylor, 2017: 16 of 32)."""
    images = flip_and_shift(images, generator).float()
    size = images.shape[-1]
    centre = torch.randint(0, size, (2, len(images), 1), generator=generator).to(images.device)
    near = ((torch.arange(size, device=images.device) - centre + 0.5).abs() <= size / 4).float()
    hole = near[0][:, None, :, None] * near[1][:, None, None, :]
    return images * (1 - hole) + GREY * hole, labels


def mixup(images: Tensor, labels: Tensor, classes: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Mix each image with another, by one share for the whole batch from Beta(1, 1) (Zhang et al., 2018)."""
    images = flip_and_shift(images, generator).float()
    share, order = _share_and_order(len(images), generator)
    order = order.to(images.device)
    return images * share + images[order] * (1 - share), _mixed(labels, labels[order], share, classes)


def cutmix(images: Tensor, labels: Tensor, classes: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Paste a box of another image into each; its area is a share from Beta(1, 1) (Yun et al., 2019).

    Place and area are the same for the whole batch.
    """
    images = flip_and_shift(images, generator).float()
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

    It stands in for Fast AutoAugment (Lim et al., 2019), whose policies torchvision does not have. One policy is drawn
    for every few images instead of for each, so that a batch takes few calls.
    """
    images = flip_and_shift(images, generator)
    if images.is_floating_point():
        images = images.round().clamp(0, 255)  # A defence's filter may leave values outside this range.
    policy, mixed = _policy(), images.to(torch.uint8).contiguous()
    groups = torch.randperm(len(images), generator=generator).split(POLICY_GROUP)
    for group in groups:
        chosen = group.to(images.device)
        mixed[chosen] = policy(mixed[chosen])
    return mixed, labels


AUGMENTATIONS: dict[str, Augment] = {
    "none": none,
    "standard": standard,
    "cutout": cutout,
    "mixup": mixup,
    "cutmix": cutmix,
    "autoaugment": autoaugment,
}


def augmentation(name: str) -> Augment:
    """Return the augmentation of this name. Raises ``UsageError`` if there is none."""
    if name not in AUGMENTATIONS:
        raise UsageError(f"There is no augmentation '{name}'. Use one of {', '.join(AUGMENTATIONS)}.")
    return AUGMENTATIONS[name]


def _share_and_order(count: int, generator: torch.Generator) -> tuple[float, Tensor]:
    # Beta(1, 1), which both papers use for CIFAR-10, is the uniform distribution.
    return torch.rand((), generator=generator).item(), torch.randperm(count, generator=generator)


def _mixed(labels: Tensor, others: Tensor, share: float, classes: int) -> Tensor:
    one, other = (F.one_hot(of, classes).float() for of in (labels, others))
    return share * one + (1 - share) * other


@cache
def _policy() -> Any:
    from torchvision.transforms import AutoAugment, AutoAugmentPolicy  # Importing it takes seconds.

    return AutoAugment(AutoAugmentPolicy.CIFAR10)
