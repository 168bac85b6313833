"""Copies in their originals' places: never without a backup, and never for good."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.photos.test_folder import PROTECTION, make_photo, run
from unlearn_cli.errors import UsageError
from unlearn_cli.photos.copying import Copying
from unlearn_cli.photos.encode import Writing
from unlearn_cli.photos.folder import protect_folder
from unlearn_cli.photos.manifest import Manifest
from unlearn_cli.photos.originals import restore
from unlearn_cli.photos.outcome import ITSELF_PROTECTED, Options, PhotoDone
from unlearn_cli.photos.scan import Where, plan


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
    restored = list(restore(album / "in.jsonl"))
    assert {photo.status for photo in restored} == {"restored"}
    assert contents(album / "in") == before
    assert list(restore(album / "in.jsonl")) == []


def test_the_photos_come_back_also_from_inside_their_folder(album: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = contents(album / "in")
    in_place(album)
    monkeypatch.chdir(album / "in")
    assert {photo.status for photo in restore(Path())} == {"restored"}
    assert contents(album / "in") == before


def test_a_second_run_protects_nothing_twice(album: Path) -> None:
    in_place(album)
    after = contents(album / "in")
    again = in_place(album)
    assert {photo.status for photo in again.values()} == {"unchanged", "skipped"}
    assert contents(album / "in") == after
    list(restore(album / "in.jsonl"))
    in_place(album)
    assert contents(album / "in") == after


@pytest.mark.parametrize("step", ["_keep_original", "_write", "remove_replaced", "record"])
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
    list(restore(album / "in.jsonl"))
    (album / "in.jsonl").unlink()
    for name in before:
        (album / "kept" / name).unlink()

    of, attribute = (Manifest, "add") if step == "record" else (Copying, step)
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
    assert {photo.reason for photo in in_place(album, writing=writing).values()} <= {"", ITSELF_PROTECTED}


def test_a_photo_that_was_edited_since_is_not_put_back_unasked(album: Path) -> None:
    before = contents(album / "in")
    in_place(album)
    (album / "in" / "a.png").write_bytes(b"edited")
    results = {photo.source.name: photo for photo in restore(album / "in.jsonl")}
    assert results["a.png"].status == "failed"
    assert "a different photo in its place now" in results["a.png"].reason
    assert (album / "in" / "a.png").read_bytes() == b"edited"
    assert [photo.status for photo in restore(album / "in.jsonl", overwrite=True)] == ["restored"]
    assert contents(album / "in") == before


def test_a_damaged_backup_is_not_put_back(album: Path) -> None:
    in_place(album)
    protected = (album / "in" / "a.png").read_bytes()
    (album / "kept" / "a.png").write_bytes(b"damaged")
    results = {photo.source.name: photo for photo in restore(album / "in.jsonl", overwrite=True)}
    assert "not the original any more" in results["a.png"].reason
    assert (album / "in" / "a.png").read_bytes() == protected


def test_a_backup_is_never_written_over(album: Path) -> None:
    (album / "kept").mkdir()
    (album / "kept" / "a.png").write_bytes(b"an older photo")
    original = (album / "in" / "a.png").read_bytes()
    done = in_place(album)["a.png"]
    assert done.status == "failed"
    assert "already has a different photo" in done.reason
    assert (album / "kept" / "a.png").read_bytes() == b"an older photo"
    assert (album / "in" / "a.png").read_bytes() == original


def test_a_backup_inside_the_album_is_refused(album: Path) -> None:
    with pytest.raises(UsageError, match="is inside the input"):
        run(album / "in", Where(backup=album / "in" / "kept"))


def test_what_an_earlier_run_has_kept_is_never_replaced(album: Path) -> None:
    in_place(album)
    done = run(album / "kept", Where(backup=album / "kept2", manifest=album / "in.jsonl"))
    assert {photo.reason for photo in done.values()} == {
        "it is the original that an earlier --in-place run saved in a backup"
    }


def test_what_cannot_be_undone_says_so(album: Path) -> None:
    with pytest.raises(UsageError, match="There is no manifest"):
        list(restore(album / "in.jsonl"))
    run(album / "in")
    with pytest.raises(UsageError, match="replaced no photos"):
        list(restore(album / "in-protected.jsonl"))
    with pytest.raises(UsageError, match=r"is or contains the input"):
        run(album / "in", Where(backup=album))


def test_a_backup_that_is_the_photo_itself_is_refused(album: Path) -> None:
    with pytest.raises(UsageError, match="would be the photo itself"):
        run(album / "in" / "a.png", Where(backup=album / "in"))
    (album / "kept").mkdir()
    (album / "kept" / "a.png").symlink_to(album / "in" / "a.png")
    done = in_place(album)["a.png"]
    assert "is a link or the photo itself" in done.reason
    (album / "kept" / "a.png").unlink()
    os.link(album / "in" / "a.png", album / "kept" / "a.png")
    assert in_place(album)["a.png"].status == "failed"


def test_two_photos_never_share_a_backup(album: Path) -> None:
    make_photo(album / "more" / "a.png")
    todo = [album / "in" / "a.png", album / "more" / "a.png"]
    kept = [task.backup and task.backup.name for task in plan(todo, Where(backup=album / "kept")).tasks]
    assert kept == ["a.png", "a-2.png"]


def test_a_photo_that_has_the_copys_name_is_never_replaced(album: Path) -> None:
    """Not by --overwrite either, and not when it is no part of the run."""
    other = make_photo(album / "in" / "a.gif", 50).read_bytes()
    (album / "in" / "a.gif").rename(album / "in" / "sub" / "b.png")
    where = Where(backup=album / "kept", format="png")
    options = Options(writing=Writing("png"), overwrite=True)
    (done,) = protect_folder(album / "in" / "sub" / "b.jpg", PROTECTION, where, options)
    assert "another file already has the name" in done.reason
    assert (album / "in" / "sub" / "b.png").read_bytes() == other
    assert not (album / "kept").exists()


def test_what_is_left_alone_is_not_kept_either(album: Path) -> None:
    frames = [Image.effect_noise((8, 8), 60).convert("P") for _ in range(3)]
    frames[0].save(album / "in" / "moving.gif", save_all=True, append_images=frames[1:])
    assert in_place(album)["moving.gif"].status == "skipped"
    assert not (album / "kept" / "moving.gif").exists()
    assert (album / "in" / "moving.gif").is_file()


def test_undo_does_not_replace_another_photo(album: Path) -> None:
    in_place(album, writing=Writing("png"))
    make_photo(album / "in" / "sub" / "b.jpg", 60)
    new = (album / "in" / "sub" / "b.jpg").read_bytes()
    results = {photo.source.name: photo for photo in restore(album / "in.jsonl")}
    assert "a different photo in its place" in results["b.jpg"].reason
    assert (album / "in" / "sub" / "b.jpg").read_bytes() == new


def test_undo_sees_past_later_records_and_can_be_repeated(album: Path) -> None:
    before = contents(album / "in")
    in_place(album)
    in_place(album, writing=Writing(quality=80))  # leaves all alone, and records so
    records = (album / "in.jsonl").read_bytes()
    assert {photo.status for photo in restore(album / "in.jsonl")} == {"restored"}
    assert contents(album / "in") == before
    (album / "in.jsonl").write_bytes(records)  # as if it had been killed before it could record anything
    assert {photo.status for photo in restore(album / "in.jsonl")} == {"restored"}
    assert contents(album / "in") == before


def test_undo_after_a_kill_finds_what_was_begun(album: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = contents(album / "in")
    whole = Copying._write

    def killed(self: Copying, data: bytes) -> None:
        whole(self, data)
        raise KeyboardInterrupt

    monkeypatch.setattr(Copying, "_write", killed)
    with pytest.raises(KeyboardInterrupt):
        in_place(album)
    monkeypatch.undo()
    assert contents(album / "in") != before
    list(restore(album / "in.jsonl"))
    assert contents(album / "in") == before


@pytest.mark.skipif(os.name != "posix", reason="links and permissions are POSIX's")
def test_links_are_left_alone_and_permissions_kept(album: Path) -> None:
    (album / "in" / "z.png").symlink_to("a.png")
    (album / "in" / "a.png").chmod(0o600)
    done = in_place(album)
    assert "is a link" in done["z.png"].reason
    assert (album / "in" / "z.png").is_symlink()
    for folder in ("in", "kept"):
        assert (album / folder / "a.png").stat().st_mode & 0o777 == 0o600
    (album / "alias").symlink_to(album / "in", target_is_directory=True)
    todo = plan([album / "in", album / "alias"], Where(backup=album / "kept"))
    assert len(todo.tasks) == 4
    assert all(task.source.is_relative_to(album / "in") for task in todo.tasks)


def test_a_part_of_an_album_is_known_to_be_protected(album: Path) -> None:
    in_place(album)
    done = run(album / "in" / "sub", Where(backup=album / "kept2"))
    assert {photo.status for photo in done.values()} == {"skipped"}
    run(album / "in" / "sub", Where(output=album / "out"))
    assert not (album / "out").exists()


def test_undo_goes_through_several_layers_to_the_original(album: Path) -> None:
    before = contents(album / "in")
    in_place(album)
    run(album / "in", Where(backup=album / "kept2", again=True), again=True)
    run(album / "in", Where(manifest=album / "in.jsonl", output=album / "out", again=True), again=True)
    assert {photo.status for photo in restore(album / "in.jsonl")} == {"restored"}
    assert contents(album / "in") == before


def test_a_dry_undo_puts_nothing_back(album: Path) -> None:
    in_place(album)
    after, records = contents(album / "in"), (album / "in.jsonl").read_bytes()
    assert {photo.status for photo in restore(album / "in.jsonl", dry_run=True)} == {"would restore"}
    assert (contents(album / "in"), (album / "in.jsonl").read_bytes()) == (after, records)


def test_a_renamed_copy_is_not_another_photos(album: Path) -> None:
    """A new photo of an old one's name does not take the old one's copy."""
    in_place(album, writing=Writing("png"))
    copy = (album / "in" / "sub" / "b.png").read_bytes()
    make_photo(album / "in" / "sub" / "b.jpg", 60)
    new = (album / "in" / "sub" / "b.jpg").read_bytes()
    where = Where(backup=album / "kept2", format="png")
    done = run(album / "in", where, writing=Writing("png"))
    assert "another file already has the name" in done["b.jpg"].reason
    assert (album / "in" / "sub" / "b.png").read_bytes() == copy
    assert (album / "in" / "sub" / "b.jpg").read_bytes() == new


def test_without_its_manifest_a_renamed_copy_is_not_protected_again(album: Path) -> None:
    in_place(album, writing=Writing("png"))
    after = contents(album / "in")
    (album / "in.jsonl").unlink()
    done = in_place(album, writing=Writing("png"))
    assert contents(album / "in") == after
    assert "original of the same name in another format" in done["b.png"].reason


def test_two_photos_that_differ_by_suffix_are_both_kept(album: Path) -> None:
    make_photo(album / "in" / "sub" / "b.png")
    assert {photo.status for photo in in_place(album).values()} == {"protected"}
    assert len(contents(album / "kept")) == 4


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize(
    "names", [("x.gif", "x.png"), ("x.jpg", "x.webp", "x.gif"), ("x.png", "x.png.gif"), ("x-2.png", "x.gif")]
)
def test_all_photos_of_one_name_are_replaced_and_come_back(tmp_path: Path, names: tuple[str, ...], jobs: int) -> None:
    for name in names:
        make_photo(tmp_path / "in" / name)
    before = contents(tmp_path / "in")
    for _ in range(2):
        assert {photo.status for photo in in_place(tmp_path, jobs=jobs).values()} == {"protected"}
        assert len(contents(tmp_path / "in")) == len(names)
        assert not {digest for digest, _ in contents(tmp_path / "in").values()} & {
            digest for digest, _ in before.values()
        }
        assert contents(tmp_path / "kept") == before
        assert {photo.reason for photo in in_place(tmp_path, jobs=jobs).values()} <= {"", ITSELF_PROTECTED}
        assert {photo.status for photo in restore(tmp_path / "in.jsonl")} == {"restored"}
        assert contents(tmp_path / "in") == before


@pytest.mark.parametrize("order", [("x.gif", "x.png"), ("x.png", "x.gif")])
def test_a_pair_may_come_in_several_runs_and_in_any_order(tmp_path: Path, order: tuple[str, ...]) -> None:
    for name in order:
        make_photo(tmp_path / "in" / name)
    before = contents(tmp_path / "in")
    for name in order:
        where = Where(backup=tmp_path / "kept", manifest=tmp_path / "in.jsonl")
        assert run(tmp_path / "in" / name, where)[name].status == "protected"
    assert {photo.status for photo in restore(tmp_path / "in.jsonl")} == {"restored"}
    assert contents(tmp_path / "in") == before


def test_a_copy_that_was_edited_is_not_taken_for_the_other_of_a_pair(tmp_path: Path) -> None:
    """The manifest knows its original, and that it is its copy: protecting it again would lay noise on noise."""
    for name in ("x.gif", "x.png"):
        make_photo(tmp_path / "in" / name)
    in_place(tmp_path)
    with Image.open(tmp_path / "in" / "x.gif.png") as image:
        image.rotate(90).save(tmp_path / "in" / "x.gif.png")
    edited = (tmp_path / "in" / "x.gif.png").read_bytes()
    assert "original of the same name in another format" in in_place(tmp_path)["x.gif.png"].reason
    assert (tmp_path / "in" / "x.gif.png").read_bytes() == edited


def test_without_its_manifest_a_numbered_copy_is_not_protected_again(tmp_path: Path) -> None:
    for name in ("y.gif", "y.gif.png"):
        make_photo(tmp_path / "in" / name)
    in_place(tmp_path)
    after = contents(tmp_path / "in")
    (tmp_path / "in.jsonl").unlink()
    assert "original of the same name in another format" in in_place(tmp_path)["y.gif-2.png"].reason
    assert contents(tmp_path / "in") == after


@pytest.mark.parametrize("case", ["pair", "pair_taken"])
def test_the_pairs_that_failed_for_ever(shared: Path, tmp_path: Path, case: str) -> None:
    if not (shared / "cases" / case).is_dir():
        pytest.skip("the cases are not among the shared files")
    shutil.copytree(shared / "cases" / case, tmp_path / "in")
    (tmp_path / "in").chmod(0o755)
    before = contents(tmp_path / "in")
    assert {photo.status for photo in in_place(tmp_path, jobs=2).values()} == {"protected"}
    assert contents(tmp_path / "kept") == before
    assert {photo.status for photo in in_place(tmp_path, jobs=2).values()} == {"unchanged", "skipped"}
    assert {photo.status for photo in restore(tmp_path / "in.jsonl")} == {"restored"}
    assert contents(tmp_path / "in") == before
