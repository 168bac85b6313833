"""Reading the faces of a folder of photos, as a search for noise takes them."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from unlearn_cli.banks.provenance import SPAN
from unlearn_cli.errors import PhotoError, PhotoSkippedError, WorkError
from unlearn_cli.photos.decode import decode, read_file
from unlearn_cli.photos.protection import face_squares, pixels_under
from unlearn_cli.photos.scan import plan

THREADS = 2


def read_faces(
    folder: Path, size: int, tell: Callable[[Path], None] = lambda _: None
) -> tuple[NDArray[np.uint8], list[Path]]:
    """Return the largest face of each photo, and the photos that have none or cannot be read.

    A face is what its square covers, turned upright by its landmarks: uint8 ``[size, size, 3]``; all faces together are
    ``[N, size, size, 3]``, in the order of the files' names. ``tell`` is called with each photo that was looked at.
    Raises ``UsageError`` for a folder that does not exist, and ``WorkError`` if no photo in it shows a face.
    """
    paths = sorted(task.source for task in plan([folder]).tasks)
    faces: list[NDArray[np.uint8]] = []
    without: list[Path] = []
    with ThreadPoolExecutor(THREADS) as pool:
        for path, face in zip(paths, pool.map(partial(_face, size=size), paths), strict=True):
            tell(path)
            if face is None:
                without.append(path)
            else:
                faces.append(face)
    if not faces:
        raise WorkError(f"No face was found in any of the {len(paths)} photos in {folder}. Name a folder of portraits.")
    return np.stack(faces), without


def _face(path: Path, size: int) -> NDArray[np.uint8] | None:
    try:
        photo = decode(read_file(path))
    except (PhotoError, PhotoSkippedError):
        return None
    squares = face_squares(photo, SPAN, "landmarks")
    return pixels_under(squares[-1], photo, size) if squares else None
