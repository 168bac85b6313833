"""Small datasets in the layouts of those that are not here."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


def cifar100(folder: Path, monkeypatch: pytest.MonkeyPatch, images: int = 20) -> list[str]:
    """Write CIFAR-100's files, with so many images and as many of its 100 classes, and return all names."""
    from torchvision.datasets import CIFAR100

    monkeypatch.setattr(CIFAR100, "_check_integrity", lambda self: True)
    monkeypatch.setattr(CIFAR100, "meta", {**CIFAR100.meta, "md5": None})
    (folder / "cifar-100-python").mkdir(parents=True)
    names = [f"class{i:02}" for i in range(100)]
    pixels = np.arange(images * 3072, dtype=np.int64).reshape(images, 3072).astype(np.uint8)
    part = {"data": pixels, "fine_labels": [i % 100 for i in range(images)]}
    for name, content in {"train": part, "test": part, "meta": {"fine_label_names": names}}.items():
        (folder / "cifar-100-python" / name).write_bytes(pickle.dumps(content))
    return names


def svhn(
    folder: Path, monkeypatch: pytest.MonkeyPatch, images: int = 20
) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """Write SVHN's files; the pixels ``[32, 32, 3, N]`` of both splits, whose labels count from 2."""
    from scipy.io import savemat
    from torchvision.datasets import SVHN

    monkeypatch.setattr(SVHN, "_check_integrity", lambda self: True)
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3, images)).astype(np.uint8)
    for split in ("train", "test"):
        savemat(folder / f"{split}_32x32.mat", {"X": pixels, "y": np.arange(1, images + 1)[:, None] % 10 + 1})
    return pixels


def imagenet(folder: Path, classes: list[str], images: int = 5) -> None:
    """Write folders ``train`` and ``val`` with some small images of each class."""
    random = np.random.default_rng(0)
    for split in ("train", "val"):
        for name in classes:
            (folder / split / name).mkdir(parents=True)
            for i in range(images):
                pixels = random.integers(0, 256, (40, 48, 3)).astype(np.uint8)
                Image.fromarray(pixels).save(folder / split / name / f"{i}.JPEG")
