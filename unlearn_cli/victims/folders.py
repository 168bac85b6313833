"""Images in folders, one for each class, read into one array."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

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


def split_files(files: Sequence[Path], split: Split) -> list[Path]:
    """The part of one class's images that a split has."""
    if split == "test":
        return list(files[TEST_EVERY - 1 :: TEST_EVERY])
    if split == "train":
        return [file for i, file in enumerate(files) if i % TEST_EVERY != TEST_EVERY - 1]
    return list(files)


def read_squares(paths: Sequence[Path], crop: int | None, size: int) -> NDArray[np.uint8]:
    """The middle squares of images, ``[N, 3, size, size]``.

    ``crop`` is the square's side in pixels, the largest one when None. Raises ``WorkError`` that
    names the images which cannot be read.
    """
    images = np.empty((len(paths), 3, size, size), np.uint8)

    def read(item: tuple[int, Path]) -> Path | None:
        try:
            images[item[0]] = _read_square(item[1], crop, size).transpose(2, 0, 1)
        except Exception:  # Pillow's decoders raise nearly everything on damaged files.
            return item[1]
        return None

    # Decoding runs outside the interpreter's lock.
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        bad = [path for path in pool.map(read, enumerate(paths)) if path is not None]
    if bad:
        named = ", ".join(map(str, bad[:BAD_NAMED])) + (f" and {len(bad) - BAD_NAMED} more" if bad[BAD_NAMED:] else "")
        raise WorkError(f"Not to be read as images: {named}. Remove them from the dataset.")
    return images


def _read_square(path: Path, crop: int | None, size: int) -> NDArray[Any]:
    with Image.open(path) as opened:
        image = ImageOps.exif_transpose(opened).convert("RGB")
    side = min(crop or min(image.size), *image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    # Cropped first: a resize of a box would let in a little of what is around it.
    square = image.crop((left, top, left + side, top + side))
    return np.asarray(square.resize((size, size), Image.Resampling.LANCZOS))
