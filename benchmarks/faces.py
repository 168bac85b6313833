"""Measure how well and how fast faces are found, by YuNet (``protect``) and by the Haar cascade (trips).

usage: python benchmarks/faces.py ../shared      (its tables are in docs/results/faces.md; some fifteen minutes)
"""

from __future__ import annotations

import argparse
import io
import statistics
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from unlearn_cli.faces import Box, Face, find_faces
from unlearn_cli.training.haar import find_boxes

Pixels = NDArray[np.uint8]
Find = Callable[[Pixels], Sequence[Box]]

DETECTORS: dict[str, Find] = {
    "YuNet": lambda pixels: [face.box for face in find_faces(pixels)],
    "Haar": find_boxes,
}
PORTRAITS, COMPOSITES, THINGS, RUNS = 300, 24, 300, 9
FRAME = (4032, 3024)
FACES = (60, 100, 150, 250, 400, 800, 1500)
TILTS = (0, 15, 30, 45, 60, 90)
FACE_SHARE = 0.42
"""The width of a face as a share of a portrait's side."""
NEAR = 0.35
"""A face counts as found if a box's centre is off by less than this share of the face's width."""


def pixels(path: Path) -> Pixels:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def scene(things: Sequence[Path], draw: np.random.Generator) -> Pixels:
    """Return a photo of things, as large as a phone's, in which no detector sees anybody."""
    while True:
        thing = Image.fromarray(pixels(things[int(draw.integers(len(things)))]))
        frame = np.asarray(thing.resize(FRAME, Image.Resampling.BICUBIC)).copy()
        if not any(find(np.asarray(thing)) for find in DETECTORS.values()):
            return frame


def pasted(
    frame: Pixels, portrait: Pixels, width: float, tilt: float, draw: np.random.Generator, column: int = 0, of: int = 1
) -> complex:
    """Paste the head of a portrait into a column of a frame, feathered, so that its face is so wide.

    Return the face's centre.
    """
    side = round(width / FACE_SHARE)
    large = cv2.resize(portrait, (side, side), interpolation=cv2.INTER_CUBIC)
    turn = cv2.getRotationMatrix2D((side / 2, side / 2), tilt, 1)
    large = cv2.warpAffine(large, turn, (side, side), borderMode=cv2.BORDER_REPLICATE)
    distance = np.hypot(*np.meshgrid(*[np.linspace(-1, 1, side)] * 2))
    share = np.clip((0.95 - distance) / 0.2, 0, 1)[..., None].astype(np.float32)
    low, high = (part * frame.shape[1] // of for part in (column, column + 1))
    left = int(draw.integers(low, max(low + 1, high - side + 1)))
    top = int(draw.integers(0, max(1, frame.shape[0] - side + 1)))
    part = frame[top : top + side, left : left + side]
    rows, columns = part.shape[:2]
    part[:] = (part + share[:rows, :columns] * (large[:rows, :columns].astype(np.float32) - part)).astype(np.uint8)
    return complex(left + side / 2, top + side / 2)


def is_near(box: Box, centre: complex, width: float) -> bool:
    return abs(complex(*box.centre) - centre) < NEAR * width


def median_ms(what: Callable[[], object]) -> float:
    what()
    times = []
    for _ in range(RUNS):
        start = time.perf_counter()
        what()
        times.append(time.perf_counter() - start)
    return statistics.median(times) * 1000


def portraits_table(portraits: list[Pixels], turned: list[Pixels]) -> None:
    print(f"\n| | found in {len(portraits)} portraits | in the {len(turned)} most turned heads | ms a portrait |")
    print("|---|---|---|---|")
    for name, find in DETECTORS.items():
        start = time.perf_counter()
        found = sum(any(is_near(box, 125 + 125j, 105) for box in find(photo)) for photo in portraits)
        each = (time.perf_counter() - start) / len(portraits) * 1000
        side = sum(any(is_near(box, 125 + 125j, 105) for box in find(photo)) for photo in turned)
        print(f"| {name} | {found} | {side} | {each:.1f} |")


def most_turned(paths: Sequence[Path], count: int) -> list[Pixels]:
    """Return the portraits whose nose is farthest from the middle between the eyes, by the landmarks of YuNet."""

    def turned(face: Face) -> float:
        right, left, nose, *_ = face.landmarks
        return abs(((nose - (right + left) / 2) / (left - right)).real)

    found = [(turned(faces[0]), path) for path in paths if (faces := find_faces(pixels(path)))]
    return [pixels(path) for _, path in sorted(found, key=lambda pair: -pair[0])[:count]]


@dataclass(frozen=True)
class Kind:
    """A kind of composite: how wide its faces are, how they are tilted, and how many there are."""

    name: str
    width: int
    tilt: int = 0
    people: int = 1

    def found(self, portraits: list[Pixels], things: Sequence[Path], draw: np.random.Generator) -> list[list[int]]:
        """Return for each detector whether all faces of a composite were found (0 or 1), and the stray boxes."""
        frame, chosen = scene(things, draw), draw.integers(len(portraits), size=self.people)
        centres = [
            pasted(frame, portraits[one], self.width, self.tilt, draw, column, self.people)
            for column, one in enumerate(chosen)
        ]
        rows = []
        for find in DETECTORS.values():
            near = [[is_near(box, centre, self.width) for centre in centres] for box in find(frame)]
            every = all(any(of[place] for of in near) for place in range(self.people))
            rows.append([int(every), sum(not any(of) for of in near)])
        return rows


KINDS = (
    *(Kind(f"{width} px", width) for width in FACES),
    *(Kind(f"tilted {tilt}°", 400, tilt) for tilt in TILTS[1:]),
    *(Kind(f"{width} px, tilted {tilt}°", width, tilt) for width in (100, 1500) for tilt in (30, 90)),
    Kind("two people, both", 500, people=2),
    Kind("five people, all", 300, people=5),
)
"""A tilted face is 400 pixels wide unless its kind says otherwise; two faces are 500 pixels wide, and five 300."""


def composites_table(portraits: list[Pixels], things: Sequence[Path]) -> None:
    """Print how often all faces of a composite are found, a column for each detector."""
    print(f"\n{COMPOSITES} composites of each kind, {FRAME[0]} x {FRAME[1]} pixels")
    print(f"| | {' | '.join(DETECTORS)} |\n|---" + "|---" * len(DETECTORS) + "|")
    stray = np.zeros(len(DETECTORS), int)
    for number, kind in enumerate(KINDS):
        draw = np.random.default_rng(number)
        found = np.sum([kind.found(portraits, things, draw) for _ in range(COMPOSITES)], axis=0)
        stray += found[:, 1]
        print(f"| {kind.name} | " + " | ".join(f"{100 * share / COMPOSITES:.0f} %" for share in found[:, 0]) + " |")
    print(f"| stray boxes in all {COMPOSITES * len(KINDS)} | " + " | ".join(map(str, stray)) + " |")


def cameras_table(photos: Sequence[Path]) -> None:
    """Print how many faces are found in each photo of a camera."""
    print(f"\n| photo | {' | '.join(DETECTORS)} |\n|---" + "|---" * len(DETECTORS) + "|")
    for path in photos:
        with warnings.catch_warnings(action="ignore"):  # One of them is damaged.
            photo = pixels(path)
        print(f"| {path.name} | " + " | ".join(str(len(find(photo))) for find in DETECTORS.values()) + " |")


def spread_table(portraits: list[Pixels]) -> None:
    """Print how far a face moves between a photo of 400 pixels and its JPEG copy (quality 75, 80 % of its size)."""
    print("\n| | centre, % of the face's width | width | turn |\n|---|---|---|---|")
    moved: dict[str, list[tuple[float, float]]] = {name: [] for name in DETECTORS}
    turns = []
    for photo in portraits:
        photo = np.asarray(cv2.resize(photo, (400, 400), interpolation=cv2.INTER_CUBIC), np.uint8)
        file = io.BytesIO()
        Image.fromarray(photo).resize((320, 320), Image.Resampling.LANCZOS).save(file, "JPEG", quality=75)
        again = np.asarray(Image.open(file))
        for name, find in DETECTORS.items():
            one, other = find(photo), find(again)
            if one and other:
                off = abs(complex(*one[0].centre) - complex(*other[0].centre) * 1.25)
                moved[name].append((100 * off / one[0].side, 100 * abs(1.25 * other[0].side / one[0].side - 1)))
        one_face, other_face = find_faces(photo)[0], find_faces(again)[0]
        turns.append(abs(np.degrees(np.angle(other_face.alignment.turn / one_face.alignment.turn))))
    for name, values in moved.items():
        centre, width = np.median(values, axis=0)
        turn = f"{np.median(turns):.2f}°" if name == "YuNet" else "-"
        print(f"| {name} | {centre:.2f} (median) | {width:.2f} % | {turn} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("shared", type=Path)
    shared: Path = parser.parse_args().shared
    every = sorted((shared / "datasets" / "faces" / "identities").rglob("*.jpg"))
    order = np.random.default_rng(0).permutation(len(every))
    portraits = [pixels(every[i]) for i in order[:PORTRAITS]]
    things = sorted((shared / "datasets" / "imagenette224" / "val").rglob("*.JPEG"))
    things = [things[i] for i in np.random.default_rng(1).permutation(len(things))[:THINGS]]
    portraits_table(portraits, most_turned([every[i] for i in order[:1500]], 50))
    composites_table(portraits, things)
    cameras_table(sorted((shared / "photos" / "camera").glob("*.jpg")))
    spread_table(portraits[:100])
    print(f"\n| | photos of {len(things)} things with a box | 12 megapixels, ms |\n|---|---|---|")
    frame = scene(things, np.random.default_rng(2))
    pasted(frame, portraits[0], 900, 0, np.random.default_rng(3))
    for name, find in DETECTORS.items():
        seen = sum(bool(find(pixels(path))) for path in things)
        print(f"| {name} | {seen} | {median_ms(lambda find=find: find(frame)):.0f} |")  # type: ignore[misc]
    empty = scene(things, np.random.default_rng(5))
    print(
        f"\nA photo of 12 megapixels without a face: {median_ms(lambda: find_faces(empty)):.0f} ms (YuNet, all passes)."
    )


if __name__ == "__main__":
    main()
