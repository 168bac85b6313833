"""HEIF and AVIF files: reading properties of the main picture that decoders ignore (ISO/IEC 23008-12, 14496-12)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unlearn_cli.photos.formats.beside import GAIN_MAP, VIDEO
from unlearn_cli.photos.formats.colour import Colour

Pixels = NDArray[np.uint8]

READ_AS = b"heic"
MOST_PROPERTIES = 64
"""The most properties of a picture; a file that lists more is damaged, or hostile."""
BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"mif2", b"msf1")


@dataclass(frozen=True)
class Properties:
    """The properties that a file gives for its main picture."""

    listed: tuple[tuple[bytes, bytes], ...] = ()
    """The type and content of each property, in the order in which they apply."""
    everything: tuple[tuple[bytes, bytes], ...] = ()
    """The properties of all pictures, such as the tiles of which the main one consists."""
    notes: tuple[str, ...] = ()

    @property
    def bits(self) -> int:
        """Return the number of bits per channel; 8 if the file does not say."""
        told = [max(body[5:]) for kind, body in self.listed if kind == b"pixi" and len(body) > 5]
        codec = [10 for kind, body in (self.listed or self.everything) if _is_deep(kind, body)]
        tiles = [10 for kind, body in self.everything if _is_deep(kind, body)] if not told else []
        return max(told + codec + tiles, default=8)

    @property
    def colour(self) -> Colour:
        """Return the colour space that the file describes by numbers."""
        for kind, body in self.listed:
            if kind == b"colr" and body[:4] == b"nclx" and len(body) >= 10:
                primaries, transfer = struct.unpack(">HH", body[4:8])
                return Colour(primaries, transfer, heif=True)
        return Colour()

    def applied(self, pixels: Pixels) -> Pixels:
        """Return decoded pixels, cropped, rotated and mirrored in the order that the file requests."""
        for kind, body in self.listed:
            if kind == b"clap" and len(body) == 32:
                pixels = _cropped(pixels, body)
            elif kind == b"irot" and body:
                pixels = np.rot90(pixels, body[0] & 3)
            elif kind == b"imir" and body:
                pixels = pixels[:, ::-1] if body[0] & 1 else pixels[::-1]
        return np.ascontiguousarray(pixels)


def _is_deep(kind: bytes, body: bytes) -> bool:
    """Return whether a codec's configuration has the flag for a high bit depth (AV1 in ISOBMFF, 2.3.3)."""
    return kind == b"av1C" and len(body) > 2 and bool(body[2] & 0x40)


def _cropped(pixels: Pixels, body: bytes) -> Pixels:
    """Return the pixels inside a clean aperture (ISO/IEC 14496-12, 12.1.4); all of them if its numbers are invalid."""
    width, width_of, height, height_of = struct.unpack(">4I", body[:16])
    right, right_of, down, down_of = struct.unpack(">iIiI", body[16:])
    if not (width_of and height_of and right_of and down_of):
        return pixels
    rows, columns = pixels.shape[:2]
    wide, high = width // width_of, height // height_of
    # Where the position falls between two pixels, libheif rounds to the left, and down.
    left = int(np.floor(right / right_of + (columns - wide) / 2))
    top = int(np.floor(down / down_of + (rows - high) / 2 + 0.5))
    if left < 0 or top < 0 or wide < 1 or high < 1 or left + wide > columns or top + high > rows:
        return pixels
    return pixels[top : top + high, left : left + wide]


def is_heif(data: bytes) -> bool:
    """Return whether a file is HEIF but not AVIF."""
    return data[4:8] == b"ftyp" and data[8:12] in BRANDS and b"avif" not in _brands(data)


def _brands(data: bytes) -> bytes:
    return data[8 : min(int.from_bytes(data[:4], "big"), 256)]


def readable(data: bytes) -> bytes:
    """Return a HEIF file under a brand that its decoder knows; newer brands hold the same kind of pictures."""
    return data[:8] + READ_AS + data[12:] if data[8:12] == b"mif2" else data


def properties(data: bytes) -> Properties:
    """Return what a file says about its main picture; nothing if its boxes are damaged."""
    try:
        return _properties(memoryview(data))
    except (struct.error, IndexError, ValueError, KeyError):
        return Properties()


def _properties(data: memoryview) -> Properties:
    outer = dict(_boxes(data))
    meta = dict(_boxes(outer[b"meta"][4:]))
    notes = []
    if b"hdrgainmap" in bytes(meta[b"iprp"]) or b"tmap" in bytes(meta.get(b"iinf", b"")):
        notes.append(GAIN_MAP)
    if any(kind == b"mpvd" for kind, _ in _boxes(data)):
        notes.append(VIDEO)
    long = meta[b"pitm"][0] > 0
    (main,) = struct.unpack_from(">I" if long else ">H", meta[b"pitm"], 4)
    iprp = list(_boxes(meta[b"iprp"]))
    known = [(kind, bytes(body)) for name, box in iprp if name == b"ipco" for kind, body in _boxes(box)]
    places = [place for name, box in iprp if name == b"ipma" for place in _associated(box, main)]
    listed = tuple(known[place - 1] for place in places[:MOST_PROPERTIES] if 0 < place <= len(known))
    return Properties(listed, tuple(known), tuple(notes))


def _associated(box: memoryview, wanted: int) -> Iterator[int]:
    """Yield the numbers of an item's properties, counted from 1, in their order (14496-12, 8.11.14)."""
    version, wide = box[0], box[3] & 1
    (count,) = struct.unpack_from(">I", box, 4)
    position = 8
    for _ in range(count):
        (item,) = struct.unpack_from(">I" if version else ">H", box, position)
        position += 4 if version else 2
        number = box[position]
        position += 1
        for _ in range(number):
            (place,) = struct.unpack_from(">H" if wide else ">B", box, position)
            position += 2 if wide else 1
            if item == wanted:
                yield place & (0x7FFF if wide else 0x7F)


def _boxes(data: memoryview) -> Iterator[tuple[bytes, memoryview]]:
    """Yield the type and content of each of the consecutive boxes in some data."""
    position = 0
    while position + 8 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, position)
        head = 8
        if size == 1:
            (size,) = struct.unpack_from(">Q", data, position + 8)
            head = 16
        end = position + size if size else len(data)
        if end < position + head:
            return
        yield kind, data[position + head : min(end, len(data))]
        position = end


def with_colour(data: bytes, colour: Colour) -> bytes:
    """Return an AVIF file with another colour space in the ``nclx`` box that its encoder wrote."""
    start = data.find(b"colrnclx")
    if start < 0 or colour.primaries is None or colour.transfer is None:
        return data
    told = struct.pack(">HH", colour.primaries, colour.transfer)
    return data[: start + 8] + told + data[start + 12 :]
