"""JPEG straight between bytes and arrays, and the segments of a JPEG file.

The same libjpeg-turbo that Pillow uses, without Pillow's image in between: converting to and from that costs as much
as the decoding. What cannot be done here (CMYK, damage that Pillow tolerates) is for Pillow to do.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import simplejpeg
from numpy.typing import NDArray

from unlearn_cli.photos.formats import exif
from unlearn_cli.photos.formats.beside import GAIN_MAP, VIDEO, Beside, damaged
from unlearn_cli.photos.resample import Workspace

COLOUR_SPACES = {"RGB": "RGB", "L": "GRAY"}
"""The modes that are decoded and encoded here, and what simplejpeg calls them."""

SUBSAMPLINGS = ("444", "422", "420")

SOI, SOS, EOI, DRI, APP0, APP1, APP2, APP14, APP15, COM = 0xD8, 0xDA, 0xD9, 0xDD, 0xE0, 0xE1, 0xE2, 0xEE, 0xEF, 0xFE
FRAMES = (0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF)
PROGRESSIVE = (0xC2, 0xC6, 0xCA, 0xCE)
RESTARTS = range(0xD0, 0xD8)
LARGEST_SEGMENT = 65533
EXIF_HEAD, XMP_HEAD, ICC_HEAD = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0", b"ICC_PROFILE\0"
JFIF_HEAD, ADOBE_HEAD = b"JFIF\0", b"Adobe"
SHORTEST_JFIF, SHORTEST_ADOBE = 14, 12

GAIN_MAPS = re.compile(rb"hdrgm:|aux:hdrgainmap|urn:iso:std:iso:ts:21496")
VIDEOS = re.compile(rb"MotionPhoto|MicroVideo")
SAMSUNG_END = b"SEFT"


def decode(
    data: bytes, mode: str, width: int, height: int, workspace: Workspace | None = None
) -> NDArray[np.uint8] | None:
    """Return the pixels of a JPEG as they are stored, ``[H, W, 3]`` or ``[H, W]``; None where Pillow has to look at it.

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


def encode(pixels: NDArray[np.uint8], mode: str, quality: int, subsampling: str) -> bytes | None:
    """Return a baseline JPEG without metadata; None for a mode that is for Pillow."""
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
    """Return an encoder's file with metadata in front: resolution, EXIF, XMP, the colour profile and a comment.

    What does not fit into its segments is left out: no tag is worth a photo.
    """
    parts: list[tuple[int, bytes]] = []
    after = 2
    if encoded[2:4] == bytes([0xFF, APP0]):  # The encoder's own JFIF segment, which ours replaces.
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
    """Return a colour profile's segments; none for one that is too large for 255 of them."""
    room = LARGEST_SEGMENT - len(ICC_HEAD) - 2
    pieces = [profile[start : start + room] for start in range(0, len(profile), room)]
    if len(pieces) > 255:
        return []
    return [ICC_HEAD + bytes([number, len(pieces)]) + piece for number, piece in enumerate(pieces, 1)]


class Segment(NamedTuple):
    """One segment in front of a JPEG's first scan, or that scan's own head."""

    kind: int
    start: int
    """Where its marker is."""
    body: bytes


def segments(data: bytes, position: int = 2) -> Iterator[Segment]:
    """Yield the segments from a place on, up to the head of the next scan, with it. Junk is passed over."""
    while (position := data.find(b"\xff", position)) >= 0 and position + 4 <= len(data):
        kind = data[position + 1]
        if kind in (0x00, 0x01, 0xFF, *RESTARTS):
            position += 1
            continue
        end = position + 2 + int.from_bytes(data[position + 2 : position + 4], "big")
        if kind == EOI or end < position + 4 or end > len(data):
            return
        yield Segment(kind, position, data[position + 4 : end])
        if kind == SOS:
            return
        position = end


def read(data: bytes) -> Beside:
    """Return what stands beside the pixels of a JPEG file. What is damaged is left out, and named in the notes."""
    block, xmp, comment, wrong = b"", None, None, []
    pieces: dict[int, bytes] = {}
    wanted = 0
    many = iso_gain_map = False
    for kind, _, body in segments(data):
        if kind == APP0 and body.startswith(JFIF_HEAD) and len(body) < SHORTEST_JFIF:
            wrong.append("JFIF segment")
        elif kind == APP14 and body.startswith(ADOBE_HEAD) and len(body) < SHORTEST_ADOBE:
            wrong.append("Adobe segment")
        elif kind == APP1 and body.startswith(EXIF_HEAD):
            block += body[len(EXIF_HEAD) :] if block else body
        elif kind == APP1 and body.startswith(XMP_HEAD):
            xmp = body[len(XMP_HEAD) :] if xmp is None else xmp
        elif kind == APP2 and body.startswith(ICC_HEAD):
            if len(body) > len(ICC_HEAD) + 2:
                number, wanted = body[len(ICC_HEAD) : len(ICC_HEAD) + 2]
                pieces[number] = body[len(ICC_HEAD) + 2 :]
            else:
                wrong.append("colour profile")
        elif kind == APP2:
            many |= body.startswith(b"MPF\0")
            iso_gain_map |= body.startswith(b"urn:iso:std:iso:ts:21496")
        elif kind == COM:
            comment = body
    profile = b"".join(pieces[number] for number in sorted(pieces)) if pieces and len(pieces) == wanted else None
    if pieces and profile is None:
        wrong.append("colour profile")
    tags = exif.read(block)
    if block and tags is None:
        wrong.append("EXIF block")
    notes = [*damaged(wrong), *_others(data, xmp or b"", many=many or iso_gain_map)]
    return Beside(profile, exif=tags, xmp=xmp, comment=comment, notes=tuple(notes))


def _others(data: bytes, xmp: bytes, *, many: bool) -> Iterator[str]:
    """Yield what a copy of this file does not have, of what lies behind its picture."""
    if (many and GAIN_MAPS.search(data)) or b"hdrgm:" in xmp:
        yield GAIN_MAP
    told = VIDEOS.search(xmp) or (data.endswith(SAMSUNG_END) and data.rfind(b"MotionPhoto_Data") > 0)
    if told and data.find(b"ftyp", len(data) // 16) > 0:
        yield VIDEO


def bare(data: bytes) -> bytes | None:
    """Return a JPEG file with nothing but what decides its pixels, and with its end marker.

    None for what is no JPEG, and where the end marker is missing and pixels are, too.
    """
    if not data.startswith(b"\xff\xd8"):
        return None
    parts: list[bytes | memoryview] = [b"\xff\xd8"]
    view, scan = memoryview(data), 0
    for kind, start, body in segments(data):
        helper = APP0 <= kind <= APP15 or kind == COM
        needed = kind == APP0 and body.startswith(JFIF_HEAD) and len(body) >= SHORTEST_JFIF
        needed |= kind == APP14 and body.startswith(ADOBE_HEAD) and len(body) >= SHORTEST_ADOBE
        if kind == SOS:
            scan = start
        elif needed or not helper:
            parts.append(view[start : start + 4 + len(body)])
    if not scan:
        return None
    end, ended = _end(data, scan)
    parts += [view[scan:end], b"\xff\xd9"]
    whole = b"".join(parts)
    return whole if ended or _is_whole(whole) else None


def _end(data: bytes, scan: int) -> tuple[int, bool]:
    """Return where the last scan's data end, given the place of the first one's head, and whether a marker says so."""
    position, end = scan, scan
    while True:
        scans = list(segments(data, position))
        if not scans or scans[-1].kind != SOS:
            at = end if position == scan else position
            return at, data[at : at + 2] == b"\xff\xd9"
        end = _after_scan(data, scans[-1].start + 4 + len(scans[-1].body))
        if end < 0:
            return len(data), False
        position = end


def _is_whole(data: bytes) -> bool:
    """Whether a JPEG to which an end marker was added has all of its pixels, at their full precision."""
    found = list(segments(data))
    frame = next((segment for segment in found if segment.kind in FRAMES), None)
    if frame is None or len(frame.body) < 6:
        return False
    mode = {1: "GRAY", 3: "RGB", 4: "CMYK"}.get(frame.body[5])
    if mode is None or not _is_complete(data, frame) or not _has_restarts(data, frame, found):
        return False
    try:
        simplejpeg.decode_jpeg(data, mode)
    except ValueError as error:
        # What lies between the last pixel and the marker that was added is no pixel.
        return re.search(r"extraneous bytes before marker 0xd9", str(error)) is not None
    except Exception:
        return False
    return True


def _is_complete(data: bytes, frame: Segment) -> bool:
    """Whether the scans of a frame bring every coefficient of every component to its last bit (ITU-T T.81, G.1.1)."""
    components = frame.body[6 : 6 + 3 * frame.body[5] : 3]
    missing = {(component, number) for component in components for number in range(64)}
    position = 2
    while True:
        found = list(segments(data, position))
        if not found or found[-1].kind != SOS:
            return not missing
        body = found[-1].body
        count = body[0] if body else 0
        if len(body) < 4 + 2 * count:
            return False
        first, last, bits = body[1 + 2 * count : 4 + 2 * count]
        if frame.kind not in PROGRESSIVE:
            first, last, bits = 0, 63, 0
        if bits & 15 == 0:
            missing -= {
                (component, number) for component in body[1 : 1 + 2 * count : 2] for number in range(first, last + 1)
            }
        position = _after_scan(data, found[-1].start + 4 + len(body))
        if position < 0:
            return not missing


def _has_restarts(data: bytes, frame: Segment, found: list[Segment]) -> bool:
    """Whether a scan has as many restart markers as its size asks for; several scans must have none."""
    interval = next((int.from_bytes(body[:2], "big") for kind, _, body in found if kind == DRI), 0)
    if interval == 0:
        return True
    height, width = struct.unpack(">HH", frame.body[1:5])
    samplings = frame.body[7 : 6 + 3 * frame.body[5] : 3]
    single = len(samplings) == 1
    across, down = (1, 1) if single else (max(s >> 4 for s in samplings), max(s & 15 for s in samplings))
    blocks = -(-width // (8 * across)) * -(-height // (8 * down))
    head = found[-1]
    start = head.start + 4 + len(head.body)
    scan = data[start : _after_scan(data, start)]
    there = len(re.findall(rb"\xff[\xd0-\xd7]", scan))
    return frame.kind not in PROGRESSIVE and there >= -(-blocks // interval) - 1


def count_scans(data: bytes) -> int:
    """Return how many scans the first picture of a JPEG file has: decoding a progressive one takes time for each."""
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
    """Return where the next marker is; inside a scan, 0xFF is followed by zero, a restart marker or a fill byte."""
    while True:
        position = data.find(b"\xff", position)
        if position < 0 or position + 1 >= len(data):
            return -1
        if data[position + 1] not in (0x00, 0xFF, *RESTARTS):
            return position
        position += 1
