"""Measure how well and how fast faces are found, by YuNet (``protect``) and by the Haar cascade (trips).

usage: python benchmarks/faces.py ../shared      (its tables are in docs/results/faces.md; some ten minutes)
"""

from __future__ import annotations

import argparse
import io
import statistics
import time
from collections.abc import Callable, Sequence
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
    frame: Pixels, portrait: Pixels, width: float, tilt: float, draw: np.random.Generator, half: int = -1
) -> complex:
    """Paste the head of a portrait into a frame, feathered, so that its face is so wide; return the face's centre."""
    side = round(width / FACE_SHARE)
    large = cv2.resize(portrait, (side, side), interpolation=cv2.INTER_CUBIC)
    turn = cv2.getRotationMatrix2D((side / 2, side / 2), tilt, 1)
    large = cv2.warpAffine(large, turn, (side, side), borderMode=cv2.BORDER_REPLICATE)
    distance = np.hypot(*np.meshgrid(*[np.linspace(-1, 1, side)] * 2))
    share = np.clip((0.95 - distance) / 0.2, 0, 1)[..., None].astype(np.float32)
    low, high = (0, frame.shape[1]) if half < 0 else (half * frame.shape[1] // 2, (half + 1) * frame.shape[1] // 2)
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


def composites_table(portraits: list[Pixels], things: Sequence[Path]) -> None:
    print(f"\n{COMPOSITES} composites of each kind, {FRAME[0]} x {FRAME[1]} pixels: found, and stray boxes in all")
    kinds = [(f"face of {width} px", width, 0) for width in FACES] + [
        (f"tilted {tilt}°", 400, tilt) for tilt in TILTS[1:]
    ]
    print("| | " + " | ".join(kind for kind, *_ in kinds) + " | two faces, both | stray boxes |")
    print("|---|" + "---|" * (len(kinds) + 2))
    rows: dict[str, list[str]] = {name: [] for name in DETECTORS}
    stray = dict.fromkeys(DETECTORS, 0)
    for kind, width, tilt in kinds:
        draw = np.random.default_rng(len(kind) + width + tilt)
        found = dict.fromkeys(DETECTORS, 0)
        for _ in range(COMPOSITES):
            frame = scene(things, draw)
            centre = pasted(frame, portraits[int(draw.integers(len(portraits)))], width, tilt, draw)
            for name, find in DETECTORS.items():
                near = [is_near(box, centre, width) for box in find(frame)]
                found[name] += any(near)
                stray[name] += near.count(False)
        for name in DETECTORS:
            rows[name].append(f"{100 * found[name] / COMPOSITES:.0f} %")
    draw = np.random.default_rng(7)
    both = dict.fromkeys(DETECTORS, 0)
    for _ in range(COMPOSITES):
        frame = scene(things, draw)
        centres = [
            pasted(frame, portraits[int(draw.integers(len(portraits)))], 500, 0, draw, half=half) for half in (0, 1)
        ]
        for name, find in DETECTORS.items():
            boxes = find(frame)
            both[name] += all(any(is_near(box, centre, 500) for box in boxes) for centre in centres)
            stray[name] += sum(not any(is_near(box, centre, 500) for centre in centres) for box in boxes)
    for name in DETECTORS:
        print(f"| {name} | " + " | ".join(rows[name]) + f" | {both[name]} of {COMPOSITES} | {stray[name]} |")


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
