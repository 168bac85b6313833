"""A copy is shown in the colours of its original, whatever told them: Chromium is the judge."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms, PngImagePlugin

from tests.photos.boxes import nclx, with_properties
from tests.photos.judges import Browser
from unlearn_cli.errors import PhotoSkippedError
from unlearn_cli.photos.decode import decode
from unlearn_cli.photos.encode import FormatChoice, Writing, encode, output_format
from unlearn_cli.photos.formats import exif, png
from unlearn_cli.photos.formats.colour import PRIMARIES, Colour
from unlearn_cli.photos.formats.exif import Block, Entry
from unlearn_cli.photos.metadata import Keep

FORMATS: tuple[FormatChoice, ...] = ("keep", "jpeg")
KINDS = {"JPEG": "jpeg", "PNG": "png", "WEBP": "webp", "AVIF": "avif", "BMP": "bmp"}

P3 = (0.3127, 0.329, 0.68, 0.32, 0.265, 0.69, 0.15, 0.06)
P3_PROFILE = Colour(12, 13).icc_profile() or b""


def picture() -> Image.Image:
    """Return patches of strong colours, large enough that no encoder changes their means."""
    levels = np.random.default_rng(1).integers(20, 236, (4, 5, 3)).astype(np.uint8)
    return Image.fromarray(levels.repeat(16, 0).repeat(16, 1))


def as_png(*chunks: tuple[bytes, bytes], image: Image.Image | None = None) -> bytes:
    texts = PngImagePlugin.PngInfo()
    for kind, body in chunks:
        if kind != b"iCCP":
            texts.add(kind, body)
    buffer = io.BytesIO()
    (image or picture()).save(buffer, "PNG", pnginfo=texts)
    return png.with_chunks(buffer.getvalue(), [chunk for chunk in chunks if chunk[0] == b"iCCP"])


def gama(gamma: float) -> tuple[bytes, bytes]:
    return b"gAMA", struct.pack(">I", round(100_000 / gamma))


def chrm(white: tuple[float, ...]) -> tuple[bytes, bytes]:
    return b"cHRM", struct.pack(">8I", *(round(value * 100_000) for value in white))


def cicp(primaries: int, transfer: int) -> tuple[bytes, bytes]:
    return b"cICP", bytes([primaries, transfer, 0, 1])


PNGS = {
    "gAMA alone": as_png(gama(1.8)),
    "linear": as_png(gama(1.0)),
    "gAMA and cHRM": as_png(gama(2.2), chrm(P3)),
    "sRGB": as_png((b"sRGB", b"\0")),
    "sRGB beside gAMA": as_png((b"sRGB", b"\1"), gama(2.2)),
    "cICP of Display P3": as_png(cicp(12, 13)),
    "cICP of BT.2020": as_png(cicp(9, 14)),
    "cICP of BT.709": as_png(cicp(1, 1)),
    "cICP over iCCP": as_png(
        cicp(12, 13), png.profile_chunk(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    ),
    "cICP of sRGB over iCCP": as_png(cicp(1, 13), png.profile_chunk(P3_PROFILE)),
    "iCCP": as_png(png.profile_chunk(P3_PROFILE)),
    "a palette": as_png(gama(1.0), image=picture().quantize(16)),
    "grey": as_png(gama(1.0), image=picture().convert("L")),
}


def saved(name: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture().save(buffer, name, **options)
    return buffer.getvalue()


def alike(
    browser: Browser, before: bytes, before_kind: str, after: bytes, after_kind: str, within: float = 1.0
) -> None:
    """Assert that Chromium shows both alike, in their means, and that the copy is not shown otherwise anywhere."""
    one, other = browser.pixels(before, before_kind), browser.pixels(after, after_kind)
    assert one.shape == other.shape
    assert np.abs(one.mean((0, 1)) - other.mean((0, 1))).max() <= within


@pytest.mark.parametrize("wanted", ["keep", "jpeg", "webp"])
@pytest.mark.parametrize("name", PNGS)
def test_a_pngs_colours(browser: Browser, name: str, wanted: Any) -> None:
    photo = decode(PNGS[name])
    if photo.mode == "L" and wanted == "webp":
        pytest.skip("WebP has no grey")
    made = encode(photo, Writing(wanted))
    # Lossy WebP halves the resolution of colours, which moves strong ones.
    within = 1.5 if wanted == "webp" else 1.0
    alike(browser, PNGS[name], "png", made, KINDS[output_format(photo, wanted)], within)


def test_the_colours_of_these_files_do_differ_from_srgb(browser: Browser) -> None:
    """Else the test above could not fail."""
    plain = browser.pixels(as_png(), "png").mean((0, 1))
    for name in (
        "gAMA alone",
        "linear",
        "gAMA and cHRM",
        "cICP of Display P3",
        "cICP of BT.2020",
        "cICP over iCCP",
        "iCCP",
    ):
        assert np.abs(browser.pixels(PNGS[name], "png").mean((0, 1)) - plain).max() > 1.5, name


@pytest.mark.parametrize("wanted", ["keep", "png", "jpeg", "webp"])
@pytest.mark.parametrize(("primaries", "transfer"), [(12, 13), (9, 14), (1, 1), (12, 2), (1, 8), (1, 4)])
def test_an_avifs_numbers(browser: Browser, primaries: int, transfer: int, wanted: Any) -> None:
    data = with_properties(saved("AVIF", quality=95), [nclx(primaries, transfer)], without=b"colr")
    photo = decode(data)
    # AVIF's own rounding of colours moves them by up to a level.
    alike(browser, data, "avif", encode(photo, Writing(wanted)), KINDS[output_format(photo, wanted)], within=1.5)


@pytest.mark.parametrize("primaries", [12, 9])
def test_a_heics_numbers_become_a_profile(browser: Browser, primaries: int) -> None:
    heif = pytest.importorskip("pillow_heif", reason="the extra 'heic' is not installed")
    heif.register_heif_opener()
    data = with_properties(saved("HEIF", quality=95), [nclx(primaries, 13)], without=b"colr")
    photo = decode(data)
    same = as_png(cicp(primaries, 13), image=Image.fromarray(photo.pixels))
    alike(browser, same, "png", encode(photo), "jpeg")


@pytest.mark.parametrize("transfer", [16, 18])
def test_hdr_is_kept_or_left_alone(browser: Browser, transfer: int) -> None:
    data = as_png(cicp(9, transfer))
    alike(browser, data, "png", encode(decode(data)), "png")
    with pytest.raises(PhotoSkippedError, match="HDR"):
        encode(decode(data), Writing("jpeg"))
    avif = with_properties(saved("AVIF"), [nclx(9, transfer)], without=b"colr")
    alike(browser, avif, "avif", encode(decode(avif)), "avif", within=1.2)
    pytest.importorskip("pillow_heif", reason="the extra 'heic' is not installed").register_heif_opener()
    with pytest.raises(PhotoSkippedError, match="HDR"):
        encode(decode(with_properties(saved("HEIF"), [nclx(9, transfer)], without=b"colr")))


def test_a_bmps_profile(browser: Browser, shared: Path) -> None:
    data = (shared / "cases" / "bmp_v5_icc.bmp").read_bytes()
    alike(browser, data, "bmp", encode(decode(data)), "bmp")
    alike(browser, data, "bmp", encode(decode(data), Writing("png")), "png")


def calibrated_bmp() -> bytes:
    """Return a BMP whose header (BITMAPV4HEADER) has Display P3's primaries and a gamma of 2.2."""
    plain = saved("BMP")
    white, *primaries = (PRIMARIES[12][at : at + 2] for at in (0, 2, 4, 6))
    xyz = np.array([[x / y, 1, (1 - x - y) / y] for x, y in primaries]).T
    wanted = np.array([white[0] / white[1], 1, (1 - sum(white)) / white[1]])
    ends = np.rint((xyz * np.linalg.solve(xyz, wanted)).T.ravel() * (1 << 30)).astype("<i4").tobytes()
    header = struct.pack("<I", 108) + plain[18:54] + bytes(20) + ends + struct.pack("<3I", *[round(2.2 * 65536)] * 3)
    whole: bytes = plain[:10] + struct.pack("<I", 14 + 108) + header + plain[54:]
    return whole


def test_a_calibrated_bmp(browser: Browser) -> None:
    """Browsers ignore its numbers, and so the copy, which has none, looks the same."""
    alike(browser, calibrated_bmp(), "bmp", encode(decode(calibrated_bmp())), "bmp")


def test_the_first_of_two_tags_counts_and_a_late_one_does_not(browser: Browser) -> None:
    first, second = struct.pack(">I", 100_000), struct.pack(">I", 45_455)

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    plain = as_png()
    at = plain.index(b"IEND") - 4
    for data in (
        png.with_chunks(plain, [(b"gAMA", first), (b"gAMA", second)]),
        png.with_chunks(plain, [(b"cICP", bytes([12, 13, 0, 1])), (b"cICP", bytes([9, 8, 0, 1]))]),
        plain[:at] + chunk(b"gAMA", first) + plain[at:],
        plain[:at] + chunk(b"cICP", bytes([12, 13, 0, 1])) + plain[at:],
    ):
        for wanted in FORMATS:
            made = encode(decode(data), Writing(wanted))
            alike(browser, data, "png", made, "png" if wanted == "keep" else "jpeg")


@pytest.mark.parametrize("numbers", [(6, 6), (9, 13), (1, 8), (9, 16)])
@pytest.mark.parametrize("wanted", ["keep", "png", "jpeg", "webp"])
def test_in_avif_a_profile_wins_over_numbers(browser: Browser, numbers: tuple[int, int], wanted: Any) -> None:
    data = saved("AVIF", quality=95, icc_profile=P3_PROFILE)
    at = data.index(b"colrnclx") + 8  # It has both.
    data = data[:at] + struct.pack(">HH", *numbers) + data[at + 4 :]
    photo = decode(data)
    assert photo.metadata.icc_profile == P3_PROFILE
    alike(browser, data, "avif", encode(photo, Writing(wanted)), KINDS[output_format(photo, wanted)], within=1.5)


@pytest.mark.parametrize("numbers", [(1, 7), (1, 17), (8, 13), (10, 13)])
def test_numbers_that_no_profile_tells_are_kept_or_left_alone(browser: Browser, numbers: tuple[int, int]) -> None:
    data = with_properties(saved("AVIF", quality=95), [nclx(*numbers)], without=b"colr")
    alike(browser, data, "avif", encode(decode(data)), "avif", within=1.5)
    with pytest.raises(PhotoSkippedError, match="cannot be recorded"):
        encode(decode(data), Writing("jpeg"))


def test_only_a_whole_first_profile_counts_in_a_jpeg(browser: Browser) -> None:
    def segment(number: int, count: int, part: bytes) -> bytes:
        body = b"ICC_PROFILE\0" + bytes([number, count]) + part
        return struct.pack(">BBH", 0xFF, 0xE2, len(body) + 2) + body

    plain, other = saved("JPEG", quality=95), Colour(9, 8).icc_profile() or b""
    for extra in (segment(1, 1, P3_PROFILE) + segment(1, 1, other), segment(0, 1, other)):
        data = plain[:2] + extra + plain[2:]
        alike(browser, data, "jpeg", encode(decode(data)), "jpeg")


def test_a_cameras_adobe_rgb_is_told_by_its_exif_even_without_metadata() -> None:
    block = Block("<", {}, {0xA001: Entry(3, 1, b"\xff\xff")}, {}, {1: Entry(2, 4, b"R03\0")})
    keeps: tuple[Keep, ...] = ("safe", "all", "none")
    for keep in keeps:
        for name in ("JPEG", "WEBP", "AVIF", "PNG"):
            head = exif.HEAD if name == "JPEG" else b""
            photo = decode(saved(name, exif=head + exif.write(block)), keep)
            made = encode(photo)
            again = exif.read(made[made.index(b"II*\0") :])
            assert again is not None
            assert again.interop[1].data == b"R03\0"
            assert again.detail[0xA001].data == b"\xff\xff"


def gif_with_profile() -> bytes:
    data = saved("GIF")
    pieces = [P3_PROFILE[start : start + 255] for start in range(0, len(P3_PROFILE), 255)]
    blocks = b"".join(bytes([len(piece)]) + piece for piece in pieces)
    start = data.index(b"\x2c", 13 + 3 * (2 << (data[10] & 7)))
    return data[:start] + b"\x21\xff\x0bICCRGBG1012" + blocks + b"\0" + data[start:]


def jp2_with_profile() -> bytes:
    data = saved("JPEG2000")
    head = data.index(b"jp2h") - 4
    size = int.from_bytes(data[head : head + 4], "big")
    colr = data.index(b"colr", head) - 4
    old = int.from_bytes(data[colr : colr + 4], "big")
    new = struct.pack(">I4s3B", 11 + len(P3_PROFILE), b"colr", 2, 0, 0) + P3_PROFILE
    grown = struct.pack(">I", size + len(new) - old)
    return data[:head] + grown + data[head + 4 : colr] + new + data[colr + old :]


def psd_with_profile() -> bytes:
    image = np.asarray(picture())
    resource = b"8BIM" + struct.pack(">HHI", 1039, 0, len(P3_PROFILE)) + P3_PROFILE
    head = b"8BPS" + struct.pack(">H6xHIIHH", 1, 3, *image.shape[:2], 8, 3)
    planes = image.transpose(2, 0, 1).tobytes()
    return head + bytes(4) + struct.pack(">I", len(resource)) + resource + bytes(4) + bytes(2) + planes


@pytest.mark.parametrize("make", [gif_with_profile, jp2_with_profile, psd_with_profile])
def test_profiles_of_formats_that_are_not_written(browser: Browser, make: Any) -> None:
    photo = decode(make())
    same = as_png(png.profile_chunk(P3_PROFILE), image=Image.fromarray(photo.pixels))
    alike(browser, same, "png", encode(photo), "png", within=0)


def test_a_generated_profile_says_what_its_numbers_say() -> None:
    """lcms, which made none of it, brings the primaries and the curve back."""
    for number, white in PRIMARIES.items():
        profile = Colour(number, 13).icc_profile()
        if profile is None:
            assert number == 1
            continue
        opened = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        pair = ImageCms.buildTransform(opened, ImageCms.createProfile("sRGB"), "RGB", "RGB")
        patch = Image.new("RGB", (1, 1), (180, 180, 180))
        shown = ImageCms.applyTransform(patch, pair)
        assert shown is not None
        assert shown.getpixel((0, 0)) == pytest.approx((180, 180, 180), abs=1)
        red = opened.profile.red_primary
        adapted = opened.profile.chromatic_adaptation
        assert red is not None
        assert adapted is not None
        # Undoing the adaptation to D50 brings the red back that went in.
        xyz = np.linalg.inv(np.array(adapted[0])) @ np.array(red[0])
        assert xyz[:2] / xyz.sum() == pytest.approx(white[2:4], abs=1e-3)
