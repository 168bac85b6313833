"""Texts in EXIF survive to the byte, and dates wherever they stand; so do they in every format that can hold them."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from unlearn_cli.photos.apply import Pattern
from unlearn_cli.photos.decode import decode
from unlearn_cli.photos.encode import Writing
from unlearn_cli.photos.formats import exif, png
from unlearn_cli.photos.formats.exif import Block, Entry
from unlearn_cli.photos.one import protect_bytes

PATTERN = Pattern(np.random.default_rng(0).integers(-8, 9, (3, 32, 32)).astype(np.int8), 8)
PICTURE = Image.effect_noise((64, 48), 60).convert("RGB")

NAMES = {
    "utf-8": "© 2024 Jürgen Żółć 猫".encode(),
    "latin-1": "© 2024 Jürgen".encode("latin-1"),
    "shift-jis": "写真家 太郎".encode("shift-jis"),
    "cp1251": "Фотограф".encode("cp1251"),
}
ARTIST, SOFTWARE, COPYRIGHT, DATE_IN_MAIN = 0x013B, 0x0131, 0x8298, 0x9003
LENS_MODEL, USER_COMMENT, DATE = 0xA434, 0x9286, 0x9003


def text(value: bytes) -> Entry:
    return Entry(2, len(value) + 1, value + b"\0")


def block_with(name: bytes, order: str) -> Block:
    """Return a block of tags as cameras and editors write them, with a name that is not ASCII."""
    comment = b"UNICODE\0" + "Jürgen".encode("utf-16-le" if order == "<" else "utf-16-be")
    return Block(
        order,
        {tag: text(name) for tag in (ARTIST, SOFTWARE, COPYRIGHT)} | {DATE_IN_MAIN: text(b"2019:05:04 10:11:12")},
        {LENS_MODEL: text(name), USER_COMMENT: Entry(7, len(comment), comment), DATE: text(b"2019:05:04 10:11:12")},
    )


def saved(block: Block, name: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    PICTURE.save(buffer, name, exif=(exif.HEAD if name == "JPEG" else b"") + exif.write(block), **options)
    return buffer.getvalue()


def as_tiff(block: Block, compression: str) -> bytes:
    """Return a compressed TIFF with EXIF, which Pillow cannot write: the directory is put behind Pillow's file."""
    buffer = io.BytesIO()
    PICTURE.save(buffer, "TIFF", compression=compression)
    data = buffer.getvalue()
    own = exif.read(data)
    assert own is not None
    added = exif.in_order(block, own.order)
    whole = Block(own.order, {**added.main, **own.main}, added.detail)
    start = len(data) + len(data) % 2
    return (
        data[:4]
        + struct.pack(f"{own.order}I", start)
        + data[8:].ljust(start - 8, b"\0")
        + exif.directories(whole, start)
    )


FILES: dict[str, Callable[[Block], bytes]] = {
    "JPEG": lambda block: saved(block, "JPEG"),
    "PNG": lambda block: saved(block, "PNG"),
    "WEBP": lambda block: saved(block, "WEBP"),
    "AVIF": lambda block: saved(block, "AVIF"),
    "TIFF": lambda block: as_tiff(block, "raw"),
    "TIFF, LZW": lambda block: as_tiff(block, "tiff_lzw"),
    "TIFF, deflate": lambda block: as_tiff(block, "tiff_adobe_deflate"),
    "TIFF, packbits": lambda block: as_tiff(block, "packbits"),
    "TIFF, JPEG": lambda block: as_tiff(block, "jpeg"),
}


def tags_of(data: bytes) -> Block:
    """Return the EXIF block of a file, found by its first bytes: not by what wrote it."""
    if data[:4] in (b"II*\0", b"MM\0*"):
        block = exif.read(data)
    else:
        starts = [start for start in (data.find(b"II*\0"), data.find(b"MM\0*")) if start >= 0]
        block = exif.read(data[min(starts) :])
    assert block is not None
    return block


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("encoding", NAMES)
@pytest.mark.parametrize("kind", FILES)
def test_texts_keep_their_very_bytes_in_every_format(kind: str, encoding: str, order: str) -> None:
    name = NAMES[encoding]
    data = FILES[kind](block_with(name, order))
    made = protect_bytes(data, PATTERN)
    assert made.format == kind.split(",")[0]
    tags = tags_of(made.data)
    for tag in (ARTIST, SOFTWARE, COPYRIGHT):
        assert tags.main[tag].data == name + b"\0"
    assert tags.detail[LENS_MODEL].data == name + b"\0"
    assert USER_COMMENT not in tags.detail  # which may say anything about anybody
    comment = tags_of(data).detail[USER_COMMENT].data
    assert tags_of(protect_bytes(data, PATTERN, Writing(metadata="all")).data).detail[USER_COMMENT].data == comment


@pytest.mark.parametrize("wanted", ["png", "jpeg", "webp"])
@pytest.mark.parametrize("kind", FILES)
def test_texts_and_dates_come_along_into_another_format(kind: str, wanted: str) -> None:
    made = protect_bytes(FILES[kind](block_with(NAMES["utf-8"], "<")), PATTERN, Writing(wanted))  # type: ignore[arg-type]
    tags = tags_of(made.data)
    assert tags.main[ARTIST].data == NAMES["utf-8"] + b"\0"
    assert tags.detail[DATE].data == tags.main[DATE_IN_MAIN].data == b"2019:05:04 10:11:12\0"


def test_a_heics_texts_survive_its_change_to_jpeg() -> None:
    heif = pytest.importorskip("pillow_heif", reason="the extra 'heic' is not installed")
    heif.register_heif_opener()
    made = protect_bytes(saved(block_with(NAMES["utf-8"], ">"), "HEIF"), PATTERN)
    assert made.format == "JPEG"
    assert tags_of(made.data).main[ARTIST].data == NAMES["utf-8"] + b"\0"


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg"])
def test_a_tiffs_compression_is_kept(compression: str) -> None:
    made = protect_bytes(as_tiff(block_with(b"name", "<"), compression), PATTERN)
    with Image.open(io.BytesIO(made.data)) as image:
        assert image.info["compression"] == compression


entries = st.one_of(
    st.binary(max_size=40).map(lambda value: Entry(7, len(value), value) if value else Entry(7, 1, b"\0")),
    st.lists(st.integers(0, 65535), min_size=1, max_size=9).map(
        lambda values: Entry(3, len(values), struct.pack(f"<{len(values)}H", *values))
    ),
    st.lists(st.integers(0, 2**32 - 1), min_size=2, max_size=2).map(
        lambda values: Entry(5, 1, struct.pack("<2I", *values))
    ),
)
tags = st.integers(1, 65535).filter(lambda tag: tag not in exif.POINTERS)
directories = st.dictionaries(tags, entries, max_size=12)
blocks = st.builds(Block, st.just("<"), directories, directories, directories)


@given(blocks)
def test_what_is_written_is_read_again(block: Block) -> None:
    again = exif.read(exif.write(block)) or Block()
    for part in ("main", "detail", "place"):
        kept = {tag: entry for tag, entry in getattr(again, part).items() if tag not in exif.POINTERS}
        assert kept == getattr(block, part)


@given(blocks)
def test_the_byte_order_can_be_turned_and_turned_back(block: Block) -> None:
    turned = exif.in_order(block, ">")
    assert exif.in_order(turned, "<") == block
    assert exif.in_order(exif.read(exif.write(turned)) or Block(">"), "<").main.keys() >= block.main.keys()


@given(st.binary(max_size=300), st.sampled_from([b"", b"II*\0\x08\0\0\0", b"MM\0*\0\0\0\x08", b"Exif\0\0II+\0"]))
def test_damaged_blocks_are_read_as_far_as_they_go(data: bytes, start: bytes) -> None:
    block = exif.read(start + data)
    assert block is None or exif.read(exif.write(block)) is not None or not exif.write(block)


PACKET = (
    b'<?xpacket begin="" id="x"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
    b'<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about="" '
    b'xmlns:xap="http://ns.adobe.com/xap/1.0/" xmlns:photoshop="http://ns.adobe.com/photoshop/1.0/" '
    b'xmlns:Iptc4xmpCore="http://iptc.org/std/Iptc4xmpCore/1.0/xmlns/" Iptc4xmpCore:Location="At home" '
    b'xap:CreateDate="2019-05-04T10:11:12+02:00"><photoshop:DateCreated>2019-05-04</photoshop:DateCreated>'
    b"</rdf:Description></rdf:RDF></x:xmpmeta>"
)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "AVIF", "TIFF", "TIFF, LZW"])
def test_dates_in_xmp_are_kept_and_nothing_else_of_it(kind: str) -> None:
    buffer = io.BytesIO()
    if kind == "PNG":
        texts = PngImagePlugin.PngInfo()
        texts.add_itxt("XML:com.adobe.xmp", PACKET.decode())
        PICTURE.save(buffer, "PNG", pnginfo=texts)
    elif kind.startswith("TIFF"):
        compression = "tiff_lzw" if "LZW" in kind else "raw"
        PICTURE.save(buffer, "TIFF", compression=compression, tiffinfo={700: PACKET})
    else:
        PICTURE.save(buffer, kind, xmp=PACKET)
    assert b"At home" in buffer.getvalue()
    made = protect_bytes(buffer.getvalue(), PATTERN).data
    assert b'xmp:CreateDate="2019-05-04T10:11:12+02:00"' in made
    assert b'photoshop:DateCreated="2019-05-04"' in made
    assert b"At home" not in made
    assert b"CreateDate" not in protect_bytes(buffer.getvalue(), PATTERN, Writing(metadata="none")).data


@pytest.mark.parametrize(
    "packet",
    [
        PACKET.replace(b"2019-05-04T10:11:12+02:00", b"at home in May").replace(b">2019-05-04<", b">in May<"),
        PACKET.replace(b"<x:xmpmeta", b'<!DOCTYPE a [<!ENTITY b "2019">]><x:xmpmeta'),
        PACKET[:-30],
        b"\xff\xfe" + PACKET.decode().encode("utf-16-le"),
    ],
)
def test_xmp_without_dates_that_can_be_read_is_dropped(packet: bytes) -> None:
    buffer = io.BytesIO()
    PICTURE.save(buffer, "JPEG", xmp=packet)
    assert b"adobe:ns:meta" not in protect_bytes(buffer.getvalue(), PATTERN).data


JPEG_INSIDE = io.BytesIO()
PICTURE.resize((16, 12)).save(JPEG_INSIDE, "JPEG")


@pytest.mark.parametrize("how", ["behind packed text", "as the language", "as the translated key"])
def test_a_date_hides_nothing(how: str) -> None:
    """With ``safe`` a date is kept, and not what its chunk holds besides."""
    hidden, date = b"GPS 48.137N 11.575E" + b"A" * 500, b"2019-05-04"
    kind, body = {
        "behind packed text": (b"zTXt", b"Creation Time\0\0" + zlib.compress(date) + JPEG_INSIDE.getvalue() + hidden),
        "as the language": (b"iTXt", b"Creation Time\0\0\0" + hidden + b"\0\0" + date),
        "as the translated key": (b"iTXt", b"Creation Time\0\0\0en\0" + hidden + b"\0" + date),
    }[how]
    buffer = io.BytesIO()
    PICTURE.save(buffer, "PNG")
    data = png.with_chunks(buffer.getvalue(), [(kind, body)])
    assert hidden in data
    made = protect_bytes(data, PATTERN).data
    assert b"tEXtCreation Time\x002019-05-04" in made
    assert hidden not in made
    assert JPEG_INSIDE.getvalue()[:40] not in made


@pytest.mark.parametrize("key", ["creation time", "CreationTime", "create-date", "Date", "exif:DateTimeOriginal"])
def test_dates_go_by_many_names(key: str) -> None:
    texts = PngImagePlugin.PngInfo()
    texts.add_text(key, "Sat 04 May 2019 10:11:12 (CET)")
    buffer = io.BytesIO()
    PICTURE.save(buffer, "PNG", pnginfo=texts)
    assert b"Sat 04 May 2019 10:11:12 (CET)" in protect_bytes(buffer.getvalue(), PATTERN).data


def test_dublin_cores_dates_are_kept() -> None:
    packet = PACKET.replace(
        b"<photoshop:DateCreated>2019-05-04</photoshop:DateCreated>",
        b"<dc:date><rdf:Seq><rdf:li>2018-01-02</rdf:li></rdf:Seq></dc:date>",
    )
    packet = packet.replace(b"xmlns:photoshop", b'xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:photoshop')
    buffer = io.BytesIO()
    PICTURE.save(buffer, "JPEG", xmp=packet)
    assert b'dc:date="2018-01-02"' in protect_bytes(buffer.getvalue(), PATTERN).data


def test_an_orientation_counts_where_viewers_obey_it() -> None:
    """The first of two tags; in a PNG before the pixels, in a block that begins as one."""
    six = exif.write(Block("<", {exif.ORIENTATION: Entry(3, 1, b"\6\0")}))
    twice = six[:8] + b"\2\0" + six[10:22] + six[10:18] + b"\1\0\0\0" + bytes(4)
    block = exif.read(twice)
    assert block is not None
    assert block.orientation == 6
    buffer = io.BytesIO()
    PICTURE.save(buffer, "PNG")
    plain = buffer.getvalue()
    at = plain.index(b"IEND") - 4
    late = struct.pack(">I", len(six)) + b"eXIf" + six + struct.pack(">I", zlib.crc32(b"eXIf" + six))
    assert decode(png.with_chunks(plain, [(b"eXIf", six)])).pixels.shape == (64, 48, 3)
    assert decode(png.with_chunks(plain, [(b"eXIf", exif.HEAD + six)])).pixels.shape == (48, 64, 3)
    assert decode(plain[:at] + late + plain[at:]).pixels.shape == (48, 64, 3)


def test_a_pngs_own_dates_are_kept_when_they_are_dates() -> None:
    texts = PngImagePlugin.PngInfo()
    texts.add_text("Creation Time", "Sat, 04 May 2019 10:11:12 +0200")
    texts.add_text("date:create", "2019-05-04T10:11:12+02:00", zip=True)
    texts.add_text("date:modify", "<at home, with Anna & Ben>")
    texts.add(b"tIME", struct.pack(">H5B", 2019, 5, 4, 10, 11, 12))
    buffer = io.BytesIO()
    PICTURE.save(buffer, "PNG", pnginfo=texts)
    made = protect_bytes(buffer.getvalue(), PATTERN).data
    assert b"tEXtCreation Time\0Sat, 04 May 2019 10:11:12 +0200" in made
    assert b"tIME" + struct.pack(">H5B", 2019, 5, 4, 10, 11, 12) in made
    assert b"tEXtdate:create\0" in made
    assert b"Anna" not in made
    assert b"Creation Time" not in protect_bytes(buffer.getvalue(), PATTERN, Writing(metadata="none")).data
