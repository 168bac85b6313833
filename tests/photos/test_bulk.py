"""Photos in object storage: copies equal those of a local run, whatever the store and the processes suffer."""

from __future__ import annotations

import io
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.object_store import NAME, SECRET, Faults, object_store
from unlearn_cli.banks.keys import key_path
from unlearn_cli.errors import UsageError
from unlearn_cli.photos.apply import Noise, Pattern
from unlearn_cli.photos.bulk.run_bulk import BulkRun, Places, in_threads
from unlearn_cli.photos.bulk.stream import Cut
from unlearn_cli.photos.decode import Photo
from unlearn_cli.photos.folder import protect_folder
from unlearn_cli.photos.outcome import Options, PhotoDone
from unlearn_cli.photos.protection import Protection
from unlearn_cli.photos.urls import url_of

pytest.importorskip("s3fs", reason="the extra 'cloud' is not installed")
pytest.importorskip("moto", reason="the object store of the tests is not installed")

numbers = itertools.count()


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[Faults, dict[str, str]]]:
    with object_store() as (faults, environment), pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        import fsspec
        from fsspec.config import conf

        patch.setitem(conf, "s3", json.loads(environment["FSSPEC_S3"]))
        fsspec.filesystem("s3").call_s3("create_bucket", Bucket="photos")
        yield faults, environment


@pytest.fixture
def faults(server: tuple[Faults, dict[str, str]]) -> Iterator[Faults]:
    server[0].counts.clear()
    server[0].done.clear()
    yield server[0]
    server[0].share, server[0].always = 0.0, ""


@pytest.fixture
def s3(faults: Faults) -> Any:
    import fsspec

    return fsspec.filesystem("s3", use_listings_cache=False)


@pytest.fixture
def bucket(faults: Faults) -> str:
    """Return a folder of the bucket that no other test uses."""
    return f"photos/{next(numbers)}"


def some_photos(folder: Path, count: int = 12) -> Path:
    """Photos of several formats and folders, a damaged one, a text, and a JPEG without a suffix."""
    for number in range(count):
        path = folder / f"{number % 3}" / f"{number:04}.{('png', 'jpg', 'webp')[number % 3]}"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.effect_noise((40 + number % 5, 30), 50).convert("RGB").save(path, quality=90)
    Image.effect_noise((40, 30), 50).save(folder / "moves.gif")
    (folder / "2" / "damaged.jpg").write_bytes((folder / "1" / "0001.jpg").read_bytes()[:300])
    (folder / "notes.txt").write_text("no photo")
    (folder / "scan").write_bytes((folder / "1" / "0001.jpg").read_bytes())
    (folder / ".hidden.jpg").write_bytes((folder / "1" / "0001.jpg").read_bytes())
    return folder


def upload(s3: Any, folder: Path, url: str) -> None:
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            s3.pipe_file(f"{url}/{path.relative_to(folder).as_posix()}", path.read_bytes())


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def objects_of(s3: Any, url: str) -> dict[str, bytes]:
    return {path.removeprefix(f"{url}/"): s3.cat_file(path) for path in s3.find(url)}


@pytest.fixture
def local(tmp_path: Path, cat: Protection) -> tuple[Path, dict[str, bytes]]:
    """Photos, and the copies that a local run makes of them."""
    folder = some_photos(tmp_path / "in")
    list(protect_folder(folder, cat))
    return folder, files_of(tmp_path / "in-protected")


def run(places: Places, protection: Protection, **options: Any) -> list[PhotoDone]:
    with BulkRun(places, Options(**{"jobs": 4, **options})) as bulk:
        return list(bulk.protect(protection, in_threads, Cut()))


def at(url: str) -> Path:
    return Path(f"s3://{url}")


def statuses(results: list[PhotoDone]) -> dict[str, int]:
    found = [photo.status for photo in results]
    return {status: found.count(status) for status in sorted(set(found))}


def test_copies_in_object_storage_are_those_of_a_local_run_and_each_photo_travels_once(
    local: tuple[Path, dict[str, bytes]], s3: Any, bucket: str, faults: Faults, cat: Protection
) -> None:
    folder, copies = local
    upload(s3, folder, f"{bucket}/in")
    faults.counts.clear()
    places = Places(source=at(f"{bucket}/in"), output=at(f"{bucket}/out"))
    results = run(places, cat)
    looks = {name: count for name, count in faults.counts.items() if name.startswith(f"HEAD /{bucket}/out/")}
    assert faults.counts["GET /photos"] == 3, "listings of the manifest, the output and the input"
    assert statuses(results) == {"failed": 1, "protected": len(copies)}
    assert objects_of(s3, f"{bucket}/out") == copies
    reads = {name: count for name, count in faults.counts.items() if name.startswith("GET") and "/in/" in name}
    assert reads.pop(f"GET /{bucket}/in/scan") == 2, "its first bytes, and the photo"
    assert reads.pop(f"GET /{bucket}/in/notes.txt") == 1
    assert set(reads.values()) == {1}
    assert {count for name, count in faults.counts.items() if name.startswith("PUT")} == {1}
    assert looks == dict.fromkeys((f"HEAD /{bucket}/out/{name}" for name in copies), 1), "whether a copy is there"
    faults.counts.clear()
    assert statuses(run(places, cat)) == {"failed": 1, "unchanged": len(copies)}
    again = [name for name in faults.counts if name.split(" ")[0] == "PUT" or "0001.jpg" in name]
    assert not again, "a finished photo travels no more"


def test_it_goes_from_here_to_there_and_back(
    local: tuple[Path, dict[str, bytes]], s3: Any, bucket: str, cat: Protection, tmp_path: Path
) -> None:
    folder, copies = local
    run(Places(source=folder, output=at(f"{bucket}/out"), manifest=tmp_path / "m.jsonl"), cat)
    assert objects_of(s3, f"{bucket}/out") == copies
    assert not s3.exists(f"{bucket}/out.jsonl")
    upload(s3, folder, f"{bucket}/in")
    run(Places(source=at(f"{bucket}/in"), output=tmp_path / "back"), cat)
    assert files_of(tmp_path / "back") == copies
    run(Places(source=folder, output=tmp_path / "here"), cat)
    assert files_of(tmp_path / "here") == copies
    assert {done.status for done in protect_folder(folder, cat)} == {"unchanged", "failed"}


def test_a_store_that_misbehaves_changes_nothing(
    local: tuple[Path, dict[str, bytes]], s3: Any, bucket: str, faults: Faults, cat: Protection
) -> None:
    folder, copies = local
    upload(s3, folder, f"{bucket}/in")
    faults.share, faults.seconds = 0.3, 1.5
    results = run(Places(source=at(f"{bucket}/in"), output=at(f"{bucket}/out")), cat, jobs=8)
    assert len(faults.done) >= 4, faults.done
    faults.share = 0.0
    failed = {photo.source.name: photo.reason for photo in results if photo.status == "failed"}
    assert list(failed) == ["damaged.jpg"], failed
    assert objects_of(s3, f"{bucket}/out") == copies


def test_a_photo_whose_first_bytes_arrive_in_part_is_a_photo(
    s3: Any, bucket: str, faults: Faults, cat: Protection, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = io.BytesIO()
    Image.effect_noise((40, 30), 50).convert("RGB").save(data, "JPEG")
    for number in range(8):
        s3.pipe_file(f"{bucket}/in/{number}", data.getvalue())
    monkeypatch.setattr("unlearn_cli.photos.bulk.retry.FIRST_PAUSE", 0.001)
    monkeypatch.setattr(faults, "kinds", ("short",))
    faults.share = 0.3
    results = run(Places(source=at(f"{bucket}/in"), output=at(f"{bucket}/out")), cat, jobs=1)
    assert statuses(results) == {"protected": 8}
    assert faults.done["short"]


def test_a_photo_that_cannot_be_read_fails_alone(
    local: tuple[Path, dict[str, bytes]], s3: Any, bucket: str, faults: Faults, cat: Protection,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    folder, copies = local
    upload(s3, folder, f"{bucket}/in")
    monkeypatch.setattr("unlearn_cli.photos.bulk.retry.FIRST_PAUSE", 0.001)
    faults.always = "0001.jpg"
    results = run(Places(source=at(f"{bucket}/in"), output=at(f"{bucket}/out")), cat)
    failed = {photo.source.name: photo.code for photo in results if photo.status == "failed"}
    assert failed == {"0001.jpg": "unreadable", "damaged.jpg": "damaged"}
    faults.always = ""
    results = run(Places(source=at(f"{bucket}/in"), output=at(f"{bucket}/out")), cat)
    assert statuses(results) == {"failed": 1, "protected": 1, "unchanged": len(copies) - 1}
    assert objects_of(s3, f"{bucket}/out") == copies


def test_the_photo_itself_in_its_copys_place_is_a_failure(
    local: tuple[Path, dict[str, bytes]], s3: Any, bucket: str, cat: Protection
) -> None:
    folder, _ = local
    upload(s3, folder, f"{bucket}/in")
    places = Places(source=at(f"{bucket}/in"), output=at(f"{bucket}/out"))
    run(places, cat)
    s3.pipe_file(f"{bucket}/out/0/0003.png", (folder / "0" / "0003.png").read_bytes())
    again = {photo.source.name: photo for photo in run(places, cat)}
    assert (again["0003.png"].status, again["0003.png"].code) == ("failed", "copy-exists")


def test_what_changed_is_made_again_and_what_is_not_ours_is_left_alone(
    local: tuple[Path, dict[str, bytes]], s3: Any, bucket: str, cat: Protection
) -> None:
    folder, copies = local
    upload(s3, folder, f"{bucket}/in")
    s3.pipe_file(f"{bucket}/out/0/0003.png", b"somebody else's")
    places = Places(source=at(f"{bucket}/in"), output=at(f"{bucket}/out"))
    first = {photo.source.name: photo for photo in run(places, cat)}
    assert (first["0003.png"].status, first["0003.png"].code) == ("failed", "copy-exists")
    assert s3.cat_file(f"{bucket}/out/0/0003.png") == b"somebody else's"
    s3.pipe_file(f"{bucket}/in/0/0000.png", (folder / "0" / "0006.png").read_bytes())
    s3.rm_file(f"{bucket}/out/0/0009.png")
    second = {photo.source.name for photo in run(places, cat) if photo.status == "protected"}
    assert second == {"0000.png", "0009.png"}
    assert s3.cat_file(f"{bucket}/out/0/0000.png") == copies["0/0006.png"]
    weaker = Protection(cat.pattern.scaled(4), "cat", cat.bank, cat.bank_sha256, cat.bank_epsilon)
    assert statuses(run(places, weaker))["protected"] == len(copies) - 1
    assert statuses(run(places, cat, overwrite=True))["protected"] == len(copies)
    assert s3.cat_file(f"{bucket}/out/0/0003.png") == copies["0/0003.png"]


def test_an_output_inside_the_input_is_not_protected_again(
    local: tuple[Path, dict[str, bytes]], s3: Any, bucket: str, cat: Protection
) -> None:
    folder, copies = local
    upload(s3, folder, bucket)
    places = Places(source=at(bucket), output=at(f"{bucket}/safe"))
    run(places, cat)
    assert statuses(run(places, cat)) == {"failed": 1, "unchanged": len(copies)}
    assert objects_of(s3, f"{bucket}/safe") == copies
    for wrong, sentence in ((bucket, "is the input itself"), ("photos", "a whole bucket")):
        with pytest.raises(UsageError, match=sentence):
            run(Places(source=at(bucket), output=at(wrong)), cat)
    with pytest.raises(UsageError, match="contains the input"):
        run(Places(source=at(f"{bucket}/in"), output=at(bucket)), cat)


def test_shards_share_an_output(local: tuple[Path, dict[str, bytes]], s3: Any, bucket: str, cat: Protection) -> None:
    folder, copies = local
    upload(s3, folder, f"{bucket}/in")
    done = 0
    for part in (1, 2, 3):
        places = Places(source=at(f"{bucket}/in"), output=at(f"{bucket}/out"), shard=(part, 3))
        done += statuses(run(places, cat)).get("protected", 0)
    assert done == len(copies)
    assert objects_of(s3, f"{bucket}/out") == copies


def test_a_killed_run_leaves_nothing_half_written_and_the_next_one_goes_on(
    server: tuple[Faults, dict[str, str]], s3: Any, bucket: str, tmp_path: Path, cat: Protection
) -> None:
    folder = some_photos(tmp_path / "in", 60)
    list(protect_folder(folder, cat))
    copies = files_of(tmp_path / "in-protected")
    upload(s3, folder, f"{bucket}/in")
    command = [sys.executable, "-m", "unlearn_cli", "protect", f"s3://{bucket}/in", "--class", "cat", "-q", "-j", "1"]
    with subprocess.Popen([*command, "-o", f"s3://{bucket}/out"], cwd=tmp_path) as process:
        while len(s3.find(f"{bucket}/out")) < 10:
            assert process.poll() is None
            time.sleep(0.02)
        process.kill()
    there = objects_of(s3, f"{bucket}/out")
    assert 10 <= len(there) < len(copies)
    assert there.items() <= copies.items()
    server[0].counts.clear()
    results = run(Places(source=at(f"{bucket}/in"), output=at(f"{bucket}/out")), cat)
    assert statuses(results) == {"failed": 1, "protected": len(copies)}
    assert objects_of(s3, f"{bucket}/out") == copies
    puts = {name for name in server[0].counts if name.startswith("PUT") and ".jsonl" not in name}
    assert len(puts) == len(copies) - len(there), "a copy that is there is recognised by its bytes"


def test_an_interrupted_run_records_what_it_has_done(
    server: tuple[Faults, dict[str, str]], s3: Any, bucket: str, tmp_path: Path, cat: Protection
) -> None:
    upload(s3, some_photos(tmp_path / "in", 60), f"{bucket}/in")
    command = [sys.executable, "-m", "unlearn_cli", "protect", f"s3://{bucket}/in", "--class", "cat", "-j", "1"]
    with subprocess.Popen(
        [*command, "-o", f"s3://{bucket}/out"], cwd=tmp_path, stderr=subprocess.PIPE, text=True
    ) as process:
        while len(s3.find(f"{bucket}/out")) < 5:
            assert process.poll() is None
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "run the same command again" in said
    there = len(s3.find(f"{bucket}/out"))
    results = run(Places(source=at(f"{bucket}/in"), output=at(f"{bucket}/out")), cat)
    # With one job, one photo is in work and the one before it may wait for its record (pipeline.in_order).
    assert statuses(results)["unchanged"] >= there - 2, "all but perhaps the last two copies were recorded"


def test_the_command_tells_no_secret_and_what_to_do(
    server: tuple[Faults, dict[str, str]], s3: Any, bucket: str
) -> None:
    data = io.BytesIO()
    Image.effect_noise((60, 40), 50).convert("RGB").save(data, "PNG")
    s3.pipe_file(f"{bucket}/in/a.png", data.getvalue())
    key = key_path().read_text().strip()
    url, out = f"s3://{bucket}/in", f"s3://{bucket}/out"
    person = ["protect", url, "--class", "person", "-o"]
    first, planned, checked, second = commands(
        [*person, out, "-v"], [*person, f"{out}2", "-n"], ["verify", url, out], [*person, out, "--json"]
    )
    other = commands([*person, out], UNLEARN_KEY="f" * 64)[0]
    assert [code for code, _ in (first, planned, checked, second, other)] == [0, 0, 0, 0, 2], (first, checked)
    assert f"unlearn verify {url} {out}" in first[1]
    assert f"recorded in: {out}.jsonl" in first[1]
    assert "would protect: 1 photos" in planned[1]
    assert "no face" in checked[1]
    counts = {"protected": 0, "skipped": 0, "failed": 0, "already_protected": 1}
    assert json.loads(second[1])["counts"] == counts
    assert "add --existing overwrite" in other[1]
    record = b"".join(s3.cat_file(part) for part in s3.find(f"{bucket}/out.jsonl")).decode()
    record += "".join(said for _, said in (first, planned, checked, second, other))
    for secret in (key, SECRET, NAME, "f" * 64):
        assert secret not in record


def commands(*lines: list[str], **more: str) -> list[tuple[int, str]]:
    """Run several commands in one process, which starts once; the exit code and the output of each."""
    code = (
        "import sys, json\nfrom unlearn_cli.cli.app import app\n"
        "for line in json.loads(sys.argv[1]):\n"
        "    try:\n        app(line)\n"
        "    except SystemExit as end:\n        print(f'\\0{end.code}\\1', flush=True)\n"
    )
    command = [sys.executable, "-c", code, json.dumps(lines)]
    environment = {**os.environ, "COLUMNS": "300", "NO_COLOR": "1", **more}
    said = subprocess.run(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=True
    ).stdout
    found = [part.rpartition("\0") for part in said.split("\1")[:-1]]
    return [(int(code), text) for text, _, code in found]


NONSENSE: list[tuple[list[str], str]] = [
    (["--in-place", "--backup", "b"], "an object store keeps no original"),
    (["--preview", "a.html"], "--preview does not go with photos at a URL"),
    (["--form", "sample-wise"], "--form sample-wise does not go"),
    (["--files-from", "-"], "Name the folder that holds the files"),
    (["more"], "run the command once for each"),
    (["-o", "ftp://host/out"], "half-written"),
    (["-o", "s3://name:password@bucket/out"], "must not contain a name and a password"),
    (["--manifest", "s3://bucket/m.json"], "must end in .jsonl"),
]


OTHER_NONSENSE: list[tuple[list[str], str]] = [
    (["protect", "s3://bucket/in", "--class-from-folders"], "Run the command once for each subfolder"),
    (["restore", "s3://b/out.jsonl"], "cannot be a URL: s3://b/"),
    (["preview", "s3://b/in", "s3://b/out"], "cannot be a URL: s3://b/"),
    (
        ["protect", "in", "--class", "cat", "--in-place", "--backup", "b", "--engine", "ray"],
        "--in-place does not go with --engine ray",
    ),
    (
        ["protect", "in", "--class", "cat", "--ray-address", "127.0.0.1:1"],
        "--ray-address works only together with --engine ray",
    ),
]


def test_what_makes_no_sense_is_refused_in_one_sentence() -> None:
    wrong = [(["protect", "s3://bucket/in", "--class", "cat", *arguments], said) for arguments, said in NONSENSE]
    wrong += OTHER_NONSENSE
    for (code, said), (_, sentence) in zip(commands(*(line for line, _ in wrong)), wrong, strict=True):
        assert code == 2, said
        assert sentence in said
        assert "password@" not in said
        assert "Traceback" not in said


def test_without_the_extra_it_says_what_to_install(tmp_path: Path) -> None:
    code = (
        "import sys\nsys.modules['fsspec'] = sys.modules['s3fs'] = sys.modules['ray'] = None\n"
        "from unlearn_cli.cli.app import app\napp(sys.argv[1:])\n"
    )
    (tmp_path / "in").mkdir()
    for extra, arguments in (("cloud", ["s3://b/in"]), ("ray", ["in", "--engine", "ray"])):
        command = [sys.executable, "-c", code, "protect", *arguments, "--class", "cat"]
        result = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
        assert result.returncode == 2, result.stderr
        assert f"pip install '.[{extra}]'" in result.stderr


def test_urls_are_told_from_paths(tmp_path: Path) -> None:
    assert url_of(Path("s3://bucket/a b")) == "s3://bucket/a b"
    assert url_of("gs://bucket/x/") == "gs://bucket/x"
    for path in ("a", "/a/b", "C:/x", "./s3:/x", str(tmp_path)):
        assert url_of(Path(path) if not path.startswith(".") else path) is None


def verdicts(originals: Path, protected: Path) -> dict[str, str]:
    from unlearn_cli.photos.bulk.compare import compare_bulk

    pairs = compare_bulk(originals, protected, [], jobs=2, key=None, measure=False)
    return {str((pair.original or pair.protected or Path()).name): pair.verdict for pair in pairs}


def test_verify_says_of_objects_what_it_says_of_files(
    local: tuple[Path, dict[str, bytes]], s3: Any, bucket: str, cat: Protection
) -> None:
    folder, _ = local
    upload(s3, folder, f"{bucket}/in")
    run(Places(source=at(f"{bucket}/in"), output=at(f"{bucket}/out")), cat)
    s3.rm_file(f"{bucket}/out/0/0000.png")
    s3.pipe_file(f"{bucket}/out/0/0003.png", (folder / "0" / "0003.png").read_bytes())
    s3.pipe_file(f"{bucket}/out/new.png", (folder / "0" / "0003.png").read_bytes())
    found = verdicts(at(f"{bucket}/in"), at(f"{bucket}/out"))
    odd = {name: verdict for name, verdict in found.items() if verdict != "protected"}
    assert odd == {
        "0000.png": "missing", "0003.png": "not protected", "new.png": "extra", "damaged.jpg": "unreadable",
    }  # fmt: skip


def test_names_that_collide_get_others(s3: Any, bucket: str, cat: Protection, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("a.gif", "a.gif.png", "b.gif"):
        Image.effect_noise((40, 30), 50).save(folder / name)
    upload(s3, folder, f"{bucket}/in")
    run(Places(source=at(f"{bucket}/in"), output=at(f"{bucket}/out")), cat)
    assert sorted(objects_of(s3, f"{bucket}/out")) == ["a.gif-2.png", "a.gif.png", "b.gif.png"]
    results = run(Places(source=at(f"{bucket}/in"), output=at(f"{bucket}/out")), cat)
    assert statuses(results) == {"unchanged": 3}


def made_with(protection: Protection, key: str) -> Protection:
    return replace(protection, key_fingerprint=key)


def test_once_all_copies_have_the_new_key_the_old_one_is_forgotten(tmp_path: Path, cat: Protection) -> None:
    places = Places(source=some_photos(tmp_path / "in"), output=tmp_path / "out")
    run(places, made_with(cat, "old"))
    new = made_with(cat, "new")
    with BulkRun(places, Options(jobs=4)) as bulk, pytest.raises(UsageError, match="old"):
        bulk.refuse_other_key(new, missing=False)
    run(places, new, overwrite=True)
    with BulkRun(places, Options(jobs=4)) as bulk:
        bulk.refuse_other_key(new, missing=False)


def test_existing_copies_are_kept_if_asked_for(tmp_path: Path, cat: Protection) -> None:
    places = Places(source=some_photos(tmp_path / "in"), output=tmp_path / "out")
    run(places, cat)
    before = files_of(tmp_path / "out")
    weaker = replace(cat, pattern=Pattern(cat.pattern.noise // 2, 4))
    codes = {photo.code for photo in run(places, weaker, skip_existing=True) if photo.status == "skipped"}
    assert codes == {"copy-exists"}
    assert files_of(tmp_path / "out") == before


@pytest.mark.skipif(os.name == "nt" or sys.platform == "darwin", reason="names there are text")
def test_names_that_are_no_text_are_names_too(tmp_path: Path, cat: Protection) -> None:
    photos = some_photos(tmp_path / "in")
    os.rename(photos / "1" / "0001.jpg", os.fsencode(photos) + b"/\xff.jpg")
    places = Places(source=photos, output=tmp_path / "out")
    assert "protected" in {photo.status for photo in run(places, cat) if os.fsencode(photo.source.name) == b"\xff.jpg"}
    assert "unchanged" in {photo.status for photo in run(places, cat) if os.fsencode(photo.source.name) == b"\xff.jpg"}


def test_a_dry_run_leaves_no_manifest(tmp_path: Path, cat: Protection) -> None:
    places = Places(source=some_photos(tmp_path / "in"), output=tmp_path / "out", manifest=tmp_path / "new" / "m.jsonl")
    with BulkRun(places, Options(jobs=4), dry_run=True) as bulk:
        assert any(unit.items for unit in bulk.stream(bulk.job(cat)).units(Cut()))
    assert not (tmp_path / "new").exists()


def test_a_photo_that_breaks_something_does_not_end_the_run(
    tmp_path: Path, cat: Protection, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = some_photos(tmp_path / "in")
    ordinary = Protection.noise_for

    def fail_for_some(self: Protection, photo: Photo) -> Noise:
        if photo.pixels.shape[1] == 41:
            raise ValueError("Maximum allowed size exceeded")
        return ordinary(self, photo)

    monkeypatch.setattr(Protection, "noise_for", fail_for_some)
    for results in (list(protect_folder(folder, cat)), run(Places(source=folder, output=tmp_path / "out"), cat)):
        failed = [photo for photo in results if "please report it" in photo.reason]
        assert failed
        assert {(photo.status, photo.code) for photo in failed} == {("failed", "noise-failed")}
        assert "ValueError: Maximum allowed size exceeded" in failed[0].reason
        assert any(photo.status == "protected" for photo in results)
