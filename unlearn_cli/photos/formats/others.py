"""GIF, JPEG 2000 and PSD files: the colour profile, EXIF and XMP, which Pillow ignores."""

from __future__ import annotations

import struct
from typing import Any

from unlearn_cli.photos.formats import exif
from unlearn_cli.photos.formats.beside import Beside

GIF_PROFILE = b"\x21\xff\x0bICCRGBG1012"
GIF_XMP, GIF_XMP_END = b"\x21\xff\x0bXMP DataXMP", b"\x01\xff\xfe\xfd"
"""The bytes around an XMP packet, which a GIF contains without its usual division into blocks."""

JP2_EXIF = b"JpgTiffExif->JP2"
JP2_XMP = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")
JP2_PROFILES = (2, 3)
"""The methods of a colour box that mean an ICC profile (ISO/IEC 15444-1, I.5.3.3)."""

PSD_EXIF, PSD_XMP = 1058, 1060


def read_gif(data: bytes) -> Beside:
    """Return what a GIF file holds besides its pixels."""
    start = data.find(GIF_PROFILE)
    profile = _blocks(data, start + len(GIF_PROFILE)) if start >= 0 else None
    at = data.find(GIF_XMP)
    end = data.find(GIF_XMP_END, at) if at >= 0 else -1
    return Beside(profile or None, xmp=data[at + len(GIF_XMP) : end] if end >= 0 else None)


def _blocks(data: bytes, position: int) -> bytes:
    """Return the joined blocks of a GIF's extension, which an empty block ends."""
    parts = []
    while position < len(data) and data[position]:
        parts.append(data[position + 1 : position + 1 + data[position]])
        position += 1 + data[position]
    return b"".join(parts)


def read_jpeg2000(data: bytes) -> Beside:
    """Return what a JPEG 2000 file holds besides its pixels; a bare codestream holds nothing."""
    profile, block, xmp = None, None, None
    for kind, start, end in _jp2_boxes(data, 0, len(data)):
        if kind == b"jp2h":
            for inner, at, stop in _jp2_boxes(data, start, end):
                if inner == b"colr" and data[at] in JP2_PROFILES and profile is None:
                    profile = data[at + 3 : stop]
        elif kind == b"uuid" and data[start : start + 16] == JP2_EXIF:
            block = exif.read(data[start + 16 : end])
        elif kind == b"uuid" and data[start : start + 16] == JP2_XMP:
            xmp = data[start + 16 : end]
    return Beside(profile, exif=block, xmp=xmp)


def _jp2_boxes(data: bytes, position: int, end: int) -> list[tuple[bytes, int, int]]:
    """Return the type, start and end of each box in a part of a file."""
    boxes = []
    while position + 8 <= end and not data.startswith(b"\xff\x4f"):
        size, kind = struct.unpack_from(">I4s", data, position)
        head = 8
        if size == 1 and position + 16 <= end:
            (size,) = struct.unpack_from(">Q", data, position + 8)
            head = 16
        after = position + size if size else end
        if after < position + head or after > end:
            break
        boxes.append((kind, position + head, after))
        position = after
    return boxes


def read_psd(image: Any) -> Beside:
    """Return what a Photoshop file holds besides its pixels."""
    resources = {number: body for number, _, body in getattr(image, "resources", ())}
    return Beside(
        image.info.get("icc_profile"),
        exif=exif.read(resources.get(PSD_EXIF, b"")),
        xmp=resources.get(PSD_XMP),
    )
