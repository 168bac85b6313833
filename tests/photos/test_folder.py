"""What a run over a folder promises: originals untouched, whole files only, no photo's trouble another's."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from tests.conftest import RunUnlearn
from unlearn_cli.files import TEMPORARY_PREFIX, write_atomically
from unlearn_cli.photos.folder import PhotoDone, protect_photos
from unlearn_cli.photos.noise import Pattern
from unlearn_cli.photos.scan import plan

PATTERN = Pattern(np.random.default_rng(0).integers(-8, 9, (3, 32, 32)).astype(np.int8), 8)


def make_photo(path: Path, size: int = 40) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.effect_noise((size, size), 60).convert("RGB").save(path)
    return path


def run(folder: Path, **options: Any) -> dict[str, PhotoDone]:
    return {done.source.name: done for done in protect_photos(plan([folder]).tasks, PATTERN, **options)}


def test_a_second_run_does_nothing_and_overwrite_does_it_again(tmp_path: Path) -> None:
    source = make_photo(tmp_path / "in" / "a.png")
    assert run(tmp_path / "in")["a.png"].status == "protected"
    target = tmp_path / "in-protected" / "a.png"
    first = target.read_bytes()
    target.write_bytes(b"something the user put there")
    again = run(tmp_path / "in")["a.png"]
    assert again.status == "skipped"
    assert "from an earlier run" in again.reason
    assert target.read_bytes() == b"something the user put there"
    assert run(tmp_path / "in", overwrite=True)["a.png"].status == "protected"
    assert target.read_bytes() == first
    assert source.stat().st_mtime_ns == target.stat().st_mtime_ns


def test_a_format_that_cannot_be_written_back_becomes_a_png_once(tmp_path: Path) -> None:
    make_photo(tmp_path / "in" / "a.gif")
    done = run(tmp_path / "in")["a.gif"]
    assert done.target == tmp_path / "in-protected" / "a.gif.png"
    assert run(tmp_path / "in")["a.gif"].status == "skipped"


def test_two_photos_never_share_one_copy(tmp_path: Path) -> None:
    make_photo(tmp_path / "in" / "a.gif")
    make_photo(tmp_path / "in" / "a.gif.png")
    done = run(tmp_path / "in", overwrite=True)
    assert done["a.gif"].status == "protected"
    assert done["a.gif.png"].status == "failed"
    assert "another photo" in done["a.gif.png"].reason


@pytest.mark.parametrize("jobs", [1, 2, 7])
def test_any_number_of_jobs_gives_the_same_files_in_order(tmp_path: Path, jobs: int) -> None:
    names = [f"{i:02}.{'jpg' if i % 2 else 'png'}" for i in range(25)]
    for i, name in enumerate(names):
        make_photo(tmp_path / "in" / name, 20 + i)
    (tmp_path / "in" / "07.jpg").write_bytes(b"damaged")
    list(protect_photos(plan([tmp_path / "in"], tmp_path / "one").tasks, PATTERN))
    done = list(protect_photos(plan([tmp_path / "in"]).tasks, PATTERN, jobs=jobs))
    assert [d.source.name for d in done] == names
    assert [d.source.name for d in done if d.status == "failed"] == ["07.jpg"]
    for name in set(names) - {"07.jpg"}:
        assert (tmp_path / "in-protected" / name).read_bytes() == (tmp_path / "one" / name).read_bytes()


def test_a_run_that_is_not_asked_on_begins_nothing_more(tmp_path: Path) -> None:
    for i in range(30):
        make_photo(tmp_path / "in" / f"{i:02}.png")
    events = protect_photos(plan([tmp_path / "in"]).tasks, PATTERN, jobs=2)
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
    assert "truncated" in done["b.jpg"].reason
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
    assert "changes nothing" in done.reason


def test_what_the_file_holds_is_measured(tmp_path: Path) -> None:
    for name in ("a.png", "a.jpg", "a.webp"):
        make_photo(tmp_path / "in" / name, 64)
    done = run(tmp_path / "in")
    assert done["a.png"].change
    assert done["a.png"].realised == done["a.png"].change.linf == 8
    assert done["a.jpg"].realised > 8
    assert done["a.webp"].realised > 8


def test_a_lossless_webp_with_a_profile_stays_lossless(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    image = Image.effect_noise((40, 40), 60).convert("RGB")
    image.save(tmp_path / "in" / "a.webp", lossless=True, icc_profile=profile)
    done = run(tmp_path / "in")["a.webp"]
    assert 0 < done.realised <= 8
    assert done.target
    with Image.open(done.target) as written:
        assert written.info["icc_profile"] == profile


def test_a_folder_that_cannot_be_written_fails_photo_by_photo(tmp_path: Path) -> None:
    make_photo(tmp_path / "in" / "a.png")
    (tmp_path / "in-protected").write_text("a file where the folder should be")
    done = run(tmp_path / "in")["a.png"]
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


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_killed_at_any_moment_there_are_only_whole_files(tmp_path: Path, unlearn: RunUnlearn) -> None:
    names = [f"{i:02}.png" for i in range(40)]
    for name in names:
        make_photo(tmp_path / "in" / name, 150)
    originals = {name: (tmp_path / "in" / name).read_bytes() for name in names}
    command = [sys.executable, "-m", "unlearn_cli", "protect", "in", "--class", "person"]
    unlearn("protect", "in", "--class", "person", "-o", "expected")
    out = tmp_path / "in-protected"
    for moment in range(5):
        process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while process.poll() is None and len(list(out.glob("*.png"))) < moment * 7 + 1:
            time.sleep(0.002)
        process.kill()
        process.wait()
        for file in out.glob("*.png"):
            assert file.read_bytes() == (tmp_path / "expected" / file.name).read_bytes()
    assert unlearn("protect", "in", "--class", "person").returncode == 0
    visible = [path.name for path in out.iterdir() if not path.name.startswith(TEMPORARY_PREFIX)]
    assert sorted(visible) == names
    assert {name: (tmp_path / "in" / name).read_bytes() for name in names} == originals
