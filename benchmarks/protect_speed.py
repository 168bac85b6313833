"""Measure the time to protect a photo, as a multiple of Pillow's own decoding and encoding in the same run.

usage: python benchmarks/protect_speed.py PHOTO... [--people FOLDER] [--runs N] [--folder N]

Each run times, in turn, Pillow opening and saving the photo with the same settings into memory five times, and
all of ``protect`` from the file to the fsynced copy for five photos of a folder, and takes the medians; the median
ratio over the runs is printed. Each of the two has a process of its own, because Pillow takes a third less time in one
where large arrays were freed: the allocator then keeps its memory. The first photo of a size also pays for stretching
the pattern, which is timed separately.

With --people, the first rows are photos of people, protected as --class person: three portraits of the folder, enlarged
into frames of 12 megapixels as benchmarks/phone_frames.py does it, and into the largest PHOTO; and the processor time
of 144 of its portraits as they are is told, by its parts. Then a folder of N copies of the largest photo is protected
by one job and by two.
"""

from __future__ import annotations

import argparse
import io
import multiprocessing
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

# The time of one core is measured, so OpenBLAS must not use more.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from phone_frames import write
from PIL import Image

from unlearn_cli.banks.catalog import choose
from unlearn_cli.banks.keys import Key
from unlearn_cli.faces import find_faces
from unlearn_cli.photos.decode import decode
from unlearn_cli.photos.folder import protect_folder
from unlearn_cli.photos.outcome import Options
from unlearn_cli.photos.protection import Protection
from unlearn_cli.photos.scan import Where

PHOTOS = 5
"""The number of photos in a run."""

PORTRAITS = 144
"""The number of small portraits."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", nargs="+", type=Path)
    parser.add_argument("--people", type=Path)
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--folder", type=int, default=100)
    options = parser.parse_args()
    protection = Protection.of(choose("cat"), "cat")
    print("| photo | megapixels | Pillow, ms | protect, ms | ratio, median (min to max) | pattern, once, ms |")
    print("|---|---|---|---|---|---|")
    if options.people is not None:
        with tempfile.TemporaryDirectory() as folder:
            for photo in framed_people(options.people, Path(folder), max(options.photos, key=megapixels)):
                print(measure(photo, Protection.of(choose("person"), "person", key=Key(bytes(32))), options.runs))
    for photo in options.photos:
        print(measure(photo, protection, options.runs))
    if options.people is not None:
        print(f"\n{measure_small(options.people)}")
    if options.folder:
        largest = max(options.photos, key=lambda photo: photo.stat().st_size)
        print(f"\n{measure_jobs(largest, protection, options.folder)}")


def framed_people(people: Path, folder: Path, scene: Path) -> list[Path]:
    """Write three portraits in smooth frames of 12 megapixels and in a photo, and return the six files."""
    portraits = [sorted(person.iterdir())[0] for person in sorted(people.iterdir())[:3]]
    written = []
    for name, behind in (("smooth", None), (scene.name, scene)):
        for portrait in portraits:
            out = folder / f"{portrait.parent.name} in {name}"
            write(portrait, out, behind)
            written.append(out / portrait.name)
    return written


def megapixels(photo: Path) -> float:
    """Return the size of a photo in millions of pixels."""
    with Image.open(photo) as image:
        return image.width * image.height / 1e6


def measure(photo: Path, protection: Protection, runs: int) -> str:
    """Return a photo's row of the table."""
    with Image.open(photo) as image:
        size = image.size
    start = time.perf_counter()
    list(protection.pattern.stretched("RGB", *size).strips())
    once = time.perf_counter() - start
    baseline, ours, ratios = [], [], []
    with own_process() as for_pillow, own_process() as for_us:
        for _ in range(runs):
            baseline.append(statistics.median(for_pillow.submit(save_copies, photo).result()))
            ours.append(statistics.median(for_us.submit(protect_copies, photo, protection).result()))
            ratios.append(ours[-1] / baseline[-1])
    ratios.sort()
    name = photo.name if " in " not in photo.parent.name else f"a portrait of {photo.parent.name}"
    return (
        f"| {name} | {size[0] * size[1] / 1e6:.1f} | {1000 * statistics.median(baseline):.0f} "
        f"| {1000 * statistics.median(ours):.0f} "
        f"| {statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f}) | {1000 * once:.0f} |"
    )


def own_process() -> ProcessPoolExecutor:
    """Return a process that works on one call at a time."""
    return ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))


def save_copies(photo: Path) -> list[float]:
    """Return the seconds in which Pillow opens and saves a photo, so many times, after one time that warms."""
    return [timed(save_again, photo) for _ in range(PHOTOS + 1)][1:]


def timed(call: Callable[[Path], None], photo: Path) -> float:
    """Return the seconds that a call takes."""
    start = time.perf_counter()
    call(photo)
    return time.perf_counter() - start


def protect_copies(photo: Path, protection: Protection) -> list[float]:
    """Return one worker's seconds for each photo of a folder but the first, which stretches the pattern."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "in").mkdir()
        for i in range(PHOTOS + 1):
            shutil.copy(photo, Path(folder) / "in" / f"{i:03}{photo.suffix}")
        done = list(protect_folder(Path(folder) / "in", protection))
    assert all(photo.status == "protected" for photo in done), done[0].reason
    return [photo.seconds for photo in done[1:]]


def measure_small(people: Path) -> str:
    """Return a sentence with the processor time of one worker for a small portrait, by its parts."""
    portraits = [photo for person in sorted(people.iterdir()) for photo in sorted(person.iterdir())[:4]][:PORTRAITS]
    protection = Protection.of(choose("person"), "person", key=Key(bytes(32)))
    pixels = [decode(photo.read_bytes()).pixels for photo in portraits]
    saving = processor_ms(lambda: list(map(save_again, portraits)), len(portraits))
    finding = processor_ms(lambda: [find_faces(photo, most=1) for photo in pixels], len(portraits))
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "in").mkdir()
        for i, photo in enumerate(portraits):
            shutil.copy(photo, Path(folder) / "in" / f"{i:03}{photo.suffix}")
        outputs = iter(range(100))
        where = (Where(output=Path(folder) / f"out-{i}") for i in outputs)
        whole = processor_ms(lambda: list(protect_folder(Path(folder) / "in", protection, next(where))), len(portraits))
    return (
        f"{len(portraits)} portraits of {pixels[0].shape[1]} pixels, processor time of each: "
        f"protecting {whole:.1f} ms, of which finding the face {finding:.1f} ms; "
        f"saving it again with Pillow {saving:.1f} ms; everything else {whole - finding - saving:.1f} ms."
    )


def processor_ms(call: Callable[[], object], photos: int, runs: int = 5) -> float:
    """Return the least processor time that a call takes, in milliseconds for each photo, after one call that warms."""
    call()
    times = []
    for _ in range(runs):
        start = time.process_time()
        call()
        times.append(time.process_time() - start)
    return 1000 * min(times) / photos


def measure_jobs(photo: Path, protection: Protection, copies: int, runs: int = 3) -> str:
    """Return a sentence with the throughput of two jobs relative to one, on copies of one photo."""
    ratios = []
    for _ in range(runs):
        seconds = []
        for jobs in (1, 2):
            with tempfile.TemporaryDirectory() as folder:
                (Path(folder) / "in").mkdir()
                for i in range(copies):
                    shutil.copy(photo, Path(folder) / "in" / f"{i:03}{photo.suffix}")
                start = time.perf_counter()
                events = protect_folder(Path(folder) / "in", protection, Where(), Options(jobs=jobs))
                assert all(done.status == "protected" for done in events)
                seconds.append(time.perf_counter() - start)
        ratios.append(seconds[0] / seconds[1])
    ratios.sort()
    middle = statistics.median(ratios)
    spread = f"{ratios[0]:.2f} to {ratios[-1]:.2f}"
    return f"{copies} times {photo.name}, two jobs: {middle:.2f} times one job's throughput ({spread})."


def save_again(photo: Path) -> None:
    """Decode and encode a photo with Pillow alone, as the baseline."""
    with Image.open(photo) as image:
        image.save(io.BytesIO(), "JPEG", quality=95, subsampling=0)


if __name__ == "__main__":
    main()
