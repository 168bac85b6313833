"""Reading images from a folder with one subfolder for each class into one array."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from unlearn_cli.errors import UnlearnError, WorkError
from unlearn_cli.training.workers import usable_cores

Split = Literal["all", "train", "test"]
TEST_EVERY = 5
"""A folder has no test set of its own, so each fifth photo of a class is taken as one."""
SUFFIXES = frozenset(
    ".jpg .jpeg .jpe .jfif .pjpeg .pjp .mpo .png .webp .tif .tiff .bmp .dib .avif .heic .heif .hif .jp2 .j2k .jpf .jpx "
    ".ppm .pgm .pbm .pnm .tga".split()
)
"""The suffixes of images. Pillow reads most of them, and HEIC with the extra ``heic``."""
HEIF = (".heic", ".heif", ".hif")
BAD_NAMED = 10
"""How many unreadable images an error message names."""


def list_classes(root: Path) -> dict[str, list[Path]]:
    """Return the sorted image files below each subfolder, by the subfolder's name, which is the class.

    The order is that of torchvision's ``ImageFolder``. Hidden folders and files, whose names begin with a dot, are left
    out. Raises ``WorkError`` if ``root`` is not a folder with such subfolders.
    """
    try:
        names = sorted(entry.name for entry in os.scandir(root) if entry.is_dir() and not _is_hidden(entry.name))
    except OSError:
        names = []
    if not names:
        raise WorkError(f"{root} is not a folder with one subfolder of images for each class.")
    return {name: list(_images_below(root / name)) for name in names}


def _images_below(folder: Path) -> Iterator[Path]:
    for place, _, files in sorted(os.walk(folder, followlinks=True)):
        if any(map(_is_hidden, Path(place).relative_to(folder).parts)):
            continue
        yield from (Path(place, name) for name in sorted(files) if not _is_hidden(name) and _is_image(name))


def _is_hidden(name: str) -> bool:
    return name.startswith(".")


def _is_image(name: str) -> bool:
    return Path(name).suffix.lower() in SUFFIXES


def register_heif() -> None:
    """Make Pillow read HEIC too, where the extra ``heic`` is installed."""
    with contextlib.suppress(ModuleNotFoundError):
        import pillow_heif

        pillow_heif.register_heif_opener()


def counterparts(files: dict[str, list[Path]], root: Path, other: Path) -> dict[str, list[Path]]:
    """Return for each photo of a tree its copy in another tree, at the same place and with the same name.

    A copy in another format may have another suffix, which follows the old one or replaces it. ``files`` are the photos
    by class, below ``root``. Raises ``WorkError`` unless photos and copies of these classes match one to one.
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
            f"{root} and {other} do not contain the same photos: {len(lost)} of one are missing in the other, such as "
            f"{lost[0]}. Protect the whole folder with 'unlearn protect', so that every photo has a copy."
        )
    return found


def split_files(files: Sequence[Path], split: Split) -> list[Path]:
    """Return the images of one class that belong to a split."""
    if split == "test":
        return list(files[TEST_EVERY - 1 :: TEST_EVERY])
    if split == "train":
        return [file for i, file in enumerate(files) if i % TEST_EVERY != TEST_EVERY - 1]
    return list(files)


Read = Callable[[Path, Sequence[str]], Sequence[NDArray[np.uint8]]]
"""A function of a photo and the keys of its views that returns the views, each ``[size, size, 3]``."""


def read_squares(photos: Sequence[tuple[Path, str]], read: Read, size: int) -> NDArray[np.uint8]:
    """Return views of photos in one array uint8 ``[N, 3, size, size]``, as ``read`` makes them.

    ``photos`` has a file and a view's key for each; a file with several views is read once. Raises ``WorkError``, which
    names the files, if some cannot be read.
    """
    images = np.empty((len(photos), 3, size, size), np.uint8)

    if any(path.suffix.lower() in HEIF for path, _ in photos):
        register_heif()
    places: dict[Path, list[int]] = {}
    for place, (path, _) in enumerate(photos):
        places.setdefault(path, []).append(place)

    def fill(path: Path) -> Path | None:
        try:
            views = read(path, [photos[place][1] for place in places[path]])
            images[places[path]] = np.stack(views).transpose(0, 3, 1, 2)
        except (UnlearnError, ImportError, MemoryError):
            raise  # The file is not to blame: a detector is missing, for example.
        except Exception:  # Pillow's decoders raise nearly any exception for damaged files.
            return path
        return None

    # Threads are enough, because decoding releases the interpreter's lock.
    with ThreadPoolExecutor(usable_cores()) as pool:
        bad = [path for path in pool.map(fill, places) if path is not None]
    if any(path.suffix.lower() in HEIF for path in bad) and find_spec("pillow_heif") is None:
        raise WorkError(f"{bad[0].parent} has HEIC photos, which need the extra 'heic': pip install '.[heic]'.")
    if bad:
        named = ", ".join(map(str, bad[:BAD_NAMED])) + (f" and {len(bad) - BAD_NAMED} more" if bad[BAD_NAMED:] else "")
        raise WorkError(f"These files cannot be read as images: {named}. Remove them from the dataset.")
    return images


def middle_square(path: Path, crop: int | None, size: int) -> NDArray[np.uint8]:
    """Return the central square of an image as uint8 ``[size, size, 3]``, after turning the image upright.

    The square has a side of ``crop`` pixels, or is the largest possible one if ``crop`` is None or larger than that.
    """
    with Image.open(path) as opened:
        image = ImageOps.exif_transpose(opened).convert("RGB")
    side = min(crop or min(image.size), *image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    # Cropping comes first, because resizing a box would mix in pixels from around it.
    square = image.crop((left, top, left + side, top + side))
    return np.asarray(square.resize((size, size), Image.Resampling.LANCZOS))
