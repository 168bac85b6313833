"""The manifest: what a second run does, what it refuses, and what a killed run may have left."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tests.photos.test_folder import PROTECTION, make_photo, run
from unlearn_cli.errors import UsageError, WorkError
from unlearn_cli.files import TEMPORARY_PREFIX
from unlearn_cli.photos import manifest as module
from unlearn_cli.photos.encode import Writing
from unlearn_cli.photos.folder import protect_folder, protect_photos
from unlearn_cli.photos.manifest import Manifest, Record
from unlearn_cli.photos.protection import Protection
from unlearn_cli.photos.scan import Where, plan


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_each_photo_has_its_line(tmp_path: Path) -> None:
    make_photo(tmp_path / "in" / "a.png")
    (tmp_path / "in" / "b.png").write_bytes(b"damaged")
    run(tmp_path / "in", measure=True)
    good, bad = lines(tmp_path / "in-protected.jsonl")
    assert (good["input"], good["output"]) == ("in/a.png", "in-protected/a.png")
    assert (good["status"], good["class"], good["epsilon"], good["format"], good["linf"]) == (
        "protected",
        "test",
        8,
        "PNG",
        8,
    )
    assert len(good["input_sha256"]) == len(good["output_sha256"]) == 64
    assert good["bank_sha256"] == PROTECTION.bank_sha256
    assert set(good["measured"]) == {"linf", "psnr", "ssim", "ciede2000", "ciede2000_p95", "flip"}
    assert bad["status"] == "failed"
    assert "damaged" in bad["reason"]
    assert "output" not in bad


def test_a_grey_photo_that_is_hardly_protected_is_recorded_so(tmp_path: Path, cat: Protection) -> None:
    assert cat.pattern.mostly_chroma
    (tmp_path / "in").mkdir()
    for mode in ("L", "RGB"):
        Image.effect_noise((64, 64), 60).convert(mode).save(tmp_path / "in" / f"{mode}.png")
    list(protect_folder(tmp_path / "in", cat))
    told = {line["input"]: line["reason"] for line in lines(tmp_path / "in-protected.jsonl")}
    assert "hardly protected" in told["in/L.png"]
    assert told["in/RGB.png"] == ""


def test_a_second_run_does_nothing(tmp_path: Path) -> None:
    make_photo(tmp_path / "in" / "a.png")
    (tmp_path / "in" / "b.png").write_bytes(b"damaged")
    run(tmp_path / "in")
    before = (tmp_path / "in-protected.jsonl").read_bytes()
    again = run(tmp_path / "in")
    assert again["a.png"].status == "unchanged"
    assert again["b.png"].status == "failed"
    assert (tmp_path / "in-protected.jsonl").read_bytes() == before


def test_what_changed_is_made_again(tmp_path: Path) -> None:
    make_photo(tmp_path / "in" / "a.png")
    make_photo(tmp_path / "in" / "b.png")
    run(tmp_path / "in")
    make_photo(tmp_path / "in" / "a.png", 50)
    done = run(tmp_path / "in")
    assert (done["a.png"].status, done["b.png"].status) == ("protected", "unchanged")
    (tmp_path / "in-protected" / "b.png").unlink()
    done = run(tmp_path / "in")
    assert (done["a.png"].status, done["b.png"].status) == ("unchanged", "protected")
    assert run(tmp_path / "in", writing=Writing(metadata="none"))["a.png"].status == "protected"


def test_a_photo_that_was_only_touched_is_not_made_again(tmp_path: Path) -> None:
    source = make_photo(tmp_path / "in" / "a.png")
    run(tmp_path / "in")
    os.utime(source)
    assert run(tmp_path / "in")["a.png"].status == "unchanged"


def test_what_the_user_did_to_a_copy_is_never_lost(tmp_path: Path) -> None:
    source = make_photo(tmp_path / "in" / "a.png")
    run(tmp_path / "in")
    target = tmp_path / "in-protected" / "a.png"
    target.write_bytes(b"cropped by hand")
    done = run(tmp_path / "in")["a.png"]
    assert done.status == "skipped"
    assert "changed after it was written" in done.reason
    make_photo(source, 50)
    assert run(tmp_path / "in")["a.png"].status == "skipped"
    assert target.read_bytes() == b"cropped by hand"
    assert run(tmp_path / "in", overwrite=True)["a.png"].status == "protected"
    assert target.read_bytes() != b"cropped by hand"


def test_the_photo_itself_in_its_copys_place_is_a_failure(tmp_path: Path) -> None:
    source = make_photo(tmp_path / "in" / "a.png")
    run(tmp_path / "in")
    (tmp_path / "in-protected" / "a.png").write_bytes(source.read_bytes())
    done = run(tmp_path / "in")["a.png"]
    assert (done.status, done.code) == ("failed", "copy-exists")
    assert run(tmp_path / "in", overwrite=True)["a.png"].status == "protected"


def test_a_strangers_file_is_left_alone(tmp_path: Path) -> None:
    make_photo(tmp_path / "in" / "a.png")
    target = tmp_path / "in-protected" / "a.png"
    target.parent.mkdir()
    target.write_bytes(b"something the user put there")
    done = run(tmp_path / "in")["a.png"]
    assert (done.status, done.code) == ("failed", "copy-exists")  # Somebody would share that file as the copy.
    assert "another file, which may be unprotected, is in the place of its copy" in done.reason
    assert "--existing skip" in run(tmp_path / "in", skip_existing=True)["a.png"].reason
    assert target.read_bytes() == b"something the user put there"


def test_a_copy_that_a_killed_run_did_not_record_is_recognised(tmp_path: Path) -> None:
    make_photo(tmp_path / "in" / "a.png")
    run(tmp_path / "in")
    target = tmp_path / "in-protected" / "a.png"
    before = (target.read_bytes(), target.stat().st_ino)
    (tmp_path / "in-protected.jsonl").write_bytes(b'{"input": "in/a.p')
    assert run(tmp_path / "in")["a.png"].status == "protected"
    assert (target.read_bytes(), target.stat().st_ino) == before
    assert run(tmp_path / "in")["a.png"].status == "unchanged"


def test_what_a_killed_run_left_is_removed_by_the_next(tmp_path: Path) -> None:
    make_photo(tmp_path / "in" / "a.png")
    with Manifest(tmp_path / "in-protected.jsonl") as manifest:
        ours = tmp_path / "in-protected" / f"{TEMPORARY_PREFIX}{manifest.tag}abcd"
    ours.parent.mkdir()
    theirs = ours.with_name(f"{TEMPORARY_PREFIX}0badcafe-abcd")  # of a run that is going on elsewhere
    ours.touch()
    theirs.touch()
    run(tmp_path / "in")
    assert sorted(path.name for path in ours.parent.iterdir()) == [theirs.name, "a.png"]


def test_a_protected_photo_is_not_protected_again_wherever_it_is(tmp_path: Path) -> None:
    make_photo(tmp_path / "in" / "a.png")
    run(tmp_path / "in", Where(output=tmp_path / "in" / "out"))
    done = run(tmp_path / "in")
    assert done["a.png"].status == "skipped"  # the later of the two of this name, in/out/a.png
    assert "already protected, according to a manifest" in done["a.png"].reason
    (tmp_path / "in" / "moved.png").write_bytes((tmp_path / "in" / "out" / "a.png").read_bytes())
    assert "already protected, according to a manifest" in run(tmp_path / "in")["moved.png"].reason
    assert run(tmp_path / "in", again=True)["moved.png"].status == "protected"


def test_two_runs_at_once_are_one_too_many(tmp_path: Path) -> None:
    make_photo(tmp_path / "in" / "a.png")
    with Manifest(tmp_path / "in-protected.jsonl"), pytest.raises(WorkError, match="Another run is writing"):
        run(tmp_path / "in")
    assert run(tmp_path / "in")["a.png"].status == "protected"


def test_another_file_is_not_taken_for_a_manifest(tmp_path: Path) -> None:
    make_photo(tmp_path / "in" / "a.png")
    (tmp_path / "notes.jsonl").write_text('{"my": "notes"}\n')
    with pytest.raises(UsageError, match="is not a manifest"):
        run(tmp_path / "in", Where(manifest=tmp_path / "notes.jsonl"))
    assert (tmp_path / "notes.jsonl").read_text() == '{"my": "notes"}\n'


def test_a_manifest_is_not_put_among_what_will_be_shared(tmp_path: Path) -> None:
    source = make_photo(tmp_path / "in" / "a.png")
    for where in (
        Where(manifest=tmp_path / "in-protected" / "m.jsonl"),
        Where(output=tmp_path / "out", manifest=tmp_path / "out" / "below" / "m.jsonl"),
        Where(backup=tmp_path / "kept", manifest=tmp_path / "in" / "m.jsonl"),
    ):
        with pytest.raises(UsageError, match="which you will share"):
            run(tmp_path / "in", where)
    # Single files whose copies go beside them share a folder with the originals.
    list(protect_photos(plan([source], Where(manifest=tmp_path / "in" / "m.jsonl")), {"": PROTECTION}))
    assert [path.name for path in sorted((tmp_path / "in").iterdir())] == ["a-protected.png", "a.png", "m.jsonl"]


def test_several_folders_can_share_a_manifest(tmp_path: Path) -> None:
    for name in ("in", "more"):
        make_photo(tmp_path / name / "a.png")
        run(tmp_path / name, Where(manifest=tmp_path / "all.jsonl"))
    assert [line["input"] for line in lines(tmp_path / "all.jsonl")] == ["in/a.png", "more/a.png"]


def test_a_manifest_that_cannot_be_written_ends_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_photo(tmp_path / "in" / "a.png")
    (tmp_path / "file").touch()
    with pytest.raises(WorkError, match=r"cannot be written .*--output"):
        run(tmp_path / "in", Where(manifest=tmp_path / "file" / "m.jsonl"))

    class Full:
        def __init__(self, file: Any) -> None:
            self.file = file

        def write(self, line: bytes) -> int:
            return int(self.file.write(line[:10]))

        def __getattr__(self, name: str) -> Any:
            return getattr(self.file, name)

    whole = Manifest._open
    monkeypatch.setattr(Manifest, "_open", lambda self: Full(whole(self)))
    monkeypatch.setattr(module, "lock", lambda file: True)
    with pytest.raises(WorkError, match=r"No space left.*continues where it stopped"):
        run(tmp_path / "in")
    monkeypatch.undo()
    assert run(tmp_path / "in")["a.png"].status == "protected"
    assert run(tmp_path / "in")["a.png"].status == "unchanged"


names = st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1).filter(lambda name: name.strip("."))


@given(name=names, reason=st.text(), sizes=st.none() | st.tuples(st.integers(0), st.integers(0)), grey=st.booleans())
def test_records_come_back_as_they_were_written(
    name: str, reason: str, sizes: tuple[int, int] | None, grey: bool
) -> None:
    record = Record(input=name, status="failed", reason=reason, input_stat=sizes, grey=grey, class_name="cat")
    assert Record.from_json(record.to_json().encode("ascii")) == record


@given(line=st.binary())
def test_no_line_is_too_strange(line: bytes) -> None:
    record = Record.from_json(line)
    assert record is None or record.status


@pytest.mark.skipif(os.name != "posix", reason="only POSIX has names that are not UTF-8")
def test_names_that_are_not_utf8_are_kept(tmp_path: Path) -> None:
    source = Path(os.fsdecode(os.fsencode(tmp_path) + b"/in/caf\xe9.png"))
    make_photo(source)
    (done,) = protect_folder(tmp_path / "in", PROTECTION)
    assert done.status == "protected"
    assert os.listdir(os.fsencode(tmp_path / "in-protected")) == [b"caf\xe9.png"]
    assert run(tmp_path / "in")[source.name].status == "unchanged"


def test_a_manifest_does_not_stand_for_another_output(tmp_path: Path) -> None:
    make_photo(tmp_path / "in" / "a.png")
    for name in ("one", "two"):
        where = Where(output=tmp_path / name, manifest=tmp_path / "all.jsonl")
        assert run(tmp_path / "in", where)["a.png"].status == "protected"
        assert (tmp_path / name / "a.png").is_file()


@pytest.mark.parametrize(
    "content",
    [
        b'{"input": "my only notes", "output": "x"}',
        b'{"input": "my notes", "output": "x"}\n{"input": "more"}',
        b"[" * 60_000 + b"\n",
        b'{"input": "a", "status": "protected", "output_sha256": ["x"]}\n',
        b'{"input": "a", "status": "protected", "input_stat": 3}\n',
        b'{"input": "a", "status": "protected", "input_stat": [1e999, 1]}\n',
        b'{"input": "a\\u0000", "status": "protected"}\n',
        b'{"input": "a\\ud800", "status": "protected"}\n',
        b"\xff\xfe\n",
    ],
)
def test_other_peoples_files_are_no_manifests_and_do_no_harm(tmp_path: Path, content: bytes) -> None:
    make_photo(tmp_path / "in" / "a.png")
    for place in (tmp_path / "notes.jsonl", tmp_path / "in" / "notes.jsonl"):
        place.write_bytes(content)
    with pytest.raises(UsageError, match="is not a manifest"):
        run(tmp_path / "in", Where(manifest=tmp_path / "notes.jsonl"))
    assert (tmp_path / "notes.jsonl").read_bytes() == content
    assert run(tmp_path / "in")["a.png"].status == "protected"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="POSIX has pipes")
def test_a_pipe_is_no_manifest_and_is_not_waited_for(tmp_path: Path) -> None:
    make_photo(tmp_path / "in" / "a.png")
    os.mkfifo(tmp_path / "in" / "pipe.jsonl")
    assert run(tmp_path / "in")["a.png"].status == "protected"


def test_a_last_line_without_its_end_is_kept(tmp_path: Path) -> None:
    make_photo(tmp_path / "in" / "a.png")
    run(tmp_path / "in")
    manifest = tmp_path / "in-protected.jsonl"
    manifest.write_bytes(manifest.read_bytes().rstrip())
    make_photo(tmp_path / "in" / "b.png")
    done = run(tmp_path / "in")
    assert (done["a.png"].status, done["b.png"].status) == ("unchanged", "protected")
    assert len(lines(manifest)) == 2


def test_after_a_full_disk_nothing_more_is_written_to_a_manifest(tmp_path: Path) -> None:
    with Manifest(tmp_path / "m.jsonl") as manifest:
        manifest.add(Record(input="a", status="failed"))

        class Full:
            room = 10

            def write(self, line: bytes) -> int:
                return int(manifest_file.write(line[: self.room]))

            def __getattr__(self, name: str) -> Any:
                return getattr(manifest_file, name)

        manifest_file: Any = manifest._file
        manifest._file = Full()
        for name in ("b", "c"):
            Full.room = 10 if name == "b" else 1000
            with pytest.raises(WorkError, match="No space left"):
                manifest.add(Record(input=name, status="failed"))
    assert [line["input"] for line in lines(tmp_path / "m.jsonl")] == ["a"]


def test_a_manifest_has_its_suffix_because_later_runs_look_for_it(tmp_path: Path) -> None:
    make_photo(tmp_path / "in" / "a.png")
    with pytest.raises(UsageError, match=r"must end in \.jsonl"):
        run(tmp_path / "in", Where(manifest=tmp_path / "records.json"))


def test_a_run_that_has_nothing_to_record_leaves_no_manifest(tmp_path: Path) -> None:
    make_photo(tmp_path / "in" / "a.png")
    run(tmp_path / "in")
    copy = tmp_path / "in-protected" / "a.png"
    assert run(copy)["a.png"].status == "skipped"
    assert os.listdir(tmp_path / "in-protected") == ["a.png"]
