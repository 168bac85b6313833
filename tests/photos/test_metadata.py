"""Nothing of the unprotected picture, and not the place, gets into a copy."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import ExifTags, Image, PngImagePlugin

from unlearn_cli.photos.apply import Pattern
from unlearn_cli.photos.encode import Writing
from unlearn_cli.photos.metadata import Keep
from unlearn_cli.photos.one import protect_bytes

PATTERN = Pattern(np.random.default_rng(0).integers(-8, 9, (3, 32, 32)).astype(np.int8), 8)
IMAGE_STARTS = re.compile(
    rb"\xff\xd8\xff|\x89PNG\r\n\x1a\n|RIFF....WEBP|GIF8[79]a|II\*\0|MM\0\*|ftyp(?:avif|heic|mif1)", re.DOTALL
)


def embedded_images(data: bytes) -> Iterator[tuple[int, Image.Image]]:
    """Return everything in a file behind its own start that decodes as an image, at whatever byte it begins."""
    for match in IMAGE_STARTS.finditer(data, 1):
        start = match.start() - (4 if match[0].startswith(b"ftyp") else 0)
        if start <= 0:
            continue
        try:
            with Image.open(io.BytesIO(data[start:])) as image:
                image.load()
                yield start, image.convert("RGB")
        except Exception:
            continue


@pytest.fixture(scope="module")
def with_everything(photos: Path) -> bytes:
    """Return a real photo with a thumbnail, place, maker note, XMP, comment and a second picture behind its end."""
    with Image.open(photos / "camera" / "28-hex_value.jpg") as image:
        image.thumbnail((640, 640))
        exif = image.getexif()
        small = io.BytesIO()
        image.resize((160, 120)).save(small, "JPEG")
        exif.get_ifd(ExifTags.IFD.GPSInfo).update({1: "N", 2: (48.0, 8.0, 0.0), 3: "E", 4: (11.0, 34.0, 0.0)})
        exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.MakerNote] = b"Nikon" + small.getvalue()
        exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.BodySerialNumber] = "SERIAL-4711"
        exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.UserComment] = b"ASCII\0\0\0" + small.getvalue()
        exif[ExifTags.Base.ImageDescription] = "Me at home"
        exif[ExifTags.Base.Copyright] = "(c) me"
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", exif=exif, xmp=XMP, comment=b"a comment", quality=90)
        with_thumbnail = add_thumbnail(buffer.getvalue(), small.getvalue())
    return with_thumbnail + small.getvalue()  # as a motion photo or a gain map lies behind the end


XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    b'<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6" title="Secret"/>'
    b"</rdf:RDF></x:xmpmeta>"
)


def add_thumbnail(data: bytes, thumbnail: bytes) -> bytes:
    """Put a thumbnail where cameras do: an APP1 segment with an EXIF block whose IFD1 points to it."""
    entries = b"".join(
        tag.to_bytes(2, "little") + (4).to_bytes(2, "little") + (1).to_bytes(4, "little") + value.to_bytes(4, "little")
        for tag, value in ((0x0201, 8 + 2 + 4 + 2 + 24 + 4), (0x0202, len(thumbnail)))
    )
    tiff = b"II*\0" + (8).to_bytes(4, "little") + b"\0\0" + (14).to_bytes(4, "little")
    tiff += (2).to_bytes(2, "little") + entries + b"\0\0\0\0" + thumbnail
    body = b"Exif\0\0" + tiff
    position = 2
    while data[position + 1] in (0xE0, 0xE1):  # behind the segments that are there
        position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
    return data[:position] + b"\xff\xe1" + (len(body) + 2).to_bytes(2, "big") + body + data[position:]


@pytest.mark.parametrize("keep", ["safe", "all", "none"])
@pytest.mark.parametrize("wanted", ["keep", "png", "webp"])
def test_no_part_of_a_copy_decodes_to_the_original_picture(with_everything: bytes, keep: Keep, wanted: Any) -> None:
    assert len([image for _, image in embedded_images(with_everything)]) >= 4  # else this could not fail
    made = protect_bytes(with_everything, PATTERN, Writing(wanted, metadata=keep))
    assert list(embedded_images(made.data)) == []


def test_no_real_photos_copy_holds_another_picture(photos: Path) -> None:
    had = 0
    for source in sorted((photos / "camera").iterdir()):
        data = source.read_bytes()
        had += bool(list(embedded_images(data)))
        made = protect_bytes(data, PATTERN)
        assert not list(embedded_images(made.data)), source.name
    assert had >= 3


def test_safe_metadata_keeps_what_does_not_tell_on_anybody(with_everything: bytes) -> None:
    with Image.open(io.BytesIO(protect_bytes(with_everything, PATTERN).data)) as image:
        exif = image.getexif()
        assert exif[ExifTags.Base.Copyright] == "(c) me"
        assert ExifTags.Base.ImageDescription not in exif
        assert not exif.get_ifd(ExifTags.IFD.GPSInfo)
        assert ExifTags.Base.BodySerialNumber not in exif.get_ifd(ExifTags.IFD.Exif)
        assert "xmp" not in image.info
        assert "comment" not in image.info


def test_all_metadata_keeps_the_place_but_no_picture(with_everything: bytes) -> None:
    with Image.open(io.BytesIO(protect_bytes(with_everything, PATTERN, Writing(metadata="all")).data)) as image:
        exif = image.getexif()
        assert exif.get_ifd(ExifTags.IFD.GPSInfo)[2] == (48.0, 8.0, 0.0)
        assert exif[ExifTags.Base.ImageDescription] == "Me at home"
        assert exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.BodySerialNumber] == "SERIAL-4711"
        assert ExifTags.Base.MakerNote not in exif.get_ifd(ExifTags.IFD.Exif)
        assert ExifTags.Base.UserComment not in exif.get_ifd(ExifTags.IFD.Exif)  # it held a picture
        assert ExifTags.Base.Orientation not in exif or exif[ExifTags.Base.Orientation] == 1
        assert b'tiff:Orientation="1"' in image.info["xmp"]
        assert image.info["comment"] == b"a comment"


def test_no_metadata_is_none_but_the_profile(with_everything: bytes, photos: Path) -> None:
    with Image.open(io.BytesIO(protect_bytes(with_everything, PATTERN, Writing(metadata="none")).data)) as image:
        assert not image.getexif()
        assert "xmp" not in image.info
    profiled = (photos / "camera" / "iphone_hdr_YES.jpg").read_bytes()
    with Image.open(io.BytesIO(profiled)) as before:
        profile = before.info.get("icc_profile")
        size = before.size
    with Image.open(io.BytesIO(protect_bytes(profiled, PATTERN, Writing(metadata="none")).data)) as after:
        assert after.info.get("icc_profile") == profile
        assert after.size in (size, size[::-1])


def test_xmp_that_holds_a_picture_is_dropped_whole() -> None:
    buffer = io.BytesIO()
    packet = XMP.replace(b'title="Secret"', b'xmpGImg:image="/9j/4AAQSkZJRg"')
    Image.effect_noise((64, 64), 50).convert("RGB").save(buffer, "JPEG", xmp=packet)
    with Image.open(io.BytesIO(protect_bytes(buffer.getvalue(), PATTERN, Writing(metadata="all")).data)) as image:
        assert "xmp" not in image.info


@pytest.mark.parametrize("form", ["raw", "base64", "broken into lines"])
def test_small_pictures_are_found_in_any_value(form: str) -> None:
    small = io.BytesIO()
    Image.effect_noise((16, 12), 60).convert("RGB").save(small, "JPEG", quality=20)
    held = small.getvalue() if form == "raw" else base64.b64encode(small.getvalue())
    if form == "broken into lines":
        held = b"&#xA;".join(held[start : start + 76] for start in range(0, len(held), 76))
    assert len(held) < 2048
    exif = Image.Exif()
    exif[ExifTags.Base.ImageDescription] = held.decode("latin-1")
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.UserComment] = b"ASCII\0\0\0" + held
    exif.get_ifd(ExifTags.IFD.GPSInfo)[27] = b"ASCII\0\0\0" + held
    packet = XMP.replace(b"</rdf:RDF>", b"<my:pic>" + held.replace(b"<", b"") + b"</my:pic></rdf:RDF>")
    buffer = io.BytesIO()
    picture = Image.effect_noise((64, 64), 50).convert("RGB")
    picture.save(buffer, "JPEG", exif=exif, xmp=packet, comment=held)
    for wanted in ("keep", "png", "webp"):
        made = protect_bytes(buffer.getvalue(), PATTERN, Writing(wanted, metadata="all"))
        assert held[:70] not in made.data
        assert small.getvalue()[:70] not in made.data


def test_a_pngs_texts_are_kept_only_when_all_is_asked_for() -> None:
    buffer, texts = io.BytesIO(), PngImagePlugin.PngInfo()
    texts.add_text("Title", "Me at home")
    texts.add_text("Raw profile type exif", "\nexif\n 4\n45786966")
    Image.effect_noise((64, 64), 50).convert("RGB").save(buffer, "PNG", pnginfo=texts)
    for keep, kept in (("safe", {}), ("all", {"Title": "Me at home"}), ("none", {})):
        made = protect_bytes(buffer.getvalue(), PATTERN, Writing(metadata=keep))  # type: ignore[arg-type]
        with Image.open(io.BytesIO(made.data)) as image:
            assert image.text == kept  # type: ignore[attr-defined]


def test_a_large_profile_is_spread_over_segments_and_comes_back() -> None:
    profile = np.random.default_rng(3).integers(0, 256, 200_000, dtype=np.uint8).tobytes()
    buffer = io.BytesIO()
    Image.effect_noise((64, 64), 50).convert("RGB").save(buffer, "JPEG", icc_profile=profile, dpi=(300, 200))
    with Image.open(io.BytesIO(protect_bytes(buffer.getvalue(), PATTERN).data)) as image:
        assert image.info["icc_profile"] == profile
        assert image.info["dpi"] == (300, 200)
