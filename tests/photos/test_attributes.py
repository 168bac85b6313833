"""What else a file has, its owner, access list, other attributes and other names, when its copy takes its place."""

from __future__ import annotations

import os
import shutil
import stat
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.photos.test_folder import make_photo, run
from tests.photos.test_in_place import in_place
from unlearn_cli.files import TEMPORARY_PREFIX, write_atomically
from unlearn_cli.photos.manifest import read_records
from unlearn_cli.photos.originals import restore
from unlearn_cli.photos.outcome import LINKED

pytestmark = pytest.mark.skipif(not hasattr(os, "setxattr"), reason="only Linux's attributes can be set from Python")

ACCESS_LIST = "system.posix_acl_access"


@pytest.fixture
def album(tmp_path: Path) -> Path:
    """Return a photo that keeps its name and one that does not, on a file system that has extended attributes."""
    for name in ("a.png", "b.gif"):
        make_photo(tmp_path / "in" / name)
        try:
            os.setxattr(tmp_path / "in" / name, "user.xdg.origin.url", b"https://example.org/a")
        except OSError:
            pytest.skip("the file system has no extended attributes")
    return tmp_path


def after_protecting(album: Path) -> Iterator[Path]:
    """Return each photo's copy and backup after a run in place, and then what was put back."""
    assert {photo.status for photo in in_place(album).values()} == {"protected"}
    yield from (album / "in" / "a.png", album / "in" / "b.gif.png")
    yield from (album / "kept" / "a.png", album / "kept" / "b.gif")
    assert {photo.status for photo in restore(album / "in.jsonl")} == {"restored"}
    yield from (album / "in" / "a.png", album / "in" / "b.gif")


def test_extended_attributes_and_modes_are_kept_in_place_in_the_backup_and_by_undo(album: Path) -> None:
    for path in (album / "in").iterdir():
        path.chmod(0o440)
    for path in after_protecting(album):
        assert os.getxattr(path, "user.xdg.origin.url") == b"https://example.org/a", path
        assert stat.S_IMODE(path.stat().st_mode) == 0o440, path


def test_a_copy_beside_a_read_only_photo_can_be_written_by_its_owner(album: Path) -> None:
    (album / "in" / "a.png").chmod(0o440)
    assert {photo.status for photo in run(album / "in").values()} == {"protected"}
    assert stat.S_IMODE((album / "in-protected" / "a.png").stat().st_mode) == 0o640


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root gives files away")
def test_owner_and_group_are_kept_with_the_bits_that_giving_away_clears(album: Path) -> None:
    for path in (album / "in").iterdir():
        os.chown(path, 12345, 23456)
        path.chmod(0o2750)
    for path in after_protecting(album):
        found = path.stat()
        assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (12345, 23456, 0o2750), path


@pytest.mark.skipif(shutil.which("setfacl") is None, reason="there is no setfacl to set an access list with")
def test_access_lists_are_kept(album: Path) -> None:
    wanted = {}
    for path in (album / "in").iterdir():
        if subprocess.run(["setfacl", "-m", "u:12345:r,g::-", path], check=False).returncode:
            pytest.skip("the file system has no access lists")
        wanted[path.stem] = os.getxattr(path, ACCESS_LIST)
    for path in after_protecting(album):
        assert os.getxattr(path, ACCESS_LIST) == wanted[path.name.split(".")[0]], path


@pytest.mark.skipif(shutil.which("setfacl") is None, reason="there is no setfacl to set an access list with")
def test_nobody_gets_more_permissions_than_the_original_gave(album: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (album / "kept").mkdir()
    for folder in ("in", "kept"):
        if subprocess.run(["setfacl", "-d", "-m", "u:12345:rw", album / folder], check=False).returncode:
            pytest.skip("the file system has no access lists")
    for path in after_protecting(album):  # Not what the folder gives new files.
        assert ACCESS_LIST not in os.listxattr(path), path
    subprocess.run(["setfacl", "-m", "u:12345:rw,g::-", album / "in" / "a.png"], check=True)
    whole = os.setxattr

    def without_lists(path: Any, attribute: str, *arguments: Any) -> None:
        if attribute == ACCESS_LIST:
            raise OSError(95, "Operation not supported")
        whole(path, attribute, *arguments)

    monkeypatch.setattr(os, "setxattr", without_lists)
    (album / "in.jsonl").unlink()
    shutil.rmtree(album / "kept")
    assert in_place(album)["a.png"].status == "protected"
    # What was the list's mask would be the group's permission, which it did not have.
    assert stat.S_IMODE((album / "in" / "a.png").stat().st_mode) == 0o604


def test_what_cannot_be_kept_does_not_keep_a_photo_from_being_protected(
    album: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (album / "in" / "a.png").chmod(0o640)

    def refused(*_: Any, **__: Any) -> None:
        raise PermissionError(1, "Operation not permitted")

    for name in ("chown", "setxattr", "listxattr", "removexattr"):
        monkeypatch.setattr(os, name, refused)
    for path in after_protecting(album):
        assert path.is_file()
        assert path.name != "a.png" or stat.S_IMODE(path.stat().st_mode) == 0o640


def test_a_file_is_its_makers_alone_until_it_has_all_its_attributes(
    album: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    whole = os.chmod

    def watched(path: Any, mode: int) -> None:
        if TEMPORARY_PREFIX in str(path):
            seen.append(stat.S_IMODE(os.stat(path).st_mode))
            assert os.getxattr(path, "user.xdg.origin.url")
        whole(path, mode)

    (album / "in" / "a.png").chmod(0o644)
    with monkeypatch.context() as patch:
        patch.setattr(os, "chmod", watched)
        in_place(album)
    assert seen == [0o600] * 4


def test_a_copy_beside_its_original_tells_not_where_that_came_from(album: Path) -> None:
    (album / "in" / "a.png").chmod(0o440)
    run(album / "in")
    copy = album / "in-protected" / "a.png"
    assert [name for name in os.listxattr(copy) if name.startswith("user.")] == []
    assert stat.S_IMODE(copy.stat().st_mode) == 0o640


def test_the_times_are_the_originals_or_not_as_asked(tmp_path: Path) -> None:
    source = make_photo(tmp_path / "a.png")
    os.utime(source, ns=(10**18, 10**18))
    for times in (True, False):
        write_atomically(tmp_path / "b.png", b"", like=source.stat(), attributes=source, times=times)
        assert ((tmp_path / "b.png").stat().st_mtime_ns == 10**18) == times


def test_signatures_of_the_content_are_not_copied(album: Path) -> None:
    try:
        os.setxattr(album / "in" / "a.png", "security.ima", struct.pack("<B20s", 1, b""))
    except OSError:
        pytest.skip("only root may set a signature, and not on every file system")
    in_place(album)
    assert "security.ima" not in os.listxattr(album / "in" / "a.png")


def test_other_names_of_a_photo_are_told_when_it_is_parted_from_them(album: Path) -> None:
    original = (album / "in" / "a.png").read_bytes()
    os.link(album / "in" / "a.png", album / "elsewhere.png")
    os.link(album / "in" / "b.gif", album / "elsewhere.gif")
    make_photo(album / "in" / "c.png")
    done = in_place(album)
    assert {name: photo.notes for name, photo in done.items()} == {"a.png": (LINKED,), "b.gif": (LINKED,), "c.png": ()}
    assert (album / "elsewhere.png").read_bytes() == original
    told = {record.input: record.reason for record in read_records(album / "in.jsonl") if record.status == "protected"}
    assert told == {"in/a.png": LINKED, "in/b.gif": LINKED, "in/c.png": ""}
    assert {photo.notes for photo in in_place(album).values()} == {()}


def test_names_that_are_all_protected_hold_nothing_unprotected(album: Path) -> None:
    os.link(album / "in" / "a.png", album / "in" / "z.png")
    done = in_place(album, jobs=2)
    assert {photo.status for photo in done.values()} == {"protected"}
    assert {photo.notes for photo in done.values()} == {()}
    assert run(album / "in", again=True)["a.png"].notes == ()
