"""What protecting a photo costs, as a multiple of Pillow's own decode and encode of it in the same run.

usage: python benchmarks/protect_speed.py PHOTO... [--runs N]

Each run times, in turn, Pillow opening and saving the photo with the same settings into memory, and ``protect``'s
whole way from the file to the fsynced copy, for every photo; the median ratio over the runs is printed. The first
photo of a size pays for resampling the pattern, which is timed apart.
"""

from __future__ import annotations

import argparse
import io
import statistics
import tempfile
import time
from pathlib import Path

from PIL import Image

from unlearn_cli.banks.catalog import choose
from unlearn_cli.photos.folder import protect_photos
from unlearn_cli.photos.noise import Pattern, resize_noise
from unlearn_cli.photos.scan import Task


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", nargs="+", type=Path)
    parser.add_argument("--runs", type=int, default=9)
    options = parser.parse_args()
    choice = choose("person")
    pattern = Pattern(choice.bank.noise[choice.index], choice.bank.provenance.epsilon)
    print("| photo | megapixels | Pillow, ms | protect, ms | ratio, median (min to max) | pattern, once, ms |")
    print("|---|---|---|---|---|---|")
    for photo in options.photos:
        print(measure(photo, pattern, options.runs))
    print()
    print(measure_jobs(max(options.photos, key=lambda photo: photo.stat().st_size), pattern))


def measure(photo: Path, pattern: Pattern, runs: int) -> str:
    with Image.open(photo) as image:
        size = image.size
    resize_noise.cache_clear()
    start = time.perf_counter()
    resize_noise(pattern, *size)
    once = time.perf_counter() - start
    baseline, ours = [], []
    with tempfile.TemporaryDirectory() as folder:
        task = Task(photo, Path(folder) / photo.name)
        for run in range(runs + 1):
            start = time.perf_counter()
            save_again(photo)
            middle = time.perf_counter()
            (done,) = protect_photos([task], pattern, overwrite=True)
            end = time.perf_counter()
            assert done.status == "protected", done.reason
            if run:  # the first warms up
                baseline.append(middle - start)
                ours.append(end - middle)
    ratios = sorted(b / a for a, b in zip(baseline, ours, strict=True))
    return (
        f"| {photo.name} | {size[0] * size[1] / 1e6:.1f} | {1000 * statistics.median(baseline):.0f} "
        f"| {1000 * statistics.median(ours):.0f} "
        f"| {statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f}) | {1000 * once:.0f} |"
    )


def measure_jobs(photo: Path, pattern: Pattern, copies: int = 20, runs: int = 5) -> str:
    """The throughput of two jobs over that of one, on copies of one photo."""
    ratios = []
    for _ in range(runs):
        seconds = []
        for jobs in (1, 2):
            with tempfile.TemporaryDirectory() as folder:
                tasks = [Task(photo, Path(folder) / f"{i}.jpg") for i in range(copies)]
                start = time.perf_counter()
                assert all(d.status == "protected" for d in protect_photos(tasks, pattern, jobs=jobs))
                seconds.append(time.perf_counter() - start)
        ratios.append(seconds[0] / seconds[1])
    ratios.sort()
    middle = statistics.median(ratios)
    spread = f"{ratios[0]:.2f} to {ratios[-1]:.2f}"
    return f"{copies} times {photo.name}, two jobs: {middle:.2f} times one job's throughput ({spread})."


def save_again(photo: Path) -> None:
    with Image.open(photo) as image:
        image.save(io.BytesIO(), "JPEG", quality=95, subsampling=0)


if __name__ == "__main__":
    main()
