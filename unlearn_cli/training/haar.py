"""The scraper's face detector in the trips ``face`` and ``hard``: the frontal-face Haar cascade of OpenCV's package.

It finds upright faces that look towards the camera; docs/results/faces.md says how many of them. ``protect`` has
another detector (``faces``), so that a trip does not crop to the very square that the noise was applied to.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from unlearn_cli.faces import Box

LONG_SIDE = 640
"""The length in pixels to which a photo's long side is reduced first."""
LEAST_SHARE = 1 / 16
"""The smallest face to look for, as a share of the long side."""
LEAST_PIXELS = 24
"""The side of the cascade's own window, in pixels."""
STEP = 1.1
NEIGHBOURS = 5
"""The number of detections that have to agree. At 3 it sees faces in walls, at 8 it misses some."""

CASCADE = Path(cv2.__file__).parent / "data" / "haarcascade_frontalface_default.xml"

DETECTOR = (
    f"{CASCADE.name} of OpenCV {cv2.__version__}, {LONG_SIDE}, {LEAST_SHARE}, {LEAST_PIXELS}, {STEP}, {NEIGHBOURS}"
)
"""Everything that decides which faces are found, besides the photo."""

_own = threading.local()


def find_boxes(pixels: NDArray[np.uint8]) -> list[Box]:
    """Return the faces in a photo's upright RGB pixels ``[H, W, 3]``, largest first.

    The same photo gives the same boxes. Several threads may call this at once.
    """
    height, width = pixels.shape[:2]
    shrink = max(1.0, max(height, width) / LONG_SIDE)
    size = (max(1, round(width / shrink)), max(1, round(height / shrink)))
    small: Any = np.ascontiguousarray(pixels)
    if shrink > 1:
        small = cv2.resize(small, size, interpolation=cv2.INTER_AREA)
    least = max(LEAST_PIXELS, round(max(size) * LEAST_SHARE))
    found = _cascade().detectMultiScale(
        cv2.cvtColor(small, cv2.COLOR_RGB2GRAY), STEP, NEIGHBOURS, minSize=(least, least)
    )
    across, down = width / size[0], height / size[1]
    boxes = [Box(x * across, y * down, w * across) for x, y, w, _ in found]
    return sorted(boxes, key=lambda box: (-box.side, box.top, box.left))


def _cascade() -> Any:
    """Return this thread's own detector, because two threads must not use one at once."""
    if not hasattr(_own, "cascade"):
        cv2.setNumThreads(1)  # Several photos are processed at once already.
        _own.cascade = cv2.CascadeClassifier(str(CASCADE))
    return _own.cascade
