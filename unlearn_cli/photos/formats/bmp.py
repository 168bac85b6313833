"""BMP files: reading and writing the colour space of their newer headers (BITMAPV4HEADER, BITMAPV5HEADER)."""

from __future__ import annotations

import struct

from unlearn_cli.photos.formats.beside import Beside
from unlearn_cli.photos.formats.colour import Colour

FILE_HEADER, OLD_HEADER, V4, V5 = 14, 40, 108, 124
CALIBRATED, EMBEDDED = bytes(4), b"DEBM"
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
    if size >= V4 and data[FILE_HEADER + 56 : FILE_HEADER + 60] == CALIBRATED:
        return Beside(colour=_calibrated(data))
    return Beside()


def _calibrated(data: bytes) -> Colour:
    """Return the colour space given by three primaries (in CIE XYZ; their sum is the white point) and their gammas."""
    values = [value / (1 << 30) for value in struct.unpack_from("<9i", data, FILE_HEADER + 60)]
    gammas = [value / 65536 for value in struct.unpack_from("<3I", data, FILE_HEADER + 96)]
    primaries = [tuple(values[start : start + 3]) for start in (0, 3, 6)]
    white = tuple(map(sum, zip(*primaries, strict=True)))
    sums = [sum(colour) for colour in (white, *primaries)]
    if min(gammas) <= 0 or min(sums) <= 0 or min(colour[1] for colour in primaries) <= 0:
        return Colour()  # Most writers leave zeros in these fields.
    x_y = [part / total for colour, total in zip((white, *primaries), sums, strict=True) for part in colour[:2]]
    wx, wy, rx, ry, gx, gy, bx, by = x_y
    return Colour(gamma=sum(gammas) / 3, chromaticities=(wx, wy, rx, ry, gx, gy, bx, by))


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
