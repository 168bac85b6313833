"""HEIF and AVIF files with further properties of their main picture, for tests: no encoder here writes them."""

from __future__ import annotations

import struct
from collections.abc import Sequence

Box = tuple[bytes, bytes]


def irot(quarters: int) -> Box:
    """Return the box of a picture that is turned by so many quarters, anticlockwise."""
    return b"irot", bytes([quarters])


def imir(axis: int) -> Box:
    """Return the box of a picture that is mirrored: 0 exchanges top and bottom, 1 left and right."""
    return b"imir", bytes([axis])


def clap(width: int, height: int, right: tuple[int, int] = (0, 1), down: tuple[int, int] = (0, 1)) -> Box:
    """Return the box of a picture that is cropped around the middle, moved by fractions of pixels."""
    return b"clap", struct.pack(">4I4i", width, 1, height, 1, *right, *down)


def nclx(primaries: int, transfer: int, matrix: int = 6) -> Box:
    """Return a colour space in numbers."""
    return b"colr", b"nclx" + struct.pack(">HHHB", primaries, transfer, matrix, 0x80)


def packed(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body) + 8) + kind + body


def boxes(data: bytes) -> list[Box]:
    found, position = [], 0
    while position < len(data):
        size, kind = struct.unpack_from(">I4s", data, position)
        size = size or len(data) - position
        found.append((kind, data[position + 8 : position + size]))
        position += size
    return found


def with_properties(data: bytes, added: Sequence[Box], *, without: bytes = b"", brand: bytes = b"") -> bytes:
    """Return a file whose main picture has more properties, in this order, behind its own, except those ``without``."""
    outer = boxes(data)
    meta = next(body for kind, body in outer if kind == b"meta")
    first = _meta(meta, added, without, 0)
    grown = len(first) - len(meta)
    parts = []
    for kind, body in outer:
        if kind == b"ftyp" and brand:
            body = brand + body[4:]
        parts.append(packed(kind, _meta(meta, added, without, grown) if kind == b"meta" else body))
    return b"".join(parts)


def _meta(meta: bytes, added: Sequence[Box], without: bytes, grown: int) -> bytes:
    parts = [meta[:4]]
    inner = boxes(meta[4:])
    main = int.from_bytes(next(body for kind, body in inner if kind == b"pitm")[4:6], "big")
    for kind, body in inner:
        if kind == b"iprp":
            body = _properties(body, main, added, without)
        elif kind == b"iloc":
            body = _moved(body, grown)
        parts.append(packed(kind, body))
    return b"".join(parts)


def _properties(iprp: bytes, main: int, added: Sequence[Box], without: bytes) -> bytes:
    (ipco,) = (body for kind, body in boxes(iprp) if kind == b"ipco")
    (ipma,) = (body for kind, body in boxes(iprp) if kind == b"ipma")
    known = boxes(ipco)
    assert ipma[:4] == bytes(4)  # version 0, and places of one byte
    count, position, parts = int.from_bytes(ipma[4:8], "big"), 8, []
    for _ in range(count):
        item, number = struct.unpack_from(">HB", ipma, position)
        places = list(ipma[position + 3 : position + 3 + number])
        position += 3 + number
        if item == main:
            places = [place for place in places if known[(place & 0x7F) - 1][0] != without or not without]
            places += [0x80 | len(known) + 1 + index for index in range(len(added))]
        parts.append(struct.pack(">HB", item, len(places)) + bytes(places))
    whole = b"".join(packed(kind, body) for kind, body in (*known, *added))
    return packed(b"ipco", whole) + packed(b"ipma", ipma[:8] + b"".join(parts))


def _moved(iloc: bytes, grown: int) -> bytes:
    """Return an item location box (ISO/IEC 14496-12, 8.11.3) whose places in the file are moved."""
    version = iloc[0]
    offset_size, length_size = iloc[4] >> 4, iloc[4] & 15
    base_size, index_size = iloc[5] >> 4, (iloc[5] & 15) if version else 0
    moved, position = bytearray(iloc), 8
    (count,) = struct.unpack_from(">H", iloc, 6)
    for _ in range(count):
        position += 2
        method = 0
        if version:
            method = int.from_bytes(iloc[position : position + 2], "big") & 15
            position += 2
        position += 2
        base = int.from_bytes(iloc[position : position + base_size], "big")
        if base and method == 0:
            moved[position : position + base_size] = (base + grown).to_bytes(base_size, "big")
        position += base_size
        (extents,) = struct.unpack_from(">H", iloc, position)
        position += 2
        for _ in range(extents):
            position += index_size
            place = int.from_bytes(iloc[position : position + offset_size], "big")
            if not base and method == 0:
                moved[position : position + offset_size] = (place + grown).to_bytes(offset_size, "big")
            position += offset_size + length_size
    return bytes(moved)
