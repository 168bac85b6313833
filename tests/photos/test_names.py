"""Copies that would have one name: who gets it, who gets which other, and who keeps it from run to run."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.photos.test_folder import PROTECTION, make_photo, run
from tests.photos.test_in_place import contents, in_place
from unlearn_cli.errors import UsageError
from unlearn_cli.photos.encode import Writing
from unlearn_cli.photos.folder import protect_folder, protect_photos
from unlearn_cli.photos.names import Task
from unlearn_cli.photos.originals import restore
from unlearn_cli.photos.outcome import Options
from unlearn_cli.photos.pairs import pair_up
from unlearn_cli.photos.scan import Where, plan


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def copy_of(task: Task) -> Path:
    assert task.copy is not None
    return task.copy


def copies(root: Path, **options: Any) -> dict[str, str]:
    return {task.source.name: copy_of(task).name for task in plan([root / "in"], Where(**options)).tasks}


def make_as(path: Path, form: str, size: int = 40) -> Path:
    """Return a photo whose name does not tell its format."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.effect_noise((size, size), 60).convert("RGB").save(path, form)
    return path


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ("keep", {"a.gif": "a.gif-2.png", "a.gif.png": "a.gif.png", "b.heic": "b.heic.jpg"}),
        ("keep", {"a.gif": "a.gif-3.png", "a.gif.png": "a.gif.png", "a.gif-2.png": "a.gif-2.png"}),
        ("jpeg", {"a.heic": "a.jpg", "a.png": "a.png.jpg", "a.tif": "a.tif.jpg"}),
        ("jpeg", {"a.heic": "a.heic.jpg", "a.jpg": "a.jpg", "a.png": "a.png.jpg"}),
        ("jpeg", {"a.heic": "a.jpg", "a.png": "a.png-2.jpg", "a.png.jpg": "a.png.jpg"}),
        ("jpeg", {"a.png": "a.png-3.jpg", "a.jpg": "a.jpg", "a.png.jpg": "a.png.jpg", "a.png-2.jpg": "a.png-2.jpg"}),
        ("png", {"A.jpg": "A.png", "a.jpeg": "a.jpeg.png"}),  # which a file system without case would not part
        ("png", {"a.GIF": "a.png", "a.gif": "a.gif.png"}),
        ("keep", {"a.JPG": "a.JPG", "a.jpg": "a.jpg"}),  # which this one does
    ],
)
def test_the_rule_for_names(tmp_path: Path, wanted: Any, expected: dict[str, str]) -> None:
    touch(tmp_path / "in", *expected)
    assert copies(tmp_path, format=wanted) == expected
    assert copies(tmp_path, format=wanted, backup=tmp_path / "kept") == expected
    parts = [copies(tmp_path, format=wanted, shard=(part, 3)) for part in (1, 2, 3)]
    assert sum(map(len, parts)) == len(expected)
    assert {name: copy for part in parts for name, copy in part.items()} == expected


def test_photos_of_one_name_from_several_folders_are_numbered_in_order_of_their_folders(tmp_path: Path) -> None:
    touch(tmp_path, "p/x.jpg", "q/x.jpg", "r/x.jpg", "a/s/y.png", "b/s/y.png")
    given = [tmp_path / folder / "x.jpg" for folder in "rpq"]
    for order in itertools.permutations(given):
        tasks = plan(order, Where(output=tmp_path / "out")).tasks
        assert {task.source.parent.name: copy_of(task).name for task in tasks} == {
            "p": "x.jpg",
            "q": "x-2.jpg",
            "r": "x-3.jpg",
        }
        tasks = plan(order, Where(backup=tmp_path / "kept")).tasks
        assert {task.source.parent.name: task.backup for task in tasks} == {
            "p": tmp_path / "kept" / "x.jpg",
            "q": tmp_path / "kept" / "x-2.jpg",
            "r": tmp_path / "kept" / "x-3.jpg",
        }
        tasks = plan([], Where(output=tmp_path / "out"), listed=order).tasks
        assert sorted(copy_of(task).name for task in tasks) == ["x-2.jpg", "x-3.jpg", "x.jpg"]
    tasks = plan([tmp_path / "a" / "s", tmp_path / "b" / "s"], Where(output=tmp_path / "out")).tasks
    assert [copy_of(task).relative_to(tmp_path / "out").as_posix() for task in tasks] == ["s/y.png", "s/y-2.png"]


def test_a_copy_in_another_photos_place_is_still_refused(tmp_path: Path) -> None:
    touch(tmp_path, "a/x.jpg", "a/y.gif", "a-protected/x.jpg", "a-protected/y.gif.png")
    with pytest.raises(UsageError, match="is one of the photos to protect"):
        plan([tmp_path / "a", tmp_path / "a-protected/x.jpg"])
    (tmp_path / "a/x.jpg").unlink()
    tasks = plan([tmp_path / "a", tmp_path / "a-protected/y.gif.png"]).tasks
    assert copy_of(tasks[0]).name == "y.gif-2.png"  # A name that changes anyway can change to another one.


@pytest.mark.parametrize("jobs", [1, 2])
def test_each_of_a_clash_has_its_copy_and_keeps_it(tmp_path: Path, jobs: int) -> None:
    for name in ("a.gif", "a.png", "a.bmp"):
        make_photo(tmp_path / "in" / name)
    options: dict[str, Any] = {"writing": Writing("jpeg"), "jobs": jobs}
    done = run(tmp_path / "in", **options)
    assert {name: photo.target and photo.target.name for name, photo in done.items()} == {
        "a.bmp": "a.jpg",
        "a.gif": "a.gif.jpg",
        "a.png": "a.png.jpg",
    }
    assert all(photo.status == "protected" for photo in done.values())
    assert {photo.status for photo in run(tmp_path / "in", **options).values()} == {"unchanged"}
    # The name that is free now goes to nobody who has one.
    (tmp_path / "in" / "a.bmp").unlink()
    assert {photo.status for photo in run(tmp_path / "in", **options).values()} == {"unchanged"}
    make_photo(tmp_path / "in" / "a.gif", 50)
    done = run(tmp_path / "in", **options)
    assert (done["a.gif"].target, done["a.png"].status) == (tmp_path / "in-protected" / "a.gif.jpg", "unchanged")
    make_photo(tmp_path / "in" / "a.bmp", 50)
    assert run(tmp_path / "in", **options)["a.bmp"].target == tmp_path / "in-protected" / "a.jpg"


def test_a_new_photo_that_comes_first_takes_no_name_that_another_has(tmp_path: Path) -> None:
    make_photo(tmp_path / "in" / "a.png")
    run(tmp_path / "in", writing=Writing("jpeg"))
    make_photo(tmp_path / "in" / "a.gif")
    assert copies(tmp_path, format="jpeg") == {"a.gif": "a.gif.jpg", "a.png": "a.jpg"}
    done = run(tmp_path / "in", writing=Writing("jpeg"))
    assert (done["a.gif"].status, done["a.png"].status) == ("protected", "unchanged")


@pytest.mark.parametrize("replaced", [False, True])
def test_nor_one_from_another_folder(tmp_path: Path, replaced: bool) -> None:
    where = Where(backup=tmp_path / "kept") if replaced else Where(output=tmp_path / "out")
    photos = [make_photo(tmp_path / folder / "x.png", size) for folder, size in (("p", 40), ("q", 50), ("a", 60))]

    def named(given: list[Path]) -> list[Any]:
        places = [task.backup if replaced else task.copy for task in plan(given, where).tasks]
        return [place and place.name for place in places]

    assert named(photos[:2]) == ["x.png", "x-2.png"]
    done = list(protect_photos(plan(photos[:2], where), {"": PROTECTION}))
    assert [photo.status for photo in done] == ["protected", "protected"]
    assert named(photos) == ["x.png", "x-2.png", "x-3.png"]
    assert named(photos[1:2]) == ["x-2.png"]


def test_a_photo_that_is_given_twice_is_replaced_once(tmp_path: Path) -> None:
    source = make_photo(tmp_path / "in" / "a.png")
    (tmp_path / "alias").symlink_to(tmp_path / "in", target_is_directory=True)
    todo = plan([tmp_path / "in", source], Where(backup=tmp_path / "kept"), listed=[tmp_path / "alias" / "a.png"])
    assert [task.source for task in todo.tasks] == [source]


def test_verify_pairs_each_photo_with_the_copy_that_the_manifest_tells(tmp_path: Path) -> None:
    for name in ("y.gif", "y.gif.png", "z.gif", "z.jpg"):
        make_photo(tmp_path / "in" / name)
    run(tmp_path / "in")
    expected = {"y.gif": "y.gif-2.png", "y.gif.png": "y.gif.png", "z.gif": "z.gif.png", "z.jpg": "z.jpg"}
    for originals, copies_of_them in (("in", "in-protected"), ("kept", "in")):
        if originals == "kept":
            in_place(tmp_path)
        pairs = pair_up(tmp_path / originals, tmp_path / copies_of_them)
        assert {one and one.name: other and other.name for one, other in pairs} == expected


def test_verify_pairs_by_name_what_no_manifest_tells(tmp_path: Path) -> None:
    """Each photo gets one copy before any gets a second one."""
    for name in ("in/x.bmp", "in/x.jpg", "out/x.bmp.png", "out/x.png"):
        make_photo(tmp_path / name)
    pairs = pair_up(tmp_path / "in", tmp_path / "out")
    assert {one and one.name: other and other.name for one, other in pairs} == {"x.bmp": "x.bmp.png", "x.jpg": "x.png"}


def test_verify_pairs_all_copies_of_photos_that_were_moved(tmp_path: Path) -> None:
    make_photo(tmp_path / "in" / "a.jpg")
    for wanted in ("keep", "png"):
        run(tmp_path / "in", writing=Writing(wanted))
    (tmp_path / "in").rename(tmp_path / "album")
    pairs = pair_up(tmp_path / "album", tmp_path / "in-protected")
    assert sorted((one and one.name, other and other.name) for one, other in pairs) == [
        ("a.jpg", "a.jpg"), ("a.jpg", "a.png"),
    ]  # fmt: skip


@pytest.mark.parametrize("jobs", [1, 2])
def test_in_place_each_of_a_clash_is_replaced_and_comes_back(tmp_path: Path, jobs: int) -> None:
    for name in ("y.gif", "y.gif.png", "z.gif", "z.png"):
        make_photo(tmp_path / "in" / name)
    before = contents(tmp_path / "in")
    assert {photo.status for photo in in_place(tmp_path, jobs=jobs).values()} == {"protected"}
    after = contents(tmp_path / "in")
    assert set(after) == {"y.gif-2.png", "y.gif.png", "z.gif.png", "z.png"}
    assert contents(tmp_path / "kept") == before
    assert {photo.status for photo in in_place(tmp_path, jobs=jobs).values()} == {"unchanged", "skipped"}
    assert contents(tmp_path / "in") == after
    assert {photo.status for photo in restore(tmp_path / "in.jsonl")} == {"restored"}
    assert contents(tmp_path / "in") == before


def test_single_files_of_one_name_are_replaced_and_come_back(tmp_path: Path) -> None:
    photos = [make_photo(tmp_path / folder / "x.png", size) for folder, size in (("p", 40), ("q", 50))]
    before = [photo.read_bytes() for photo in photos]
    where = Where(backup=tmp_path / "kept")
    done = list(protect_photos(plan(photos, where), {"": PROTECTION}))
    assert [photo.status for photo in done] == ["protected", "protected"]
    assert [(tmp_path / "kept" / name).read_bytes() for name in ("x.png", "x-2.png")] == before
    again = list(protect_photos(plan(photos[1:], where), {"": PROTECTION}))
    assert again[0].status == "skipped"
    assert {photo.status for photo in restore(tmp_path / "photos-protected.jsonl")} == {"restored"}
    assert [photo.read_bytes() for photo in photos] == before


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_photo_of_another_format_than_its_name_says_gets_a_free_name_and_keeps_it(tmp_path: Path, jobs: int) -> None:
    make_as(tmp_path / "in" / "b.bmp", "GIF")
    make_photo(tmp_path / "in" / "b.bmp.png")
    make_as(tmp_path / "in" / "c.heic", "JPEG")
    done = run(tmp_path / "in", jobs=jobs)
    assert {name: photo.target and photo.target.name for name, photo in done.items()} == {
        "b.bmp": "b.bmp-2.png",
        "b.bmp.png": "b.bmp.png",
        "c.heic": "c.heic",
    }
    assert {photo.status for photo in run(tmp_path / "in", jobs=jobs).values()} == {"unchanged"}
    (tmp_path / "in" / "b.bmp.png").unlink()
    assert run(tmp_path / "in")["b.bmp"].status == "unchanged"
    make_photo(tmp_path / "in" / "b.bmp", 50)  # which is what its name says now
    assert run(tmp_path / "in")["b.bmp"].target == tmp_path / "in-protected" / "b.bmp"


def test_a_new_photo_that_keeps_its_name_gets_it_from_one_that_had_it(tmp_path: Path) -> None:
    make_photo(tmp_path / "in" / "a.gif")
    run(tmp_path / "in")
    make_photo(tmp_path / "in" / "a.gif.png", 50)
    done = run(tmp_path / "in")
    assert {name: (photo.status, photo.target and photo.target.name) for name, photo in done.items()} == {
        "a.gif": ("protected", "a.gif-2.png"),
        "a.gif.png": ("protected", "a.gif.png"),
    }
    with Image.open(tmp_path / "in-protected" / "a.gif.png") as copy:
        assert copy.size == (50, 50)
    assert {photo.status for photo in run(tmp_path / "in").values()} == {"unchanged"}


def test_what_is_left_of_a_photo_that_is_gone_is_never_written_over(tmp_path: Path) -> None:
    make_photo(tmp_path / "in" / "a.gif")
    run(tmp_path / "in", writing=Writing("png"))
    left = (tmp_path / "in-protected" / "a.png").read_bytes()
    (tmp_path / "in" / "a.gif").unlink()
    make_photo(tmp_path / "in" / "a.png", 50)
    assert (
        "another file, which may be unprotected, is in the place of its copy"
        in run(tmp_path / "in", writing=Writing("png"))["a.png"].reason
    )
    assert (tmp_path / "in-protected" / "a.png").read_bytes() == left


def test_a_killed_run_in_place_goes_on_with_the_names_that_it_gave(tmp_path: Path, monkeypatch: Any) -> None:
    """Killed when the copy is beside its original, where it looks like a photo of its own."""
    from unlearn_cli.photos.copying import Copying

    for name in ("z.gif", "z.png", "y.gif", "y.gif.png"):
        make_photo(tmp_path / "in" / name)
    before = contents(tmp_path / "in")

    class Killed(BaseException):
        pass

    whole = Copying.remove_replaced
    for calls in range(4):
        remaining = [calls]

        def killed(self: Copying, target: Path, remaining: list[int] = remaining) -> None:
            remaining[0] -= 1
            if remaining[0] < 0:
                raise Killed
            whole(self, target)

        with monkeypatch.context() as patch:
            patch.setattr(Copying, "remove_replaced", killed)
            with pytest.raises(Killed):
                in_place(tmp_path, writing=Writing("png"))
        assert {photo.status for photo in in_place(tmp_path, writing=Writing("png")).values()} <= {
            "protected",
            "unchanged",
            "skipped",
        }
        assert set(contents(tmp_path / "in")) == {"z.gif.png", "z.png", "y.png", "y.gif.png"}
        assert {photo.status for photo in restore(tmp_path / "in.jsonl")} == {"restored"}
        assert contents(tmp_path / "in") == before


def test_shards_and_the_whole_folder_agree_on_names(tmp_path: Path) -> None:
    for name in ("a.gif", "a.png", "a.bmp", "b.bmp", "b.bmp.png"):
        make_photo(tmp_path / "in" / name)
    make_as(tmp_path / "in" / "b.bmp", "GIF")
    written = Options(writing=Writing("webp"))
    for part in (1, 2, 3):
        list(protect_folder(tmp_path / "in", PROTECTION, Where(shard=(part, 3)), written))
    list(protect_folder(tmp_path / "in", PROTECTION, Where(output=tmp_path / "whole"), written))
    assert set(contents(tmp_path / "in-protected")) == set(contents(tmp_path / "whole"))
    assert len(contents(tmp_path / "whole")) == 5
    assert {path: digest for path, (digest, _) in contents(tmp_path / "in-protected").items()} == {
        path: digest for path, (digest, _) in contents(tmp_path / "whole").items()
    }
