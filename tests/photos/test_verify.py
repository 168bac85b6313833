"""Verifying finds the noise that is there, and no other."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from unlearn_cli.banks.bank import Bank
from unlearn_cli.banks.catalog import open_bank, shipped_banks
from unlearn_cli.errors import UsageError, WorkError
from unlearn_cli.photos.apply import Pattern
from unlearn_cli.photos.encode import Writing
from unlearn_cli.photos.fit import Fit
from unlearn_cli.photos.folder import protect_folder
from unlearn_cli.photos.outcome import Options
from unlearn_cli.photos.protection import Protection
from unlearn_cli.photos.scan import Where
from unlearn_cli.photos.verdicts import Pair, verify


@pytest.fixture(scope="module")
def banks() -> list[Bank]:
    return [open_bank(entry.name) for entry in shipped_banks()]


@pytest.fixture
def album(photos: Path, tmp_path: Path) -> Path:
    """Return a folder with three real photos: a JPEG with an orientation, a PNG and a grey JPEG."""
    folder = tmp_path / "in"
    folder.mkdir()
    with Image.open(photos / "orientation" / "Portrait_6.jpg") as image:
        image.reduce(2).save(folder / "a.jpg", exif=image.getexif(), quality=90)
        image.reduce(3).save(folder / "b.png")
        image.reduce(3).convert("L").save(folder / "grey.jpg", quality=90)
    return folder


def check(originals: Path, protected: Path, banks: list[Bank], *, measure: bool = False) -> dict[str, Pair]:
    pairs = verify(originals, protected, banks, jobs=2, measure=measure)
    return {(pair.original or pair.protected or Path()).name: pair for pair in pairs}


def forget(album: Path) -> None:
    """Remove the manifest, without which only the pixels tell."""
    (album.parent / "in-protected.jsonl").unlink()


@pytest.mark.parametrize("measure", [True, False])
@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("wanted", ["keep", "png", "webp"])
def test_protected_photos_are_known_by_their_bank_class_and_epsilon(
    album: Path, banks: list[Bank], cat: Protection, known: bool, wanted: str, measure: bool
) -> None:
    writing = Writing(wanted)  # type: ignore[arg-type]
    list(protect_folder(album, cat, options=Options(writing=writing)))
    if not known:
        forget(album)
    pairs = check(album, album.parent / "in-protected", banks, measure=measure)
    for name, pair in pairs.items():
        if wanted == "webp" and name == "grey.jpg":
            assert pair.verdict == ("skipped" if known else "missing")
            continue
        # The noise is mostly colour, which a grey photo cannot carry.
        assert pair.verdict == ("weak" if name == "grey.jpg" else "protected"), (name, pair.reason)
        assert pair.fit is not None
        assert (pair.fit.bank, pair.fit.class_name) == ("cifar10", "cat")
        assert pair.fit.epsilon == pytest.approx(8, abs=1)
        assert isinstance(pair.fit, Fit) == (measure or not known), "the manifest vouches for files that it knows"
        assert pair.linf is not None
        assert pair.linf <= 8 or not pair.lossless
        assert (pair.quality is not None) == measure
        assert pair.quality is None or pair.quality.linf == pair.linf


@pytest.mark.parametrize("name", ["cat", "truck"])
@pytest.mark.parametrize("epsilon", [3, 8])
def test_weaker_noise_of_any_class_is_known_too(album: Path, banks: list[Bank], name: str, epsilon: int) -> None:
    bank = next(bank for bank in banks if name in bank.classes)
    pattern = Pattern(bank.noise[bank.classes.index(name)], 8).scaled(epsilon)
    list(protect_folder(album, Protection(pattern, name, bank.name, bank.sha256, 8)))
    forget(album)
    pair = check(album, album.parent / "in-protected", banks)["b.png"]
    assert pair.fit is not None
    assert (pair.verdict, pair.fit.class_name) == ("protected", name)
    assert pair.fit.epsilon == pytest.approx(epsilon, abs=0.5)


def test_what_is_not_protected_is_said_so(album: Path, banks: list[Bank]) -> None:
    copies = album.parent / "copies"
    copies.mkdir()
    for path in album.iterdir():
        with Image.open(path) as image:
            image.save(copies / path.name, quality=70, exif=image.getexif())
    pairs = check(album, copies, banks)
    assert {pair.verdict for pair in pairs.values()} == {"not protected"}
    assert "same as the original's" in pairs["b.png"].reason
    assert "no known pattern was found" in pairs["a.jpg"].reason


def test_what_was_altered_since_is_told(album: Path, banks: list[Bank], cat: Protection) -> None:
    list(protect_folder(album, cat))
    copies = album.parent / "in-protected"
    with Image.open(copies / "a.jpg") as image:
        image.reduce(2).save(copies / "a.jpg")
    with Image.open(copies / "b.png") as image:
        Image.eval(image, lambda level: min(level + 20, 255)).save(copies / "b.png")
    with Image.open(copies / "grey.jpg") as image:
        image.save(copies / "grey.jpg", quality=80)
    for known in (True, False):
        if not known:
            forget(album)
        pairs = check(album, copies, banks)
        assert pairs["a.jpg"].verdict == "altered"
        assert "but that of its original is" in pairs["a.jpg"].reason
        assert pairs["b.png"].verdict == "altered"
        assert pairs["grey.jpg"].verdict == ("altered" if known else "weak")


def test_what_a_manifest_knows_is_altered_even_where_no_noise_is_left(
    album: Path, banks: list[Bank], cat: Protection
) -> None:
    list(protect_folder(album, cat))
    (album.parent / "in-protected" / "b.png").write_bytes((album / "b.png").read_bytes())
    pair = check(album, album.parent / "in-protected", banks)["b.png"]
    assert (pair.verdict, pair.reason) == ("not protected", "its pixels are the same as the original's")
    with Image.open(album / "b.png") as image:
        image.rotate(180).save(album.parent / "in-protected" / "b.png")
    pair = check(album, album.parent / "in-protected", banks)["b.png"]
    assert pair.verdict == "altered"
    assert "no noise can be found" in pair.reason


def test_a_lossless_copy_beyond_its_bound_is_told(album: Path, banks: list[Bank], cat: Protection) -> None:
    list(protect_folder(album, cat))
    target = album.parent / "in-protected" / "b.png"
    with Image.open(target) as image:
        pixels = np.array(image)
    pixels[0, 0] = 255 - pixels[0, 0]
    Image.fromarray(pixels).save(target)
    forget(album)
    pair = check(album, album.parent / "in-protected", banks)["b.png"]
    assert pair.verdict == "over its bound"
    assert "its bound is 8" in pair.reason


def test_noise_on_noise_is_beyond_its_bound(album: Path, banks: list[Bank], cat: Protection) -> None:
    list(protect_folder(album, cat))
    again = album.parent / "again"
    list(protect_folder(album.parent / "in-protected", cat, Where(output=again, again=True), Options(again=True)))
    pair = check(album, again, banks)["b.png"]
    assert pair.verdict == "over its bound"
    assert pair.linf == 16


def test_pairs_that_are_missing_are_told(album: Path, banks: list[Bank], cat: Protection) -> None:
    list(protect_folder(album, cat))
    copies = album.parent / "in-protected"
    (copies / "a.jpg").unlink()
    (copies / "stray.png").write_bytes((copies / "b.png").read_bytes())
    (album / "moving.gif").write_bytes(animation())
    list(protect_folder(album, cat, options=Options(skip_existing=True)))
    (copies / "a.jpg").unlink()
    pairs = check(album, copies, banks)
    assert (pairs["a.jpg"].verdict, pairs["stray.png"].verdict) == ("missing", "extra")
    assert "no protected copy" in pairs["a.jpg"].reason
    assert "there is no original for it" in pairs["stray.png"].reason
    assert pairs["moving.gif"].verdict == "skipped"
    assert "frames" in pairs["moving.gif"].reason


@pytest.mark.parametrize("known", [True, False])
def test_a_photo_with_copies_in_two_formats_is_checked_twice(
    album: Path, banks: list[Bank], cat: Protection, known: bool
) -> None:
    copies = album.parent / "in-protected"
    for wanted in ("jpeg", "png"):
        list(protect_folder(album, cat, options=Options(writing=Writing(wanted))))
    if not known:
        forget(album)
    pairs = list(verify(album, copies, banks))
    assert {pair.verdict for pair in pairs} == {"protected", "weak"}, "the grey photo is protected less"
    named = [(pair.original and pair.original.name, pair.protected and pair.protected.name) for pair in pairs]
    assert sorted(named) == [
        (name, Path(name).with_suffix(suffix).name)
        for name in ("a.jpg", "b.png", "grey.jpg")
        for suffix in (".jpg", ".png")
    ]
    if known:
        assert named[0] == ("a.jpg", "a.png"), "the newest comes first"
    (copies / "a.png").write_bytes((album / "a.jpg").read_bytes())
    judged = {pair.protected.name: pair.verdict for pair in verify(album, copies, banks) if pair.protected}
    assert (judged["a.jpg"], judged["a.png"]) == ("protected", "not protected")


def test_damaged_copies_fail(album: Path, banks: list[Bank], cat: Protection) -> None:
    list(protect_folder(album, cat))
    (album.parent / "in-protected" / "b.png").write_bytes(b"damaged")
    assert check(album, album.parent / "in-protected", banks)["b.png"].verdict == "failed"


def test_single_files_and_what_cannot_be_paired(album: Path, banks: list[Bank], cat: Protection) -> None:
    (done,) = protect_folder(album / "b.png", cat)
    assert done.target is not None
    (pair,) = verify(album / "b.png", done.target, banks)
    assert pair.verdict == "protected"
    with pytest.raises(UsageError, match="no file or folder"):
        list(verify(album, album / "gone", banks))
    with pytest.raises(UsageError, match="two folders, or two files"):
        list(verify(album, done.target, banks))
    (album.parent / "empty").mkdir()
    with pytest.raises(WorkError, match="No photo found"):
        list(verify(album.parent / "empty", album, banks))


def test_what_protect_passes_over_is_not_missing(album: Path, banks: list[Bank], cat: Protection) -> None:
    list(protect_folder(album / "b.png", cat))
    list(protect_folder(album / "a.jpg", cat, Where(output=album / "trip-protected")))
    (album / "trip").mkdir()
    assert (album / "b-protected.png").exists()
    list(protect_folder(album, cat))
    assert set(check(album, album.parent / "in-protected", banks)) == {"a.jpg", "b.png", "grey.jpg"}
    # But with again=yes it is a photo like all others.
    again = album.parent / "again"
    list(protect_folder(album, cat, Where(output=again, again=True), Options(again=True)))
    assert {"b-protected.png", "a.jpg", "b.png"} <= set(check(album, again, banks))


@pytest.mark.parametrize("known", [True, False])
def test_unreadable_originals_are_not_missing(album: Path, banks: list[Bank], cat: Protection, known: bool) -> None:
    (album / "a.jpg").write_bytes(b"\xff\xd8\xff damaged")
    list(protect_folder(album, cat))
    (album / "b.png").write_bytes(b"damaged since")
    (album / "moving.gif").write_bytes(animation())
    (album / "new.png").write_bytes((album / "grey.jpg").read_bytes())
    if not known:
        forget(album)
    pairs = check(album, album.parent / "in-protected", banks)
    verdicts = {name: pair.verdict for name, pair in pairs.items()}
    assert verdicts == {
        "a.jpg": "unreadable", "b.png": "unreadable", "grey.jpg": "weak", "moving.gif": "skipped", "new.png": "missing",
    }  # fmt: skip
    assert "no copy can be made of it: it is damaged" in pairs["a.jpg"].reason


def test_a_manifest_vouches_only_for_the_copies_that_it_records(
    album: Path, banks: list[Bank], cat: Protection
) -> None:
    list(protect_folder(album, cat))
    copies = album.parent / "in-protected"
    copies.rename(album.parent / "moved")
    list(protect_folder(album, Protection(cat.pattern.scaled(4), "cat", cat.bank, cat.bank_sha256, 8)))
    pair = check(album, album.parent / "moved", banks)["b.png"]
    assert (pair.verdict, isinstance(pair.fit, Fit)) == ("protected", True)
    (album / "b.png").unlink()
    (album / "a.jpg").rename(album / "b.jpg")
    (copies / "a.jpg").rename(copies / "b.jpg")
    (copies / "grey.jpg").unlink()
    pairs = check(album, copies, banks)
    assert {name: pair.verdict for name, pair in pairs.items()} == {
        "b.jpg": "protected", "grey.jpg": "missing", "b.png": "extra",
    }  # fmt: skip


def animation() -> bytes:
    buffer = io.BytesIO()
    frames = [Image.effect_noise((8, 8), 60).convert("P") for _ in range(3)]
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:])
    return buffer.getvalue()


def test_a_copy_of_another_original_is_not_vouched_for(album: Path, banks: list[Bank], cat: Protection) -> None:
    list(protect_folder(album, cat))
    with Image.open(album / "a.jpg") as image:
        image.load()
        # The same picture with another rating, as photo managers write it.
        image.save(album / "a.jpg", exif=image.getexif(), quality="keep", comment=b"five stars")
    with Image.open(album / "b.png") as image:
        Image.new("RGB", image.size, (20, 160, 40)).save(album / "b.png")
    found = check(album, album.parent / "in-protected", banks)
    assert found["a.jpg"].verdict == "protected"
    assert (found["b.png"].verdict, found["b.png"].fit) == ("altered", None)
    assert "its original was changed after the copy was made" in found["b.png"].reason
