"""Measure what the way in which a file is read costs noise that was made for each face.

    python benchmarks/read_by_others.py SHARED JUDGES

Twelve photos of each of twelve people are protected on the shipped student at 16 levels, with each person's own key,
and recognisers that took no part (JUDGES has their .onnx files, by benchmarks/export_judges.py) name clean photos of
the same people among 62, as in shift_attempts.py. They read the very squares that the noise was made on, and then the
files that `protect` wrote: aligned by protect's own detector or by dlib's, exactly or with the jitter of the trip
`aligned`. It takes some fifteen minutes of one core.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from shift_attempts import CROWD, MADE_ON, NEW, judge, people

from unlearn_cli.banks.catalog import choose
from unlearn_cli.banks.provenance import EDGE
from unlearn_cli.evaluation.attackers.frozen import HEADS, answers
from unlearn_cli.evaluation.attackers.recognisers import Recogniser, Remembered, open_recogniser
from unlearn_cli.evaluation.people import person_key
from unlearn_cli.faces import Alignment
from unlearn_cli.noise.face_noise import SIDE, FaceNoise
from unlearn_cli.photos.encode import Writing
from unlearn_cli.photos.folder import protect_photos
from unlearn_cli.photos.outcome import Options
from unlearn_cli.photos.protection import Protection
from unlearn_cli.photos.scan import Where, plan
from unlearn_cli.photos.wanted import made_for_each
from unlearn_cli.pixels import fade
from unlearn_cli.training.crops import read_faces
from unlearn_cli.training.devices import pick_device
from unlearn_cli.training.found_faces import found_landmarks
from unlearn_cli.training.trip import TRIPS, Trip, arrive

BANK, EPSILON = "person-max", 16
FAR = 0.25
"""Two detectors found different faces if their crops' centres are apart by more than this share of a crop's side."""
ALIGNED = TRIPS["aligned"]
OWN = replace(ALIGNED, detector="yunet")
EXACT = replace(OWN, jitter=0.0, zoom=(1.0, 1.0), turn=0.0)
WAYS: dict[str, Trip] = {
    "protect's own detector, the trip's jitter": OWN,
    "protect's own detector, exactly": EXACT,
    "the same without JPEG": replace(EXACT, quality=None),
    "dlib's, as the trip has it": ALIGNED,
}


def protection_of(name: str) -> tuple[Protection, FaceNoise]:
    """Return a person's protection by noise for each face, and the maker of that noise."""
    protection = Protection.of(choose("person", BANK), "person", EPSILON, person_key(name, 0))
    maker = FaceNoise(protection.pattern.noise, EPSILON, pick_device())
    return made_for_each(protection, maker, 0), maker


def on_squares(found: dict[str, torch.Tensor], mine: list[str], names: list[str]) -> None:
    """Judge the noise on the squares that it was made on."""
    ramp = torch.from_numpy(fade(SIDE, EDGE))
    protected = []
    for name in mine:
        noise = torch.from_numpy(protection_of(name)[1].make(found[name][:MADE_ON]))
        protected.append((found[name][:MADE_ON] + noise.float() * torch.outer(ramp, ramp)).round().clamp(0, 255).byte())
    everybody = sorted(found)
    numbers = [everybody.index(name) for name in mine for _ in range(MADE_ON)]
    judge(names, torch.cat(protected), numbers, found, mine)


def photos_of(folder: Path) -> list[Path]:
    """Return the photos of a person, in the order of their names."""
    return sorted(task.source for task in plan([folder]).tasks)


def files_of(root: Path, mine: list[str], out: Path) -> dict[str, list[Path]]:
    """Return the protected files of each person, which are written below ``out``."""
    options = Options(writing=Writing("png"))
    files = {}
    for name in mine:
        todo = plan(photos_of(root / name)[:MADE_ON], Where(output=out / name, format="png"))
        done = list(protect_photos(todo, {"": protection_of(name)[0]}, options))
        files[name] = [photo.target for photo in done if photo.target is not None]
    return files


def same_face(path: Path) -> bool:
    """Return whether dlib finds the face in a square file, after the trip's JPEG, that protect's detector finds."""
    whole = replace(EXACT, crop="centre", detector=None)
    seen = arrive(path, whole, Image.open(path).width, ["file"])[0]
    places = [found_landmarks(seen, "dlib"), found_landmarks(seen, "yunet")]
    if places[0] is None or places[1] is None:
        return False
    one, other = (Alignment.to(np.array(place)) for place in places)
    middle = 56 + 56j
    apart = abs(one.turn * middle + one.shift - other.turn * middle - other.shift) / other.scale / 112
    return bool(apart < FAR)


Shown = tuple[list[tuple[Path, str]], NDArray[np.int64]]
"""Photos with the keys of their jitter, and the number of the person on each."""


def named(recogniser: Recogniser, known: Shown, asked: Shown, trip: Trip) -> list[float]:
    """Return the shares of the asked photos that a recogniser names after a trip, in per cent, one for each head."""
    views = [np.ascontiguousarray(read_faces(files, trip, 112).transpose(0, 2, 3, 1)) for files, _ in (known, asked)]
    of, wanted = (recogniser.embed(view) for view in views)
    return [round(100 * float((answers(of, known[1], wanted, head) == asked[1]).mean()), 1) for head in HEADS]


def shown(files: dict[str, Sequence[Path]], everybody: list[str], of: str) -> Shown:
    """Return the photos of everybody, with the number of each person."""
    keyed = [(path, f"{of}{path.stem}") for name in everybody for path in files.get(name, [])]
    numbers = [number for number, name in enumerate(everybody) for _ in files.get(name, [])]
    return keyed, np.array(numbers)


def on_files(root: Path, found: dict[str, torch.Tensor], mine: list[str], names: list[str], out: Path) -> None:
    """Judge the noise on the files that ``protect`` writes, read in each way."""
    everybody = sorted(found)
    known: dict[str, Sequence[Path]] = {name: photos_of(root / name)[:CROWD] for name in everybody}
    known |= files_of(root, mine, out)
    asked = shown({name: photos_of(root / name)[MADE_ON + NEW :] for name in mine}, everybody, "asked")
    judges: list[Any] = [Remembered(open_recogniser(name)) for name in names]
    tell(judges, lambda of, trip: named(of, shown(known, everybody, "known"), asked, trip), WAYS)
    seen = known | {name: [path for path in known[name] if same_face(path)] for name in mine}
    lost = sum(len(known[name]) - len(seen[name]) for name in mine)
    print(f"dlib finds another face or none in {lost} protected files")
    left = {"dlib's, without these files": ALIGNED}
    tell(judges, lambda of, trip: named(of, shown(seen, everybody, "known"), asked, trip), left)


def tell(judges: list[Any], shares: Callable[[Any, Trip], list[float]], ways: dict[str, Trip]) -> None:
    """Print what each recogniser names in each way, for all heads."""
    for title, trip in ways.items():
        for of in judges:
            print(f"{title}: {of.recogniser.name}", dict(zip(HEADS, shares(of, trip), strict=True)), flush=True)


def main() -> None:
    """Make the noise, and print what the judges name in each way of reading it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("shared", type=Path, help="the folder with datasets/ and recognisers/")
    parser.add_argument("judges", type=Path, help="the folder with the judges' .onnx files")
    chosen = parser.parse_args()
    found, mine = people(chosen.shared)
    names = [str(chosen.judges / f"{name}.onnx") for name in ("facenet", "faceres", "mobileface")]
    on_squares(found, mine, names)
    with tempfile.TemporaryDirectory() as folder:
        on_files(chosen.shared / "datasets/faces/identities", found, mine, names, Path(folder))


if __name__ == "__main__":
    main()
