"""Copies in their originals' places: never without a backup, and never for good."""

from __future__ import annotations

import contextlib
import hashlib
import os
from pathlib import Path
from typing import Any

import pytest

from tests.photos.test_folder import make_photo, run
from unlearn_cli.errors import UsageError
from unlearn_cli.photos.copying import DONE, ITSELF_PROTECTED, PhotoDone, _One
from unlearn_cli.photos.encode import Writing
from unlearn_cli.photos.manifest import Manifest
from unlearn_cli.photos.scan import Where
from unlearn_cli.photos.undo import undo


def contents(folder: Path) -> dict[str, tuple[str, int]]:
    return {
        path.relative_to(folder).as_posix(): (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file()
    }


def in_place(root: Path, **options: Any) -> dict[str, PhotoDone]:
    return run(root / "in", Where(backup=root / "kept", format=options.get("writing", Writing()).format), **options)


@pytest.fixture
def album(tmp_path: Path) -> Path:
    for name in ("a.png", "sub/b.jpg", "sub/c.gif"):
        os.utime(make_photo(tmp_path / "in" / name), ns=(10**18, 10**18))
    return tmp_path


def test_originals_are_kept_and_come_back(album: Path) -> None:
    before = contents(album / "in")
    done = in_place(album)
    assert {photo.status for photo in done.values()} == {"protected"}
    assert contents(album / "kept") == before
    after = contents(album / "in")
    assert set(after) == {"a.png", "sub/b.jpg", "sub/c.gif.png"}
    assert not {digest for digest, _ in after.values()} & {digest for digest, _ in before.values()}
    restored = list(undo(album / "in.jsonl"))
    assert {photo.status for photo in restored} == {"restored"}
    assert contents(album / "in") == before
    assert list(undo(album / "in.jsonl")) == []


def test_a_second_run_protects_nothing_twice(album: Path) -> None:
    in_place(album)
    after = contents(album / "in")
    again = in_place(album)
    assert {photo.status for photo in again.values()} == {"skipped"}
    assert contents(album / "in") == after
    list(undo(album / "in.jsonl"))
    in_place(album)
    assert contents(album / "in") == after


@pytest.mark.parametrize("step", ["_write", "_write_file", "after_recording", "record"])
@pytest.mark.parametrize("wanted", ["keep", "png"])
def test_killed_between_any_two_steps_the_next_run_ends_as_if_it_had_not_been(
    album: Path, monkeypatch: pytest.MonkeyPatch, step: str, wanted: Any
) -> None:
    """A step that raises what nothing catches is a run that ends there."""

    class Killed(BaseException):
        pass

    before = contents(album / "in")
    writing = Writing(wanted)
    in_place(album, writing=writing)
    expected = contents(album / "in")
    list(undo(album / "in.jsonl"))
    (album / "in.jsonl").unlink()
    for name in before:
        (album / "kept" / name).unlink()

    of, attribute = (Manifest, "add") if step == "record" else (_One, step)
    whole = getattr(of, attribute)
    for calls in range(6):
        remaining = [calls]

        def killed(*arguments: Any, remaining: list[int] = remaining, **options: Any) -> Any:
            remaining[0] -= 1
            if remaining[0] < 0:
                raise Killed
            return whole(*arguments, **options)

        with monkeypatch.context() as patch, contextlib.suppress(Killed):
            patch.setattr(of, attribute, killed)
            in_place(album, writing=writing)
        kept = contents(album / "kept")
        assert all(name in kept or contents(album / "in")[name] == before[name] for name in before)
    in_place(album, writing=writing)
    assert contents(album / "in") == expected
    assert contents(album / "kept") == before
    assert {photo.reason for photo in in_place(album, writing=writing).values()} <= {DONE, ITSELF_PROTECTED}


def test_a_photo_that_was_edited_since_is_not_put_back_unasked(album: Path) -> None:
    before = contents(album / "in")
    in_place(album)
    (album / "in" / "a.png").write_bytes(b"edited")
    results = {photo.source.name: photo for photo in undo(album / "in.jsonl")}
    assert results["a.png"].status == "failed"
    assert "changed after it was protected" in results["a.png"].reason
    assert (album / "in" / "a.png").read_bytes() == b"edited"
    assert [photo.status for photo in undo(album / "in.jsonl", overwrite=True)] == ["restored"]
    assert contents(album / "in") == before


def test_a_damaged_backup_is_not_put_back(album: Path) -> None:
    in_place(album)
    protected = (album / "in" / "a.png").read_bytes()
    (album / "kept" / "a.png").write_bytes(b"damaged")
    results = {photo.source.name: photo for photo in undo(album / "in.jsonl", overwrite=True)}
    assert "not the original" in results["a.png"].reason
    assert (album / "in" / "a.png").read_bytes() == protected


def test_a_backup_is_never_written_over(album: Path) -> None:
    (album / "kept").mkdir()
    (album / "kept" / "a.png").write_bytes(b"an older photo")
    original = (album / "in" / "a.png").read_bytes()
    done = in_place(album)["a.png"]
    assert done.status == "failed"
    assert "another photo already" in done.reason or "damaged" in done.reason
    assert (album / "kept" / "a.png").read_bytes() == b"an older photo"
    assert (album / "in" / "a.png").read_bytes() == original


def test_a_backup_inside_the_album_is_not_protected(album: Path) -> None:
    before = contents(album / "in")
    run(album / "in", Where(backup=album / "in" / "kept"))
    run(album / "in", Where(backup=album / "in" / "kept"))
    assert contents(album / "in" / "kept") == before


def test_what_cannot_be_undone_says_so(album: Path) -> None:
    with pytest.raises(UsageError, match="There is no manifest"):
        list(undo(album / "in.jsonl"))
    run(album / "in")
    with pytest.raises(UsageError, match="replaced no photos"):
        list(undo(album / "in-protected.jsonl"))
    with pytest.raises(UsageError, match="is or holds the input"):
        run(album / "in", Where(backup=album))
