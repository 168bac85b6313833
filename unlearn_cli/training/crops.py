"""Reading the faces of photos after a trip, with a cache of them that persists between runs.

Finding a face and encoding its photo again takes longer than many an attack, and every attacker sees the same crops.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from unlearn_cli.files import sha256_of
from unlearn_cli.kept import Kept, key_of, version_of
from unlearn_cli.training.folders import read_squares
from unlearn_cli.training.found_faces import finder_of
from unlearn_cli.training.trip import Trip, arrive
from unlearn_cli.training.workers import usable_cores

VERSION = 1
"""The version of what makes a crop; a new one makes them anew."""
CROPS = Kept("crops", most_bytes=500_000_000)


def read_faces(photos: Sequence[tuple[Path, str]], trip: Trip, size: int) -> NDArray[np.uint8]:
    """Return the views of photos after a trip that crops or aligns faces: uint8 ``[N, 3, size, size]``.

    ``photos`` has a file and a key for each; the key decides the jitter. Views that were made before, from files of the
    same content, come from the cache. Raises ``WorkError`` if files cannot be read.
    """
    keys = _keys(photos, trip, size)
    there = CROPS.get([key for key in keys if key is not None])
    found = {place: there[key] for place, key in enumerate(keys) if key in there}
    images = np.empty((len(photos), 3, size, size), np.uint8)
    for place, view in found.items():
        images[place] = np.frombuffer(view, np.uint8).reshape(3, size, size)
    new = [place for place in range(len(photos)) if place not in found]
    if new:
        made = read_squares([photos[place] for place in new], lambda path, views: arrive(path, trip, size, views), size)
        images[new] = made
        CROPS.put({key: view.tobytes() for place, view in zip(new, made, strict=True) if (key := keys[place])})
    return images


def _keys(photos: Sequence[tuple[Path, str]], trip: Trip, size: int) -> list[bytes | None]:
    """Return the key of each view in the cache; None for a file that cannot be read."""
    paths = list(dict.fromkeys(path for path, _ in photos))
    with ThreadPoolExecutor(usable_cores()) as pool:
        contents = dict(zip(paths, pool.map(sha256_of, paths), strict=True))
    # Other versions of these may decode, find or resize a little differently.
    by = [version_of(name) for name in ("pillow", "pillow-heif", "opencv-python-headless")]
    made = (VERSION, by, finder_of(trip.detector or ""), asdict(trip), size)
    return [key_of(*made, contents[path], view) if contents[path] is not None else None for path, view in photos]
