"""Directories of tags (EXIF blocks and TIFF files), read and written byte for byte.

Pillow decodes every text as Latin-1 and writes it back as ASCII, which turns "Jürgen" into "J??rgen". Here no value is
ever decoded: its bytes are preserved, whatever their encoding.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

HEAD = b"Exif\0\0"

ORIENTATION = 0x0112
EXIF_POINTER, GPS_POINTER, INTEROP_POINTER = 0x8769, 0x8825, 0xA005
POINTERS = (EXIF_POINTER, GPS_POINTER, INTEROP_POINTER)

UNIT_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 4, 6: 1, 7: 1, 8: 2, 9: 4, 10: 4, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
"""For each type of value, the number of bytes that are reversed together when the byte order changes (a unit)."""

UNITS = {5: 2, 10: 2}
"""The number of units in one value, for the types that have more than one: a fraction consists of two numbers."""

INTEGERS = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i", 13: "I", 16: "Q", 17: "q", 18: "Q"}

MOST_ENTRIES = 4096
"""A directory with more tags than this is taken to be damaged; the rest of them is ignored."""

LARGEST_VALUE, LARGEST_DIRECTORY = 16 << 20, 64 << 20
"""The largest size in bytes of one value and of all values of a directory.

Without a limit, a malicious file could make each of thousands of tags point to the whole file.
"""


@dataclass(frozen=True)
class Entry:
    """The value of one tag, as its file holds it."""

    kind: int
    """The type of the value (TIFF 6.0, section 2)."""
    count: int
    data: bytes
    """The value's bytes, in the byte order of its block."""


Directory = dict[int, Entry]


@dataclass(frozen=True)
class Block:
    """An EXIF block, or the tags of a TIFF file."""

    order: str = "<"
    """The byte order: ``<`` is little-endian, ``>`` is big-endian."""
    main: Directory = field(default_factory=dict)
    detail: Directory = field(default_factory=dict)
    place: Directory = field(default_factory=dict)
    interop: Directory = field(default_factory=dict)
    big: bool = False
    """Whether it comes from a BigTIFF file."""

    def integers(self, tag: int) -> tuple[int, ...]:
        """Return the whole numbers of a tag in the main directory; none if it is missing or holds no whole numbers."""
        return integers(self.main.get(tag), self.order)

    @property
    def orientation(self) -> int:
        """Return the requested orientation, 1 to 8; 1 if there is none or if it is invalid."""
        value = self.integers(ORIENTATION)
        return value[0] if value and value[0] in range(1, 9) else 1


def integers(entry: Entry | None, order: str) -> tuple[int, ...]:
    """Return the whole numbers of an entry; none if it is missing or holds no whole numbers."""
    if entry is None or entry.kind not in INTEGERS:
        return ()
    return struct.unpack(f"{order}{entry.count}{INTEGERS[entry.kind]}", entry.data)


def read(data: bytes | memoryview) -> Block | None:
    """Return the tags of an EXIF block (with or without ``Exif`` before it) or of a TIFF file's first page.

    Tags that point outside the data are left out. Return None if the data is no such block at all.
    """
    view = memoryview(data)
    while view[:6] == HEAD:
        view = view[6:]
    order = {b"II": "<", b"MM": ">"}.get(bytes(view[:2]))
    if order is None or len(view) < 8:
        return None
    (magic,) = struct.unpack_from(f"{order}H", view, 2)
    if magic not in (42, 43) or (magic == 43 and len(view) < 16):
        return None
    big = magic == 43
    (start,) = struct.unpack_from(f"{order}{'Q' if big else 'I'}", view, 8 if big else 4)
    main = _directory(view, start, order, big)
    detail = _below(view, main, EXIF_POINTER, order, big)
    place = _below(view, main, GPS_POINTER, order, big)
    interop = _below(view, detail, INTEROP_POINTER, order, big)
    return Block(order, main, detail, place, interop, big)


def _below(view: memoryview, above: Directory, pointer: int, order: str, big: bool) -> Directory:
    start = integers(above.get(pointer), order)
    return _directory(view, start[0], order, big) if start else {}


def _directory(view: memoryview, start: int, order: str, big: bool) -> Directory:
    found: Directory = {}
    for tag, entry in _entries(view, start, order, big):
        found.setdefault(tag, entry)  # Other readers take the first of two entries of one tag.
    return found


def _entries(view: memoryview, start: int, order: str, big: bool) -> Iterator[tuple[int, Entry]]:
    count_code, entry_code, inline = ("Q", "HHQ", 8) if big else ("H", "HHI", 4)
    head, size = struct.calcsize(f"{order}{count_code}"), struct.calcsize(f"{order}{entry_code}") + inline
    if start <= 0 or start + head > len(view):
        return
    (count,) = struct.unpack_from(f"{order}{count_code}", view, start)
    room = LARGEST_DIRECTORY
    for number in range(min(count, MOST_ENTRIES)):
        position = start + head + number * size
        if position + size > len(view):
            return
        tag, kind, values = struct.unpack_from(f"{order}{entry_code}", view, position)
        length = values * UNIT_SIZES.get(kind, 0) * UNITS.get(kind, 1)
        if length == 0:
            continue
        at = position + size - inline
        if length > inline:
            (at,) = struct.unpack_from(f"{order}{'Q' if big else 'I'}", view, at)
        if at + length <= len(view) and length <= min(room, LARGEST_VALUE):
            room -= length
            yield tag, Entry(kind, values, bytes(view[at : at + length]))


def write(block: Block) -> bytes:
    """Return the bytes of a block in its own byte order, without ``Exif`` before it; empty if it has no tags."""
    if not (block.main or block.detail or block.place or block.interop):
        return b""
    mark = b"II" if block.order == "<" else b"MM"
    return mark + struct.pack(f"{block.order}HI", 42, 8) + directories(block, 8)


def directories(block: Block, start: int) -> bytes:
    """Return all directories of a block, the main one first, encoded for the position ``start`` in a file."""
    order = block.order
    main, detail = dict(block.main), dict(block.detail)
    parts: list[bytes] = []
    # A pointer has the same size wherever it points, so the sizes are known before the positions.
    if block.interop:
        detail[INTEROP_POINTER] = _pointer(0, order)
    if detail:
        main[EXIF_POINTER] = _pointer(0, order)
    if block.place:
        main[GPS_POINTER] = _pointer(0, order)
    place = start + _size(main)
    if detail:
        main[EXIF_POINTER] = _pointer(place, order)
        after = place + _size(detail)
        if block.interop:
            detail[INTEROP_POINTER] = _pointer(after, order)
        parts.append(_packed(detail, place, order))
        if block.interop:
            parts.append(_packed(block.interop, after, order))
            after += _size(block.interop)
        place = after
    if block.place:
        main[GPS_POINTER] = _pointer(place, order)
        parts.append(_packed(block.place, place, order))
    return _packed(main, start, order) + b"".join(parts)


def _pointer(place: int, order: str) -> Entry:
    return Entry(4, 1, struct.pack(f"{order}I", place))


def _size(directory: Directory) -> int:
    return 2 + 12 * len(directory) + 4 + sum(_padded(len(entry.data)) for entry in directory.values())


def _padded(length: int) -> int:
    """Return how many bytes a value takes after its directory; each begins at an even position."""
    return length + length % 2 if length > 4 else 0


def _packed(directory: Directory, start: int, order: str) -> bytes:
    head = [struct.pack(f"{order}H", len(directory))]
    values: list[bytes] = []
    place = start + 2 + 12 * len(directory) + 4
    for tag in sorted(directory):
        entry = directory[tag]
        head.append(struct.pack(f"{order}HHI", tag, entry.kind, entry.count))
        if len(entry.data) <= 4:
            head.append(entry.data.ljust(4, b"\0"))
            continue
        head.append(struct.pack(f"{order}I", place))
        values.append(entry.data.ljust(_padded(len(entry.data)), b"\0"))
        place += _padded(len(entry.data))
    return b"".join([*head, bytes(4), *values])


def in_order(block: Block, order: str) -> Block:
    """Return a block in another byte order: numbers are reversed, texts and bytes stay the same."""
    if block.order == order:
        return block
    main, detail, place, interop = (
        {tag: Entry(entry.kind, entry.count, _reversed(entry)) for tag, entry in part.items()}
        for part in (block.main, block.detail, block.place, block.interop)
    )
    return Block(order, main, detail, place, interop, block.big)


def _reversed(entry: Entry) -> bytes:
    size = UNIT_SIZES[entry.kind]
    return entry.data if size == 1 else np.frombuffer(entry.data, f"u{size}").byteswap().tobytes()
