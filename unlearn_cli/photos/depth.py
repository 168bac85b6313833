"""Detecting more than 8 bits per channel, which Pillow, having no mode for it, would silently cut to 8."""

from __future__ import annotations

import re

from PIL import Image

from unlearn_cli.photos.formats import heif

COLOUR_MODES = ("RGB", "RGBA", "RGBX", "CMYK", "LA")
HEAD = 1 << 16
"""The number of bytes at the beginning of a file in which the headers are looked for."""


def has_deep_colour(image: Image.Image, data: bytes) -> bool:
    """Return whether a file has more than 8 bits per channel.

    ``image`` is the opened, not yet loaded image, and ``data`` the bytes of its file.
    """
    if image.format == "HEIF":
        return int(image.info.get("bit_depth", 8)) > 8
    if image.format == "AVIF":
        return heif.properties(data).bits > 8
    if image.mode not in COLOUR_MODES:
        return False
    if image.format == "JPEG2000":
        return _jpeg2000_bits(data[:HEAD]) > 8
    # "RGB;16B" means 16 bits per channel with its byte order; "BGR;16" means 16 bits per pixel, which loses nothing.
    # Portable pixmaps give their largest value instead.
    arguments = [str(tile.args) for tile in getattr(image, "tile", ())]
    deep_pixmap = image.format == "PPM" and any(
        int(number) > 255 for text in arguments for number in re.findall(r"\b\d+\b", text)
    )
    return deep_pixmap or any(re.search(r";16[BLNS]", text) for text in arguments)


def _jpeg2000_bits(head: bytes) -> int:
    """Return the largest component depth in the SIZ segment (ISO/IEC 15444-1, A.5.1); 0 if there is none."""
    start = head.find(b"\xff\x4f\xff\x51")
    if start < 0:
        return 0
    count = int.from_bytes(head[start + 40 : start + 42], "big")
    depths = head[start + 42 : start + 42 + 3 * count : 3]
    return max(((depth & 0x7F) + 1 for depth in depths), default=0)
