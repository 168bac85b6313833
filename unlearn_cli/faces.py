"""Finding faces on a CPU. A person's noise is applied to them, and scrapers crop photos to them.

This uses the frontal-face Haar cascade that is part of OpenCV's package. It finds upright faces that look towards the
camera; docs/results/trip.md says what share of them it finds, and how long that takes.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

LONG_SIDE = 640
"""The length in pixels to which a photo's long side is reduced first."""
LEAST_SHARE = 1 / 16
"""The smallest face to look for, as a share of the long side."""
LEAST_PIXELS = 24
"""The side of the cascade's own window, in pixels."""
STEP = 1.1
NEIGHBOURS = 5
"""The number of detections that have to agree. At 3 the detector sees faces in walls, at 8 it misses some faces."""

CASCADE = Path(cv2.__file__).parent / "data" / "haarcascade_frontalface_default.xml"

DETECTOR = (
    f"{CASCADE.name} of OpenCV {cv2.__version__}, {LONG_SIDE}, {LEAST_SHARE}, {LEAST_PIXELS}, {STEP}, {NEIGHBOURS}"
)
"""A text with everything besides the photo that decides which faces are found."""

_own = threading.local()


@dataclass(frozen=True)
class Box:
    """A square around a face from the brows to the chin, in pixels of the upright photo."""

    left: float
    top: float
    side: float

    @property
    def centre(self) -> tuple[float, float]:
        """Return the column and row of the centre."""
        return self.left + self.side / 2, self.top + self.side / 2

    def widened(self, factor: float) -> Box:
        """Return the square with ``factor`` times the side and the same centre."""
        more = self.side * (factor - 1) / 2
        return Box(self.left - more, self.top - more, self.side * factor)


def find_faces(pixels: NDArray[Any], mode: str = "RGB") -> list[Box]:
    """Return the faces in a photo's upright pixels ``[H, W]`` or ``[H, W, bands]``, largest first.

    ``mode`` is Pillow's: RGB, RGBA, L, LA, CMYK (uint8) or I;16 (uint16). The same photo gives the same boxes. Several
    threads may call this at once.
    """
    height, width = pixels.shape[:2]
    shrink = max(1.0, max(height, width) / LONG_SIDE)
    size = (max(1, round(width / shrink)), max(1, round(height / shrink)))
    small: Any = np.ascontiguousarray(pixels)
    if shrink > 1:
        small = cv2.resize(small, size, interpolation=cv2.INTER_AREA)
    least = max(LEAST_PIXELS, round(max(size) * LEAST_SHARE))
    found = _cascade().detectMultiScale(_grey(small, mode), STEP, NEIGHBOURS, minSize=(least, least))
    across, down = width / size[0], height / size[1]
    boxes = [Box(x * across, y * down, w * across) for x, y, w, _ in found]
    return sorted(boxes, key=lambda box: (-box.side, box.top, box.left))


def _grey(pixels: Any, mode: str) -> Any:
    if pixels.dtype == np.uint16:
        return (pixels >> 8).astype(np.uint8)
    if mode == "CMYK":
        return np.asarray(Image.fromarray(pixels, mode).convert("L"))
    if pixels.ndim == 2:
        return pixels
    if pixels.shape[2] < 3:
        return np.ascontiguousarray(pixels[..., 0])
    return cv2.cvtColor(pixels, cv2.COLOR_RGBA2GRAY if pixels.shape[2] == 4 else cv2.COLOR_RGB2GRAY)


def _cascade() -> Any:
    """Return this thread's own detector, because two threads must not use one at once."""
    if not hasattr(_own, "cascade"):
        cv2.setNumThreads(1)  # Several photos are processed at once already.
        _own.cascade = cv2.CascadeClassifier(str(CASCADE))
    return _own.cascade
