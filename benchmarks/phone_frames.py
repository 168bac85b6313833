"""Put portraits into 12-megapixel frames, as a substitute for photos from phones.

Each portrait is enlarged so that the face that is found in it is 400 to 1,500 pixels wide (drawn uniformly on a
logarithmic scale), and is put into a frame of 4,000 x 3,000 pixels, which is filled with the portrait's blurred
colours. The files are written as a camera would: JPEG, quality 95, 4:2:0.

    python benchmarks/phone_frames.py ../shared/datasets/faces/identities OUT 'id12*' --others 'id13*'
    unlearn evaluate people OUT  --protect 'id12?' --groups-of 5 --bank person-high ...

The photos of the people in --others, the crowd around those in frames, are linked unchanged.
"""

from __future__ import annotations

import argparse
import hashlib
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from unlearn_cli.faces import find_faces

FRAME = (4000, 3000)
WIDTHS = (400, 1500)
QUALITY = 95
USUAL_FACE = 0.42
"""The width of a face as a share of the portrait's width, where no face is found."""


def framed(path: Path, scene: Path | None = None) -> NDArray[np.uint8]:
    """Return a portrait in its frame, uint8 ``[3000, 4000, 3]``, or in a photo; its path seeds the random draws."""
    portrait = pixels_of(path)
    rng = np.random.default_rng(list(hashlib.sha256(f"{path.parent.name}/{path.name}".encode()).digest()))
    found = find_faces(portrait)
    width = found[0].box.side if found else USUAL_FACE * portrait.shape[1]
    wanted = np.exp(rng.uniform(*np.log(WIDTHS)))
    # A portrait that is larger than the frame is cut off, so a close face may lose its hair, as in selfies.
    large = cv2.resize(portrait, None, fx=wanted / width, fy=wanted / width, interpolation=cv2.INTER_CUBIC)
    frame = blurred(portrait) if scene is None else pixels_of(scene)
    place = []
    for have, room in zip(large.shape[:2], frame.shape[:2], strict=True):
        spare = room - have
        start = int(rng.integers(0, spare + 1)) if spare > 0 else spare // 2
        place.append((slice(max(start, 0), start + have), slice(max(-start, 0), max(-start, 0) + min(have, room))))
    (rows, from_rows), (columns, from_columns) = place
    frame[rows, columns] = large[from_rows, from_columns]
    return np.asarray(frame)


def blurred(portrait: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a frame that is filled with the blurred colours of a portrait."""
    middle = cv2.GaussianBlur(cv2.resize(portrait, (40, 30), interpolation=cv2.INTER_AREA), (0, 0), 6)
    return np.asarray(cv2.resize(middle, FRAME, interpolation=cv2.INTER_CUBIC))


def pixels_of(path: Path) -> NDArray[np.uint8]:
    """Return the stored pixels of a photo, in RGB."""
    with Image.open(path) as opened:
        return np.array(opened.convert("RGB"))


def write(path: Path, out: Path, scene: Path | None = None) -> None:
    """Write a portrait in its frame, or in the photo ``scene``, into a folder, as a camera would."""
    out.mkdir(parents=True, exist_ok=True)
    Image.fromarray(framed(path, scene)).save(out / path.name, quality=QUALITY, subsampling="4:2:0")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("people", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("framed")
    parser.add_argument("--others", nargs="*", default=[])
    args = parser.parse_args()
    cv2.setNumThreads(1)
    with ProcessPoolExecutor() as pool:
        for folder in sorted(args.people.glob(args.framed)):
            photos = sorted(folder.glob("*.jpg"))
            list(pool.map(write, photos, [args.out / folder.name] * len(photos)))
    for pattern in args.others:
        for folder in args.people.glob(pattern):
            link = args.out / folder.name
            if not link.exists():
                link.symlink_to(folder.resolve(), target_is_directory=True)


if __name__ == "__main__":
    main()
