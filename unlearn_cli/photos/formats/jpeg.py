"""JPEG directly between bytes and arrays, and the metadata in its segments.

This uses the same libjpeg-turbo as Pillow, but without Pillow's image in between: converting to and from that costs as
much as the decoding. What this cannot handle (CMYK, damage that Pillow tolerates) is left to Pillow.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator

import numpy as np
import simplejpeg
from numpy.typing import NDArray

from unlearn_cli.photos.formats import exif
from unlearn_cli.photos.formats.beside import GAIN_MAP, VIDEO, Beside, damaged
from unlearn_cli.photos.formats.markers import (
    ADOBE_HEAD,
    APP0,
    APP1,
    APP2,
    APP14,
    COM,
    JFIF_HEAD,
    SHORTEST_ADOBE,
    SHORTEST_JFIF,
    ended,
    segments,
    without_helpers,
)
from unlearn_cli.photos.resample import Workspace

COLOUR_SPACES = {"RGB": "RGB", "L": "GRAY"}
"""The modes that are decoded and encoded here, with simplejpeg's names for them."""

SUBSAMPLINGS = ("444", "422", "420")

LARGEST_SEGMENT = 65533
EXIF_HEAD, XMP_HEAD, ICC_HEAD = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0", b"ICC_PROFILE\0"

GAIN_MAPS = re.compile(rb"hdrgm:|aux:hdrgainmap|urn:iso:std:iso:ts:21496")
VIDEOS = re.compile(rb"MotionPhoto|MicroVideo")
SAMSUNG_END = b"SEFT"

LARGEST_EXIF = 1 << 20
"""The bytes after which further EXIF segments are ignored; one segment holds 65,533."""


def decode(
    data: bytes, mode: str, width: int, height: int, workspace: Workspace | None = None
) -> NDArray[np.uint8] | None:
    """Return the stored pixels of a JPEG, ``[H, W, 3]`` or ``[H, W]``; None if Pillow has to decode it.

    With a workspace the pixels lie in its memory, and are valid until this thread's next photo.
    """
    if mode not in COLOUR_SPACES:
        return None
    buffer = workspace.buffer(width * height * (3 if mode == "RGB" else 1), "decoded") if workspace else None
    try:
        pixels: NDArray[np.uint8] = simplejpeg.decode_jpeg(data, COLOUR_SPACES[mode], buffer=buffer)
    except Exception:  # It raises several kinds of exceptions; Pillow will report what is wrong, if anything.
        return None
    if pixels.shape[:2] != (height, width):
        return None
    return pixels[..., 0] if mode == "L" else pixels


def encode(pixels: NDArray[np.uint8], mode: str, quality: int, subsampling: str) -> bytes | None:
    """Return a baseline JPEG without metadata; None for a mode or subsampling that is left to Pillow."""
    if mode not in COLOUR_SPACES or subsampling not in SUBSAMPLINGS:
        return None
    if mode == "L":
        pixels, subsampling = pixels[..., None], "Gray"
    encoded: bytes = simplejpeg.encode_jpeg(pixels, quality, COLOUR_SPACES[mode], subsampling)
    return encoded


def with_segments(
    encoded: bytes,
    *,
    dpi: tuple[float, float] | None = None,
    block: bytes = b"",
    xmp: bytes | None = None,
    profile: bytes | None = None,
    comment: bytes | None = None,
) -> bytes:
    """Return an encoder's file with metadata in front: resolution, EXIF, XMP, colour profile and comment.

    Metadata that does not fit into its segments is left out, because no tag is worth losing a photo.
    """
    parts: list[tuple[int, bytes]] = []
    after = 2
    if encoded[2:4] == bytes([0xFF, APP0]):  # This is the encoder's own JFIF segment, which ours replaces.
        after = 4 + int.from_bytes(encoded[4:6], "big")
        x, y = (max(1, min(round(v), 65535)) for v in dpi or (1, 1))
        parts.append((APP0, JFIF_HEAD + struct.pack(">HBHHBB", 0x0101, 1 if dpi else 0, x, y, 0, 0)))
    if block:
        parts.append((APP1, EXIF_HEAD + block))
    if xmp:
        parts.append((APP1, XMP_HEAD + xmp))
    parts += [(APP2, piece) for piece in _pieces(profile or b"")]
    if comment:
        parts.append((COM, comment))
    segments = [
        struct.pack(">BBH", 0xFF, kind, len(body) + 2) + body for kind, body in parts if len(body) <= LARGEST_SEGMENT
    ]
    return b"".join([encoded[:2], *segments, memoryview(encoded)[after:]])


def _pieces(profile: bytes) -> list[bytes]:
    """Return the segments of a colour profile; none if it is too large for 255 of them."""
    room = LARGEST_SEGMENT - len(ICC_HEAD) - 2
    pieces = [profile[start : start + room] for start in range(0, len(profile), room)]
    if len(pieces) > 255:
        return []
    return [ICC_HEAD + bytes([number, len(pieces)]) + piece for number, piece in enumerate(pieces, 1)]


def read(data: bytes) -> Beside:
    """Return what a JPEG file holds besides its pixels. Damaged parts are left out, and the notes name them."""
    xmp, comment, wrong = None, None, []
    blocks: list[bytes] = []
    pieces: dict[int, bytes] = {}
    wanted = 0
    many = iso_gain_map = False
    for kind, _, body in segments(data):
        if kind == APP0 and body.startswith(JFIF_HEAD) and len(body) < SHORTEST_JFIF:
            wrong.append("JFIF segment")
        elif kind == APP14 and body.startswith(ADOBE_HEAD) and len(body) < SHORTEST_ADOBE:
            wrong.append("Adobe segment")
        elif kind == APP1 and body.startswith(EXIF_HEAD):
            if sum(len(part) for part in blocks) < LARGEST_EXIF:
                blocks.append(body[len(EXIF_HEAD) :])
        elif kind == APP1 and body.startswith(XMP_HEAD):
            xmp = body[len(XMP_HEAD) :] if xmp is None else xmp
        elif kind == APP2 and body.startswith(ICC_HEAD):
            if len(body) > len(ICC_HEAD) + 2:
                number, wanted = body[len(ICC_HEAD) : len(ICC_HEAD) + 2]
                pieces.setdefault(number, body[len(ICC_HEAD) + 2 :])
            else:
                wrong.append("colour profile")
        elif kind == APP2:
            many |= body.startswith(b"MPF\0")
            iso_gain_map |= body.startswith(b"urn:iso:std:iso:ts:21496")
        elif kind == COM:
            comment = body
    profile = None
    if pieces and sorted(pieces) == list(range(1, wanted + 1)):
        profile = b"".join(pieces[number] for number in sorted(pieces))
    if pieces and profile is None:
        wrong.append("colour profile")
    block = b"".join(blocks)
    tags = exif.read(block)
    if blocks and tags is None:
        wrong.append("EXIF block")
    notes = [*damaged(wrong), *_others(data, xmp or b"", many=many or iso_gain_map)]
    return Beside(profile, exif=tags, xmp=xmp, comment=comment, notes=tuple(notes))


def _others(data: bytes, xmp: bytes, *, many: bool) -> Iterator[str]:
    """Yield a sentence for each thing after the picture that a copy of this file does not have."""
    if (many and GAIN_MAPS.search(data)) or b"hdrgm:" in xmp:
        yield GAIN_MAP
    told = VIDEOS.search(xmp) or (data.endswith(SAMSUNG_END) and data.rfind(b"MotionPhoto_Data") > 0)
    if told and data.find(b"ftyp", _first_scan(data)) > 0:
        yield VIDEO


def _first_scan(data: bytes) -> int:
    """Return where the segments in front of the picture end."""
    return max((segment.end for segment in segments(data)), default=0)


def bare(data: bytes) -> bytes | None:
    """Return a JPEG file reduced to what decides its pixels, with its end marker.

    Return None if it is no JPEG, or if the end marker is missing and pixels are missing too.
    """
    picture = without_helpers(data)
    return ended(picture) if picture is not None else None
