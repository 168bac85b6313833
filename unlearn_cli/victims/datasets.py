"""Labelled images to make noise on and to train victims with, held as one uint8 tensor."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image, ImageOps
from platformdirs import user_cache_path
from torch import Tensor

from unlearn_cli.errors import UsageError, WorkError

Split = Literal["all", "train", "test"]
TEST_EVERY = 5
"""Of a folder, which names no test set, every fifth photo of a class is one."""


@dataclass(frozen=True, kw_only=True)
class DatasetSpec:
    """Which images to load and how to bring them to one size."""

    source: str
    """``cifar10``, or ``folder:PATH`` for a tree with one folder for each class."""
    data_dir: Path | None = None
    """Where a dataset with a name lies; the user's cache folder when None."""
    download: bool = False
    image_size: int | None = None
    """Width and height in pixels; folders need it, CIFAR-10 has 32."""
    crop: int | None = None
    """The middle square of this many pixels is cut out first; the largest one when None."""
    classes: tuple[str, ...] = ()
    """Glob patterns of class names; empty means all."""
    name: str | None = None
    """What the images are called in a bank's provenance; the folder's name when None."""
    licence: str | None = None
    """A folder's terms of use, for the provenance."""


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images with their classes."""

    images: Tensor
    """uint8 ``[N, 3, H, W]``, pixel levels."""
    labels: Tensor
    """int64 ``[N]``."""
    classes: tuple[str, ...]
    name: str
    licence: str

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def size(self) -> int:
        """Width and height of the images, which are square."""
        return int(self.images.shape[-1])

    def first(self, count: int | None) -> ImageSet:
        """The first ``count`` images of each run through the classes: as equal as the set allows."""
        if count is None or count >= len(self):
            return self
        rank = torch.zeros(len(self), dtype=torch.int64)
        for label in range(len(self.classes)):
            mine = self.labels == label
            rank[mine] = torch.arange(int(mine.sum()))
        chosen = torch.argsort(rank, stable=True)[:count].sort().values
        return ImageSet(self.images[chosen], self.labels[chosen], self.classes, self.name, self.licence)

    def to(self, device: torch.device) -> ImageSet:
        """The same images on a device."""
        return ImageSet(self.images.to(device), self.labels.to(device), self.classes, self.name, self.licence)


def load_dataset(spec: DatasetSpec, split: Split) -> ImageSet:
    """Load the images of one split.

    CIFAR-10's own split is kept (``all`` is its training set, so that no bank ever saw the test
    set); of a folder, every fifth photo of a class is ``test``. Raises ``UsageError`` for a
    dataset that is not known or lacks an option, and ``WorkError`` for one that is not there or
    damaged, with how to get it.
    """
    if spec.source == "cifar10":
        return _load_cifar10(spec, split)
    if spec.source.startswith("folder:"):
        return _load_folder(spec, split)
    raise UsageError(f"There is no dataset '{spec.source}'. Use cifar10, or folder:PATH for your own images.")


def _load_cifar10(spec: DatasetSpec, split: Split) -> ImageSet:
    if spec.image_size not in (None, 32) or spec.crop or spec.classes or spec.name or spec.licence:
        raise UsageError("CIFAR-10 is used as it is, at 32 pixels: leave out the options that are for folders.")
    from torchvision.datasets import CIFAR10  # takes seconds, so not before it is needed

    root = spec.data_dir or user_cache_path("unlearn") / "datasets"
    try:
        data: Any = CIFAR10(root, train=split != "test", download=spec.download)
    except (RuntimeError, OSError, EOFError) as error:
        if spec.download:
            raise WorkError(f"CIFAR-10 could not be fetched into {root} ({error}). Try again later.") from error
        raise WorkError(
            f"CIFAR-10 is not in {root}, or damaged. Name its folder with --data-dir, or fetch it with --download."
        ) from error
    images = torch.from_numpy(data.data).permute(0, 3, 1, 2).contiguous()
    return ImageSet(
        images,
        torch.tensor(data.targets),
        tuple(data.classes),
        "CIFAR-10",
        "none stated by its authors; a subset of 80 Million Tiny Images (Krizhevsky, 2009)",
    )


def _load_folder(spec: DatasetSpec, split: Split) -> ImageSet:
    root = Path(spec.source.removeprefix("folder:"))
    if spec.image_size is None or spec.image_size < 8:
        raise UsageError("A folder's images need one size of at least 8 pixels: add --image-size 64, say.")
    if spec.download:
        raise UsageError("A folder cannot be downloaded: leave out --download.")
    from torchvision.datasets import ImageFolder

    try:
        tree = ImageFolder(str(root), allow_empty=True)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise WorkError(f"{root} is no folder with one subfolder of images for each class.") from error
    names = [name for name in tree.classes if not spec.classes or any(fnmatchcase(name, g) for g in spec.classes)]
    files: dict[str, list[str]] = {name: [] for name in names}
    for path, label in tree.samples:
        if tree.classes[label] in files:
            files[tree.classes[label]].append(path)
    chosen = [(path, i) for i, name in enumerate(names) for path in _split(files[name], split)]
    if len(names) < 2 or len({label for _, label in chosen}) < len(names):
        raise WorkError(
            f"{root} has {len(names)} matching classes, and not each has an image to spare for '{split}': "
            f"at least 2 classes with {TEST_EVERY} images each are needed."
        )
    images = np.stack([_read_square(Path(path), spec.crop, spec.image_size) for path, _ in chosen])
    return ImageSet(
        torch.from_numpy(images).permute(0, 3, 1, 2).contiguous(),
        torch.tensor([label for _, label in chosen]),
        tuple(names),
        spec.name or f"folder {root.name}",
        spec.licence or "not stated",
    )


def _split(files: list[str], split: Split) -> list[str]:
    if split == "test":
        return files[TEST_EVERY - 1 :: TEST_EVERY]
    if split == "train":
        return [file for i, file in enumerate(files) if i % TEST_EVERY != TEST_EVERY - 1]
    return files


def _read_square(path: Path, crop: int | None, size: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    try:
        with Image.open(path) as opened:
            image = ImageOps.exif_transpose(opened).convert("RGB")
    except Exception as error:  # Pillow's decoders raise nearly everything on damaged files.
        raise WorkError(f"{path} cannot be read as an image ({error}). Remove it from the dataset.") from error
    side = min(crop or min(image.size), *image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    # Cropped first: a resize of a box would let in a little of what is around it.
    square = image.crop((left, top, left + side, top + side))
    return np.asarray(square.resize((size, size), Image.Resampling.LANCZOS))
