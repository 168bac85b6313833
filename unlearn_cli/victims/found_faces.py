"""Where faces were found, kept between runs: finding them takes longer than all the rest of a trip."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from contextlib import closing

import numpy as np
from numpy.typing import NDArray
from platformdirs import user_cache_path

from unlearn_cli.faces import DETECTOR, Box, find_faces

WAIT = 30.0
"""Seconds for others who write into the same file."""


def found_faces(pixels: NDArray[np.uint8]) -> list[Box]:
    """What ``find_faces`` gives for ``[H, W, 3]``; looked up where the same pixels were searched before.

    Only the boxes are kept, under a hash of the pixels. Without a place to keep them they are found each time.
    """
    key = hashlib.sha256(f"{DETECTOR} {pixels.shape}".encode() + pixels.tobytes()).digest()
    try:
        path = user_cache_path("unlearn", ensure_exists=True) / "faces.sqlite"
        with closing(sqlite3.connect(path, timeout=WAIT)) as kept, kept:
            kept.execute("CREATE TABLE IF NOT EXISTS faces (pixels BLOB PRIMARY KEY, boxes TEXT) WITHOUT ROWID")
            row = kept.execute("SELECT boxes FROM faces WHERE pixels = ?", (key,)).fetchone()
            if row is not None:
                return [Box(*box) for box in json.loads(row[0])]
            found = find_faces(pixels)
            boxes = json.dumps([(box.left, box.top, box.side) for box in found])
            kept.execute("INSERT OR IGNORE INTO faces VALUES (?, ?)", (key, boxes))
            return found
    except (OSError, sqlite3.Error):
        return find_faces(pixels)
