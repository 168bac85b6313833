"""How much memory protecting takes: of one photo of 100 megapixels, and of a folder of many.

usage: python benchmarks/protect_memory.py PHOTO [--folder 20000]

PHOTO is enlarged to 10,000 x 10,000 pixels and saved as PNG, as plain TIFF and as JPEG, and each is protected by a
process of its own, whose peak resident memory is compared with the decoded size (3 bytes a pixel). Then folders of a
hundred and of many small photos are protected, which should take the same, and the second is gone through once more.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SIDE = 10_000
MEBI = 1 << 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photo", type=Path)
    parser.add_argument("--folder", type=int, default=20_000)
    options = parser.parse_args()
    decoded = 3 * SIDE * SIDE / MEBI
    print("| photo | file, MiB | decoded, MiB | peak, MiB | above decoded, MiB | seconds |\n|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for suffix in ("png", "tif", "jpg"):
            work = Path(folder) / suffix
            (work / "in").mkdir(parents=True)
            path = work / "in" / f"large.{suffix}"
            prepare(options.photo, SIDE, path)
            peak, seconds = run(work)
            size = path.stat().st_size / MEBI
            print(
                f"| 100 megapixels, {suffix} | {size:.0f} | {decoded:.0f} | {peak:.0f} | {peak - decoded:.0f} "
                f"| {seconds:.1f} |"
            )
        for count in (100, options.folder):
            work = Path(folder) / str(count)
            (work / "in").mkdir(parents=True)
            prepare(options.photo, 300, work / "in" / "0.jpg")
            for i in range(1, count):
                os.link(work / "in" / "0.jpg", work / "in" / f"{i}.jpg")
            peak, seconds = run(work)
            print(f"| {count} photos, 300 x 300, jpg | | | {peak:.0f} | | {seconds:.1f} |")
        peak, seconds = run(work)
        print(f"| the same again: nothing to do | | | {peak:.0f} | | {seconds:.1f} |")


def prepare(photo: Path, side: int, path: Path) -> None:
    """Resize a photo in a process of its own: a child's peak counts what its parent had when it was born."""
    code = (
        "import sys; from PIL import Image; i = Image.open(sys.argv[1]).convert('RGB');"
        "s = int(sys.argv[2]); i.resize((s, s), Image.Resampling.BICUBIC).save(sys.argv[3], quality=92)"
    )
    subprocess.run([sys.executable, "-c", code, photo, str(side), path], check=True)


def run(work: Path) -> tuple[float, float]:
    """The peak resident memory in MiB of protecting ``in``, and the seconds."""
    command = [sys.executable, "-m", "unlearn_cli", "protect", "in", "--class", "person", "-q", "-j", "1"]
    start = time.perf_counter()
    process = subprocess.Popen(command, cwd=work)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return usage.ru_maxrss / 1024, time.perf_counter() - start


if __name__ == "__main__":
    main()
