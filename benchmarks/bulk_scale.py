"""Time and memory of runs over 100,000 photos: the manifest, a rerun with nothing to do, and whole runs.

python benchmarks/bulk_scale.py records [--photos 100000]
python benchmarks/bulk_scale.py rerun [--photos 20000] [--against CHECKOUT]
python benchmarks/bulk_scale.py memory [--photos 100000] [--engine threads|ray]

Times are processor time. ``rerun`` runs the command over small files that a manifest knows, and over an empty folder,
whose time is subtracted; each twice, and that of another checkout first if one is given. ``memory`` protects one small
photo under many names, whose copies are dropped.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from PIL import Image

from tests.processes import memory, memory_of_workers
from unlearn_cli.banks.catalog import choose
from unlearn_cli.banks.keys import Key
from unlearn_cli.photos.bulk.by_ray import OnRay
from unlearn_cli.photos.bulk.ledger import ledger_at
from unlearn_cli.photos.bulk.run_bulk import BulkRun, Places, Spread, in_threads
from unlearn_cli.photos.bulk.store import Stored
from unlearn_cli.photos.bulk.stream import Cut
from unlearn_cli.photos.copying import digest_of
from unlearn_cli.photos.manifest import Manifest, Record
from unlearn_cli.photos.outcome import Options
from unlearn_cli.photos.protection import Protection
from unlearn_cli.photos.state import stat_of

KEY = "0f" * 32
os.environ.setdefault("RAY_worker_niceness", "0")  # As in bulk.py.


class Listed:
    """A folder that only has a listing, of one small file under many names; what is written to it is forgotten."""

    def __init__(self, place: str, count: int, data: bytes = b"") -> None:
        self.place, self.count, self.data = place, count, data

    def listing(self) -> Iterator[Stored]:
        for number in range(self.count):
            yield Stored(name_of(number), 1000, "1")

    def read(self, file: Stored) -> bytes:  # noqa: ARG002
        return self.data

    def stat(self, name: str) -> None:  # noqa: ARG002
        return None

    def find(self, name: str) -> None:  # noqa: ARG002
        return None

    def write(self, name: str, data: bytes, like: Any, *, times: bool) -> Stored:  # noqa: ARG002
        return Stored(name, len(data), "1")


def name_of(number: int) -> str:
    return f"{number // 1000:05}/IMG_{number:07}.png"


def protection() -> Protection:
    return Protection.of(choose("person"), "person", key=Key(bytes.fromhex(KEY)))


def records(choice: argparse.Namespace) -> None:
    count = choice.photos
    with tempfile.TemporaryDirectory() as name:
        places = Places(source=Path(name), output=Path(name) / "out", manifest=Path(name) / "m.jsonl")
        print(f"{'photos':>8} {'append, us':>11} {'MB':>6}   records appended by a run of any length")
        ledger = ledger_at(places.recorded_in)
        append(count, ledger.add, protection())
        ledger.close()
        print(f"{'photos':>8} {'append, us':>11} {'MB':>6}   the same by a run over a folder, which remembers them")
        with Manifest(Path(name) / "other.jsonl") as manifest:
            append(count, manifest.add, protection())
        del manifest
        began, before = time.process_time(), memory(os.getpid())
        with BulkRun(places) as bulk:
            bulk.index.learn_files(Listed("", count).listing())
            known = time.process_time()
            bulk.source = Listed(str(bulk.source.place), count)  # type: ignore[assignment]
            done = 0
            for done, photo in enumerate(bulk.protect(protection(), in_threads, Cut()), 1):
                assert photo.status == "unchanged", photo.reason
                if done % (count // 5) == 0:
                    print(f"{done:>8} unchanged, {memory(os.getpid()) - before:+.0f} MB")
            assert done == count
        seconds = time.process_time() - began
        each, rest = (1000 * part / count for part in (known - began, seconds - (known - began)))
        print(f"a rerun with nothing to do: {each:.3f} ms a photo for the manifest, {rest:.3f} ms for the rest")


def append(count: int, add: Any, protection: Protection) -> None:
    record = recorded(protection)
    before, began = memory(os.getpid()), time.process_time()
    for number, file in enumerate(Listed("", count).listing(), 1):
        add(replace(record, input=f"./{file.name}", output=f"out/{file.name}"))
        if number % (count // 5) == 0:
            each = (time.process_time() - began) / (count // 5)
            print(f"{number:>8} {each * 1e6:>11.0f} {memory(os.getpid()) - before:>+6.0f}", flush=True)
            began = time.process_time()


def recorded(protection: Protection) -> Record:
    return Record(
        input="", status="protected", input_sha256="0" * 64, output_sha256="1" * 64, bank=protection.bank,
        bank_sha256=protection.bank_sha256, class_name="person", epsilon=8, form="class-wise", format="PNG", linf=8.0,
        key_fingerprint=protection.key_fingerprint, faces=1, faces_found=1, input_stat=(1000, 1),
        output_stat=(1000, 1), settings=digest_of(protection, Options().writing), seconds=0.1,
    )  # fmt: skip


def rerun(choice: argparse.Namespace) -> None:
    os.environ["UNLEARN_KEY"] = KEY
    here = Path(__file__).resolve().parents[1]
    with tempfile.TemporaryDirectory() as name:
        left_behind(Path(name), choice.photos)
        (Path(name) / "none").mkdir()
        for checkout in [*([choice.against] if choice.against else []), here] * 2:
            spent = seconds_of(checkout, Path(name) / "in")
            start = seconds_of(checkout, Path(name) / "none")
            each = 1000 * (spent - start) / choice.photos
            print(f"{checkout}: {spent:.2f} s, {start:.2f} s of them to start: {each:.3f} ms a photo", flush=True)


def left_behind(folder: Path, count: int) -> None:
    """Make small files, small copies and the manifest that a run over them would have left."""
    record = recorded(protection())
    with Manifest(folder / "in-protected.jsonl", remember=False) as manifest:
        for number in range(count):
            for below in ("in", "in-protected"):
                path = folder / below / name_of(number)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(b"x" * 100)
            given, made = (Path(below, name_of(number)) for below in ("in", "in-protected"))
            known = replace(record, input=given.as_posix(), output=made.as_posix(), output_sha256=f"{number:064x}")
            stats = stat_of(folder / given), stat_of(folder / made)
            manifest.add(replace(known, input_stat=stats[0], output_stat=stats[1]))


def seconds_of(checkout: Path, folder: Path) -> float:
    """Run the command of a checkout over a folder, and return its processor time."""
    command = [sys.executable, "-m", "unlearn_cli", "protect", str(folder), "--class", "person", "--json"]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = {**os.environ, "PYTHONPATH": str(checkout)}
    said = subprocess.run(command, cwd=checkout, env=environment, capture_output=True, text=True, check=False).stdout
    assert json.loads(said)["counts"].get("protected", 0) == 0, said
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def whole_run(choice: argparse.Namespace) -> None:
    data, count = io.BytesIO(), choice.photos
    Image.effect_noise((32, 32), 50).convert("RGB").save(data, "PNG")
    cat = Protection.of(choose("cat"), "cat")
    spread: Spread = in_threads if choice.engine == "threads" else OnRay(None, 2)
    began, spent = time.monotonic(), time.process_time()
    with tempfile.TemporaryDirectory() as name:
        places = Places(source=Path(name), output=Path(name) / "out", manifest=Path(name) / "m.jsonl")
        with BulkRun(places, Options(jobs=2)) as bulk:
            bulk.source = Listed(bulk.source.place, count, data.getvalue())  # type: ignore[assignment]
            bulk.target = Listed(bulk.target.place, 0)  # type: ignore[assignment]
            print("  photos  driver, MB  largest worker, MB  driver, ms a photo  seconds")
            for done, photo in enumerate(bulk.protect(cat, spread, Cut(photos=64)), 1):
                assert photo.status == "protected", photo.reason
                if done % (count // 10) == 0:
                    each = 1000 * (time.process_time() - spent) / (count // 10)
                    sizes = f"{memory(os.getpid()):>12.0f}{memory_of_workers():>20.0f}"
                    print(f"{done:>8}{sizes}{each:>20.2f}{time.monotonic() - began:>9.0f}", flush=True)
                    spent = time.process_time()
            assert done == count
    if isinstance(spread, OnRay):
        spread.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("records", "rerun", "memory"))
    parser.add_argument("--photos", type=int)
    parser.add_argument("--engine", choices=("threads", "ray"), default="threads")
    parser.add_argument("--against", type=Path, metavar="CHECKOUT")
    choice = parser.parse_args()
    choice.photos = choice.photos or {"rerun": 20_000}.get(choice.what, 100_000)
    {"records": records, "rerun": rerun, "memory": whole_run}[choice.what](choice)


if __name__ == "__main__":
    main()
