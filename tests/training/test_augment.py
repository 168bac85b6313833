"""The augmentation is the standard one, and its gradient is its exact adjoint."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from unlearn_cli.training.augmentations import flip_and_shift


def draws(seed: int, count: int, pad: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the draws as the generator makes them, so that the reference sees the same ones."""
    draw = torch.rand((3, count), generator=torch.Generator().manual_seed(seed))
    return (draw[0] * (2 * pad + 1)).long(), (draw[1] * (2 * pad + 1)).long(), draw[2] < 0.5


@given(seed=st.integers(0, 2**32), count=st.integers(1, 5), size=st.integers(8, 40), as_uint8=st.booleans())
def test_it_is_pad_crop_and_flip(seed: int, count: int, size: int, as_uint8: bool) -> None:
    images = torch.randint(0, 256, (count, 3, size, size), dtype=torch.uint8)
    images = images if as_uint8 else images.float()
    pad = size // 8
    augmented = flip_and_shift(images, torch.Generator().manual_seed(seed))
    assert augmented.dtype == images.dtype
    for i, (y, x, flipped) in enumerate(zip(*draws(seed, count, pad), strict=True)):
        crop = F.pad(images[i], (pad, pad, pad, pad))[:, y : y + size, x : x + size]
        assert torch.equal(augmented[i], crop.flip(-1) if flipped else crop)


@given(seed=st.integers(0, 2**32), size=st.integers(8, 24))
def test_its_gradient_is_its_adjoint(seed: int, size: int) -> None:
    images = torch.randn((3, 3, size, size), dtype=torch.float64, requires_grad=True)
    weights = torch.randn((3, 3, size, size), dtype=torch.float64)
    (flip_and_shift(images, torch.Generator().manual_seed(seed)) * weights).sum().backward()
    expected = torch.zeros_like(images)
    pad = size // 8
    for i, (y, x, flipped) in enumerate(zip(*draws(seed, 3, pad), strict=True)):
        large = torch.zeros((3, size + 2 * pad, size + 2 * pad), dtype=torch.float64)
        large[:, y : y + size, x : x + size] = weights[i].flip(-1) if flipped else weights[i]
        expected[i] = large[:, pad : pad + size, pad : pad + size]
    assert images.grad is not None
    assert torch.equal(images.grad, expected)


def test_every_shift_and_both_sides_come_up() -> None:
    generator = torch.Generator().manual_seed(0)
    column = torch.zeros((4000, 3, 32, 32), dtype=torch.uint8)
    column[:, :, 16, 16] = 1
    where = flip_and_shift(column, generator)[:, 0].nonzero()
    assert set(where[:, 1].tolist()) == set(range(12, 21))
    # Flipped, column 16 is column 15.
    assert set(where[:, 2].tolist()) == set(range(11, 21))


@pytest.mark.parametrize("name", ["resnet18", "resnet10-w16"])
def test_the_networks_take_levels_and_are_made_of_their_seed(name: str) -> None:
    from unlearn_cli.training.models import build_model

    first, same, other = (build_model(name, 7, 32, seed) for seed in (0, 0, 1))
    levels = torch.full((2, 3, 32, 32), 255.0)
    with torch.no_grad():
        first.eval(), same.eval(), other.eval()
        assert first(levels).shape == (2, 7)
        assert torch.equal(first(levels), same(levels))
        assert not torch.equal(first(levels), other(levels))
    parameters = sum(p.numel() for p in first.parameters())
    # The CIFAR ResNet-18 is known to have 11,173,962 parameters with 10 classes, 1,539 fewer with 7.
    assert parameters == {"resnet18": 11_172_423, "resnet10-w16": 308_439}[name]
