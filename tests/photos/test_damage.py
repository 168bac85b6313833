"""No tag is worth a photo: pixels that are whole are protected whatever is wrong beside them; cut pixels are not."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tests.conftest import RunUnlearn
from tests.photos.judges import seen_by_vips
from unlearn_cli.errors import PhotoError, PhotoSkippedError
from unlearn_cli.photos.apply import Pattern
from unlearn_cli.photos.decode import decode
from unlearn_cli.photos.encode import FormatChoice, Writing
from unlearn_cli.photos.formats import exif, png
from unlearn_cli.photos.one import protect_bytes

PATTERN = Pattern(np.random.default_rng(0).integers(-8, 9, (3, 32, 32)).astype(np.int8), 8)
PICTURE = Image.effect_noise((160, 120), 60).convert("RGB")


def saved(name: str, image: Image.Image = PICTURE, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, name, **options)
    return buffer.getvalue()


JPEG = saved("JPEG", quality=90)
PNG = saved("PNG")


def segment(kind: int, body: bytes, length: int | None = None) -> bytes:
    return struct.pack(">BBH", 0xFF, kind, len(body) + 2 if length is None else length) + body


def with_segment(extra: bytes) -> bytes:
    """Return a JPEG whose own JFIF segment is replaced."""
    own = 4 + int.from_bytes(JPEG[4:6], "big")
    return JPEG[:2] + extra + JPEG[own:]


ADOBE = b"Adobe\0\x64\0\0\0\0"
SEGMENTS = {
    "short JFIF": segment(0xE0, b"JFIF\0\1"),
    "JFIF without anything": segment(0xE0, b"JFIF\0"),
    "empty APP0": segment(0xE0, b""),
    "short Adobe": segment(0xEE, ADOBE[:7]),
    "empty Adobe": segment(0xEE, b"Adobe"),
    "short ICC": segment(0xE2, b"ICC_PROFILE\0\1"),
    "empty ICC": segment(0xE2, b"ICC_PROFILE\0\1\1"),
    "ICC with a part missing": segment(0xE2, b"ICC_PROFILE\0\1\2" + bytes(300)),
    "ICC counted from zero": segment(0xE2, b"ICC_PROFILE\0\0\0" + bytes(300)),
    "EXIF that is none": segment(0xE1, b"Exif\0\0nonsense"),
    "empty EXIF": segment(0xE1, b"Exif\0\0"),
    "EXIF cut off": segment(0xE1, b"Exif\0\0II*\0\x08\0\0\0\x20\0\x0f\x01\x02\0"),
    "XMP that is none": segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0\xff\xfe<<<"),
    "short MPF": segment(0xE2, b"MPF\0II*\0"),
    "Photoshop cut off": segment(0xED, b"Photoshop 3.0\x008BIM\x04\x04"),
    "short APP14 of another": segment(0xEE, b"Ad"),
}


@pytest.mark.parametrize("name", SEGMENTS)
def test_a_damaged_helper_segment_does_not_cost_a_jpeg(name: str) -> None:
    data = with_segment(SEGMENTS[name])
    photo = decode(data)
    np.testing.assert_array_equal(photo.pixels, seen_by_vips(data, strict=False))
    assert protect_bytes(data, PATTERN).linf == 8
    if name.split()[0] in ("short", "empty") and name.split()[1] in ("JFIF", "Adobe", "ICC"):
        assert photo.notes == (f"its {WHAT[name.split()[1]]} is damaged or too large and was left out",)


WHAT = {"JFIF": "JFIF segment", "Adobe": "Adobe segment", "ICC": "colour profile"}


def chunk(kind: bytes, body: bytes, crc: int | None = None) -> bytes:
    return (
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body) if crc is None else crc)
    )


def with_chunk(extra: bytes, data: bytes = PNG) -> bytes:
    return data[: png.AFTER_HEADER] + extra + data[png.AFTER_HEADER :]


CHUNKS = {
    "short cHRM": chunk(b"cHRM", bytes(20)),
    "short gAMA": chunk(b"gAMA", b"\0\0"),
    "gAMA of zero": chunk(b"gAMA", bytes(4)),
    "short pHYs": chunk(b"pHYs", b"\0\0\x0b\x13"),
    "empty sRGB": chunk(b"sRGB", b""),
    "short cICP": chunk(b"cICP", b"\1"),
    "bad zTXt": chunk(b"zTXt", b"Comment\0\0not zlib at all"),
    "zTXt by an unknown method": chunk(b"zTXt", b"Comment\0\7" + zlib.compress(b"x")),
    "bad iTXt": chunk(b"iTXt", b"Comment\0\1\0\0\0not zlib"),
    "iTXt without an end": chunk(b"iTXt", b"Comment"),
    "bad iCCP": chunk(b"iCCP", b"ICC\0\0not zlib"),
    "empty iCCP": chunk(b"iCCP", b""),
    "bad eXIf": chunk(b"eXIf", b"nonsense"),
    "text over a megabyte": chunk(b"zTXt", b"workflow\0\0" + zlib.compress(bytes(1_200_000))),
    "plain text over a megabyte": chunk(b"tEXt", b"workflow\0" + b"x" * 1_200_000),
    "international text over a megabyte": chunk(b"iTXt", b"prompt\0\1\0\0\0" + zlib.compress(bytes(1_200_000))),
    "much text": b"".join(chunk(b"zTXt", b"w\0\0" + zlib.compress(bytes(1_000_000))) for _ in range(70)),
    "a wrong checksum": chunk(b"gAMA", struct.pack(">I", 45455), crc=1),
    "a text's wrong checksum": chunk(b"tEXt", b"Title\0x", crc=1),
    "an unknown chunk": chunk(b"prVt", bytes(9)),
    "an unknown chunk's wrong checksum": chunk(b"prVt", bytes(9), crc=1),
}


@pytest.mark.parametrize("name", CHUNKS)
def test_a_damaged_or_large_helper_chunk_does_not_cost_a_png(name: str) -> None:
    data = with_chunk(CHUNKS[name])
    np.testing.assert_array_equal(decode(data).pixels, np.asarray(PICTURE))
    made = protect_bytes(data, PATTERN, Writing(metadata="all"))
    assert 0 < np.abs(seen_by_vips(made.data).astype(int) - np.asarray(PICTURE)).max() <= 8
    assert len(made.data) < 2 * len(PNG)  # what is too large to be kept is not kept


def test_what_is_left_out_is_said(shared: Path) -> None:
    for file, what in (
        ("png_short_chrm.png", "cHRM tag"),
        ("png_bad_ztxt.png", "text"),
        ("png_short_phys.png", "pHYs tag"),
    ):
        (note,) = protect_bytes((shared / "cases" / file).read_bytes(), PATTERN).notes
        assert note == f"its {what} is damaged or too large and was left out"


def test_hostile_metadata_takes_no_memory() -> None:
    """Thousands of tags that each point to the whole file, thousands of texts that unpack to megabytes."""
    tiff = bytearray(saved("TIFF", Image.new("RGB", (1000, 1000), "red")))
    size, start = len(tiff), len(tiff) + len(tiff) % 2
    entries = [struct.pack("<HHII", 40_000 + number, 7, size, 0) for number in range(4000)]
    own = exif.read(bytes(tiff))
    assert own is not None
    main = sorted(
        (tag, struct.pack("<HHI", tag, e.kind, e.count), e) for tag, e in own.main.items() if len(e.data) <= 4
    )
    head = [packed + e.data.ljust(4, b"\0") for _, packed, e in main]
    tiff = tiff.ljust(start, b"\0") + struct.pack("<H", len(head) + 4000) + b"".join([*head, *entries]) + bytes(4)
    tiff[4:8] = struct.pack("<I", start)
    block = exif.read(bytes(tiff))
    assert block is not None
    assert sum(len(entry.data) for entry in block.main.values()) <= 64 << 20
    many = with_chunk(b"".join(chunk(b"zTXt", b"w\0\0" + zlib.compress(bytes(250_000))) for _ in range(3000)))
    assert sum(len(text.value) for text in png.read(many).texts) <= 64 << 20
    assert decode(many).pixels.shape == (120, 160, 3)


def test_metadata_that_nobody_thought_of_does_not_cost_a_photo(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise RuntimeError("a defect")

    monkeypatch.setattr("unlearn_cli.photos.formats.read", fails)
    (note,) = protect_bytes(PNG, PATTERN).notes
    assert "damaged and was left out" in note


def test_a_profile_above_a_megabyte_is_kept() -> None:
    profile = np.random.default_rng(0).integers(0, 256, 1_500_000, dtype=np.uint8).tobytes()
    data = with_chunk(b"".join(chunk(*part) for part in [png.profile_chunk(profile)]))
    formats: tuple[FormatChoice, ...] = ("keep", "jpeg", "webp")
    for wanted in formats:
        made = protect_bytes(data, PATTERN, Writing(wanted))
        assert decode(made.data).metadata.icc_profile == profile


def test_a_damaged_chunk_of_the_picture_itself_still_fails() -> None:
    transparent = saved("PNG", PICTURE.quantize(8), transparency=3)
    for kind in (b"IHDR", b"PLTE", b"tRNS"):
        at = transparent.index(kind)
        size = int.from_bytes(transparent[at - 4 : at], "big")
        with pytest.raises(PhotoError):
            decode(transparent[: at + 4 + size] + b"\0\0\0\0" + transparent[at + 8 + size :])


TRAILERS = {
    "nothing": b"",
    "zeros": bytes(500),
    "text": b"a camera's own data, without any marker" * 20,
    "bytes like markers": bytes(range(256)) * 8,
    "a video": b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom" + np.random.default_rng(0).bytes(3000),
    "a second picture": JPEG,
}
WAYS: dict[str, dict[str, Any]] = {
    "baseline": {},
    "in colour of less resolution": {"subsampling": 2},
    "progressive": {"progressive": True},
    "with restart markers": {"restart_marker_blocks": 4},
}
MODES = ("RGB", "L", "CMYK")


@pytest.mark.parametrize("trailer", TRAILERS)
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("mode", MODES)
def test_a_jpeg_without_its_end_marker(mode: str, way: str, trailer: str) -> None:
    whole = saved("JPEG", PICTURE.convert(mode), quality=90, **WAYS[way])
    assert whole.endswith(b"\xff\xd9")
    inks_of_less_resolution = mode == "CMYK" and "subsampling" in WAYS[way]  # which libjpeg-turbo's checker lacks
    # Bytes like markers may be pixels of a picture that is cut; nobody can tell.
    if trailer == "bytes like markers" or inks_of_less_resolution:
        with pytest.raises(PhotoError, match="incomplete"):
            decode(whole[:-2] + TRAILERS[trailer])
        return
    photo = decode(whole[:-2] + TRAILERS[trailer])
    np.testing.assert_array_equal(photo.pixels, decode(whole).pixels)


@pytest.mark.parametrize("trailer", TRAILERS)
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("mode", MODES)
def test_a_jpeg_whose_pixels_are_cut_is_never_protected(mode: str, way: str, trailer: str) -> None:
    whole = saved("JPEG", PICTURE.convert(mode), quality=90, **WAYS[way])
    first = whole.index(b"\xff\xda")
    for cut in np.linspace(first + 20, len(whole) - 12, 25).astype(int):
        with pytest.raises((PhotoError, PhotoSkippedError)):
            decode(whole[:cut] + TRAILERS[trailer])


@given(st.data())
def test_a_cut_jpeg_is_whole_or_refused(data: st.DataObject) -> None:
    """Wherever it is cut: a photo comes out only if it is the one that went in."""
    way = data.draw(st.sampled_from(sorted(WAYS)))
    whole = saved("JPEG", quality=90, **WAYS[way])
    cut = data.draw(st.integers(2, len(whole)))
    trailer = data.draw(st.binary(max_size=40))
    try:
        photo = decode(whole[:cut] + trailer)
    except (PhotoError, PhotoSkippedError):
        return
    np.testing.assert_array_equal(photo.pixels, decode(whole).pixels)


VIDEO = b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom" + bytes(3000)
XMP_HEAD = b"http://ns.adobe.com/xap/1.0/\0"
GAIN, MOTION = "gain map", "short video"

LOSSES = {
    "Ultra HDR by XMP": (with_segment(segment(0xE1, XMP_HEAD + b'<x hdrgm:Version="1.0"/>')) + JPEG, [GAIN]),
    "Ultra HDR by ISO 21496": (with_segment(segment(0xE2, b"urn:iso:std:iso:ts:21496:-1\0\0\0\0\0")) + JPEG, [GAIN]),
    "Apple's": (
        with_segment(segment(0xE2, b"MPF\0II*\0" + bytes(60)))
        + with_segment(segment(0xE1, XMP_HEAD + b"urn:com:apple:photo:2020:aux:hdrgainmap")),
        [GAIN],
    ),
    "two views": (with_segment(segment(0xE2, b"MPF\0II*\0" + bytes(60))) + JPEG, []),
    "a motion photo": (with_segment(segment(0xE1, XMP_HEAD + b'<x GCamera:MotionPhoto="1"/>')) + VIDEO, [MOTION]),
    "an older one": (with_segment(segment(0xE1, XMP_HEAD + b'<x GCamera:MicroVideo="1"/>')) + VIDEO, [MOTION]),
    "one with a long video": (
        with_segment(segment(0xE1, XMP_HEAD + b'<x GCamera:MotionPhoto="1"/>')) + VIDEO + bytes(40 * len(JPEG)),
        [MOTION],
    ),
    "Samsung's": (JPEG + b"MotionPhoto_Data" + VIDEO + b"SEFH" + bytes(20) + b"SEFT", [MOTION]),
    "one whose video is gone": (with_segment(segment(0xE1, XMP_HEAD + b'<x GCamera:MotionPhoto="1"/>')), []),
    "a plain photo": (JPEG, []),
}


@pytest.mark.parametrize("name", LOSSES)
def test_what_a_copy_cannot_hold_is_said(name: str) -> None:
    data, what = LOSSES[name]
    notes = protect_bytes(data, PATTERN).notes
    assert len(notes) == len(what)
    assert all(part in note for part, note in zip(what, notes, strict=True))


def test_the_gain_map_of_a_real_heic_is_said(photos: Path) -> None:
    pytest.importorskip("pillow_heif", reason="the extra 'heic' is not installed")
    (note,) = decode((photos / "heic" / "iphone_13_pro_max.HEIC").read_bytes()).notes
    assert GAIN in note


def test_the_summary_and_the_manifest_say_what_was_left_out(unlearn: RunUnlearn, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jpg").write_bytes(LOSSES["Ultra HDR by XMP"][0])
    (tmp_path / "in" / "b.png").write_bytes(with_chunk(CHUNKS["short cHRM"]))
    result = unlearn("protect", "in", "--class", "cat")
    assert result.returncode == 0
    assert "1 photo: it has a gain map for bright screens (HDR), which a protected copy does not have" in result.stdout
    assert "1 photo: its cHRM tag is damaged or too large and was left out" in result.stdout
    assert "gain map" in (tmp_path / "in-protected.jsonl").read_text()


def test_a_jpeg_with_a_trailer_behind_its_end_is_as_ever() -> None:
    for trailer in TRAILERS.values():
        np.testing.assert_array_equal(decode(JPEG + trailer).pixels, decode(JPEG).pixels)
        assert trailer[:20] not in protect_bytes(JPEG + trailer, PATTERN).data[len(JPEG) // 2 :] or not trailer
