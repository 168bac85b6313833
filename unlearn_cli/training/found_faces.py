"""A cache of what detectors found that persists between runs, because finding takes longer than the rest of a trip."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Callable
from contextlib import closing

import numpy as np
from numpy.typing import NDArray
from platformdirs import user_cache_path

from unlearn_cli.faces import Box
from unlearn_cli.training.haar import DETECTOR, find_boxes
from unlearn_cli.training.landmarks import Detector, find_landmarks

VERSION = 2
"""The version of what finds landmarks; a new one finds them anew."""
WAIT = 30.0
"""How many seconds to wait for other processes that write to the cache."""

Numbers = list[list[float]]


def found_faces(pixels: NDArray[np.uint8]) -> list[Box]:
    """Return what ``haar.find_boxes`` returns for pixels ``[H, W, 3]``, from the cache if they were searched before."""

    def search() -> Numbers:
        return [[box.left, box.top, box.side] for box in find_boxes(pixels)]

    return [Box(*box) for box in _remembered(DETECTOR, pixels, search)]


def found_landmarks(pixels: NDArray[np.uint8], detector: Detector) -> list[complex] | None:
    """Return what ``landmarks.find_landmarks`` returns, from the cache if the pixels were searched before."""

    def search() -> Numbers:
        return [[point.real, point.imag] for point in find_landmarks(pixels, detector) or ()]

    return [complex(*point) for point in _remembered(f"landmarks {VERSION} by {detector}", pixels, search)] or None


def _remembered(detector: str, pixels: NDArray[np.uint8], search: Callable[[], Numbers]) -> Numbers:
    """Return what was found in pixels.

    The cache holds only numbers, under a hash of the pixels. If it cannot be used, ``search`` is called each time.
    """
    key = hashlib.sha256(f"{detector} {pixels.shape}".encode() + pixels.tobytes()).digest()
    found: Numbers | None = None
    try:
        path = user_cache_path("unlearn", ensure_exists=True) / "faces.sqlite"
        with closing(sqlite3.connect(path, timeout=WAIT)) as kept, kept:
            kept.execute("CREATE TABLE IF NOT EXISTS faces (pixels BLOB PRIMARY KEY, boxes TEXT) WITHOUT ROWID")
            row = kept.execute("SELECT boxes FROM faces WHERE pixels = ?", (key,)).fetchone()
            if row is not None:
                there: Numbers = json.loads(row[0])
                return there
            found = search()
            kept.execute("INSERT OR IGNORE INTO faces VALUES (?, ?)", (key, json.dumps(found)))
            return found
    except (OSError, sqlite3.Error):
        return search() if found is None else found
