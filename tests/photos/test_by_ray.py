"""Ray's workers make the very copies of a local run, also if they are killed, and learn no key."""

from __future__ import annotations

import importlib
import itertools
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.conftest import RunUnlearn
from tests.object_store import object_store
from tests.processes import killing_workers
from unlearn_cli import Protector
from unlearn_cli.banks.keys import key_path
from unlearn_cli.files import TEMPORARY_PREFIX
from unlearn_cli.photos.bulk.by_ray import OnRay
from unlearn_cli.photos.bulk.objects import ObjectStore
from unlearn_cli.photos.bulk.run_bulk import BulkRun, Places
from unlearn_cli.photos.bulk.stream import Cut
from unlearn_cli.photos.folder import protect_folder
from unlearn_cli.photos.outcome import Options, PhotoDone
from unlearn_cli.photos.protection import Protection

pytest.importorskip("ray", reason="the extra 'ray' is not installed")
pytest.importorskip("s3fs", reason="the extra 'cloud' is not installed")
pytest.importorskip("moto", reason="the object store of the tests is not installed")
fsspec: Any = pytest.importorskip("fsspec")
conf: Any = pytest.importorskip("fsspec.config").conf
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="it finds Ray's workers in /proc")

PHOTOS = 24


@pytest.fixture(scope="module")
def ray() -> Iterator[OnRay]:
    """Yield a cluster whose workers can reach an object store."""
    with object_store() as (_, environment), pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        patch.setitem(conf, "s3", json.loads(environment["FSSPEC_S3"]))
        fsspec.filesystem("s3").call_s3("create_bucket", Bucket="photos")
        # Ray gives its workers a niceness of 15, with which they get no time beside other tests.
        patch.setenv("RAY_worker_niceness", "0")
        importlib.import_module("ray").shutdown()  # Workers that another file's test has started know no store.
        cluster = OnRay(None, 2)
        yield cluster
        cluster.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos") / "in"
    for number in range(PHOTOS):
        path = folder / f"{number % 3}" / f"{number:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.effect_noise((150 + number, 100), 50).convert("RGB").save(path)
    (folder / "damaged.png").write_bytes(path.read_bytes()[:999])
    return folder


@pytest.fixture(scope="module")
def person() -> Protection:
    return Protector("person").protection


@pytest.fixture(scope="module")
def copies(folder: Path, person: Protection) -> dict[str, bytes]:
    list(protect_folder(folder, person, options=Options(jobs=2)))
    return files_of(folder.with_name("in-protected"))


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def run(places: Places, protection: Protection, ray: OnRay, most: int | None = None) -> list[PhotoDone]:
    with BulkRun(places) as bulk:
        events = bulk.protect(protection, ray, Cut(photos=4))
        found = list(itertools.islice(events, most))
        events.close()
        return found


def statuses(results: list[PhotoDone]) -> dict[str, int]:
    found = [photo.status for photo in results]
    return {status: found.count(status) for status in sorted(set(found))}


def test_killed_workers_lose_nothing_and_the_next_run_finds_all_done(
    ray: OnRay, folder: Path, copies: dict[str, bytes], person: Protection, tmp_path: Path
) -> None:
    places = Places(source=folder, output=tmp_path / "out")
    with killing_workers(1, 0.1) as killed:
        results = run(places, person, ray)
    assert killed
    assert statuses(results) == {"failed": 1, "protected": PHOTOS}
    there = files_of(tmp_path / "out")
    left = {name for name in there if TEMPORARY_PREFIX in name}
    assert {name: data for name, data in there.items() if name not in left} == copies
    assert statuses(run(places, person, ray)) == {"failed": 1, "unchanged": PHOTOS}
    assert files_of(tmp_path / "out") == copies, "what a killed worker was writing is gone"
    found = list(protect_folder(folder, person, options=Options(jobs=2)))
    assert statuses(found) == {"failed": 1, "unchanged": PHOTOS}, "they are recorded in the manifest of every other run"


def test_a_run_in_object_storage_that_is_left_goes_on_later(
    ray: OnRay, folder: Path, copies: dict[str, bytes], person: Protection
) -> None:
    given, made = ObjectStore("s3://photos/in"), ObjectStore("s3://photos/out")
    for name, data in files_of(folder).items():
        given.write(name, data, None, times=False)
    places = Places(source=Path(given.url), output=Path(made.url))
    assert statuses(run(places, person, ray, most=12)).get("protected", 0) >= 11
    assert objects_of(made).items() <= copies.items()
    later = statuses(run(places, person, ray))
    assert later["unchanged"] >= 11
    assert objects_of(made) == copies


def objects_of(store: ObjectStore) -> dict[str, bytes]:
    return {file.name: store.read(file) for file in store.listing()}


def test_no_key_is_in_rays_logs(ray: OnRay, folder: Path, copies: dict[str, bytes], person: Protection) -> None:
    import ray as library

    key = key_path().read_text().strip()
    node: Any = library._private.worker._global_node
    logs = Path(node.get_session_dir_path())
    texts = [path.read_bytes() for path in logs.rglob("*") if path.is_file()]
    assert len(texts) > 5
    assert not any(key.encode() in text or bytes.fromhex(key) in text for text in texts)


def test_an_engine_that_is_only_a_default_gives_way(tmp_path: Path, unlearn: RunUnlearn) -> None:
    (tmp_path / "in").mkdir()
    Image.effect_noise((60, 40), 50).convert("RGB").save(tmp_path / "in" / "a.png")
    arguments = ("protect", "in", "--class", "cat", "--in-place", "--backup", "kept")
    assert unlearn(*arguments, UNLEARN_PROTECT_ENGINE="ray").returncode == 0
