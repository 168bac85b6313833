"""Many photos: throughput by engine and store, what faults and kills change, and time and memory at 100,000 photos.

python benchmarks/bulk.py throughput [--photos 400] [--large 16]
python benchmarks/bulk.py faults [--photos 5000] [--workers-killed 20] [--drivers-killed 5]
python benchmarks/bulk.py scale [--photos 100000]

The object store is moto's S3 server, in a process of its own on the loopback address. It runs on the same cores, so
what it costs is in the figures. The times of ``scale`` are processor time. It needs the extra 'dev'.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from PIL import Image

from tests.object_store import NAME, SECRET, object_store
from tests.processes import descendants, killing_workers
from unlearn_cli.banks.catalog import choose
from unlearn_cli.banks.keys import Key
from unlearn_cli.photos.bulk.by_ray import OnRay
from unlearn_cli.photos.bulk.ledger import ledger_at
from unlearn_cli.photos.bulk.run_bulk import BulkRun, Places, Spread, in_threads
from unlearn_cli.photos.bulk.store import Stored
from unlearn_cli.photos.bulk.stream import Cut
from unlearn_cli.photos.folder import protect_folder
from unlearn_cli.photos.manifest import Manifest, Record
from unlearn_cli.photos.outcome import Options, PhotoDone
from unlearn_cli.photos.protection import Protection

KEY = "0f" * 32

os.environ.setdefault("RAY_worker_niceness", "0")  # Ray's own is 15: on a busy machine its workers would get no time.


def serve(pipe: Any, share: float) -> None:
    with object_store() as (faults, environment):
        faults.share, faults.seconds = share, 2.0
        pipe.send(environment)
        pipe.recv()
        pipe.send(dict(faults.done))


@contextmanager
def store(share: float = 0.0) -> Iterator[Any]:
    """A server in a process of its own, whose environment this process then has; yields how to end and ask it."""
    ours, theirs = multiprocessing.get_context("spawn").Pipe()
    process = multiprocessing.get_context("spawn").Process(target=serve, args=(theirs, share))
    process.start()
    os.environ.update(ours.recv())
    from fsspec.config import conf

    conf["s3"] = json.loads(os.environ["FSSPEC_S3"])
    from unlearn_cli.photos.bulk.retry import again

    again(lambda: file_system().call_s3("create_bucket", Bucket="photos"))
    try:
        yield ours
    finally:
        process.terminate()
        process.join()


def file_system() -> Any:
    import fsspec

    return fsspec.filesystem("s3", use_listings_cache=False)


def make(folder: Path, count: int, side: int, kind: str) -> Path:
    """Different photos of one size; noise with a smooth part, so that a JPEG is about as large as a real photo's."""
    smooth = Image.effect_noise((side // 8, side * 3 // 32), 60).resize((side, side * 3 // 4), Image.Resampling.BICUBIC)
    image = Image.blend(smooth, Image.effect_noise(smooth.size, 40), 0.2).convert("RGB")
    for number in range(count):
        path = folder / f"{number // 500:03}" / f"{number:06}.{kind}"
        path.parent.mkdir(parents=True, exist_ok=True)
        image.putpixel((number % side, number // side % 8), (number % 256, 0, 0))
        image.save(path, quality=90)
    return folder


def upload(folder: Path, url: str) -> None:
    from concurrent.futures import ThreadPoolExecutor

    from unlearn_cli.photos.bulk.objects import ObjectStore

    target = ObjectStore(f"s3://{url}")
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda p: target.write(str(p.relative_to(folder)), p.read_bytes(), None, times=False), paths))


def run(
    places: Places, protection: Protection, spread: Spread, cut: Cut, jobs: int = 2
) -> tuple[list[PhotoDone], float]:
    began = time.monotonic()
    with BulkRun(places, Options(jobs=jobs)) as bulk:
        found = list(bulk.protect(protection, spread, cut))
    return found, time.monotonic() - began


def memory(process: int) -> float:
    try:
        return int(re.findall(r"VmRSS:\s+(\d+)", Path(f"/proc/{process}/status").read_text())[0]) / 1000
    except (OSError, IndexError):
        return 0.0


def workers() -> float:
    """The resident memory of the largest worker, in MB."""
    return max((memory(one) for one, name in descendants(os.getpid()).items() if "ray::" in name), default=0.0)


def used() -> float:
    """The processor time of this process and of Ray's below it, in seconds, without that of the object store."""
    ticks = 0
    for process in (os.getpid(), *(one for one, name in descendants(os.getpid()).items() if "ray" in name)):
        try:
            fields = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        except OSError:
            continue
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def throughput(choice: argparse.Namespace) -> None:
    protection = Protection.of(choose("person"), "person", key=Key(bytes.fromhex(KEY)))
    kinds = (("400 x 300 PNG", choice.photos, 400, "png"), ("12 megapixel JPEG", choice.large, 4000, "jpg"))
    with store(), tempfile.TemporaryDirectory() as name:
        folders = [make(Path(name) / kind, count, side, kind) for _, count, side, kind in kinds]
        base = {}
        for (label, count, *_), folder in zip(kinds, folders, strict=True):
            upload(folder, f"photos/{folder.name}")
            base[label] = tell(f"{label}, folder", count, folder, lambda f: list(protect_folder(f, protection)), None)
            rows(label, count, folder, protection, (("threads, a stream", in_threads, 1),), base[label])
        ray = OnRay(None, 2)
        try:
            run(Places(source=folders[0], output=Path(name) / "warm"), protection, ray, Cut(photos=8))
            for (label, count, *_), folder in zip(kinds, folders, strict=True):
                engines = (("Ray, batches of 32", ray, 32), ("Ray, batches of 1", ray, 1))
                rows(label, count, folder, protection, engines, base[label])
            print(f"the largest worker of Ray has {workers():.0f} MB")
        finally:
            ray.close()


def rows(
    label: str,
    count: int,
    folder: Path,
    protection: Protection,
    engines: tuple[tuple[str, Spread, int], ...],
    base: float,
) -> None:
    for number, (name, spread, most) in enumerate(engines):
        for kind, place in (("folder", str(folder)), ("S3 to S3", f"s3://photos/{folder.name}")):
            out = Path(f"{place}-{number}-{name[:3]}")
            cut = Cut(photos=most)
            tell(
                f"{label}, {kind}, {name}", count, Path(place),
                lambda f, out=out, cut=cut, spread=spread: run(Places(source=f, output=out), protection, spread, cut),
                base,
            )  # fmt: skip


def tell(name: str, count: int, folder: Path, work: Any, base: float | None) -> float:
    """Print the times of a run over photos; return its processor time a photo, in ms."""
    began, before, here = time.monotonic(), used(), time.process_time()
    work(folder)
    wall, spent, driver = ((end - start) * 1000 / count for start, end in (
        (began, time.monotonic()), (before, used()), (here, time.process_time()),
    ))  # fmt: skip
    print(f"{name:<52} {spent:8.1f} {driver:8.1f} {wall:9.1f} {spent / (base or spent):6.2f}", flush=True)
    return spent


def faults(choice: argparse.Namespace) -> None:
    os.environ["UNLEARN_KEY"] = KEY
    protection = Protection.of(choose("person"), "person", key=Key(bytes.fromhex(KEY)))
    with tempfile.TemporaryDirectory() as name, store(share=0.03) as pipe:
        folder = make(Path(name) / "in", choice.photos, 160, "png")
        list(protect_folder(folder, protection, options=Options(jobs=2)))
        copies = files_of(Path(name) / "in-protected")
        upload(folder, "photos/in")
        said = killed_drivers(choice.drivers_killed, Path(name))
        target, began = Places(source=Path("s3://photos/in"), output=Path("s3://photos/out")), time.monotonic()
        ray = OnRay(None, 2)
        with killing_workers(choice.workers_killed, 2.0) as killed:
            results, seconds = run(target, protection, ray, Cut(photos=64))
        logs = Path(__import__("ray")._private.worker._global_node.get_session_dir_path())
        said += b"".join(path.read_bytes() for path in logs.rglob("*") if path.is_file())
        ray.close()
        there = objects_of("photos/out")
        said += b"".join(objects_of("photos/out.jsonl").values())
        pipe.send("end")
        counts = {status: sum(p.status == status for p in results) for status in {p.status for p in results}}
        print(f"{choice.photos} photos, {choice.drivers_killed} drivers and {len(killed)} workers killed: {counts}")
        print(
            f"faults of the store: {pipe.recv()}; the last run took {time.monotonic() - began:.0f} s ({seconds:.0f} s)"
        )
        print("copies equal those of a local run:", there == copies)
        print("secrets in output, logs or manifest:", [s for s in (KEY, NAME, SECRET) if s.encode() in said])


def killed_drivers(count: int, folder: Path) -> bytes:
    """Start the command and kill it after some seconds, again and again; return all that it said."""
    command = [sys.executable, "-m", "unlearn_cli", "protect", "s3://photos/in", "--class", "person", "-v"]
    with (folder / "log").open("w+b") as log:
        for number in range(count):
            before = len(file_system().find("photos/out"))
            with subprocess.Popen([*command, "-o", "s3://photos/out"], stdout=log, stderr=log) as driver:
                while len(file_system().find("photos/out")) < before + 50 and driver.poll() is None:
                    time.sleep(random.Random(number).uniform(0.2, 1))
                driver.send_signal(signal.SIGKILL)
        log.seek(0)
        return log.read()


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def objects_of(url: str) -> dict[str, bytes]:
    from unlearn_cli.photos.bulk.objects import ObjectStore

    found = ObjectStore(f"s3://{url}")
    return {file.name: found.read(file) for file in found.listing()}


class Listed:
    """A folder that only has a listing, of small files; what is written to it is counted and forgotten."""

    def __init__(self, place: str, count: int) -> None:
        self.place, self.count = place, count

    def listing(self) -> Iterator[Stored]:
        for number in range(self.count):
            yield Stored(f"{number // 1000:05}/IMG_{number:07}.png", 1000, "1")


def scale(choice: argparse.Namespace) -> None:
    count = choice.photos
    protection = Protection.of(choose("person"), "person", key=Key(bytes.fromhex(KEY)))
    with tempfile.TemporaryDirectory() as name:
        places = Places(source=Path(name), output=Path(name) / "out", manifest=Path(name) / "m.jsonl")
        print(f"{'photos':>8} {'append, us':>11} {'MB':>6}   records appended by a run of any length")
        ledger = ledger_at(places.recorded_in)
        append(count, ledger.add, protection)
        ledger.close()
        print(f"{'photos':>8} {'append, us':>11} {'MB':>6}   the same by a run over a folder, which remembers them")
        with Manifest(Path(name) / "other.jsonl") as manifest:
            append(count, manifest.add, protection)
        del manifest
        began, before = time.process_time(), memory(os.getpid())
        with BulkRun(places) as bulk:
            bulk.index.learn_files(Listed("", count).listing())
            known = time.process_time()
            bulk.source = Listed(str(bulk.source.place), count)  # type: ignore[assignment]
            done = 0
            for done, photo in enumerate(bulk.protect(protection, in_threads, Cut()), 1):
                assert photo.status == "unchanged", photo.reason
                if done % (count // 5) == 0:
                    print(f"{done:>8} unchanged, {memory(os.getpid()) - before:+.0f} MB")
            assert done == count
        seconds = time.process_time() - began
        each, rest = (1000 * part / count for part in (known - began, seconds - (known - began)))
        print(f"a rerun with nothing to do: {each:.3f} ms a photo for the manifest, {rest:.3f} ms for the rest")


def append(count: int, add: Any, protection: Protection) -> None:
    from unlearn_cli.photos.copying import digest_of

    record = Record(
        input="", status="protected", input_sha256="0" * 64, output_sha256="1" * 64, bank=protection.bank,
        bank_sha256=protection.bank_sha256, class_name="person", epsilon=8, form="class-wise", format="PNG", linf=8.0,
        key_fingerprint=protection.key_fingerprint, faces=1, faces_found=1, input_stat=(1000, 1),
        output_stat=(1000, 1), settings=digest_of(protection, Options().writing), seconds=0.1,
    )  # fmt: skip
    before, began = memory(os.getpid()), time.process_time()
    for number, file in enumerate(Listed("", count).listing(), 1):
        add(replace(record, input=f"./{file.name}", output=f"out/{file.name}"))
        if number % (count // 5) == 0:
            each = (time.process_time() - began) / (count // 5)
            print(f"{number:>8} {each * 1e6:>11.0f} {memory(os.getpid()) - before:>+6.0f}", flush=True)
            began = time.process_time()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("throughput", "faults", "scale"))
    parser.add_argument("--photos", type=int)
    parser.add_argument("--large", type=int, default=16)
    parser.add_argument("--workers-killed", type=int, default=20)
    parser.add_argument("--drivers-killed", type=int, default=5)
    choice = parser.parse_args()
    choice.photos = choice.photos or {"throughput": 400, "faults": 5000, "scale": 100_000}[choice.what]
    {"throughput": throughput, "faults": faults, "scale": scale}[choice.what](choice)


if __name__ == "__main__":
    main()
