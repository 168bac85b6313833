"""A cache of found faces that persists between runs, because finding them takes longer than the rest of a trip."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from contextlib import closing

import numpy as np
from numpy.typing import NDArray
from platformdirs import user_cache_path

from unlearn_cli.faces import Box
from unlearn_cli.training.haar import DETECTOR, find_boxes

WAIT = 30.0
"""How many seconds to wait for other processes that write to the cache."""


def found_faces(pixels: NDArray[np.uint8]) -> list[Box]:
    """Return what ``haar.find_boxes`` returns for pixels ``[H, W, 3]``, from the cache if they were searched before.

    The cache holds only the boxes, under a hash of the pixels. If it cannot be used, faces are searched each time.
    """
    key = hashlib.sha256(f"{DETECTOR} {pixels.shape}".encode() + pixels.tobytes()).digest()
    try:
        path = user_cache_path("unlearn", ensure_exists=True) / "faces.sqlite"
        with closing(sqlite3.connect(path, timeout=WAIT)) as kept, kept:
            kept.execute("CREATE TABLE IF NOT EXISTS faces (pixels BLOB PRIMARY KEY, boxes TEXT) WITHOUT ROWID")
            row = kept.execute("SELECT boxes FROM faces WHERE pixels = ?", (key,)).fetchone()
            if row is not None:
                return [Box(*box) for box in json.loads(row[0])]
            found = find_boxes(pixels)
            boxes = json.dumps([(box.left, box.top, box.side) for box in found])
            kept.execute("INSERT OR IGNORE INTO faces VALUES (?, ?)", (key, boxes))
            return found
    except (OSError, sqlite3.Error):
        return find_boxes(pixels)
