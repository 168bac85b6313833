"""The augmentations do what their papers say."""

from __future__ import annotations

import pytest
import torch

from unlearn_cli.errors import UsageError
from unlearn_cli.training.augmentations import AUGMENTATIONS, augmentation

LABELS = torch.arange(12) % 4


def bright() -> torch.Tensor:
    return torch.full((12, 3, 32, 32), 200, dtype=torch.uint8)


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(1)


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_the_same_seed_draws_the_same(name: str) -> None:
    images = torch.randint(0, 256, (12, 3, 32, 32), generator=generator(), dtype=torch.uint8)
    found = []
    for _ in range(2):
        torch.manual_seed(0)
        found.append(augmentation(name)(images, LABELS, 4, generator()))
    assert torch.equal(found[0][0], found[1][0])
    assert torch.equal(found[0][1], found[1][1])
    assert found[0][0].shape == images.shape
    assert 0 <= found[0][0].min() <= found[0][0].max() <= 255


def test_cutout_leaves_a_grey_square_of_half_the_size() -> None:
    images, labels = augmentation("cutout")(bright(), LABELS, 4, generator())
    assert torch.equal(labels, LABELS)
    holes = (images[:, 0] == 127.5).sum((1, 2))
    assert holes.max() <= 16 * 16
    assert holes.min() >= 8 * 8 - 16  # about a corner pixel a quarter of it is left


def test_mixup_mixes_images_and_labels_alike() -> None:
    images = (LABELS * 60)[:, None, None, None].expand(12, 3, 32, 32).to(torch.uint8)
    mixed, targets = augmentation("mixup")(images, LABELS, 4, generator())
    assert torch.allclose(targets.sum(1), torch.ones(12))
    middle = mixed[:, 0, 16, 16]
    assert torch.allclose(middle, targets @ (60.0 * torch.arange(4)), atol=1e-3)


def test_cutmix_labels_are_the_shares_of_the_pixels() -> None:
    images = (1 + LABELS * 60)[:, None, None, None].expand(12, 3, 32, 32).to(torch.uint8)
    for seed in range(5):
        mixed, targets = augmentation("cutmix")(images, LABELS, 4, torch.Generator().manual_seed(seed))
        assert torch.allclose(targets.sum(1), torch.ones(12))
        inner = mixed[:, 0]
        for row in range(12):
            shares = torch.stack([(inner[row] == 1 + 60 * label).float().mean() for label in range(4)])
            # What the shift brought in is zero, of either image.
            assert (shares <= targets[row] + 0.26).all()
            assert ((shares > 0) <= (targets[row] > 0)).all()


def test_an_unknown_one_is_named() -> None:
    with pytest.raises(UsageError, match="There is no augmentation 'walls'"):
        augmentation("walls")
