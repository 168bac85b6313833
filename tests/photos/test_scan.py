"""What is protected, and where to."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from unlearn_cli.errors import UsageError, WorkError
from unlearn_cli.photos.lists import parse_list
from unlearn_cli.photos.scan import Where, both_of, plan


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def pairs(root: Path, **options: object) -> dict[str, str]:
    todo = plan([root / "selfies"], Where(**options))  # type: ignore[arg-type]
    return {task.source.relative_to(root).as_posix(): task.target.relative_to(root).as_posix() for task in todo.tasks}


def test_the_tree_is_mirrored_beside_the_input(tmp_path: Path) -> None:
    touch(tmp_path, "selfies/a.JPG", "selfies/2024/summer/b.png", "selfies/notes.txt", "selfies/.hidden.jpg")
    assert pairs(tmp_path) == {
        "selfies/a.JPG": "selfies-protected/a.JPG",
        "selfies/2024/summer/b.png": "selfies-protected/2024/summer/b.png",
    }
    assert plan([tmp_path / "selfies"]).others == 1
    assert list(pairs(tmp_path, recursive=False)) == ["selfies/a.JPG"]


def test_an_output_inside_the_input_is_never_descended_into(tmp_path: Path) -> None:
    touch(tmp_path, "selfies/a.jpg", "selfies/out/a.jpg")
    assert pairs(tmp_path, output=tmp_path / "selfies/out") == {"selfies/a.jpg": "selfies/out/a.jpg"}


def test_several_folders_keep_their_names(tmp_path: Path) -> None:
    touch(tmp_path, "a/x.jpg", "b/x.jpg", "y.jpg")
    todo = plan([tmp_path / "a", tmp_path / "b", tmp_path / "y.jpg"], Where(output=tmp_path / "out"))
    assert [task.target.relative_to(tmp_path / "out").as_posix() for task in todo.tasks] == [
        "a/x.jpg",
        "b/x.jpg",
        "y.jpg",
    ]


def test_a_relative_path_and_a_trailing_dot_have_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "selfies/a.jpg")
    monkeypatch.chdir(tmp_path / "selfies")
    assert plan([Path()]).tasks[0].target == tmp_path / "selfies-protected" / "a.jpg"


def test_protected_copies_are_never_protected_again(tmp_path: Path) -> None:
    """Noise on noise would leave the bound."""
    touch(tmp_path, "selfies/2024/a.jpg", "selfies/2024-protected/a.jpg", "selfies/b.jpg", "selfies/b-protected.jpg")
    touch(tmp_path, "selfies/sun-protected.jpg")  # of nothing: just a name
    assert list(pairs(tmp_path)) == ["selfies/b.jpg", "selfies/sun-protected.jpg", "selfies/2024/a.jpg"]
    found = plan([tmp_path / "selfies"]).copies
    assert {path.name for path in found} == {"2024-protected", "b-protected.jpg"}
    with pytest.raises(WorkError, match="No photo found"):
        plan([tmp_path / "selfies/b-protected.jpg"])
    with pytest.raises(UsageError, match="is the protected copy"):
        plan([tmp_path / "selfies/2024-protected"])


def test_copies_with_dots_and_suffixes_in_their_names_are_known(tmp_path: Path) -> None:
    touch(
        tmp_path, "selfies/12.05/a.jpg", "selfies/12.05-protected/a.jpg", "selfies/c.gif", "selfies/c-protected.gif.png"
    )
    assert list(pairs(tmp_path)) == ["selfies/c.gif", "selfies/12.05/a.jpg"]


def test_no_input_is_ever_written_to(tmp_path: Path) -> None:
    touch(tmp_path, "a/sub/x.jpg", "a/x.jpg", "a-protected/x.jpg")
    with pytest.raises(UsageError, match="contains the input"):
        plan([tmp_path / "a/sub"], Where(output=tmp_path / "a"))
    with pytest.raises(UsageError, match="is one of the photos to protect"):
        plan([tmp_path / "a", tmp_path / "a-protected/x.jpg"])
    with pytest.raises(UsageError, match="the input itself"):
        plan([tmp_path / "a/sub/x.jpg", tmp_path / "a/x.jpg"], Where(output=tmp_path / "a"))


def test_a_folder_that_cannot_be_read_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "selfies/a.jpg", "selfies/locked/b.jpg")
    scandir = os.scandir

    def locked(path: str) -> object:
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", locked)  # not chmod, which root does not feel
    todo = plan([tmp_path / "selfies"])
    assert [path.name for path in todo.unreadable] == ["locked"]
    assert len(todo.tasks) == 1


def test_links_to_folders_are_not_followed_and_the_user_is_told(tmp_path: Path) -> None:
    touch(tmp_path, "selfies/a.jpg")
    (tmp_path / "selfies/again").symlink_to(tmp_path / "selfies", target_is_directory=True)
    todo = plan([tmp_path / "selfies"])
    assert len(todo.tasks) == 1
    assert [(path.name, "not followed" in why) for path, why in todo.not_protected] == [("again", True)]


@pytest.mark.parametrize(
    ("one", "other"), [("me", "me-protected"), ("a.b", "a.b-protected"), ("x.jpg", "x-protected.jpg")]
)
def test_originals_and_copies_are_found_from_either(tmp_path: Path, one: str, other: str) -> None:
    if one.endswith(".jpg"):
        touch(tmp_path, one)
    else:
        (tmp_path / one).mkdir()
    with pytest.raises(UsageError, match="Name the originals and their copies"):
        both_of(tmp_path / one)
    if one.endswith(".jpg"):
        touch(tmp_path, other)
    else:
        (tmp_path / other).mkdir()
    assert both_of(tmp_path / one) == both_of(tmp_path / other) == (tmp_path / one, tmp_path / other)


def test_the_copies_of_the_working_folder_are_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "me").mkdir()
    (tmp_path / "me-protected").mkdir()
    monkeypatch.chdir(tmp_path / "me")
    assert both_of(Path()) == (tmp_path / "me", tmp_path / "me-protected")
    with pytest.raises(UsageError, match="Name the originals"):
        both_of(Path("/"))


def test_what_cannot_be_planned_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    touch(tmp_path, "a/selfies/x.jpg", "empty/notes.txt")
    with pytest.raises(UsageError, match="the input itself"):
        plan([tmp_path / "a"], Where(output=tmp_path / "a"))
    with pytest.raises(UsageError, match="no file or folder"):
        plan([tmp_path / "missing"])
    with pytest.raises(WorkError, match="No photo found"):
        plan([tmp_path / "empty"])
    assert not (tmp_path / "out").exists()


def test_a_file_given_twice_is_one_photo(tmp_path: Path) -> None:
    touch(tmp_path, "a/x.jpg")
    assert len(plan([tmp_path / "a", tmp_path / "a"]).tasks) == 1


def test_single_files_share_a_manifest_in_the_folder_that_holds_them(tmp_path: Path) -> None:
    touch(tmp_path, "a/x.jpg", "a/b/y.jpg")
    todo = plan([tmp_path / "a/x.jpg", tmp_path / "a/b/y.jpg"])
    assert {task.manifest for task in todo.tasks} == {tmp_path / "a/photos-protected.jsonl"}


def test_an_output_inside_one_of_several_inputs_is_not_an_input(tmp_path: Path) -> None:
    touch(tmp_path, "h/a.jpg", "k/b.jpg", "h/out/k/b.jpg")
    todo = plan([tmp_path / "h", tmp_path / "k"], Where(output=tmp_path / "h/out"))
    assert [task.source.name for task in todo.tasks] == ["a.jpg", "b.jpg"]


def test_names_that_would_meet_in_another_format_are_told_apart(tmp_path: Path) -> None:
    touch(tmp_path, "in/A.jpg", "in/a.jpeg")
    assert [task.copy and task.copy.name for task in plan([tmp_path / "in"], Where(format="png")).tasks] == [
        "A.png",
        "a.jpeg.png",
    ]
    assert len(plan([tmp_path / "in"]).tasks) == 2


def test_a_list_may_begin_as_windows_begins_one() -> None:
    assert parse_list(b"\xef\xbb\xbfa.jpg\r\nb.jpg\r\n") == [Path("a.jpg"), Path("b.jpg")]


def test_an_output_without_a_folder_around_it_needs_a_manifest(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg")
    with pytest.raises(UsageError, match="--manifest"):
        plan([tmp_path / "a.jpg"], Where(output=Path("/")))


def test_what_shards_would_both_write_is_told_apart_in_each(tmp_path: Path) -> None:
    touch(tmp_path, "in/g.jpg", "in/g.tif", "in/g.webp", "in/h.gif")
    parts = [plan([tmp_path / "in"], Where(format="png", shard=(part, 2))).tasks for part in (1, 2)]
    assert all(parts)
    assert {task.source.name: task.copy and task.copy.name for part in parts for task in part} == {
        "g.jpg": "g.png",
        "g.tif": "g.tif.png",
        "g.webp": "g.webp.png",
        "h.gif": "h.png",
    }


def test_a_photo_that_is_listed_by_two_names_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "in/a.jpg")
    monkeypatch.chdir(tmp_path)
    todo = plan([], Where(output=tmp_path / "out"), listed=[Path("in/a.jpg"), Path("in/../in/a.jpg")])
    assert [task.target for task in todo.tasks] == [tmp_path / "out/in/a.jpg"]
    assert plan([], listed=[]).tasks == ()


@pytest.mark.skipif(os.name != "posix", reason="POSIX links")
def test_an_output_behind_a_loop_of_links_is_no_traceback(tmp_path: Path) -> None:
    touch(tmp_path, "in/a.jpg")
    (tmp_path / "in/loop").symlink_to("loop")
    assert len(plan([tmp_path / "in"], Where(output=tmp_path / "in/loop/x")).tasks) == 1
