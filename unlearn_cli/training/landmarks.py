"""The scraper's landmarks in the trip ``aligned``: dlib's where it is installed, else those of YuNet.

dlib's detector of frontal faces (a HOG and a support vector machine) and its 68 landmarks are another make than the
detector of ``protect``, so that the trip does not align faces to the very points that the noise was applied by.
"""

from __future__ import annotations

import threading
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Detector = Literal["dlib", "yunet"]

MODELS, PREDICTOR = "face_recognition_models", "models/shape_predictor_68_face_landmarks.dat"
EYES = (slice(36, 42), slice(42, 48))
"""The numbers of the landmarks around each eye, among dlib's 68; their mean is the eye."""
NOSE, MOUTH = 30, (48, 54)

_own = threading.local()


def scrapers_detector() -> Detector:
    """Return the detector that a scraper has here: dlib, or YuNet where dlib is not installed."""
    return "dlib" if find_spec("dlib") is not None and _predictor_path() is not None else "yunet"


def find_landmarks(pixels: NDArray[np.uint8], detector: Detector) -> list[complex] | None:
    """Return the landmarks of the largest face in pixels ``[H, W, 3]``, as in ``faces.Face``; None without a face."""
    if detector == "yunet":
        from unlearn_cli.faces import find_faces

        faces = find_faces(pixels, most=1)
        return list(faces[0].landmarks) if faces else None
    boxes, predictor = _dlib()
    found = boxes(np.ascontiguousarray(pixels), 0)
    if not found:
        return None
    shape = predictor(np.ascontiguousarray(pixels), max(found, key=lambda box: box.area()))
    points = np.array([complex(shape.part(i).x + 0.5, shape.part(i).y + 0.5) for i in range(shape.num_parts)])
    eyes = [complex(points[eye].mean()) for eye in EYES]
    return [*eyes, complex(points[NOSE]), *(complex(points[corner]) for corner in MOUTH)]


def _predictor_path() -> Path | None:
    package = find_spec(MODELS)
    path = Path(package.origin).parent / PREDICTOR if package is not None and package.origin is not None else None
    return path if path is not None and path.is_file() else None


def _dlib() -> tuple[Any, Any]:
    """Return this thread's detector and predictor; loading the predictor takes a second."""
    if not hasattr(_own, "dlib"):
        dlib: Any = import_module("dlib")  # It has no types.

        _own.dlib = dlib.get_frontal_face_detector(), dlib.shape_predictor(str(_predictor_path()))
    tools: tuple[Any, Any] = _own.dlib
    return tools
