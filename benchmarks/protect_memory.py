"""Measure the memory that protecting takes: one photo of 100 or 200 megapixels, four at once, and many small photos.

usage: python benchmarks/protect_memory.py PHOTO [--folder 20000]

PHOTO is enlarged to 10,000 x 10,000 pixels and to the 16,320 x 12,240 of today's phones, and saved as PNG, as plain
TIFF, as JPEG and as a JPEG that has to be turned. Each is protected by its own process, whose peak resident memory is
compared with the decoded size (3 bytes a pixel); four of the largest are protected by four jobs. Then folders of a
hundred and of many small photos are protected, which should take the same memory, and the second is protected again.
"""

from __future__ import annotations

import argparse
import itertools
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SIZES = ((10_000, 10_000), (16_320, 12_240))
KINDS = (("png", 1), ("tif", 1), ("jpg", 1), ("jpg", 6))
"""The suffix and EXIF orientation of each of the large photos."""

MEBI = 1 << 20

ENVIRONMENT = {"UNLEARN_KEY": "0f" * 32, **os.environ}
"""So that it makes and uses no key of whoever runs this."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photo", type=Path)
    parser.add_argument("--folder", type=int, default=20_000)
    options = parser.parse_args()
    print("| photo | file, MiB | decoded, MiB | peak, MiB | above decoded, MiB | seconds |\n|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for (width, height), (suffix, orientation) in itertools.product(SIZES, KINDS):
            megapixels = width * height // 1_000_000
            work = Path(folder) / f"{megapixels}-{suffix}-{orientation}"
            (work / "in").mkdir(parents=True)
            path = work / "in" / f"large.{suffix}"
            prepare(options.photo, (width, height), path, orientation)
            peak, seconds = run(work)
            size, decoded = path.stat().st_size / MEBI, 3 * width * height / MEBI
            name = f"{megapixels} megapixels, {suffix}{', turned' if orientation > 1 else ''}"
            print(
                f"| {name} | {size:.0f} | {decoded:.0f} | {peak:.0f} | {peak - decoded:.0f} | {seconds:.1f} |",
                flush=True,
            )
        four = Path(folder) / "four"
        (four / "in").mkdir(parents=True)
        for i in range(4):
            os.link(path, four / "in" / f"{i}.jpg")
        peak, seconds = run(four, jobs=4)
        print(f"| four of these, four jobs | | | {peak:.0f} | | {seconds:.1f} |", flush=True)
        for count in (100, options.folder):
            work = Path(folder) / str(count)
            (work / "in").mkdir(parents=True)
            prepare(options.photo, (300, 300), work / "in" / "0.jpg")
            for i in range(1, count):
                os.link(work / "in" / "0.jpg", work / "in" / f"{i}.jpg")
            peak, seconds = run(work)
            print(f"| {count} photos, 300 x 300, jpg | | | {peak:.0f} | | {seconds:.1f} |")
        peak, seconds = run(work)
        print(f"| the same again: nothing to do | | | {peak:.0f} | | {seconds:.1f} |")


def prepare(photo: Path, size: tuple[int, int], path: Path, orientation: int = 1) -> None:
    """Resize a photo in a process of its own, since a child's peak includes what its parent had when it forked."""
    code = (
        "import sys; from PIL import Image; i = Image.open(sys.argv[1]).convert('RGB'); e = Image.Exif();"
        "e[274] = int(sys.argv[5]); s = int(sys.argv[2]), int(sys.argv[3]);"
        "i.resize(s, Image.Resampling.BICUBIC).save(sys.argv[4], quality=92, exif=e)"
    )
    arguments = [str(photo), *map(str, size), str(path), str(orientation)]
    subprocess.run([sys.executable, "-c", code, *arguments], check=True)


def run(work: Path, jobs: int = 1) -> tuple[float, float]:
    """Return the peak resident memory in MiB of protecting ``in``, and the seconds."""
    command = [sys.executable, "-m", "unlearn_cli", "protect", "in", "--class", "person", "-q", "-j", str(jobs)]
    start = time.perf_counter()
    process = subprocess.Popen(command, env=ENVIRONMENT, cwd=work)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return usage.ru_maxrss / 1024, time.perf_counter() - start


if __name__ == "__main__":
    main()
