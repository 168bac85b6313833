"""BMP files: reading and writing the colour space of their newer headers (BITMAPV4HEADER, BITMAPV5HEADER)."""

from __future__ import annotations

import struct

from unlearn_cli.photos.formats.beside import Beside

FILE_HEADER, OLD_HEADER, V4, V5 = 14, 40, 108, 124
EMBEDDED = b"DEBM"
"""The types of colour space that carry information, as the file writes them."""

FOR_PICTURES = 4
"""The rendering intent for photographs (LCS_GM_IMAGES)."""


def read(data: bytes) -> Beside:
    """Return what a BMP file holds besides its pixels."""
    if len(data) < FILE_HEADER + V4:
        return Beside()
    (size,) = struct.unpack_from("<I", data, FILE_HEADER)
    if size >= V5 and data[FILE_HEADER + 56 : FILE_HEADER + 60] == EMBEDDED and len(data) >= FILE_HEADER + V5:
        start, length = struct.unpack_from("<II", data, FILE_HEADER + 112)
        profile = data[FILE_HEADER + start : FILE_HEADER + start + length]
        return Beside(profile if len(profile) == length and length else None)
    return Beside()


def with_profile(data: bytes, profile: bytes) -> bytes:
    """Return a BMP file with a colour profile added: its old header becomes one of version 5.

    A file with any other header is returned unchanged.
    """
    (size,) = struct.unpack_from("<I", data, FILE_HEADER)
    if size != OLD_HEADER:
        return data
    (start,) = struct.unpack_from("<I", data, 10)
    longer = V5 - OLD_HEADER
    header = struct.pack("<I", V5) + data[FILE_HEADER + 4 : FILE_HEADER + OLD_HEADER]
    header += bytes(16) + EMBEDDED + bytes(36 + 12)
    header += struct.pack("<IIII", FOR_PICTURES, len(data) + longer - FILE_HEADER, len(profile), 0)
    total = len(data) + longer + len(profile)
    head = data[:2] + struct.pack("<III", total, 0, start + longer)
    return b"".join([head, header, memoryview(data)[FILE_HEADER + OLD_HEADER :], profile])
