"""Images in folders, one for each class, read into one array."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from unlearn_cli.errors import WorkError

Split = Literal["all", "train", "test"]
TEST_EVERY = 5
"""Of a folder, which names no test set, every fifth photo of a class is one."""
BAD_NAMED = 10


def list_classes(root: Path) -> dict[str, list[Path]]:
    """The images below each of a folder's subfolders, by its name, all in order. Raises ``WorkError`` for no folder."""
    from torchvision.datasets import ImageFolder

    try:
        tree = ImageFolder(str(root), allow_empty=True)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise WorkError(f"{root} is no folder with one subfolder of images for each class.") from error
    files: dict[str, list[Path]] = {name: [] for name in tree.classes}
    for path, label in tree.samples:
        files[tree.classes[label]].append(Path(path))
    return files


def counterparts(files: dict[str, list[Path]], root: Path, other: Path) -> dict[str, list[Path]]:
    """For each photo of a tree the one of the same place and name in another, where another format may have given it
    another suffix, behind the old one or in its place. Raises ``WorkError`` unless they are one to one, in the classes
    that are asked for.
    """
    there = {path.relative_to(other) for name, paths in list_classes(other).items() if name in files for path in paths}
    by_stem: dict[Path, list[Path]] = {}
    for path in sorted(there):
        by_stem.setdefault(path.with_suffix(""), []).append(path)
    found: dict[str, list[Path]] = {}
    used: set[Path] = set()
    lost: list[Path] = []
    for name, paths in files.items():
        found[name] = []
        for path in paths:
            own = path.relative_to(root)
            stem = own.with_suffix("")
            matches = [own] if own in there else by_stem.get(own, by_stem.get(stem, []))
            if len(matches) != 1 or matches[0] in used:
                lost.append(own)
                continue
            used.add(matches[0])
            found[name].append(other / matches[0])
    if lost or (lost := sorted(there - used)):
        raise WorkError(
            f"{root} and {other} do not hold the same photos: {len(lost)} of one are not in the other, such as "
            f"{lost[0]}. Protect the whole tree with 'unlearn protect', and leave out nothing."
        )
    return found


def split_files(files: Sequence[Path], split: Split) -> list[Path]:
    """The part of one class's images that a split has."""
    if split == "test":
        return list(files[TEST_EVERY - 1 :: TEST_EVERY])
    if split == "train":
        return [file for i, file in enumerate(files) if i % TEST_EVERY != TEST_EVERY - 1]
    return list(files)


Read = Callable[[Path, Sequence[str]], Sequence[NDArray[np.uint8]]]
"""Of a photo and the names of its views: each of them, ``[size, size, 3]``."""


def read_squares(photos: Sequence[tuple[Path, str]], read: Read, size: int) -> NDArray[np.uint8]:
    """Views of photos as ``read`` gives them, in one array ``[N, 3, size, size]``; each photo is read once.

    Raises ``WorkError`` that names the images which cannot be read.
    """
    images = np.empty((len(photos), 3, size, size), np.uint8)

    places: dict[Path, list[int]] = {}
    for place, (path, _) in enumerate(photos):
        places.setdefault(path, []).append(place)

    def fill(path: Path) -> Path | None:
        try:
            views = read(path, [photos[place][1] for place in places[path]])
            images[places[path]] = np.stack(views).transpose(0, 3, 1, 2)
        except Exception:  # Pillow's decoders raise nearly everything on damaged files.
            return path
        return None

    # Decoding runs outside the interpreter's lock.
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        bad = [path for path in pool.map(fill, places) if path is not None]
    if bad:
        named = ", ".join(map(str, bad[:BAD_NAMED])) + (f" and {len(bad) - BAD_NAMED} more" if bad[BAD_NAMED:] else "")
        raise WorkError(f"Not to be read as images: {named}. Remove them from the dataset.")
    return images


def middle_square(path: Path, crop: int | None, size: int) -> NDArray[np.uint8]:
    """The middle square of an upright image, ``[size, size, 3]``; of side ``crop`` pixels, the largest when None."""
    with Image.open(path) as opened:
        image = ImageOps.exif_transpose(opened).convert("RGB")
    side = min(crop or min(image.size), *image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    # Cropped first: a resize of a box would let in a little of what is around it.
    square = image.crop((left, top, left + side, top + side))
    return np.asarray(square.resize((size, size), Image.Resampling.LANCZOS))
