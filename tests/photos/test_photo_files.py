"""Which files of a folder are photos, and which pictures are named because they cannot be protected."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.photos.test_folder import PROTECTION, make_photo, run
from tests.photos.test_in_place import in_place
from unlearn_cli.errors import WorkError
from unlearn_cli.photos.encode import Writing
from unlearn_cli.photos.folder import protect_folder, protect_photos
from unlearn_cli.photos.kinds import JXL, LIVE_PHOTO, RAW, RAW_SUFFIXES
from unlearn_cli.photos.pairs import pair_up
from unlearn_cli.photos.scan import Where, photos_below, plan

UNNAMED = ("IMG_1", "photo.jpg_large", "a.pjpeg", "b.jfif", "c.jpg~", "d.THM")


def named(path: Path, name: str) -> Path:
    """Return a JPEG under another name."""
    return make_photo(path / "made.jpg").rename(path / name)


def test_a_jpeg_is_known_by_its_first_bytes_and_keeps_its_name(tmp_path: Path) -> None:
    for name in UNNAMED:
        named(tmp_path / "in", name)
    (tmp_path / "in" / "notes").write_bytes(b"\xff\xd8 are not enough")
    (tmp_path / "in" / "empty").touch()
    named(tmp_path / "in", ".hidden")
    named(tmp_path / "in", "old.jsonl")
    assert plan([tmp_path / "in"]).others == 2
    done = run(tmp_path / "in")
    assert {name: photo.status for name, photo in done.items()} == dict.fromkeys(UNNAMED, "protected")
    assert {path.name for path in (tmp_path / "in-protected").iterdir()} == set(UNNAMED)
    assert {photo.status for photo in run(tmp_path / "in").values()} == {"unchanged"}
    pairs = pair_up(tmp_path / "in", tmp_path / "in-protected")
    assert {one and one.name: other and other.name for one, other in pairs} == {name: name for name in UNNAMED}
    written = run(tmp_path / "in", Where(output=tmp_path / "png"), writing=Writing("png"))
    assert {name: photo.target and photo.target.name for name, photo in written.items()} == {
        "IMG_1": "IMG_1.png",
        "photo.jpg_large": "photo.png",
        "a.pjpeg": "a.png",
        "b.jfif": "b.png",
        "c.jpg~": "c.png",
        "d.THM": "d.png",
    }


def test_a_copy_of_a_photo_without_suffix_is_known_as_one(tmp_path: Path) -> None:
    source = named(tmp_path / "in", "IMG_1")
    (done,) = protect_folder(source, PROTECTION)
    assert done.target == tmp_path / "in" / "IMG_1-protected"
    assert list(run(tmp_path / "in")) == ["IMG_1"]
    assert in_place(tmp_path)["IMG_1"].status == "protected"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="POSIX has pipes")
def test_pipes_and_what_cannot_be_read_are_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_photo(tmp_path / "in" / "a.png")
    os.mkfifo(tmp_path / "in" / "pipe")
    (tmp_path / "in" / "gone").symlink_to("nowhere")
    named(tmp_path / "in", "locked")
    whole = os.open

    def locked(path: object, *arguments: int) -> int:
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", str(path))
        return whole(str(path), *arguments)

    monkeypatch.setattr(os, "open", locked)  # not chmod, which root does not feel
    todo = plan([tmp_path / "in"])
    assert [task.source.name for task in todo.tasks] == ["a.png"]
    assert todo.others == 3


def test_pictures_that_cannot_be_protected_are_told_with_what_to_do(tmp_path: Path) -> None:
    make_photo(tmp_path / "in" / "sub" / "IMG_1.jpg")
    make_photo(tmp_path / "in" / "IMG_3.gif")
    for name in ("IMG_1.CR2", "x.dng"):
        named(tmp_path / "in", name)  # They begin as JPEGs and are none the less raw files.
    for name in ("sub/img_1.MOV", "sub/IMG_2.mov", "IMG_1.mp4", "y.jxl", "IMG_3.MP4", "notes.txt"):
        (tmp_path / "in" / name).touch()
    todo = plan([tmp_path / "in"])
    assert [task.source.name for task in todo.tasks] == ["IMG_3.gif", "IMG_1.jpg"]
    assert {path.relative_to(tmp_path / "in").as_posix(): why for path, why in todo.not_protected} == {
        "IMG_1.CR2": RAW,
        "x.dng": RAW,
        "y.jxl": JXL,
        "IMG_3.MP4": LIVE_PHOTO,
        "sub/img_1.MOV": LIVE_PHOTO,
    }
    assert todo.others == 3
    assert {path.name for path in photos_below(tmp_path / "in")} == {"IMG_3.gif", "IMG_1.jpg"}
    # A still in its original's place has a second suffix, and its video is its video all the same.
    in_place(tmp_path)
    assert (tmp_path / "in" / "IMG_3.gif.png").is_file()
    assert tmp_path / "in" / "IMG_3.MP4" in dict(plan([tmp_path / "in"]).not_protected)


@pytest.mark.parametrize(
    "suffix", "cr2 cr3 nef arw dng orf rw2 raf pef srw nrw rwl 3fr iiq x3f erf mrw kdc dcr".split()
)
def test_every_camera_has_its_raw_files(suffix: str) -> None:
    assert f".{suffix}" in RAW_SUFFIXES


def test_a_raw_file_that_is_named_fails_and_the_others_go_on(tmp_path: Path) -> None:
    raw, good = named(tmp_path, "a.CR2"), make_photo(tmp_path / "b.png")
    done = {photo.source: photo for photo in protect_photos(plan([raw, good]), {"": PROTECTION})}
    assert (done[raw].status, done[raw].reason) == ("failed", RAW)
    assert done[good].status == "protected"
    assert not (tmp_path / "a-protected.CR2").exists()


def test_a_folder_of_raw_files_says_so(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.NEF").touch()
    with pytest.raises(WorkError, match=r"No photo found in .*Not protected: a\.NEF: it is a camera's raw file"):
        plan([tmp_path / "in"])
