"""JPEG straight between bytes and arrays, and the segments of a JPEG file.

The same libjpeg-turbo that Pillow uses, without Pillow's image in between: converting to and from that costs as much
as the decoding. What cannot be done here (CMYK, damage that Pillow tolerates) is for Pillow to do.
"""

from __future__ import annotations

import struct

import numpy as np
import simplejpeg
from numpy.typing import NDArray

from unlearn_cli.photos.metadata import Metadata
from unlearn_cli.photos.resample import Workspace

COLOUR_SPACES = {"RGB": "RGB", "L": "GRAY"}
"""The modes that are decoded and encoded here, and what simplejpeg calls them."""

SUBSAMPLINGS = ("444", "422", "420")

SOI, SOS, EOI, APP0, APP1, APP2, COM = 0xD8, 0xDA, 0xD9, 0xE0, 0xE1, 0xE2, 0xFE
LARGEST_SEGMENT = 65533
EXIF_HEAD, XMP_HEAD, ICC_HEAD = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0", b"ICC_PROFILE\0"


def decode(
    data: bytes, mode: str, width: int, height: int, workspace: Workspace | None = None
) -> NDArray[np.uint8] | None:
    """The pixels of a JPEG, ``[H, W, 3]`` or ``[H, W]``, as they are stored; None where Pillow has to look at it.

    With a workspace they lie in its memory, until the next photo of this thread.
    """
    if mode not in COLOUR_SPACES:
        return None
    buffer = workspace.buffer(width * height * (3 if mode == "RGB" else 1), "decoded") if workspace else None
    try:
        pixels: NDArray[np.uint8] = simplejpeg.decode_jpeg(data, COLOUR_SPACES[mode], buffer=buffer)
    except Exception:  # It says no by several exceptions; what is wrong, if anything, Pillow will tell.
        return None
    if pixels.shape[:2] != (height, width):
        return None
    return pixels[..., 0] if mode == "L" else pixels


def encode(pixels: NDArray[np.uint8], mode: str, quality: int, subsampling: str, metadata: Metadata) -> bytes | None:
    """A baseline JPEG with its metadata; None for a mode that is for Pillow, or metadata that no segment holds."""
    if mode not in COLOUR_SPACES or subsampling not in SUBSAMPLINGS:
        return None
    segments = _segments(metadata)
    if segments is None:
        return None
    if mode == "L":
        pixels, subsampling = pixels[..., None], "Gray"
    encoded: bytes = simplejpeg.encode_jpeg(pixels, quality, COLOUR_SPACES[mode], subsampling)
    # Behind SOI comes the encoder's own JFIF segment, which ours replaces.
    after = 4 + int.from_bytes(encoded[4:6], "big") if encoded[2:4] == bytes([0xFF, APP0]) else 2
    return b"".join([encoded[:2], segments, memoryview(encoded)[after:]])


def _segments(metadata: Metadata) -> bytes | None:
    """JFIF, EXIF, XMP, the colour profile and a comment, each in its segments; None if one is too large for that."""
    x, y = (max(1, min(round(v), 65535)) for v in metadata.dpi or (1, 1))
    jfif = b"JFIF\0" + struct.pack(">HBHHBB", 0x0101, 1 if metadata.dpi else 0, x, y, 0, 0)
    parts = [(APP0, jfif)]
    if metadata.exif:
        parts.append((APP1, metadata.exif if metadata.exif.startswith(EXIF_HEAD) else EXIF_HEAD + metadata.exif))
    if metadata.xmp:
        parts.append((APP1, XMP_HEAD + metadata.xmp))
    profile = metadata.icc_profile or b""
    room = LARGEST_SEGMENT - len(ICC_HEAD) - 2
    pieces = [profile[start : start + room] for start in range(0, len(profile), room)]
    for number, piece in enumerate(pieces, 1):
        parts.append((APP2, ICC_HEAD + bytes([number & 0xFF, len(pieces) & 0xFF]) + piece))
    if metadata.comment:
        parts.append((COM, metadata.comment))
    if len(pieces) > 255 or any(len(body) > LARGEST_SEGMENT for _, body in parts):
        return None
    return b"".join(struct.pack(">BBH", 0xFF, kind, len(body) + 2) + body for kind, body in parts)


def count_scans(data: bytes) -> int:
    """How many scans the first picture of a JPEG file has: the time to decode a progressive one grows with them."""
    position, scans = 2, 0
    while 0 <= position < len(data) - 3:
        kind = data[position + 1]
        if data[position] != 0xFF or kind == EOI:
            break
        position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
        if kind == SOS:
            scans += 1
            position = _after_scan(data, position)
    return scans


def _after_scan(data: bytes, position: int) -> int:
    """Where the next marker is; inside a scan, 0xFF is followed by zero, a restart marker or a fill byte."""
    while True:
        position = data.find(b"\xff", position)
        if position < 0 or position + 1 >= len(data):
            return -1
        if data[position + 1] not in (0x00, 0xFF, *range(0xD0, 0xD8)):
            return position
        position += 1
