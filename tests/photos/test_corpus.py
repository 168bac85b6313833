"""Every real photo at hand ends protected, skipped or failed with a reason, and within the bound."""

from __future__ import annotations

import hashlib
import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageOps

from tests.conftest import protection_of
from unlearn_cli.errors import PhotoError, PhotoSkippedError
from unlearn_cli.photos.apply import DEEP, Pattern
from unlearn_cli.photos.decode import Photo, decode
from unlearn_cli.photos.depth import has_deep_colour
from unlearn_cli.photos.folder import protect_folder
from unlearn_cli.photos.one import as_mode
from unlearn_cli.photos.outcome import Options, PhotoDone
from unlearn_cli.photos.protection import Protection
from unlearn_cli.photos.scan import Where

LOSSY = ("JPEG", "AVIF")


def digest(folder: Path) -> dict[Path, tuple[str, int]]:
    return {
        path: (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def open_photo(path: Path) -> Photo:
    return decode(path.read_bytes())


@pytest.fixture(scope="module")
def done(photos: Path, cat: Protection, tmp_path_factory: pytest.TempPathFactory) -> dict[str, PhotoDone]:
    """Return all photos, protected once; that the originals are as before is checked on the way."""
    before = digest(photos)
    where = Where(output=tmp_path_factory.mktemp("corpus") / "out")
    events = protect_folder(photos, cat, where, Options(jobs=2))
    results = {str(d.source.relative_to(photos)): d for d in events}
    assert digest(photos) == before
    assert len(results) > 150
    return results


def test_every_photo_ends_with_a_status_and_what_is_not_protected_with_a_reason(done: dict[str, PhotoDone]) -> None:
    for name, photo in done.items():
        assert (photo.status == "protected") == (photo.target is not None and photo.target.is_file()), name
        assert (photo.status == "protected") != bool(photo.reason), name
    protected = {name for name, photo in done.items() if photo.status == "protected"}
    assert {name for name in done if name.startswith(("camera/", "orientation/"))} <= protected


def test_nothing_but_the_photos_is_written(done: dict[str, PhotoDone]) -> None:
    targets = [photo.target for photo in done.values() if photo.target]
    root = next(target for target in targets if target.parent.name == "camera").parent.parent
    assert {path for path in root.rglob("*") if path.is_file()} == set(targets)


def test_lossless_outputs_never_exceed_epsilon(done: dict[str, PhotoDone]) -> None:
    checked = 0
    for name, result in done.items():
        if result.target is None:
            continue
        original, protected = open_photo(result.source), open_photo(result.target)
        assert protected.pixels.shape[:2] == original.pixels.shape[:2], name
        profiles = {photo.metadata.icc_profile for photo in (original, protected)}
        assert len(profiles) == 1 or result.target.suffix == ".bmp", name
        if protected.format in LOSSY or (protected.format == "WEBP" and not protected.lossless_webp):
            continue
        protected = as_mode(protected, original.mode)
        assert protected.mode == original.mode, name
        unit = 257 if original.mode == DEEP else 1
        difference = protected.pixels.astype(int) - original.pixels.astype(int)
        assert np.abs(difference).max() <= 8 * unit, name
        assert np.abs(difference).max() == result.linf * unit, name
        checked += 1
    assert checked > 35


def test_photos_keep_their_dates_and_lose_their_place_and_thumbnail(done: dict[str, PhotoDone]) -> None:
    dated = 0
    for name, result in done.items():
        if result.target is None:
            continue
        assert result.target.stat().st_mtime_ns == result.source.stat().st_mtime_ns, name
        with Image.open(result.target) as image:
            exif = image.getexif()
            assert not exif.get_ifd(ExifTags.IFD.GPSInfo), name
            assert not exif.get_ifd(ExifTags.IFD.IFD1), name
            assert ExifTags.Base.Orientation not in exif or image.format == "TIFF", name
            assert getattr(image, "n_frames", 1) == 1, name
            dated += ExifTags.Base.DateTimeOriginal in exif.get_ifd(ExifTags.IFD.Exif)
        # A second JPEG inside a JPEG would be a thumbnail, a preview or an MPO frame.
        if result.target.suffix.lower() in (".jpg", ".jpeg", ".mpo"):
            assert result.target.read_bytes().count(b"\xff\xd8\xff") == 1, name
    assert dated >= 3


LEAKS = (b"http://ns.adobe.com/", b"<x:xmpmeta", b"Photoshop 3.0", b"MPF\0", b"urn:iso:std:iso:ts:21496")
"""XMP (which can hold the place and a thumbnail), Photoshop resources, further frames, gain maps."""

DATES = re.compile(
    rb'(http://ns\.adobe\.com/xap/1\.0/\0)?<x:xmpmeta xmlns:x="adobe:ns:meta/">'
    rb'<rdf:RDF xmlns:rdf="[\w:/.#-]+"><rdf:Description rdf:about="" (xmlns:\w+="[\w:/.]+" ?)+'
    rb'(\w+:\w*Date\w*="[\dTZ:.+-]+" ?)+/></rdf:RDF></x:xmpmeta>'
)
"""XMP that holds dates and nothing else."""


def test_nothing_else_that_can_hold_the_picture_or_the_place_is_written(done: dict[str, PhotoDone]) -> None:
    had = 0
    for name, result in done.items():
        if result.target is None:
            continue
        # A colour profile is kept whole, and may name anything in its text.
        profile = open_photo(result.source).metadata.icc_profile or b""
        before, after = (path.read_bytes().replace(profile, b"") for path in (result.source, result.target))
        had += any(leak in before for leak in LEAKS)
        after = DATES.sub(b"", after)
        assert not [leak for leak in LEAKS if leak in after], name
    assert had >= 5  # else the line above could not fail


def test_the_camera_photos_did_have_what_is_dropped(photos: Path) -> None:
    """Else the test above could not fail."""
    place, thumbnails = 0, 0
    for path in (photos / "camera").iterdir():
        with Image.open(path) as image:
            place += bool(image.getexif().get_ifd(ExifTags.IFD.GPSInfo))
            thumbnails += path.read_bytes().count(b"\xff\xd8\xff") > 1
    assert place >= 1
    assert thumbnails >= 3


@pytest.mark.parametrize("shape", ["Landscape", "Portrait"])
def test_orientation_is_baked_in(done: dict[str, PhotoDone], photos: Path, shape: str) -> None:
    with Image.open(photos / "orientation" / f"{shape}_1.jpg") as image:
        upright = np.asarray(image.convert("L").resize((32, 32))).astype(int)
    for turn in range(1, 9):
        target = done[f"orientation/{shape}_{turn}.jpg"].target
        assert target
        with Image.open(target) as image:
            seen = np.asarray(image.convert("L").resize((32, 32))).astype(int)
        assert np.abs(seen - upright).mean() < 8, turn


def test_colour_cannot_lose_its_depth_unseen(done: dict[str, PhotoDone]) -> None:
    for name in ("modes/tiff_strip_planar_16bit_RGBa.tiff", "modes/tiff_tiled_planar_16bit_RGBa.tiff"):
        assert done[name].status == "skipped"
        assert "more than 8 bits" in done[name].reason
    assert done["modes/rgb16-565.bmp"].status == "protected"  # 16 bits a pixel is less than 8 a colour


def test_deep_colour_is_known_in_pixmaps_jpeg2000_and_avif(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "deep.ppm").write_bytes(b"P6 2 1 65535\n" + bytes(12))
    with pytest.raises(PhotoSkippedError, match="more than 8 bits"):
        open_photo(tmp_path / "deep.ppm")
    (tmp_path / "plain.ppm").write_bytes(b"P6 2 1 255\n" + bytes(6))
    assert open_photo(tmp_path / "plain.ppm").mode == "RGB"
    # The same files, with nothing but the depth in their headers changed.
    jpeg2000 = bytearray((photos / "modes" / "zero_dpi.jp2").read_bytes())
    siz = jpeg2000.index(b"\xff\x4f\xff\x51")
    assert jpeg2000[siz + 42] == 7
    jpeg2000[siz + 42] = 15
    (tmp_path / "deep.jp2").write_bytes(jpeg2000)
    with pytest.raises(PhotoSkippedError, match="more than 8 bits"):
        open_photo(tmp_path / "deep.jp2")
    avif = bytearray((photos / "modes" / "icc_profile.avif").read_bytes())
    avif[avif.index(b"av1C") + 6] |= 0x40
    (tmp_path / "deep.avif").write_bytes(avif)
    with Image.open(photos / "modes" / "icc_profile.avif") as image:  # the decoder would not open the changed one
        assert has_deep_colour(image, bytes(avif))
        assert not has_deep_colour(image, (photos / "modes" / "icc_profile.avif").read_bytes())


def test_a_16_bit_colour_png_is_skipped(tmp_path: Path) -> None:
    import struct
    import zlib

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", 2, 1, 16, 2, 0, 0, 0)
    png = (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 13)) + chunk(b"IEND", b"")
    )
    (tmp_path / "deep.png").write_bytes(png)
    with pytest.raises(PhotoSkippedError, match="more than 8 bits"):
        open_photo(tmp_path / "deep.png")


def test_jpegs_keep_full_colour_and_at_least_their_quality(done: dict[str, PhotoDone], photos: Path) -> None:
    fine = io.BytesIO()
    Image.effect_noise((64, 64), 50).convert("RGB").save(fine, "JPEG", quality=100)
    with Image.open(io.BytesIO(fine.getvalue())) as image:
        finest = image.quantization  # type: ignore[attr-defined]
    for name in ("camera/no_exif.jpg", "camera/HMD_Nokia_8.3_5G.jpg"):
        result = done[name]
        assert result.target
        with Image.open(result.source) as before, Image.open(result.target) as after:
            assert sum(after.quantization[0]) <= sum(before.quantization[0])  # type: ignore[attr-defined]
            assert {component[1:3] for component in after.layer} == {(1, 1)}  # type: ignore[attr-defined]
            assert sum(finest[0]) <= sum(after.quantization[0])  # type: ignore[attr-defined]


def test_a_finer_jpeg_stays_as_fine(tmp_path: Path) -> None:
    image = Image.effect_noise((64, 64), 50).convert("RGB")
    image.save(tmp_path / "fine.jpg", quality=99)
    (result,) = protect_folder(tmp_path / "fine.jpg", protection_of(Pattern(np.full((3, 4, 4), 8, np.int8), 8)))
    assert result.target == tmp_path / "fine-protected.jpg"
    with Image.open(tmp_path / "fine.jpg") as before, Image.open(result.target) as after:
        assert after.quantization == before.quantization  # type: ignore[attr-defined]


def test_exif_transpose_agrees_with_pillows_own(photos: Path) -> None:
    for path in sorted((photos / "orientation").iterdir()):
        with Image.open(path) as image:
            np.testing.assert_array_equal(open_photo(path).pixels, np.asarray(ImageOps.exif_transpose(image)))


def test_jpegs_are_decoded_to_the_very_pixels_that_pillow_gives(photos: Path) -> None:
    compared = 0
    for path in sorted(photos.rglob("*.jp*g")):
        try:
            ours = open_photo(path)
            with Image.open(path) as image:
                theirs = np.asarray(ImageOps.exif_transpose(image))
        except (PhotoError, PhotoSkippedError):
            continue
        np.testing.assert_array_equal(ours.pixels, theirs, err_msg=path.name)
        compared += 1
    assert compared > 25


def test_heic_becomes_a_jpeg(done: dict[str, PhotoDone]) -> None:
    result = done["heic/IMG_5195.HEIC"]
    assert result.target is not None
    assert result.target.name == "IMG_5195.HEIC.jpg"
    with Image.open(result.target) as image:
        assert image.format == "JPEG"


def test_heic_without_its_extra_names_it(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pillow_heif", None)
    with pytest.raises(PhotoError, match="extra 'heic'"):
        open_photo(photos / "heic" / "IMG_5195.HEIC")
