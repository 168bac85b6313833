"""Attacks on protected photos by someone who knows how `unlearn` works; the results are for `unlearn evaluate`.

    python benchmarks/attackers.py scrub span CROWD PROTECTED OUT --bank person-high
    unlearn evaluate copies OUT/clean OUT/protected   --trip face --set 'protect-classes=id12?,id13[0-2]' ...
    python benchmarks/attackers.py detector FACES --bank person-high

CROWD has a folder of photos for each person. PROTECTED is the folder of protected photos that `unlearn evaluate people`
made, with key seed 0. The attackers find the face in each photo as protect does. They do not know who is protected, so
they clean the photos of all people, except for `key`.

span      project the span of the bank's patterns and their mirror images out of the square around the face
average   estimate each person's pattern and subtract it: their mean square minus everybody's, within 8 levels of 255
key       subtract each protected person's exact pattern, which needs their keys

The detector is a network that is trained to tell clean from protected photos of some people, with keys of its own, and
tested on other people.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from unlearn_cli.banks.catalog import choose
from unlearn_cli.evaluation.people import person_key, protect_folders
from unlearn_cli.faces import find_faces
from unlearn_cli.photos.anchored import Anchored
from unlearn_cli.photos.apply import Pattern
from unlearn_cli.photos.decode import Photo
from unlearn_cli.photos.protection import Protection, face_squares
from unlearn_cli.training.datasets import DatasetSpec, ImageSet, load_dataset
from unlearn_cli.training.train import EpochEnded, TrainingSettings, train_victim
from unlearn_cli.training.trip import TRIPS

SIZE = 40
Pixels = NDArray[np.uint8]
Change = Callable[[Pixels, str], Pixels]
"""A function from a photo and its person's name to the cleaned photo."""


def square(photo: Pixels, span: float) -> tuple[slice, slice] | None:
    """Return the rows and columns of the square around the first face found, cut at the photo's edges, if any."""
    faces = find_faces(photo)
    if not faces:
        return None
    box = faces[0].box.widened(span)
    top, left = max(0, round(box.top)), max(0, round(box.left))
    return slice(top, round(box.top + box.side)), slice(left, round(box.left + box.side))


def small(part: Pixels) -> NDArray[np.float32]:
    """Return a square at the bank's resolution, ``[SIZE, SIZE, 3]``."""
    reduced: NDArray[np.float32] = cv2.resize(part, (SIZE, SIZE), interpolation=cv2.INTER_AREA).astype(np.float32)
    return reduced


def less(photo: Pixels, where: tuple[slice, slice], noise: NDArray[np.float32]) -> Pixels:
    """Return a photo with the noise ``[SIZE, SIZE, 3]`` subtracted from this square."""
    there = photo[where].astype(np.float32)
    large = cv2.resize(noise, there.shape[1::-1], interpolation=cv2.INTER_CUBIC)
    changed = photo.copy()
    changed[where] = (there - large).round().clip(0, 255).astype(np.uint8)
    return changed


def projecting(noise: NDArray[np.int8], span: float) -> Change:
    """Return a change that removes the span of all patterns and their mirror images."""
    every = np.concatenate([noise, noise[..., ::-1]]).transpose(0, 2, 3, 1).reshape(2 * len(noise), -1)
    basis, _ = np.linalg.qr(every.T.astype(np.float64))

    def change(photo: Pixels, _name: str) -> Pixels:
        where = square(photo, span)
        if where is None:
            return photo
        flat = small(photo[where]).reshape(-1)
        centred = flat - flat.mean()
        return less(photo, where, (basis @ (basis.T @ centred)).reshape(SIZE, SIZE, 3).astype(np.float32))

    return change


def averaging(tree: dict[str, list[Path]], span: float) -> Change:
    """Return a change that subtracts each person's mean difference from everybody, within 8 levels."""
    means = {}
    for name, paths in tree.items():
        squares = [small(photo[where]) for photo in map(read, paths) if (where := square(photo, span)) is not None]
        means[name] = np.mean(squares, axis=0)
    everybody = np.mean(list(means.values()), axis=0)

    def change(photo: Pixels, name: str) -> Pixels:
        where = square(photo, span)
        return photo if where is None else less(photo, where, (means[name] - everybody).clip(-8, 8).astype(np.float32))

    return change


def with_the_key(protections: dict[str, Protection], protected: set[str], span: float) -> Change:
    """Return a change that subtracts the exact noise that was applied, for the protected people."""

    def change(photo: Pixels, name: str) -> Pixels:
        if name not in protected:
            return photo
        of = protections[name].pattern
        negative = Pattern(-of.noise, of.epsilon)
        changed = photo.copy()
        squares = face_squares(Photo(photo, "RGB", "JPEG"), span)
        Anchored(negative, squares, negative).apply(changed, "RGB")
        return changed

    return change


def read(path: Path) -> Pixels:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def listed(root: Path) -> dict[str, list[Path]]:
    return {folder.name: sorted(folder.glob("*.jpg")) for folder in sorted(root.iterdir()) if folder.is_dir()}


def scrub(how: str, crowd: Path, protected: Path, out: Path, bank: str) -> None:
    choice = choose("person", bank)
    span = choice.bank.provenance.span
    assert span is not None
    clean, theirs = listed(crowd), listed(protected)
    seen = {name: theirs.get(name, paths) for name, paths in clean.items()}
    protections = {name: Protection.of(choice, "person", key=person_key(name, 0)) for name in theirs}
    for tree, what in ((clean, "clean"), (theirs, "protected")):
        if how == "span":
            change = projecting(choice.bank.noise, span)
        elif how == "average":
            change = averaging(seen if what == "protected" else clean, span)
        else:
            change = with_the_key(protections, set(theirs) if what == "protected" else set(), span)
        for name, paths in tree.items():
            (out / what / name).mkdir(parents=True, exist_ok=True)
            for path in paths:
                Image.fromarray(change(read(path), name)).save(out / what / name / f"{path.stem}.png")


def detect(faces: Path, bank: str) -> None:
    """Train on each photo of 120 people, clean and protected, and test on those of the 38 others, with other keys."""
    choice = choose("person", bank)
    spec = DatasetSpec(
        source=f"folder:{faces}", image_size=SIZE, trip=TRIPS["face"], classes=("id0*", "id10?", "id11?")
    )

    def both(of: DatasetSpec, seed: int, out: Path) -> ImageSet:
        clean = load_dataset(of, "all")
        people = {name: Protection.of(choice, "person", key=person_key(name, seed)) for name in clean.classes}
        tree = protect_folders(faces, people, out)
        laid = load_dataset(DatasetSpec(**{**vars(of), "source": f"folder:{tree}"}), "all")
        images = torch.cat([clean.images, laid.images])
        labels = torch.arange(2).repeat_interleave(len(clean))
        return ImageSet(images, labels, ("clean", "protected"), "detector", "")

    out = Path("build/evaluation/detector")
    train = both(spec, 77, out)
    test = both(DatasetSpec(**{**vars(spec), "classes": ("id12?", "id13?", "id14?", "id15?")}), 0, out)
    settings = TrainingSettings(model="resnet10-w16", epochs=12, batch_size=64)
    for ended in train_victim(train, test, settings, torch.device("cpu")):
        if not isinstance(ended, EpochEnded):
            continue
        print(f"epoch {ended.epoch}: {ended.clean_accuracy:.3f} of {len(test)}, {ended.by_class}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = parser.add_subparsers(dest="kind", required=True)
    one = kinds.add_parser("scrub")
    one.add_argument("how", choices=("span", "average", "key"))
    for name in ("crowd", "protected", "out"):
        one.add_argument(name, type=Path)
    other = kinds.add_parser("detector")
    other.add_argument("faces", type=Path)
    for each in (one, other):
        each.add_argument("--bank", default="person-high")
    args = parser.parse_args()
    if args.kind == "scrub":
        scrub(args.how, args.crowd, args.protected, args.out, args.bank)
    else:
        detect(args.faces, args.bank)


if __name__ == "__main__":
    main()
