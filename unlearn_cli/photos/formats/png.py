"""PNG files: their chunks (PNG, third edition), read and written without touching the pixels."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from unlearn_cli.photos.formats import exif
from unlearn_cli.photos.formats.beside import Beside, Text, damaged
from unlearn_cli.photos.formats.colour import UNSPECIFIED, Colour

SIGNATURE = b"\x89PNG\r\n\x1a\n"
AFTER_HEADER = len(SIGNATURE) + 25
"""The position where the header chunk ends and others may begin."""

PICTURE = (b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"acTL", b"fcTL", b"fdAT")
"""The chunks that decide the pixels, and how many pictures there are."""

COLOUR_KINDS = (b"gAMA", b"cHRM", b"sRGB", b"cICP", b"iCCP")
REPEATED = (b"tEXt", b"zTXt", b"iTXt")
"""The chunks that tell a colour space, and those of which a file may have many."""

XMP_KEY = "XML:com.adobe.xmp"
RAW_EXIF = ("Raw profile type exif", "Raw profile type APP1")
"""Keys of the texts in which ImageMagick and similar programs store an EXIF block, in hexadecimal."""

LARGEST_PROFILE = 16 << 20
LARGEST_TEXT, LARGEST_TEXTS = 1 << 18, 64 << 20
"""Sizes in bytes after decompression: of a profile, of one text, and of all texts. Anything larger is no profile, or no
text worth keeping."""


@dataclass(frozen=True)
class Chunk:
    """One chunk of a file."""

    kind: bytes
    body: memoryview
    sound: bool
    """Whether its checksum is right; that of chunks that decide the pixels is not checked."""
    whole: memoryview
    """The chunk including its length and checksum."""


def chunks(data: bytes) -> Iterator[Chunk]:
    """Yield the chunks of a PNG file up to its end, or to where it is truncated.

    The checksums of chunks that decide the pixels are not checked, because those are large.
    """
    view, position = memoryview(data), len(SIGNATURE)
    while position + 12 <= len(view):
        (length,) = struct.unpack_from(">I", view, position)
        end = position + 12 + length
        if end > len(view):
            return
        kind, body = bytes(view[position + 4 : position + 8]), view[position + 8 : end - 4]
        sound = kind in PICTURE or zlib.crc32(view[position + 4 : end - 4]) == int.from_bytes(
            view[end - 4 : end], "big"
        )
        yield Chunk(kind, body, sound, view[position:end])
        if kind == b"IEND":
            return
        position = end


def bare(data: bytes) -> bytes | None:
    """Return a PNG file reduced to what decides its pixels; None if it is no PNG."""
    if not data.startswith(SIGNATURE):
        return None
    return b"".join([SIGNATURE, *(chunk.whole for chunk in chunks(data) if chunk.kind in PICTURE)])


def read(data: bytes) -> Beside:
    """Return what a PNG file holds besides its pixels. Damaged parts are left out, and the notes name them."""
    found = _Found()
    seen: set[bytes] = set()
    for chunk in chunks(data):
        # As other readers do: of two chunks of one kind the first counts, and a late colour space does not.
        again = chunk.kind in seen and chunk.kind not in REPEATED
        late = chunk.kind in COLOUR_KINDS and not seen.isdisjoint((b"PLTE", b"IDAT"))
        found.late = b"IDAT" in seen
        seen.add(chunk.kind)
        if again or late or chunk.kind in PICTURE or chunk.kind not in READERS:
            continue
        try:
            if not chunk.sound:
                raise ValueError("its checksum is wrong")
            READERS[chunk.kind](found, bytes(chunk.body))
        except (ValueError, struct.error, zlib.error):
            found.damaged.append(NAMES.get(chunk.kind, chunk.kind.decode("ascii", "replace") + " tag"))
    block = found.exif or next((raw for text in found.texts if (raw := _raw_exif(text)) is not None), None)
    xmp = next((text.value.encode() for text in found.texts if text.key == XMP_KEY), None)
    texts = tuple(text for text in found.texts if text.key != XMP_KEY and text.key not in RAW_EXIF)
    return Beside(found.icc_profile, found.colour, block, xmp, None, texts, tuple(damaged(found.damaged)))


@dataclass
class _Found:
    icc_profile: bytes | None = None
    exif: exif.Block | None = None
    colour: Colour = field(default_factory=Colour)
    texts: list[Text] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)
    late: bool = False
    """Whether the pixels have begun already."""
    room: int = LARGEST_TEXTS
    """Bytes that texts may still have when they are unpacked."""

    def unpacked_text(self, packed: bytes) -> bytes:
        """Unpack a text. Raises ``ValueError`` as ``_unpacked`` does, and when there were too many."""
        value = _unpacked(packed, min(LARGEST_TEXT, self.room))
        self.room -= len(value)
        return value


def _gamma(found: _Found, body: bytes) -> None:
    (value,) = struct.unpack(">I", body)
    if value == 0:
        raise ValueError("a gamma of zero")
    found.colour = replace(found.colour, gamma=100_000 / value)


def _chromaticities(found: _Found, body: bytes) -> None:
    white_x, white_y, *others = (value / 100_000 for value in struct.unpack(">8I", body))
    if min(white_y, *others[1::2]) == 0:
        raise ValueError("a colour without light")
    red_x, red_y, green_x, green_y, blue_x, blue_y = others
    chromaticities = white_x, white_y, red_x, red_y, green_x, green_y, blue_x, blue_y
    found.colour = replace(found.colour, chromaticities=chromaticities)


def _intent(found: _Found, body: bytes) -> None:
    (intent,) = struct.unpack(">B", body)
    found.colour = replace(found.colour, intent=intent)


def _code_points(found: _Found, body: bytes) -> None:
    primaries, transfer, matrix, full = struct.unpack(">4B", body)
    if matrix != 0:
        raise ValueError("a PNG holds red, green and blue")
    if UNSPECIFIED in (primaries, transfer):
        return  # It says nothing, and viewers treat it so.
    found.colour = replace(found.colour, primaries=primaries, transfer=transfer, full_range=bool(full))


def _profile(found: _Found, body: bytes) -> None:
    _, _, packed = body.partition(b"\0")
    found.icc_profile = _unpacked(packed, LARGEST_PROFILE)


def _block(found: _Found, body: bytes) -> None:
    found.exif = exif.read(body)
    if found.exif is None:
        raise ValueError("no EXIF block")
    if found.late or not body.startswith((b"II", b"MM")):  # Viewers turn no photo for such a block.
        found.exif.main.pop(exif.ORIENTATION, None)


def _resolution(_: _Found, body: bytes) -> None:
    struct.unpack(">IIB", body)  # Pillow reads the value; here only its format is checked.


def _text(found: _Found, body: bytes) -> None:
    key, _, value = body.partition(b"\0")
    found.texts.append(Text(key.decode("latin-1"), value.decode("latin-1"), b"tEXt", body))


def _time(found: _Found, body: bytes) -> None:
    year, month, day, hour, minute, second = struct.unpack(">H5B", body)
    moment = f"{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}"
    found.texts.append(Text("time", moment, b"tIME", body))


def _packed_text(found: _Found, body: bytes) -> None:
    key, _, packed = body.partition(b"\0")
    value = found.unpacked_text(packed)
    found.texts.append(Text(key.decode("latin-1"), value.decode("latin-1"), b"zTXt", body))


def _international_text(found: _Found, body: bytes) -> None:
    key, _, rest = body.partition(b"\0")
    packed, method, rest = rest[:1] == b"\1", rest[1:2], rest[2:]
    _, _, rest = rest.partition(b"\0")  # the language
    _, _, value = rest.partition(b"\0")  # the translated key
    if packed:
        value = found.unpacked_text(method + value)
    found.texts.append(Text(key.decode("latin-1"), value.decode("utf-8", "replace"), b"iTXt", body))


READERS = {
    b"gAMA": _gamma,
    b"cHRM": _chromaticities,
    b"sRGB": _intent,
    b"pHYs": _resolution,
    b"cICP": _code_points,
    b"iCCP": _profile,
    b"eXIf": _block,
    b"tIME": _time,
    b"tEXt": _text,
    b"zTXt": _packed_text,
    b"iTXt": _international_text,
}

NAMES = {b"iCCP": "colour profile", b"eXIf": "EXIF block", b"tEXt": "text", b"zTXt": "text", b"iTXt": "text"}


def _unpacked(packed: bytes, most: int) -> bytes:
    """Return zlib's stream decompressed, after the byte that names its method.

    Raises ``ValueError`` if another method is named, or the stream is truncated or too large.
    """
    if packed[:1] != b"\0" or most <= 0:
        raise ValueError("there is only one method, or no room")
    stream = zlib.decompressobj()
    value = stream.decompress(packed[1:], most)
    if not stream.eof:
        raise ValueError("it is cut off or too large")
    return value


def _raw_exif(text: Text) -> exif.Block | None:
    """Return the EXIF block in a text: a line with its name, one with its length, then hexadecimal digits.

    Its orientation is left out, because no viewer obeys it there. Return None for any other text.
    """
    if text.key not in RAW_EXIF:
        return None
    try:
        block = exif.read(bytes.fromhex("".join(text.value.split("\n")[3:])))
    except ValueError:
        return None
    if block is not None:
        block.main.pop(exif.ORIENTATION, None)
    return block


def with_chunks(data: bytes, added: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Return a PNG file with more chunks, each a type and a body, directly after its header."""
    parts = [
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in added
    ]
    if not parts:
        return data
    view = memoryview(data)
    return b"".join([view[:AFTER_HEADER], *parts, view[AFTER_HEADER:]])


def colour_chunks(colour: Colour) -> Iterator[tuple[bytes, bytes]]:
    """Yield the chunks that describe a colour space."""
    if colour.primaries is not None and not (colour.heif and colour.is_srgb):
        yield b"cICP", struct.pack(">4B", colour.primaries, colour.shown_transfer, 0, colour.full_range)
    if colour.intent is not None:
        yield b"sRGB", struct.pack(">B", colour.intent)
    if colour.gamma is not None:
        yield b"gAMA", struct.pack(">I", round(100_000 / colour.gamma))
    if colour.chromaticities is not None:
        yield b"cHRM", struct.pack(">8I", *(round(value * 100_000) for value in colour.chromaticities))


def profile_chunk(profile: bytes) -> tuple[bytes, bytes]:
    """Return the chunk that holds a colour profile."""
    return b"iCCP", b"ICC Profile\0\0" + zlib.compress(profile)


def resolution_chunk(dpi: tuple[float, float]) -> tuple[bytes, bytes]:
    """Return the chunk for a resolution in dots per inch."""
    x, y = (round(value / 0.0254) for value in dpi)
    return b"pHYs", struct.pack(">IIB", x, y, 1)


def xmp_chunk(packet: bytes) -> tuple[bytes, bytes]:
    """Return the chunk that holds an XMP packet."""
    return b"iTXt", XMP_KEY.encode() + bytes(5) + packet
