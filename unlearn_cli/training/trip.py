"""Simulating a trip: what happens to a photo between its owner's disk and a victim's training set.

A platform may shrink the photo and encode it again. A scraper then crops it, with the jitter of its detector, or aligns
it by the face's landmarks, and resizes the crop to the size that a network takes. A trip starts from the file on disk.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from unlearn_cli.errors import UsageError
from unlearn_cli.training.landmarks import scrapers_detector

if TYPE_CHECKING:
    from unlearn_cli.faces import Alignment

SUBSAMPLING = 2
"""Pillow's number for 4:2:0 chroma subsampling, which platforms use."""

SUBSAMPLING_NAME = "4:2:0"


@dataclass(frozen=True, kw_only=True)
class Trip:
    """The parameters of a trip; a key of the photo seeds its jitter, so that a protected copy gets the same jitter."""

    name: str
    quality: int | None = None
    """The quality of the platform's JPEG; None if the platform does not encode the photo again."""
    long_side: int | None = None
    """The length in pixels to which the platform reduces the longer side of a larger photo; None for no limit."""
    crop: Literal["centre", "face", "aligned"] = "centre"
    """The largest central square; or, after the platform, an upright square around the largest face; or the face
    aligned to the template of ``faces`` by its landmarks. A photo without a face gets the central square."""
    detector: Literal["haar", "dlib", "yunet"] | None = None
    """What finds the face; None for the central square."""
    margin: float = 1.2
    """The side of a face's square, in sides of the detector's box."""
    jitter: float = 0.0
    """The crop's centre moves by up to this share of its side, in each direction."""
    zoom: tuple[float, float] = (1.0, 1.0)
    """The crop's side is multiplied by a random factor between these two."""
    turn: float = 0.0
    """An aligned face is turned by up to so many degrees, in each direction."""
    seed: int = 0
    """The seed of jitter, zoom and turn, together with the photo's key."""


TRIPS = {
    trip.name: trip
    for trip in (
        Trip(name="none"),
        Trip(name="social", quality=80, long_side=1080),
        Trip(name="thumbnail", quality=70, long_side=320),
        Trip(name="face", quality=75, long_side=2048, crop="face", detector="haar", jitter=0.1, zoom=(0.85, 1.2)),
        Trip(name="hard", quality=50, long_side=1080, crop="face", detector="haar", jitter=0.15, zoom=(0.75, 1.3)),
        Trip(
            name="aligned",
            quality=75,
            long_side=2048,
            crop="aligned",
            detector=scrapers_detector(),
            jitter=0.02,
            zoom=(0.97, 1.03),
            turn=2.0,
        ),
    )
}
"""The trips by name. ``hard`` stands for a platform with low quality and an inaccurate detector, ``aligned`` for what
face recognition does: its jitter is what alignment leaves."""


def parse_trip(text: str) -> Trip:
    """Return a trip by its name, optionally with another JPEG quality: ``face``, ``face:50``.

    Raises ``UsageError`` for an unknown name and for a quality outside 1..95.
    """
    name, _, quality = text.partition(":")
    if name not in TRIPS:
        raise UsageError(
            f"There is no trip '{name}'. The trips are: {', '.join(TRIPS)}. "
            "A number sets the JPEG quality, as in face:50."
        )
    if not quality:
        return TRIPS[name]
    if not quality.isdecimal() or not 1 <= int(quality) <= 95:
        raise UsageError(f"The JPEG quality in the trip '{text}' must be from 1 to 95.")
    return replace(TRIPS[name], name=text, quality=int(quality))


def arrive(path: Path, trip: Trip, size: int, keys: Sequence[str]) -> list[NDArray[np.uint8]]:
    """Return a photo as it is after the trip, one view for each key: uint8 ``[size, size, 3]``.

    A key decides a view's jitter and zoom; callers give a photo and its protected copy the same keys. Raises whatever
    Pillow raises for a file that it cannot read.
    """
    with Image.open(path) as opened:
        photo = ImageOps.exif_transpose(opened).convert("RGB")
    photo = _platform(photo, trip)
    alignment = _alignment(photo, trip)
    if alignment is not None:
        return [_aligned(photo, alignment, trip, size, key) for key in keys]
    square = _square(photo, trip)
    return [_view(photo, square, trip, size, key) for key in keys]


def _draws(trip: Trip, key: str) -> np.random.Generator:
    return np.random.default_rng(int.from_bytes(hashlib.sha256(f"{trip.seed} {key}".encode()).digest()[:8], "big"))


def _alignment(photo: Image.Image, trip: Trip) -> Alignment | None:
    """Return the transform from the template to the face; None where the trip aligns nothing, or finds no face."""
    if trip.crop != "aligned" or trip.detector in (None, "haar"):
        return None
    from unlearn_cli.faces import Alignment  # It imports OpenCV, which takes a moment.
    from unlearn_cli.training.found_faces import found_landmarks

    landmarks = found_landmarks(np.asarray(photo), "dlib" if trip.detector == "dlib" else "yunet")
    return Alignment.to(np.array(landmarks)) if landmarks is not None else None


def _aligned(photo: Image.Image, alignment: Alignment, trip: Trip, size: int, key: str) -> NDArray[np.uint8]:
    """Return an aligned face, with the jitter that detectors leave."""
    import cv2

    from unlearn_cli.faces import TEMPLATE_SIDE

    draw = _draws(trip, key)
    turn = draw.uniform(*trip.zoom) * np.exp(1j * np.radians(draw.uniform(-trip.turn, trip.turn)))
    moved = TEMPLATE_SIDE * complex(*draw.uniform(-trip.jitter, trip.jitter, 2))
    # A large face is reduced first, because the warp interpolates between neighbours only.
    times = max(1, int(alignment.scale * TEMPLATE_SIDE / size))
    pixels = np.asarray(photo.reduce(times) if times > 1 else photo)
    middle, step = TEMPLATE_SIDE / 2 * (1 + 1j), TEMPLATE_SIDE / size
    whole = alignment.turn * turn * step / times
    # The crop's pixel (u, v) shows the photo at alignment(middle + turn * ((u, v) in the template - middle) + moved).
    corner = (step / 2) * (1 + 1j) - middle
    start = (alignment.turn * (middle + turn * corner + moved) + alignment.shift) / times - (0.5 + 0.5j)
    matrix = np.array([[whole.real, -whole.imag, start.real], [whole.imag, whole.real, start.imag]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    crop: Any = cv2.warpAffine(pixels, matrix, (size, size), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(crop)


def _view(photo: Image.Image, square: tuple[float, float, float], trip: Trip, size: int, key: str) -> NDArray[np.uint8]:
    draw = _draws(trip, key)
    x, y, side = square
    side *= draw.uniform(*trip.zoom)
    x += side * draw.uniform(-trip.jitter, trip.jitter)
    y += side * draw.uniform(-trip.jitter, trip.jitter)
    side = min(side, *photo.size)
    left, top = (min(max(0.0, at - side / 2), whole - side) for at, whole in zip((x, y), photo.size, strict=True))
    box = (left, top, left + side, top + side)
    return np.asarray(photo.resize((size, size), Image.Resampling.BILINEAR, box=box))


def _platform(photo: Image.Image, trip: Trip) -> Image.Image:
    if trip.long_side is not None and max(photo.size) > trip.long_side:
        share = trip.long_side / max(photo.size)
        width, height = (max(1, round(side * share)) for side in photo.size)
        photo = photo.resize((width, height), Image.Resampling.LANCZOS)
    if trip.quality is None:
        return photo
    file = io.BytesIO()
    photo.save(file, "JPEG", quality=trip.quality, subsampling=SUBSAMPLING)
    with Image.open(file) as again:
        again.load()
        return again


def _square(photo: Image.Image, trip: Trip) -> tuple[float, float, float]:
    """Return the square that the scraper crops, before jitter: its centre's column and row, and its side."""
    if trip.crop == "face":
        from unlearn_cli.training.found_faces import found_faces  # It imports OpenCV, which takes a moment.

        if faces := found_faces(np.asarray(photo)):
            return (*faces[0].centre, faces[0].side * trip.margin)
    return photo.width / 2, photo.height / 2, float(min(photo.size))
