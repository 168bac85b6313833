"""Tests of Fast AutoAugment's policies: how they are read, and that the operations do what Pillow's do."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps

from unlearn_cli.errors import UsageError
from unlearn_cli.training.augmentations import augmentation
from unlearn_cli.training.policy import OPERATIONS, RANGES, apply_policy, read_policy

ARCHIVE = """
import a_package_that_is_not_here

def other():
    p = [[["Invert", 1.0, 1.0]]]
    return p

def fa_reduced_cifar10():
    p = [[["Contrast", 0.8, 0.5], ["TranslateX", 0.4, 0.4]], [["Rotate", 1, 0]]]
    return p
"""
POLICY = ((("Contrast", 0.8, 0.5), ("TranslateX", 0.4, 0.4)), (("Rotate", 1.0, 0.0),))


def test_a_policy_is_read_and_nothing_of_its_file_is_executed(tmp_path: Path) -> None:
    (tmp_path / "archive.py").write_text(ARCHIVE)
    (tmp_path / "policy.json").write_text(json.dumps(POLICY))
    assert read_policy(tmp_path / "archive.py") == POLICY
    assert read_policy(tmp_path / "policy.json") == POLICY


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.py", "def fa_reduced_cifar10():\n    p = [[(len, 1, 1)]]\n    return p\n"),
        ("a.py", "def another():\n    p = []\n"),
        ("a.py", "not python"),
        ("a.json", "[]"),
        ("a.json", '[[["Moon", 1, 1]]]'),
        ("a.json", '[[["Rotate", 1, 7]]]'),
        ("a.json", '{"a": 1}'),
    ],
)
def test_a_file_without_a_policy_is_refused_in_one_sentence(name: str, text: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(UsageError, match="holds no policy of Fast AutoAugment"):
        augmentation(f"fast-autoaugment:{tmp_path / name}")
    with pytest.raises(UsageError, match="cannot be read"):
        augmentation(f"fast-autoaugment:{tmp_path / 'missing.py'}")


PILLOW: dict[str, Callable[[Image.Image, float], Image.Image]] = {
    "ShearX": lambda image, v: image.transform(image.size, Image.Transform.AFFINE, (1, v, 0, 0, 1, 0)),
    "ShearY": lambda image, v: image.transform(image.size, Image.Transform.AFFINE, (1, 0, 0, v, 1, 0)),
    "TranslateX": lambda image, v: image.transform(image.size, Image.Transform.AFFINE, (1, 0, 32 * v, 0, 1, 0)),
    "TranslateY": lambda image, v: image.transform(image.size, Image.Transform.AFFINE, (1, 0, 0, 0, 1, 32 * v)),
    "Rotate": lambda image, v: image.rotate(v),
    "AutoContrast": lambda image, _: ImageOps.autocontrast(image),
    "Invert": lambda image, _: ImageOps.invert(image),
    "Equalize": lambda image, _: ImageOps.equalize(image),
    "Solarize": lambda image, v: ImageOps.solarize(image, int(np.ceil(v))),
    "Posterize": lambda image, v: ImageOps.posterize(image, int(v)),
    "Contrast": lambda image, v: ImageEnhance.Contrast(image).enhance(v),
    "Color": lambda image, v: ImageEnhance.Color(image).enhance(v),
    "Brightness": lambda image, v: ImageEnhance.Brightness(image).enhance(v),
    "Sharpness": lambda image, v: ImageEnhance.Sharpness(image).enhance(v),
}


@pytest.mark.parametrize("level", [0.0, 0.3, 0.9])
@pytest.mark.parametrize("name", PILLOW)
def test_an_operation_does_what_pillows_does(name: str, level: float) -> None:
    draw = np.random.default_rng(0)
    coarse, fine = draw.integers(0, 200, (4, 4, 3)), draw.integers(0, 40, (32, 32, 3))
    pixels = (coarse.repeat(8, 0).repeat(8, 1) + fine).astype(np.uint8)
    low, high = RANGES[name]
    value = level * (high - low) + low
    wanted = np.asarray(PILLOW[name](Image.fromarray(pixels), value)).astype(int)
    found = OPERATIONS[name](torch.from_numpy(pixels).permute(2, 0, 1), value, value, []).permute(1, 2, 0).numpy()
    exact = name in ("ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate", "Invert", "Solarize", "Posterize")
    different = np.abs(found.astype(int) - wanted)
    assert (different > (0 if exact else 2)).mean() < 0.01
    assert found.dtype == np.uint8


def test_a_hole_is_square_and_in_the_image() -> None:
    image = torch.zeros((3, 32, 32), dtype=torch.uint8)
    hole = OPERATIONS["Cutout"](image, 0.2, 0.2, [0.5, 0.5])
    inside = (hole > 0).any(0)
    assert (hole.permute(1, 2, 0)[inside] == torch.tensor([125, 123, 114])).all()
    assert inside.any(0).sum() == inside.any(1).sum() == 7
    assert OPERATIONS["Cutout"](image, 0.2, 0.2, [0.99, 0.99]).any()


def test_each_image_gets_a_sequence_of_its_own_and_a_seed_decides_them() -> None:
    images = torch.randint(0, 256, (64, 3, 32, 32), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    policy = ((("Invert", 1.0, 0.0),), (("Brightness", 0.0, 1.0),))
    changed = apply_policy(images, policy, torch.Generator().manual_seed(3))
    inverted = (changed == 255 - images).flatten(1).all(1)
    assert ((changed == images).flatten(1).all(1) == ~inverted).all()
    assert 16 < inverted.sum() < 48
    again = apply_policy(images, policy, torch.Generator().manual_seed(3))
    assert torch.equal(changed, again)


def test_the_augmentation_keeps_shape_and_labels(tmp_path: Path) -> None:
    (tmp_path / "archive.py").write_text(ARCHIVE)
    images, labels = torch.randint(0, 256, (8, 3, 32, 32)).to(torch.uint8), torch.arange(8)
    augment = augmentation(f"fast-autoaugment:{tmp_path / 'archive.py'}")
    changed, targets = augment(images, labels, 10, torch.Generator().manual_seed(0))
    assert changed.shape == images.shape
    assert torch.equal(targets, labels)
    assert (changed.float() != images.float()).flatten(1).any(1).all()
