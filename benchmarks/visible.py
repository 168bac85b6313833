"""Measure how visible a person's noise is, on the square around the face, in the file that `protect` writes.

Measures the first photo of each of the 38 people on whom banks are tested, with the key that `unlearn evaluate` gives
them: at its size (250 px) and enlarged four times (a face of some 460 px), beside the effect of JPEG alone.

usage: python benchmarks/visible.py ../shared [BANK...] [--people N] [--made] [--sheet FILE.png]
(tables are in docs/results/person.md and recognisers.md)

BANK names further banks for faces, such as those of `measure_banks.sh frontier`. With --made, noise that is made for
each face and patterns that are fitted to each person's photos are measured instead, which needs PyTorch and a second a
face, or half a minute a person. --people takes only the first N. The sheet has crops at 100 % of photos that are
enlarged twice. It shows people whose photos we may not publish, so keep it to yourself.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from unlearn_cli.banks.catalog import choose
from unlearn_cli.evaluation.people import person_key
from unlearn_cli.faces import find_faces
from unlearn_cli.photos.decode import Photo
from unlearn_cli.photos.one import protect_bytes
from unlearn_cli.photos.protection import Protection
from unlearn_cli.photos.quality import Quality, compare
from unlearn_cli.photos.wanted import made_for_each
from unlearn_cli.training.devices import pick_device

MARGIN = 1.2
"""The side of the compared crop in sides of the detector's box, the same as in the trip 'face'."""
ENLARGED = 4
SHOWN = 5

Written = Callable[[bytes, str], bytes]
"""A function from a photo's file and its person's name to the file that is compared with it."""


def protected(bank: str, epsilon: int | None = None) -> Written:
    choice = choose("person", bank)

    def written(data: bytes, name: str) -> bytes:
        return protect_bytes(data, Protection.of(choice, "person", epsilon, person_key(name, 0))).data

    return written


def made_for_faces(epsilon: int) -> Written:
    """Return how a photo is written with noise of this bound that is made for its face."""
    from unlearn_cli.noise.face_noise import FaceNoise

    def written(data: bytes, name: str) -> bytes:
        protection = Protection.of(choose("person", "person-max"), "person", epsilon, person_key(name, 0))
        maker = FaceNoise(protection.pattern.noise, epsilon, pick_device())
        return protect_bytes(data, made_for_each(protection, maker, 0)).data

    return written


def fitted_to_photos(people: Path, made: Path, epsilon: int) -> Written:
    """Return how a photo is written with a pattern that is fitted to all of the person's photos."""
    from unlearn_cli.evaluation.personal_banks import personal_choice

    def written(data: bytes, name: str) -> bytes:
        start = Protection.of(choose("person", "person-max"), "person", epsilon, person_key(name, 0)).pattern
        choice = personal_choice(people / name, start, "person-max", made, pick_device())
        return protect_bytes(data, Protection.of(choice, "person")).data

    return written


def made(people: Path, folder: Path) -> dict[str, Written]:
    """Return the ways of noise that moves what recognisers see; patterns are kept in a folder."""
    return {
        "person-max": protected("person-max"),
        **{f"sample-wise, {epsilon} levels": made_for_faces(epsilon) for epsilon in (8, 12, 16)},
        **{f"own pattern, {epsilon} levels": fitted_to_photos(people, folder, epsilon) for epsilon in (8, 16)},
    }


def compressed(quality: int) -> Written:
    def written(data: bytes, _name: str) -> bytes:
        file = io.BytesIO()
        Image.open(io.BytesIO(data)).save(file, "JPEG", quality=quality, subsampling="4:2:0")
        return file.getvalue()

    return written


WAYS: dict[str, Written] = {
    "person-low": protected("person-low"),
    "person (medium)": protected("person"),
    "person-high": protected("person-high"),
    **{f"person-high, --epsilon {epsilon}": protected("person-high", epsilon) for epsilon in (6, 4, 2)},
    "person-max": protected("person-max"),
    **{f"person-max, --epsilon {epsilon}": protected("person-max", epsilon) for epsilon in (12, 8)},
    **{f"JPEG q{quality} 4:2:0, no noise": compressed(quality) for quality in (90, 75, 50)},
}


def photos(root: Path, scale: int, people: int) -> Iterator[tuple[str, bytes]]:
    """Yield the name and the first photo, enlarged, of so many people."""
    for number in range(120, 120 + people):
        name = f"id{number}"
        with Image.open(sorted((root / name).glob("*.jpg"))[0]) as opened:
            image = opened.convert("RGB")
        if scale > 1:
            image = image.resize((scale * image.width, scale * image.height), Image.Resampling.BICUBIC)
        file = io.BytesIO()
        image.save(file, "JPEG", quality=95, subsampling="4:4:4")
        yield name, file.getvalue()


def face(data: bytes, box: tuple[int, int, int, int]) -> Image.Image:
    return Image.open(io.BytesIO(data)).convert("RGB").crop(box)


def box_of(data: bytes) -> tuple[int, int, int, int]:
    image = Image.open(io.BytesIO(data)).convert("RGB")
    found = find_faces(np.asarray(image))[0].box.widened(MARGIN)
    left, top = max(0, round(found.left)), max(0, round(found.top))
    return left, top, min(image.width, left + round(found.side)), min(image.height, top + round(found.side))


def quality_of(before: Image.Image, after: Image.Image) -> Quality:
    one, other = (Photo(np.asarray(image), "RGB", "PNG") for image in (before, after))
    return compare(one, other)


def sheet(root: Path, ways: dict[str, Written], out: Path) -> None:
    """Write a sheet of crops with a row for each of a few people and a column for each way of writing."""
    names = [name for name in ways if not name.endswith("epsilon 2") and "q90" not in name]
    rows = []
    for name, data in photos(root, 2, SHOWN):
        box = box_of(data)
        crops = [face(data, box), *(face(ways[way](data, name), box) for way in names)]
        rows.append([crop.resize((crops[0].width, crops[0].height)) for crop in crops])
    side = max(crop.width for row in rows for crop in row)
    whole = Image.new("RGB", ((len(names) + 1) * (side + 8), SHOWN * (side + 8) + 20), "white")
    draw = ImageDraw.Draw(whole)
    for column, title in enumerate(["original", *names]):
        draw.text((column * (side + 8), 2), title, "black")
        for row, crops in enumerate(rows):
            whole.paste(crops[column], (column * (side + 8), 20 + row * (side + 8)))
    whole.save(out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shared", type=Path)
    parser.add_argument("banks", nargs="*")
    parser.add_argument("--people", type=int, default=38)
    parser.add_argument("--made", action="store_true")
    parser.add_argument("--sheet", type=Path)
    args = parser.parse_args()
    root = args.shared / "datasets" / "faces" / "identities"
    ways = made(root, Path("build")) if args.made else WAYS | {Path(bank).stem: protected(bank) for bank in args.banks}
    if args.sheet is not None:
        sheet(root, ways, args.sheet)
        return
    print("| | face at 250 px: FLIP | CIEDE2000 mean, p95 | SSIM | PSNR | enlarged: FLIP | CIEDE2000 mean |")
    print("|---|---|---|---|---|---|---|")
    for way, written in ways.items():
        cells = []
        for scale in (1, ENLARGED):
            measured = []
            for name, data in photos(root, scale, args.people):
                box = box_of(data)
                measured.append(quality_of(face(data, box), face(written(data, name), box)))
            mean = {key: float(np.mean([getattr(one, key) for one in measured])) for key in vars(measured[0])}
            cells += [f"{mean['flip']:.3f}"]
            both = f"{mean['ciede2000']:.1f}, {mean['ciede2000_p95']:.1f}"
            cells += (
                [both, f"{mean['ssim']:.3f}", f"{mean['psnr']:.1f}"] if scale == 1 else [f"{mean['ciede2000']:.1f}"]
            )
        print(f"| {way} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
