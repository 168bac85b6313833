"""Many photos: throughput by engine and store, and what faults, kills and the end of a node change.

python benchmarks/bulk.py throughput [--photos 400] [--large 16]
python benchmarks/bulk.py faults [--photos 5000] [--workers-killed 20] [--drivers-killed 5]
python benchmarks/bulk.py nodes [--photos 200]

The object store is moto's S3 server, in a process of its own on the loopback address. It runs on the same cores, so
what it costs is in the figures. It needs the extra 'dev'. Runs of 100,000 photos are in ``bulk_scale.py``.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from PIL import Image

from tests.object_store import NAME, SECRET, object_store
from tests.processes import descendants, killing_workers, memory_of_workers
from unlearn_cli.banks.catalog import choose
from unlearn_cli.banks.keys import Key
from unlearn_cli.photos.bulk.by_ray import OnRay
from unlearn_cli.photos.bulk.run_bulk import BulkRun, Places, Spread, in_threads
from unlearn_cli.photos.bulk.stream import Cut
from unlearn_cli.photos.folder import protect_folder
from unlearn_cli.photos.outcome import Options, PhotoDone
from unlearn_cli.photos.protection import Protection

KEY = "0f" * 32
SHARE = 0.03
"""The share of requests that the store answers badly."""


os.environ.setdefault("RAY_worker_niceness", "0")  # Ray's own is 15: on a busy machine its workers would get no time.


TIMEOUT = 10
"""How many seconds a client waits for an answer. The server needs more than one for a listing if others use its cores,
and tries that end too early only give it more to do."""


def serve(pipe: Any, share: float) -> None:
    with object_store(TIMEOUT) as (faults, environment):
        faults.share, faults.seconds = share, TIMEOUT + 2.0
        pipe.send(environment)
        while True:
            faults.share = pipe.recv()
            copies = sum(name.startswith("PUT") and "/out/" in name for name in list(faults.counts))
            pipe.send((dict(faults.done), copies))


@contextmanager
def store(share: float = 0.0) -> Iterator[Any]:
    """Start a server in a process of its own, whose environment this process then has, and yield how to ask it.

    Each question is the share of faults from then on; the answer has the faults until then, and how many copies it got.
    """
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
    """Make different photos of one size, and return their folder.

    They are noise with a smooth part, so that a JPEG is about as large as a real photo's.
    """
    smooth = Image.effect_noise((side // 8, side * 3 // 32), 60).resize((side, side * 3 // 4), Image.Resampling.BICUBIC)
    image = Image.blend(smooth, Image.effect_noise(smooth.size, 40), 0.2).convert("RGB")
    for number in range(count):
        path = folder / f"{number // 500:03}" / f"{number:06}.{kind}"
        path.parent.mkdir(parents=True, exist_ok=True)
        image.putpixel((number % side, number // side % 8), (number % 256, 0, 0))
        image.save(path, quality=90)
    return folder


def upload(folder: Path, url: str) -> None:
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


def used() -> float:
    """Return the processor time of this process and of Ray's below it, in seconds, without that of the object store."""
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
            print(f"the largest worker of Ray has {memory_of_workers():.0f} MB")
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
    with tempfile.TemporaryDirectory() as name, store(SHARE) as pipe:
        log = Path(name) / "log"
        folder = make(Path(name) / "in", choice.photos, 160, "png")
        with timed("an undisturbed local run"):
            list(protect_folder(folder, protection, options=Options(jobs=2)))
        copies = files_of(Path(name) / "in-protected")
        with timed("putting the photos into the store"):
            upload(folder, "photos/in")
        with timed(f"runs whose driver is killed, {choice.drivers_killed}"):
            kill_drivers(choice.drivers_killed, log, pipe)
        with timed("reading what the killed drivers have left"):
            left = objects_of("photos/out")
        print(f"{len(left)} copies, each complete: {left.items() <= copies.items()}", flush=True)
        places = Places(source=Path("s3://photos/in"), output=Path("s3://photos/out"))
        ray = OnRay(None, 2)
        with timed("the run whose workers are killed"), killing_workers(choice.workers_killed, 3.0) as killed:
            results, _ = run(places, protection, ray, Cut(photos=64))
        print(f"{len(killed)} workers were killed; {counted(results)}", flush=True)
        said = log.read_bytes() + logs_of_ray()
        ray.close()
        pipe.send(0.0)
        print("faults of the store until here:", pipe.recv()[0], flush=True)
        with timed("a run with nothing to do"):
            print(counted(run(places, protection, in_threads, Cut())[0]))
        print("the copies equal those of the local run:", objects_of("photos/out") == copies)
        said += b"".join(objects_of("photos/out.jsonl").values())
        found = sum(secret in said for secret in (KEY.encode(), bytes.fromhex(KEY), NAME.encode(), SECRET.encode()))
        print(f"secrets in {len(said) / 1e6:.1f} MB of output, Ray's logs and manifests: {found}")


@contextmanager
def timed(what: str) -> Iterator[None]:
    began = time.monotonic()
    yield
    print(f"{what}: {time.monotonic() - began:.0f} s", flush=True)


def counted(results: list[PhotoDone]) -> dict[str, int]:
    return {status: sum(p.status == status for p in results) for status in sorted({p.status for p in results})}


def logs_of_ray() -> bytes:
    import ray

    node: Any = ray._private.worker._global_node
    return b"".join(path.read_bytes() for path in Path(node.get_session_dir_path()).rglob("*") if path.is_file())


def copies_put(pipe: Any, share: float = SHARE) -> int:
    pipe.send(share)
    copies: int = pipe.recv()[1]
    return copies


def kill_drivers(count: int, log: Path, pipe: Any) -> None:
    """Start the command and kill it after some seconds, again and again; all that it says goes into a file."""
    command = [sys.executable, "-m", "unlearn_cli", "protect", "s3://photos/in", "--class", "person", "-v"]
    with log.open("wb") as said:
        for number in range(count):
            before = copies_put(pipe)
            with subprocess.Popen([*command, "-o", "s3://photos/out"], stdout=said, stderr=said) as driver:
                while copies_put(pipe) < before + 50:
                    assert driver.poll() is None, log.read_text()
                    time.sleep(random.Random(number).uniform(0.2, 1))
                driver.kill()


def nodes(choice: argparse.Namespace) -> None:
    """Protect photos on a running cluster of two nodes, and kill one of them when a quarter of the copies is there."""
    os.environ |= {"UNLEARN_KEY": KEY, "RAY_USAGE_STATS_ENABLED": "0"}
    os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    protection = Protection.of(choose("person"), "person", key=Key(bytes.fromhex(KEY)))
    with tempfile.TemporaryDirectory() as name, store() as pipe:
        folder = make(Path(name) / "in", choice.photos, 160, "png")
        list(protect_folder(folder, protection, options=Options(jobs=2)))
        upload(folder, "photos/in")
        with started("--head", "--port=6399", "--include-dashboard=false"), started("--address=127.0.0.1:6399") as node:
            command = [sys.executable, "-m", "unlearn_cli", "protect", "s3://photos/in", "--class", "person"]
            command += ["-o", "s3://photos/out", "--engine", "ray", "--ray-address", "127.0.0.1:6399"]
            with timed("the run"), subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as driver:
                while (there := copies_put(pipe, 0)) < choice.photos // 4:
                    assert driver.poll() is None
                    time.sleep(0.1)
                for process in (*descendants(node.pid), node.pid):
                    os.kill(process, signal.SIGKILL)
                print(f"a node was killed when {there} copies were there", flush=True)
                print((driver.communicate()[0]).splitlines()[0])
        print(
            "the copies equal those of a local run:", objects_of("photos/out") == files_of(Path(f"{folder}-protected"))
        )


@contextmanager
def started(*options: str) -> Iterator[subprocess.Popen[str]]:
    """Start a node of a Ray cluster, which does not know the key, and end it afterwards."""
    command = [str(Path(sys.executable).with_name("ray")), "start", *options, "--num-cpus=1", "--block"]
    environment = {name: value for name, value in os.environ.items() if name != "UNLEARN_KEY"}
    address = ["--node-ip-address=127.0.0.1"]
    with subprocess.Popen(
        [*command, *address], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as node:
        assert node.stdout is not None
        assert any("runtime started" in line for line in node.stdout)
        try:
            yield node
        finally:
            node.terminate()


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def objects_of(url: str) -> dict[str, bytes]:
    from unlearn_cli.photos.bulk.objects import ObjectStore

    found = ObjectStore(f"s3://{url}")
    with ThreadPoolExecutor(8) as pool:
        return dict(pool.map(lambda file: (file.name, found.read(file)), found.listing()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("throughput", "faults", "nodes"))
    parser.add_argument("--photos", type=int)
    parser.add_argument("--large", type=int, default=16)
    parser.add_argument("--workers-killed", type=int, default=20)
    parser.add_argument("--drivers-killed", type=int, default=5)
    choice = parser.parse_args()
    choice.photos = choice.photos or {"throughput": 400, "faults": 5000, "nodes": 200}[choice.what]
    {"throughput": throughput, "faults": faults, "nodes": nodes}[choice.what](choice)


if __name__ == "__main__":
    main()
