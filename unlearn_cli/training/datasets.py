"""Labelled images to make noise on and to train victims with, loaded into one uint8 tensor."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence, Set
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from platformdirs import user_cache_path
from torch import Tensor

from unlearn_cli.errors import UsageError, WorkError
from unlearn_cli.training.crops import read_faces
from unlearn_cli.training.folders import (
    TEST_EVERY,
    Split,
    counterparts,
    list_classes,
    middle_square,
    read_squares,
    split_files,
)
from unlearn_cli.training.trip import Trip, arrive


@dataclass(frozen=True, kw_only=True)
class DatasetSpec:
    """A description of the images to load and of how to bring them to one size."""

    source: str
    """A key of ``NAMED``, ``imagenet``, or ``folder:PATH`` for a tree with one folder for each class."""
    data_dir: Path | None = None
    """The folder of a named dataset or of ImageNet; a folder in the user's cache if None."""
    download: bool = False
    """Whether a named dataset may be downloaded."""
    image_size: int | None = None
    """Width and height in pixels: required for folders, 224 for ImageNet if None, and always 32 for the others."""
    crop: int | None = None
    """The side in pixels of the central square that is cut out first; the largest possible if None."""
    trip: Trip | None = None
    """What happens to a folder's photos on their way to the victim; it replaces the central crop."""
    views: int = 1
    """The number of crops of each training photo, each with its own jitter; without a trip they are all equal."""
    classes: tuple[str, ...] = ()
    """Glob patterns of the names of classes to keep; empty means all."""
    first_classes: int | None = None
    """Keep only this many classes, from the first on, as the paper does with ImageNet."""
    class_map: tuple[tuple[str, str], ...] = ()
    """Pairs of a class's old and new name. Several classes may get the same one; a class without one is left out."""
    least_classes: int = 2
    """The smallest number of classes that is allowed; it is 1 for images that are added to another dataset."""
    name: str | None = None
    """The name of the images in a bank's provenance; made from the folder's name if None."""
    licence: str | None = None
    """The terms of use of a folder's images, for the provenance."""


@dataclass(frozen=True, eq=False)
class ImageSet:
    """A set of labelled images and what is known about it."""

    images: Tensor
    """uint8 ``[N, 3, H, W]``, pixel values 0..255."""
    labels: Tensor
    """int64 ``[N]``."""
    classes: tuple[str, ...]
    name: str
    licence: str

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def size(self) -> int:
        """Return the width and height of the images, which are square."""
        return int(self.images.shape[-1])

    def first(self, count: int | None) -> ImageSet:
        """Return ``count`` images, in their order, with as equal a number from each class as possible.

        They are the first of each class. If ``count`` is None or not below the set's size, return all.
        """
        if count is None or count >= len(self):
            return self
        rank = torch.zeros(len(self), dtype=torch.int64)
        for label in range(len(self.classes)):
            mine = self.labels == label
            rank[mine] = torch.arange(int(mine.sum()))
        chosen = torch.argsort(rank, stable=True)[:count].sort().values
        return self.at(chosen)

    def at(self, chosen: Tensor | slice) -> ImageSet:
        """Return the images with these indices, as a new set."""
        return replace(self, images=self.images[chosen], labels=self.labels[chosen])

    def to(self, device: torch.device) -> ImageSet:
        """Return the same images on a device."""
        return replace(self, images=self.images.to(device), labels=self.labels.to(device))


def digest(*sets: ImageSet) -> str:
    """Return the SHA-256 of all pixels, labels and class names, because datasets of the same name may differ."""
    sha256 = hashlib.sha256()
    for data in sets:
        sha256.update(json.dumps(data.classes).encode())
        sha256.update(np.ascontiguousarray(data.images.cpu().numpy()).data)
        sha256.update(np.ascontiguousarray(data.labels.cpu().numpy()).data)
    return sha256.hexdigest()


@dataclass(frozen=True)
class Named:
    """One of torchvision's datasets, with images of 32 pixels."""

    title: str
    licence: str


NAMED = {
    "cifar10": Named("CIFAR-10", "none stated by its authors; a subset of 80 Million Tiny Images (Krizhevsky, 2009)"),
    "cifar100": Named("CIFAR-100", "none stated by its authors; a subset of 80 Million Tiny Images (Krizhevsky, 2009)"),
    "svhn": Named("SVHN", "non-commercial use only (Netzer et al., 2011)"),
}
IMAGENET_SIZE = 224
FACE_PIXELS = 40
"""The default image size of squares around faces."""


def load_dataset(spec: DatasetSpec, split: Split) -> ImageSet:
    """Return the images of one split.

    A named dataset and ImageNet have their own split, and ``all`` is their training set, so that no bank is made on
    test images. In a folder, every fifth photo of a class is ``test``. Raises ``UsageError`` for an unknown dataset,
    for options that are missing or do not fit it, and for classes that do not match; and ``WorkError`` for a dataset
    that is missing or damaged, with a message that says what to do.
    """
    if spec.source in NAMED:
        return _load_named(spec, split)
    if spec.source == "imagenet":
        return _load_imagenet(spec, split)
    if spec.source.startswith("folder:"):
        return _load_folder(spec, split)
    known = ", ".join([*NAMED, "imagenet"])
    raise UsageError(f"There is no dataset '{spec.source}'. Use {known}, or folder:PATH for your own images.")


def _load_named(spec: DatasetSpec, split: Split) -> ImageSet:
    of = NAMED[spec.source]
    if spec.image_size not in (None, 32) or spec.crop or spec.name or spec.licence:
        raise UsageError(
            f"The images of {of.title} always have 32 pixels. "
            "Leave out the size, crop, name and licence of the images, which are for folders."
        )
    root = spec.data_dir or user_cache_path("unlearn") / "datasets"
    try:
        images, labels, names = _fetch(spec.source, root, test=split == "test", download=spec.download)
    except (RuntimeError, OSError, EOFError) as error:
        if spec.download:
            raise WorkError(f"{of.title} could not be downloaded into {root} ({error}). Try again later.") from error
        raise WorkError(
            f"{of.title} is not in {root}, or it is damaged. "
            "Name its folder with --data-dir, or download it with --download."
        ) from error
    classes, label_of = select_classes(names, spec)
    if len(classes) < spec.least_classes:
        raise UsageError(
            f"Only {len(classes)} classes of {of.title} match, but at least {spec.least_classes} are needed. "
            f"Its classes are: {_some(names)}."
        )
    labels = torch.tensor([label_of.get(name, -1) for name in names])[labels]
    kept = labels >= 0
    if not bool(kept.all()):
        images, labels = images[kept], labels[kept]
    return ImageSet(images, labels, classes, of.title, of.licence)


def _fetch(source: str, root: Path, *, test: bool, download: bool) -> tuple[Tensor, Tensor, list[str]]:
    """Return one of torchvision's datasets: images ``[N, 3, 32, 32]``, labels and class names."""
    from torchvision import datasets  # Importing it takes seconds.

    if source == "svhn":
        digits: Any = datasets.SVHN(str(root), split="test" if test else "train", download=download)
        return torch.from_numpy(digits.data), torch.tensor(digits.labels), [str(digit) for digit in range(10)]
    kind = datasets.CIFAR100 if source == "cifar100" else datasets.CIFAR10
    data: Any = kind(root, train=not test, download=download)
    return torch.from_numpy(data.data).permute(0, 3, 1, 2).contiguous(), torch.tensor(data.targets), data.classes


def _load_imagenet(spec: DatasetSpec, split: Split) -> ImageSet:
    if spec.download:
        raise UsageError(
            "ImageNet's terms do not allow unlearn to download it. "
            "Leave out --download, and name the folder of your own copy with --data-dir."
        )
    root = (spec.data_dir or user_cache_path("unlearn") / "datasets" / "imagenet") / (
        "val" if split == "test" else "train"
    )
    if not root.is_dir():
        raise WorkError(
            f"There is no folder {root}. Get ILSVRC2012 from image-net.org, unpack it with torchvision.datasets."
            "ImageNet, and name the folder that then holds train and val with --data-dir."
        )
    licence = spec.licence or "non-commercial research and education only (ImageNet terms of access)"
    wanted = replace(spec, image_size=spec.image_size or IMAGENET_SIZE, name=spec.name or "ImageNet", licence=licence)
    return _read_tree(list_classes(root), wanted, "all", root)


def _load_folder(spec: DatasetSpec, split: Split) -> ImageSet:
    root = Path(spec.source.removeprefix("folder:"))
    files = list_classes(root)
    if spec.image_size is None or spec.image_size < 8:
        raise UsageError(
            "The images of a folder must be resized to one size of at least 8 pixels. Set the image-size, such as 64."
        )
    if spec.download:
        raise UsageError("Your own folder cannot be downloaded: leave out --download.")
    return _read_tree(files, spec, split, root)


def load_counterpart(spec: DatasetSpec, split: Split, data: ImageSet, other: Path, labels: Set[int]) -> ImageSet:
    """Return ``data``, a split of a folder's images, with the images of these labels replaced by another tree's.

    Raises ``WorkError`` unless both trees have the same photos of these classes.
    """
    root = Path(spec.source.removeprefix("folder:"))
    files = list_classes(root)
    _, label_of = select_classes(list(files), spec)
    wanted = {name: files[name] for name, label in label_of.items() if label in labels}
    photos = _photos(counterparts(wanted, root, other), label_of, split, spec.views)
    images = data.images.clone()
    mask = torch.tensor([int(label) in labels for label in data.labels])
    images[mask] = _read(photos, spec)
    return replace(data, images=images)


def listing(spec: DatasetSpec) -> str:
    """Return the SHA-256 of the names and sizes of ImageNet's files, because reading them all would take an hour."""
    root = spec.data_dir or user_cache_path("unlearn") / "datasets" / "imagenet"
    sha256 = hashlib.sha256()
    for path in sorted(path for part in ("train", "val") for path in (root / part).glob("*/*")):
        sha256.update(f"{path.relative_to(root)} {path.stat().st_size}\n".encode("utf-8", "surrogateescape"))
    return sha256.hexdigest()


def _read_tree(files: dict[str, list[Path]], spec: DatasetSpec, split: Split, root: Path) -> ImageSet:
    classes, label_of = select_classes(list(files), spec)
    if not classes:
        raise UsageError(f"No class in {root} matches. Its classes are: {_some(list(files)) or 'no folders'}.")
    photos = _photos(files, label_of, split, spec.views)
    if len(classes) < spec.least_classes:
        raise WorkError(
            f"{root} has too few classes: {len(classes)} match, but at least {spec.least_classes} are needed."
        )
    if missing := sorted(set(range(len(classes))) - {photo.label for photo in photos}):
        few = _some([classes[label] for label in missing])
        least = f"{TEST_EVERY}, because every {TEST_EVERY}th one is a test image" if split != "all" else "one"
        raise WorkError(
            f"These classes in {root} have too few images: {few}. Each needs at least {least}. Add images, or leave "
            "these classes out."
        )
    return ImageSet(
        _read(photos, spec),
        torch.tensor([photo.label for photo in photos]),
        classes,
        spec.name or f"folder {root.name}",
        spec.licence or "not stated",
    )


@dataclass(frozen=True)
class _Photo:
    path: Path
    label: int
    key: str
    """The split, the class, the photo's position in it and the view's number; it decides the jitter. It is the same for
    a protected copy in another tree, even one with another suffix."""


def _photos(files: dict[str, list[Path]], label_of: dict[str, int], split: Split, views: int) -> list[_Photo]:
    """Return the photos of a split in order: in the training split each as often as it has views, otherwise once."""
    return [
        _Photo(path, label, f"{split} {name} {place} {view}")
        for view in range(views if split == "train" else 1)
        for name, label in label_of.items()
        if name in files
        for place, path in enumerate(split_files(files[name], split))
    ]


def _read(photos: list[_Photo], spec: DatasetSpec) -> Tensor:
    assert spec.image_size is not None
    return torch.from_numpy(read_photos([(photo.path, photo.key) for photo in photos], spec, spec.image_size))


def read_photos(photos: Sequence[tuple[Path, str]], spec: DatasetSpec, size: int) -> NDArray[np.uint8]:
    """Return photos cropped and resized as the spec says: uint8 ``[N, 3, size, size]``.

    ``photos`` has a file and a key for each; the key decides the jitter of a trip. Raises ``WorkError`` if files cannot
    be read.
    """
    trip = spec.trip
    if trip is None:
        return read_squares(photos, lambda path, keys: [middle_square(path, spec.crop, size)] * len(keys), size)
    if trip.crop == "centre":
        return read_squares(photos, lambda path, keys: arrive(path, trip, size, keys), size)
    return read_faces(photos, trip, size)


def face_squares(spec: DatasetSpec, span: float) -> DatasetSpec:
    """Return a spec of the same photos, each cropped to a square around its largest face.

    The square's side is ``span`` times that of the detector's box. Raises ``UsageError`` unless the spec is for a
    folder and has no ``crop``.
    """
    if not spec.source.startswith("folder:") or spec.crop is not None:
        raise UsageError(
            "Noise for faces needs a folder with a subfolder of photos for each person: use --dataset folder:PATH, "
            "and leave out --crop."
        )
    return replace(
        spec,
        trip=Trip(name="square", crop="face", detector="haar", margin=span),
        image_size=spec.image_size or FACE_PIXELS,
    )


def select_classes(names: Sequence[str], spec: DatasetSpec) -> tuple[tuple[str, ...], dict[str, int]]:
    """Return the classes that a spec keeps, under their new names, and the label of each old name.

    Raises ``UsageError`` if the class map names a class that the dataset does not have.
    """
    kept = [name for name in names if not spec.classes or any(fnmatchcase(name, glob) for glob in spec.classes)]
    kept = kept[: spec.first_classes]
    if not spec.class_map:
        return tuple(kept), {name: label for label, name in enumerate(kept)}
    renamed = dict(spec.class_map)
    if unknown := sorted(renamed.keys() - set(names)):
        raise UsageError(
            f"The map names '{unknown[0]}', which is not a class of {spec.source}. Its classes are: {_some(names)}."
        )
    classes = tuple(dict.fromkeys(renamed[name] for name in kept if name in renamed))
    return classes, {name: classes.index(renamed[name]) for name in kept if name in renamed}


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:12])
    return f"{shown} and {len(names) - 12} more" if len(names) > 12 else shown
