"""Pictures of odd kinds are read as other decoders read them, or left alone with the true reason."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tests.photos.boxes import Box, clap, imir, irot, with_properties
from tests.photos.judges import Browser, seen_by_vips
from unlearn_cli.errors import PhotoError, PhotoSkippedError
from unlearn_cli.photos.apply import Pattern
from unlearn_cli.photos.decode import decode
from unlearn_cli.photos.encode import encode
from unlearn_cli.photos.one import protect_bytes

PATTERN = Pattern(np.random.default_rng(0).integers(-8, 9, (3, 32, 32)).astype(np.int8), 8)


def levels(bits: int, bands: int = 1) -> NDArray[Any]:
    """Return a gradient over the whole range of a depth, ``[40, 50]`` or ``[40, 50, bands]``."""
    y, x = np.mgrid[0:40, 0:50]
    values = np.stack([(x * 5 + y * 2 + band * 60) % 256 for band in range(bands)], -1) / 255 * ((1 << bits) - 1)
    whole = np.rint(values).astype(np.uint8 if bits <= 8 else np.uint16)
    return whole[..., 0] if bands == 1 else whole


def tiff(pixels: NDArray[Any], photometric: str, **options: Any) -> bytes:
    tifffile = pytest.importorskip("tifffile", reason="tifffile is not installed, which writes odd kinds of TIFF here")
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, pixels, photometric=photometric, metadata=None, **options)
    return buffer.getvalue()


LAYOUTS = [
    (8, 1, "minisblack", {}),
    (8, 1, "miniswhite", {}),
    (4, 1, "minisblack", {"bitspersample": 4}),
    (4, 1, "miniswhite", {"bitspersample": 4}),
    (2, 1, "minisblack", {"bitspersample": 2}),
    (16, 1, "minisblack", {}),
    (16, 1, "miniswhite", {}),
    (16, 1, "miniswhite", {"compression": "zlib"}),
    (8, 2, "minisblack", {"planarconfig": "contig", "extrasamples": ["unassalpha"]}),
    (8, 3, "rgb", {"planarconfig": "contig"}),
    (8, 3, "rgb", {"planarconfig": "contig", "compression": "lzw"}),
    (8, 3, "rgb", {"planarconfig": "contig", "compression": "zlib", "predictor": True}),
    (8, 4, "rgb", {"planarconfig": "contig", "extrasamples": ["unassalpha"]}),
    (8, 4, "separated", {"planarconfig": "contig"}),
]


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(("bits", "bands", "photometric", "options"), LAYOUTS)
def test_a_tiff_is_read_as_libvips_reads_it(
    bits: int, bands: int, photometric: str, options: dict[str, Any], order: str, big: bool
) -> None:
    data = tiff(levels(bits, bands), photometric, byteorder=order, bigtiff=big, **options)
    if order == ">" and (big or (photometric, bits) == ("miniswhite", 16)):
        with pytest.raises(PhotoSkippedError, match="BigTIFF" if big else "zero is white"):
            decode(data)
        return
    photo = decode(data)
    seen = seen_by_vips(data)
    np.testing.assert_array_equal(photo.pixels.reshape(seen.shape), seen)
    made = protect_bytes(data, PATTERN)
    after, scale = seen_by_vips(made.data).astype(int), 257 if bits == 16 else 1
    assert 0 < np.abs(after - seen).max() <= 8 * scale


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("bands", [3, 4])
def test_planes_that_lie_apart(bands: int, order: str) -> None:
    planes = np.ascontiguousarray(np.moveaxis(levels(8, bands), -1, 0))
    more: dict[str, Any] = {"extrasamples": ["unassalpha"]} if bands == 4 else {}
    data = tiff(planes, "rgb", planarconfig="separate", byteorder=order, **more)
    np.testing.assert_array_equal(decode(data).pixels, levels(8, bands))


LEFT_ALONE = [
    (8, 4, "rgb", {"planarconfig": "contig", "extrasamples": ["unspecified"]}, "extra channels"),
    (8, 5, "separated", {"planarconfig": "contig", "extrasamples": ["unassalpha"]}, "extra channels"),
    (8, 3, "icclab", {"planarconfig": "contig"}, "Lab"),
    (10, 1, "minisblack", {"bitspersample": 10}, "10 bits"),
    (12, 1, "minisblack", {"bitspersample": 12}, "12 bits"),
    (12, 1, "miniswhite", {"bitspersample": 12}, "12 bits"),
    (14, 1, "minisblack", {"bitspersample": 14}, "14 bits"),
    (12, 3, "rgb", {"bitspersample": 12, "planarconfig": "contig"}, "12 bits"),
    (16, 3, "rgb", {"planarconfig": "contig"}, "more than 8 bits"),
    (16, 4, "separated", {"planarconfig": "contig"}, "more than 8 bits"),
    (16, 2, "minisblack", {"planarconfig": "contig", "extrasamples": ["unassalpha"]}, "more than 8 bits"),
    (8, 5, "rgb", {"planarconfig": "contig", "extrasamples": ["unassalpha", "unspecified"]}, "extra channels"),
]


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(("bits", "bands", "photometric", "options", "reason"), LEFT_ALONE)
def test_a_tiff_that_is_not_taken_is_skipped_with_the_true_reason(
    bits: int, bands: int, photometric: str, options: dict[str, Any], reason: str, order: str
) -> None:
    if options.get("bitspersample", 8) not in (8, 16):
        pytest.importorskip("imagecodecs", reason="imagecodecs is not installed, which packs odd depths here")
    with pytest.raises(PhotoSkippedError, match=reason):
        decode(tiff(levels(bits, bands), photometric, byteorder=order, **options))


@pytest.mark.parametrize("photometric", ["rgb", "separated"])
def test_deep_planes_that_lie_apart_are_skipped(photometric: str) -> None:
    planes = np.ascontiguousarray(np.moveaxis(levels(16, 3 if photometric == "rgb" else 4), -1, 0))
    with pytest.raises(PhotoSkippedError, match="more than 8 bits"):
        decode(tiff(planes, photometric, planarconfig="separate"))


@pytest.mark.parametrize("kind", ["float32", "float16", "int16", "int8", "uint32"])
@pytest.mark.parametrize("bands", [1, 3])
def test_values_that_are_no_pixel_levels_are_skipped(kind: str, bands: int) -> None:
    pixels = levels(7, bands).astype(kind)
    data = tiff(pixels, "minisblack" if bands == 1 else "rgb", **({"planarconfig": "contig"} if bands == 3 else {}))
    with pytest.raises(PhotoSkippedError, match=r"floating-point|signed|32-bit"):
        decode(data)


def test_a_deep_grey_pixmap_becomes_a_16_bit_png() -> None:
    for most in (4095, 65535):
        values = levels(16).astype(np.uint32) * most // 65535
        data = b"P5 50 40 %d\n" % most + values.astype(">u2").tobytes()
        seen = seen_by_vips(protect_bytes(data, PATTERN).data)[..., 0]
        assert 0 < np.abs(seen.astype(int) - values * 65535 // most).max() <= 8 * 257 + 1


def test_a_palette_of_small_values_is_not_black(shared: Path) -> None:
    data = (shared / "cases" / "tiff_palette_8bit_colormap.tif").read_bytes()
    seen = seen_by_vips(data)
    assert seen.max() > 128
    np.testing.assert_array_equal(decode(data).pixels, seen)


@pytest.mark.parametrize("bits", [2, 4])
@pytest.mark.parametrize("grey", [0, 1, 3])
def test_a_transparent_grey_of_few_bits_stays_transparent(browser: Browser, bits: int, grey: int) -> None:
    data = grey_png(bits, grey)
    before = browser.pixels(data, "png")
    assert 0 < (before[..., 3] == 0).mean() < 1
    np.testing.assert_array_equal(browser.pixels(encode(decode(data)), "png"), before)
    after = browser.pixels(protect_bytes(data, PATTERN).data, "png")
    np.testing.assert_array_equal(after[..., 3], before[..., 3])


def grey_png(bits: int, transparent: int) -> bytes:
    """Return a grey PNG of less than 8 bits with a transparent grey, which Pillow does not write."""
    import struct
    import zlib

    values = np.arange(32 * 16).reshape(16, 32) % (1 << bits)
    places = np.arange(bits)[::-1]
    unpacked = ((values[..., None] >> places) & 1).astype(np.uint8).reshape(16, -1)
    rows = b"".join(b"\0" + row.tobytes() for row in np.packbits(unpacked, axis=1))
    parts = [b"\x89PNG\r\n\x1a\n"]
    for kind, body in (
        (b"IHDR", struct.pack(">IIBBBBB", 32, 16, bits, 0, 0, 0, 0)),
        (b"tRNS", struct.pack(">H", transparent)),
        (b"IDAT", zlib.compress(rows)),
        (b"IEND", b""),
    ):
        parts.append(struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)))
    return b"".join(parts)


def test_deep_grey_avif_is_skipped_and_plain_grey_stays_avif(shared: Path) -> None:
    with pytest.raises(PhotoSkippedError, match="more than 8 bits"):
        decode((shared / "cases" / "avif_grey_10bit.avif").read_bytes())
    buffer = io.BytesIO()
    Image.fromarray(levels(8)).save(buffer, "AVIF", quality=95)
    made = protect_bytes(buffer.getvalue(), PATTERN)
    assert (made.format, decode(made.data).mode) == ("AVIF", "L")


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_deep_heic_is_skipped(mode: str) -> None:
    heif = pytest.importorskip("pillow_heif", reason="the extra 'heic' is not installed")
    name = "I;16" if mode == "L" else "RGB;16"
    image = heif.from_bytes(mode=name, size=(50, 40), data=levels(16, 1 if mode == "L" else 3).tobytes())
    buffer = io.BytesIO()
    image.save(buffer, quality=90)
    with pytest.raises(PhotoSkippedError, match="more than 8 bits"):
        decode(buffer.getvalue())


ORDERS: dict[str, list[Box]] = {
    "turned": [irot(1)],
    "turned twice": [irot(2)],
    "turned back": [irot(3)],
    "upside down": [imir(0)],
    "mirrored": [imir(1)],
    "turned, then mirrored": [irot(1), imir(0)],
    "mirrored, then turned": [imir(0), irot(1)],
    "mirrored, then turned back": [imir(1), irot(3)],
    "cropped": [clap(40, 30)],
    "cropped off the middle": [clap(40, 30, (-3, 1), (2, 1))],
    "cropped between pixels": [clap(41, 31)],
    "cropped, then turned": [clap(40, 30), irot(1)],
    "turned, then cropped": [irot(1), clap(30, 40)],
    "cropped, turned, mirrored": [clap(40, 30, (-12, 1), (-9, 1)), irot(1), imir(1)],
    "turned, mirrored, cropped": [irot(3), imir(0), clap(20, 40)],
}


def slope(name: str, **options: Any) -> bytes:
    """Return a picture no two parts of which are alike."""
    y, x = np.mgrid[0:48, 0:64]
    buffer = io.BytesIO()
    Image.fromarray(np.stack([x * 4, y * 5, 255 - x * 2], -1).astype(np.uint8)).save(buffer, name, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("name", ORDERS)
def test_an_avif_is_cropped_turned_and_mirrored_as_libheif_does(name: str) -> None:
    data = with_properties(slope("AVIF", quality=95, subsampling="4:4:4"), ORDERS[name])
    seen, pixels = seen_by_vips(data), decode(data).pixels
    assert pixels.shape == seen.shape
    assert np.abs(pixels.astype(int) - seen).mean() < 0.5
    made = seen_by_vips(encode(decode(data)))
    assert made.shape == seen.shape
    assert np.abs(made.astype(int) - seen).mean() < 2


@pytest.mark.parametrize("name", ORDERS)
def test_a_heic_is_shown_as_an_avif_of_the_same_properties(name: str) -> None:
    pytest.importorskip("pillow_heif", reason="the extra 'heic' is not installed").register_heif_opener()
    heic = decode(with_properties(slope("HEIF", quality=95, chroma=444), ORDERS[name])).pixels
    avif = decode(with_properties(slope("AVIF", quality=95, subsampling="4:4:4"), ORDERS[name])).pixels
    assert heic.shape == avif.shape
    assert np.abs(heic.astype(int) - avif).mean() < 2


def test_a_crop_that_makes_no_sense_crops_nothing() -> None:
    for box in (clap(640, 480), clap(0, 10), clap(10, 10, (1, 0)), clap(40, 30, (100, 1))):
        assert decode(with_properties(slope("AVIF"), [box])).pixels.shape == (48, 64, 3)


@pytest.mark.parametrize("brand", [b"mif2", b"hevm"])
def test_a_heic_of_a_newer_brand_opens(brand: bytes) -> None:
    pytest.importorskip("pillow_heif", reason="the extra 'heic' is not installed").register_heif_opener()
    assert decode(with_properties(slope("HEIF"), [], brand=brand)).pixels.shape == (48, 64, 3)


PACKET = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<rdf:Description rdf:about="" xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"/>'
    "</rdf:RDF></x:xmpmeta>"
)


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif", "avif"])
def test_an_orientation_that_stands_only_in_xmp_turns_nothing(suffix: str, shared: Path) -> None:
    data = (shared / "cases" / f"xmp_orientation.{suffix}").read_bytes()
    seen = seen_by_vips(data)
    for photo in (decode(data), decode(encode(decode(data)))):
        assert photo.pixels.shape == seen.shape
        assert np.abs(photo.pixels.astype(int) - seen).mean() < 3


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_an_orientation_in_exif_turns_the_copys_pixels(browser: Browser, name: str, orientation: int) -> None:
    tags = Image.Exif()
    tags[0x0112] = orientation
    lossless: dict[str, Any] = {"lossless": True} if name == "WEBP" else {}
    data = slope(name, exif=tags, **lossless)
    made = encode(decode(data))
    if name in ("TIFF", "WEBP"):  # Chromium obeys EXIF in all but WebP; libvips does.
        before, after = seen_by_vips(data), seen_by_vips(made)
    else:
        before, after = (browser.pixels(part, name.lower()) for part in (data, made))
    assert before.shape == after.shape
    assert np.abs(before.astype(float) - after).mean() < 2
    assert (before.shape[0] > before.shape[1]) == (orientation > 4)


def test_a_tiff_that_two_readers_see_differently_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kinds that Pillow may misread in future: another reader is asked."""
    cv2 = pytest.importorskip("cv2")
    data = tiff(levels(8), "minisblack")
    decode(data)
    monkeypatch.setattr(cv2, "imdecode", lambda *_: 255 - levels(8))
    with pytest.raises(PhotoSkippedError, match="two programs"):
        decode(data)


def test_a_bomb_without_an_end_marker_is_not_decoded_to_see_whether_it_has_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few bytes that claim 25,000 x 25,000 pixels: to look for its last pixel would take gigabytes."""
    small = slope("JPEG")
    at = small.index(b"\xff\xc0") + 5
    data = small[:at] + b"\x61\xa8\x61\xa8" + small[at + 4 : -2]
    monkeypatch.setattr("simplejpeg.decode_jpeg", lambda *_, **__: pytest.fail("it was decoded"))
    for broken in (data, data[:2] + b"\xff\xe0\x00\x08JFIF\0\1" + data[20:]):
        with pytest.raises(PhotoError, match=r"megapixels|not an image"):
            decode(broken)


def test_a_bomb_is_known_by_what_it_claims_against_its_bytes() -> None:
    buffer = io.BytesIO()
    Image.new("L", (12_000, 12_000)).save(buffer, "PNG")
    assert len(buffer.getvalue()) < 200_000
    with pytest.raises(PhotoError, match="144 megapixels in only"):
        decode(buffer.getvalue())
