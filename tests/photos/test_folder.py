"""What a run over a folder promises: originals untouched, whole files only, no photo's trouble another's."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageCms

from tests.conftest import protection_of
from unlearn_cli.errors import UsageError
from unlearn_cli.files import TEMPORARY_PREFIX, write_atomically
from unlearn_cli.photos.apply import Pattern
from unlearn_cli.photos.decode import Photo
from unlearn_cli.photos.encode import Writing, encode
from unlearn_cli.photos.folder import protect_folder, protect_photos
from unlearn_cli.photos.lists import parse_list, parse_shard
from unlearn_cli.photos.outcome import EARLIER_COPY, Options, PhotoDone
from unlearn_cli.photos.scan import WHERE, Where, plan

PROTECTION = protection_of(Pattern(np.random.default_rng(0).integers(-8, 9, (3, 32, 32)).astype(np.int8), 8))


def make_photo(path: Path, size: int = 40) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.effect_noise((size, size), 60).convert("RGB").save(path)
    return path


def run(folder: Path, where: Where = WHERE, **options: Any) -> dict[str, PhotoDone]:
    return {done.source.name: done for done in protect_folder(folder, PROTECTION, where, Options(**options))}


def test_a_format_that_cannot_be_written_back_becomes_a_png_once(tmp_path: Path) -> None:
    make_photo(tmp_path / "in" / "a.gif")
    done = run(tmp_path / "in")["a.gif"]
    assert done.target == tmp_path / "in-protected" / "a.gif.png"
    assert run(tmp_path / "in")["a.gif"].status == "unchanged"


def test_two_photos_never_share_one_copy(tmp_path: Path) -> None:
    make_photo(tmp_path / "in" / "a.gif")
    make_photo(tmp_path / "in" / "a.gif.png")
    assert {photo.status for photo in run(tmp_path / "in").values()} == {"protected"}
    assert sorted(path.name for path in (tmp_path / "in-protected").iterdir()) == ["a.gif-2.png", "a.gif.png"]
    # A name that does not tell: the GIF that is called BMP becomes a PNG.
    (tmp_path / "in" / "a.gif").rename(tmp_path / "in" / "b.bmp")
    make_photo(tmp_path / "in" / "b.bmp.png")
    done = run(tmp_path / "in", Where(output=tmp_path / "out"), jobs=2)
    assert {name: photo.target and photo.target.name for name, photo in done.items()} == {
        "a.gif.png": "a.gif.png",
        "b.bmp": "b.bmp-2.png",
        "b.bmp.png": "b.bmp.png",
    }


@pytest.mark.parametrize("jobs", [1, 2, 7])
def test_any_number_of_jobs_gives_the_same_files_in_order(tmp_path: Path, jobs: int) -> None:
    names = [f"{i:02}.{'jpg' if i % 2 else 'png'}" for i in range(25)]
    for i, name in enumerate(names):
        make_photo(tmp_path / "in" / name, 20 + i)
    (tmp_path / "in" / "07.jpg").write_bytes(b"damaged")
    run(tmp_path / "in", Where(output=tmp_path / "one"))
    done = list(protect_folder(tmp_path / "in", PROTECTION, Where(), Options(jobs=jobs)))
    assert [d.source.name for d in done] == names
    assert [d.source.name for d in done if d.status == "failed"] == ["07.jpg"]
    for name in set(names) - {"07.jpg"}:
        assert (tmp_path / "in-protected" / name).read_bytes() == (tmp_path / "one" / name).read_bytes()


def test_a_run_that_is_not_asked_on_begins_nothing_more(tmp_path: Path) -> None:
    for i in range(30):
        make_photo(tmp_path / "in" / f"{i:02}.png")
    events = protect_folder(tmp_path / "in", PROTECTION, Where(), Options(jobs=2))
    next(events)
    events.close()
    written = list((tmp_path / "in-protected").iterdir())
    assert 1 <= len(written) <= 5
    assert not [path for path in written if path.name.startswith(TEMPORARY_PREFIX)]


def test_a_damaged_photo_fails_alone(tmp_path: Path) -> None:
    whole = make_photo(tmp_path / "in" / "a.jpg").read_bytes()
    (tmp_path / "in" / "b.jpg").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "in" / "c.jpg").write_bytes(b"no photo at all")
    make_photo(tmp_path / "in" / "d.jpg")
    done = run(tmp_path / "in")
    assert {name: d.status for name, d in done.items()} == {
        "a.jpg": "protected",
        "b.jpg": "failed",
        "c.jpg": "failed",
        "d.jpg": "protected",
    }
    assert "is missing" in done["b.jpg"].reason
    assert sorted(p.name for p in (tmp_path / "in-protected").iterdir()) == ["a.jpg", "d.jpg"]


@pytest.mark.parametrize("link", [os.symlink, os.link])
def test_a_copy_that_is_a_link_to_its_original_is_replaced(tmp_path: Path, link: Callable[..., None]) -> None:
    source = make_photo(tmp_path / "in" / "a.png")
    before = source.read_bytes()
    (tmp_path / "in-protected").mkdir()
    link(source, tmp_path / "in-protected" / "a.png")
    assert run(tmp_path / "in", overwrite=True)["a.png"].status == "protected"
    assert source.read_bytes() == before
    assert not (tmp_path / "in-protected" / "a.png").is_symlink()


def test_a_photo_that_noise_cannot_change_is_not_called_protected(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    Image.new("RGBA", (20, 20), (90, 120, 30, 0)).save(tmp_path / "in" / "clear.png")
    done = run(tmp_path / "in")["clear.png"]
    assert done.status == "skipped"
    assert "changes none of its pixels" in done.reason


def test_what_the_file_holds_is_measured(tmp_path: Path) -> None:
    for name in ("a.png", "a.jpg", "a.webp"):
        make_photo(tmp_path / "in" / name, 64)
    assert run(tmp_path / "in", Where(output=tmp_path / "out"))["a.png"].quality is None
    measured = {name: photo.quality for name, photo in run(tmp_path / "in", measure=True).items()}
    for name in ("a.png", "a.jpg", "a.webp"):
        quality = measured[name]
        assert quality is not None
        assert quality.linf == 8 if name == "a.png" else quality.linf > 8
        assert 25 < quality.psnr < 45
        assert quality.ssim is not None
        assert quality.flip is not None
        assert 0.8 < quality.ssim < 1
        assert 0 < quality.flip < 0.5
        assert 0 < quality.ciede2000 < quality.ciede2000_p95


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.bmp"])
def test_a_lossless_copy_that_does_not_hold_its_pixels_is_never_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    make_photo(tmp_path / "in" / name)

    def one_value_off(photo: Photo, writing: Writing) -> bytes:
        photo.pixels[-1, -1, 0] ^= 1
        data = encode(photo, writing)
        photo.pixels[-1, -1, 0] ^= 1
        return data

    monkeypatch.setattr("unlearn_cli.photos.one.encode", one_value_off)
    done = run(tmp_path / "in")[name]
    assert done.status == "failed"
    assert "does not contain the pixels" in done.reason
    monkeypatch.setattr("unlearn_cli.photos.one.encode", lambda photo, writing: b"torn")
    assert "could not be read again" in run(tmp_path / "in")[name].reason
    assert not (tmp_path / "in-protected").exists()


def test_a_lossless_webp_with_a_profile_stays_lossless(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    image = Image.effect_noise((40, 40), 60).convert("RGB")
    image.save(tmp_path / "in" / "a.webp", lossless=True, icc_profile=profile)
    done = run(tmp_path / "in", measure=True)["a.webp"]
    assert done.quality
    assert 0 < done.quality.linf <= 8
    assert done.target
    with Image.open(done.target) as written:
        assert written.info["icc_profile"] == profile


def test_a_folder_that_cannot_be_written_fails_photo_by_photo(tmp_path: Path) -> None:
    make_photo(tmp_path / "in" / "a.png")
    make_photo(tmp_path / "in" / "sub" / "b.png")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "sub").write_text("a file where the folder should be")
    done = run(tmp_path / "in", Where(output=tmp_path / "out"))["b.png"]
    assert done.status == "failed"
    assert "cannot be written" in done.reason


def test_a_write_that_breaks_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "file"
    write_atomically(target, b"old")

    def full_disk(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="No space"):
        write_atomically(target, b"new")
    assert target.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.skipif(os.name != "posix", reason="umask is POSIX")
def test_files_get_the_permissions_that_any_new_file_gets(tmp_path: Path) -> None:
    write_atomically(tmp_path / "ours", b"")
    (tmp_path / "theirs").touch()
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "theirs").stat().st_mode


@pytest.mark.parametrize(
    ("wanted", "name", "magic"),
    [("png", "a.png", b"\x89PNG"), ("jpeg", "a.jpg", b"\xff\xd8\xff"), ("webp", "a.webp", b"RIFF")],
)
def test_all_copies_can_have_one_format(tmp_path: Path, wanted: Any, name: str, magic: bytes) -> None:
    make_photo(tmp_path / "in" / "a.tif")
    writing = Writing(wanted)
    done = run(tmp_path / "in", writing=writing)["a.tif"]
    assert done.target == tmp_path / "in-protected" / name
    assert done.target.read_bytes().startswith(magic)
    assert run(tmp_path / "in", writing=writing)["a.tif"].status == "unchanged"


def test_an_earlier_copy_with_another_name_is_told_of_when_the_new_one_is_made(tmp_path: Path) -> None:
    make_photo(tmp_path / "in" / "a.tif")
    before = run(tmp_path / "in")["a.tif"]
    assert before.notes == ()
    changed = run(tmp_path / "in", writing=Writing("png"))["a.tif"]
    assert changed.notes == (EARLIER_COPY,)
    assert before.target is not None
    before.target.unlink()
    assert run(tmp_path / "in", writing=Writing("png", quality=90), overwrite=True)["a.tif"].notes == ()
    # A photo whose copy keeps its name is protected anew without a word.
    assert run(tmp_path / "in", writing=Writing("png"), again=True, overwrite=True)["a.tif"].notes == ()


def test_an_earlier_copy_is_not_told_of_where_another_photo_gets_its_name_or_in_another_folder(tmp_path: Path) -> None:
    make_photo(tmp_path / "in" / "a.jpg")
    run(tmp_path / "in", writing=Writing("png"))
    make_photo(tmp_path / "in" / "a.png")
    done = run(tmp_path / "in", writing=Writing("png"))
    assert {name: (photo.target and photo.target.name, photo.notes) for name, photo in done.items()} == {
        "a.jpg": ("a.jpg.png", ()),
        "a.png": ("a.png", ()),
    }
    for name in ("one", "other"):
        where = Where(output=tmp_path / name, manifest=tmp_path / "all.jsonl")
        assert run(tmp_path / "in", where)["a.jpg"].notes == ()


def test_what_a_wanted_format_cannot_hold_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    Image.new("RGBA", (20, 20), (90, 120, 30, 128)).save(tmp_path / "in" / "a.png")
    done = run(tmp_path / "in", writing=Writing("jpeg"))["a.png"]
    assert done.status == "skipped"
    assert "JPEG cannot store" in done.reason


def test_a_quality_is_as_asked(tmp_path: Path) -> None:
    make_photo(tmp_path / "in" / "a.jpg", 200)
    sizes = []
    for quality in (60, None, 99):
        out = tmp_path / f"out{quality}"
        target = run(tmp_path / "in", Where(output=out), writing=Writing(quality=quality))["a.jpg"].target
        assert target is not None
        sizes.append(target.stat().st_size)
    assert sizes == sorted(sizes)
    with pytest.raises(UsageError, match="1 to 100"):
        Writing(quality=0)


def test_times_are_kept_or_not(tmp_path: Path) -> None:
    os.utime(make_photo(tmp_path / "in" / "a.png"), ns=(10**18, 10**18))
    for kept in (True, False):
        options = {"writing": Writing(preserve_times=kept)}
        target = run(tmp_path / "in", Where(output=tmp_path / f"out{kept}"), **options)["a.png"].target
        assert target is not None
        assert (target.stat().st_mtime_ns == 10**18) == kept


def test_a_run_that_fails_fast_begins_no_more(tmp_path: Path) -> None:
    for i in range(30):
        make_photo(tmp_path / "in" / f"{i:02}.png")
    (tmp_path / "in" / "03.png").write_bytes(b"damaged")
    done = run(tmp_path / "in", fail_fast=True, jobs=2)
    assert done["03.png"].status == "failed"
    assert 4 <= len(done) < 12
    assert run(tmp_path / "in", Where(output=tmp_path / "all"))["29.png"].status == "protected"


def test_an_explicit_list_keeps_its_folders_and_misses_what_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_photo(tmp_path / "a" / "x.png")
    make_photo(tmp_path / "b" / "x.png")
    monkeypatch.chdir(tmp_path)
    listed = parse_list(b"a/x.png\nb/x.png\nb/gone.png\n")
    todo = plan([], Where(output=tmp_path / "out"), listed=listed)
    done = list(protect_photos(todo, {"": PROTECTION}))
    assert [photo.status for photo in done] == ["protected", "protected", "failed"]
    assert "No such file" in done[2].reason
    assert (tmp_path / "out" / "b" / "x.png").is_file()
    assert parse_list(b"a/x.png\0b/with\nline.png\0") == [Path("a/x.png"), Path("b/with\nline.png")]


@given(parts=st.integers(1, 7))
def test_the_shards_of_a_folder_are_all_of_it_once(parts: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "in"
        for i in range(20):
            (root / f"{i % 3}").mkdir(parents=True, exist_ok=True)
            (root / f"{i % 3}" / f"{i}.png").touch()
        shards = [plan([root], Where(shard=(i + 1, parts))) for i in range(parts)]
        sources = [task.source for shard in shards for task in shard.tasks]
        assert len(sources) == len(set(sources)) == 20
        assert len({task.manifest for shard in shards for task in shard.tasks}) <= parts


@pytest.mark.parametrize("text", ["0/3", "4/3", "3", "a/b", "1/0", "-1/3"])
def test_a_shard_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="I/N"):
        parse_shard(text)
