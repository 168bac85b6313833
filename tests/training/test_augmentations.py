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
    left = 0
    for seed in range(20):
        mixed, targets = augmentation("cutmix")(images, LABELS, 4, torch.Generator().manual_seed(seed))
        if targets.dim() == 1:
            assert torch.equal(targets, LABELS)
            left += 1
            continue
        assert torch.allclose(targets.sum(1), torch.ones(12))
        inner = mixed[:, 0]
        for row in range(12):
            shares = torch.stack([(inner[row] == 1 + 60 * label).float().mean() for label in range(4)])
            # What the shift brought in is zero, of either image.
            assert (shares <= targets[row] + 0.26).all()
            assert ((shares > 0) <= (targets[row] > 0)).all()
    assert 5 <= left <= 15  # half of the batches stay as they are


def test_rotations_turn_by_at_most_twenty_degrees() -> None:
    """A bar through the middle stays within the sector that it can be turned into, and does turn."""
    images = torch.zeros((64, 3, 33, 33), dtype=torch.uint8)
    images[:, :, 16] = 255
    turned, labels = augmentation("rotation")(images, torch.arange(64) % 4, 4, generator())
    assert torch.equal(labels, torch.arange(64) % 4)
    rows, columns = torch.meshgrid(torch.arange(33) - 16.0, torch.arange(33) - 16.0, indexing="ij")
    most = 4 + 1 + columns.abs() * 0.364  # a shift by four pixels, one for rounding, and the tangent of 20 degrees
    assert not bool(turned[:, 0, (rows.abs() > most + 4 * 0.364)].any())
    heights = [int(image[0].amax(1).gt(0).sum()) for image in turned]
    assert max(heights) > 8
    assert turned.unique().tolist() == [0.0, 255.0]


def test_resized_crops_show_a_part_of_the_image_enlarged() -> None:
    ramp = torch.arange(64.0).expand(3, 64, 64)
    images = torch.stack([ramp] * 64).to(torch.uint8)
    found, _ = augmentation("resized-crop")(images, torch.zeros(64, dtype=torch.int64), 4, generator())
    spans = found[:, 1, 32, -1].float() - found[:, 1, 32, 0].float()
    assert bool((spans < 0).any())  # flipped
    assert bool((spans > 0).any())
    assert 0.2 < float((spans.abs() < 40).float().mean()) <= 1


def test_what_is_like_fast_autoaugment_changes_every_image_and_cuts_a_square() -> None:
    images = torch.randint(0, 256, (24, 3, 32, 32), generator=generator(), dtype=torch.uint8)
    found, labels = augmentation("fast-autoaugment-like")(images, torch.arange(24) % 4, 4, generator())
    assert torch.equal(labels, torch.arange(24) % 4)
    grey = (found == 127.5).all(1).sum((1, 2))
    assert grey.min() >= 8 * 8 - 16
    assert all(not torch.equal(one, other.float()) for one, other in zip(found, images, strict=True))


def test_an_unknown_one_is_named() -> None:
    with pytest.raises(UsageError, match="There is no augmentation 'walls'"):
        augmentation("walls")
