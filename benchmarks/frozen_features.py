"""Measure an attacker who trains only a linear head, on features of a network that never saw a protected photo.

The network is dlib's face recognition (a ResNet-34 trained on some three million faces, with 128 features for a face),
and the head is a ridge regression to the names. It needs packages that `unlearn` does not need:
`pip install dlib-bin face_recognition_models 'setuptools<80'`.

usage: python benchmarks/frozen_features.py CROWD PROTECTED      (CROWD: a folder for each person; PROTECTED: the folder
                                        that `unlearn evaluate people` wrote for some of them)
"""

from __future__ import annotations

import argparse
import io
from pathlib import Path

import dlib
import face_recognition_models as models
import numpy as np
from numpy.typing import NDArray
from PIL import Image

QUALITY = 75
TEST_EVERY = 5
RIDGE = 1e-2

detector = dlib.get_frontal_face_detector()
predictor = dlib.shape_predictor(models.pose_predictor_five_point_model_location())
network = dlib.face_recognition_model_v1(models.face_recognition_model_location())


def features(path: Path) -> NDArray[np.float64]:
    """Return the features of the largest face after a platform's JPEG; of the middle where no face is found."""
    file = io.BytesIO()
    Image.open(path).convert("RGB").save(file, "JPEG", quality=QUALITY, subsampling="4:2:0")
    pixels = np.asarray(Image.open(file).convert("RGB"))
    middle = dlib.rectangle(*(round(share * side) for share in (0.3, 0.7) for side in pixels.shape[1::-1]))
    boxes = detector(pixels) or [middle]
    largest = max(boxes, key=lambda box: box.area())
    return np.array(network.compute_face_descriptor(pixels, predictor(pixels, largest)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("crowd", type=Path)
    parser.add_argument("protected", type=Path)
    args = parser.parse_args()
    people = sorted(folder.name for folder in args.crowd.iterdir())
    train: dict[str, list[NDArray[np.float64]]] = {"clean": [], "protected": []}
    test: list[NDArray[np.float64]] = []
    labels: list[int] = []
    answers: list[int] = []
    for label, name in enumerate(people):
        for place, path in enumerate(sorted((args.crowd / name).glob("*.jpg"))):
            clean = features(path)
            if place % TEST_EVERY == TEST_EVERY - 1:
                test.append(clean)
                answers.append(label)
                continue
            copy = args.protected / name / path.name
            train["clean"].append(clean)
            train["protected"].append(features(copy) if copy.exists() else clean)
            labels.append(label)
    asked = np.array(test)
    theirs = np.array([(args.protected / people[label]).is_dir() for label in answers])
    wanted = np.eye(len(people))[labels]
    moved = np.linalg.norm(np.array(train["clean"]) - np.array(train["protected"]), axis=1)
    print(f"features moved by {moved[moved > 0].mean():.3f} (two people are at least 0.6 apart, as dlib has it)")
    for name, rows in train.items():
        known = np.array(rows)
        mean = known.mean(0)
        known, new = known - mean, asked - mean
        head = np.linalg.solve(known.T @ known + RIDGE * len(known) * np.eye(128) / 128, known.T @ wanted)
        right = (new @ head).argmax(1) == np.array(answers)
        print(
            f"{name}: {right[theirs].mean():.3f} of {theirs.sum()} photos of those who can be protected, "
            f"{right[~theirs].mean():.3f} of {(~theirs).sum()} others'"
        )


if __name__ == "__main__":
    main()
