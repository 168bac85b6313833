"""Measure how well and how fast faces are found, and what that adds to protecting a 12-megapixel photo.

usage: python benchmarks/faces.py ../shared      (its table is in docs/results/trip.md)
"""

from __future__ import annotations

import argparse
import io
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from unlearn_cli.faces import find_faces
from unlearn_cli.photos.anchored import Anchored
from unlearn_cli.photos.apply import Pattern
from unlearn_cli.photos.one import protect_bytes
from unlearn_cli.photos.resample import Workspace

PHOTOS = 400
RUNS = 9
FACE, WIDTH, HEIGHT = 1000, 4032, 3024


def pixels(path: Path) -> NDArray[np.uint8]:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def median_ms(what: Callable[[], object]) -> float:
    what()
    times = []
    for _ in range(RUNS):
        start = time.perf_counter()
        what()
        times.append(time.perf_counter() - start)
    return statistics.median(times) * 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("shared", type=Path)
    shared: Path = parser.parse_args().shared
    every = sorted((shared / "datasets" / "faces" / "identities").rglob("*.jpg"))
    faces = [pixels(every[i]) for i in np.random.default_rng(0).permutation(len(every))[:PHOTOS]]
    start = time.perf_counter()
    found = [find_faces(face) for face in faces]
    each = (time.perf_counter() - start) / len(faces) * 1000
    # The portraits are 250 pixels wide, and the face fills about 100 of them around the centre at 125.
    offsets = [np.subtract(boxes[0].centre, 125) for boxes in found if boxes]
    good = [boxes for boxes in found if boxes and np.hypot(*np.subtract(boxes[0].centre, 125)) < 30]
    sides = [boxes[0].side for boxes in good]
    print(f"{PHOTOS} portraits of 250 px: a face in {sum(map(bool, found))}, about the middle in {len(good)}")
    print(f"  centre {np.std(offsets):.1f} px, side {np.mean(sides):.0f} px with a spread of {np.std(sides):.1f}")
    print(f"  {each:.1f} ms each")
    others = sorted((shared / "datasets" / "imagenette224" / "val").rglob("*.JPEG"))
    print(f"{len(others)} photos of ten things: a face in {sum(bool(find_faces(pixels(path))) for path in others)}")
    canvas = Image.effect_noise((WIDTH, HEIGHT), 20).convert("RGB")
    portrait = Image.fromarray(faces[0]).resize((5 * FACE // 2, 5 * FACE // 2), Image.Resampling.BICUBIC)
    canvas.paste(portrait, (800, 300))
    large = np.asarray(canvas)
    boxes = tuple(box.widened(1.6) for box in find_faces(large))
    print(f"{WIDTH} x {HEIGHT}: {len(boxes)} faces, found in {median_ms(lambda: find_faces(large)):.0f} ms")
    file = io.BytesIO()
    canvas.save(file, "JPEG", quality=95, subsampling=0)
    pattern = Pattern(np.random.default_rng(0).integers(-8, 9, (3, 40, 40)).astype(np.int8), 8)
    workspace = Workspace()
    data = file.getvalue()
    whole = median_ms(lambda: protect_bytes(data, pattern, workspace=workspace))
    anchored = Anchored(pattern, boxes[:1], pattern)
    on_face = median_ms(lambda: protect_bytes(data, anchored, workspace=workspace))
    print(f"  protected over the whole photo {whole:.0f} ms, with the face, once found, {on_face:.0f} ms")


if __name__ == "__main__":
    main()
