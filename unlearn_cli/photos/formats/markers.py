"""The markers of a JPEG file (ITU-T T.81, annex B): its segments, its scans, and where its pixels end."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from typing import NamedTuple

import simplejpeg

SOI, SOS, EOI, DQT, DHT, DNL, DRI = 0xD8, 0xDA, 0xD9, 0xDB, 0xC4, 0xDC, 0xDD
APP0, APP1, APP2, APP14, APP15, COM = 0xE0, 0xE1, 0xE2, 0xEE, 0xEF, 0xFE
FRAMES = (0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF)
PROGRESSIVE = (0xC2, 0xC6, 0xCA, 0xCE)
RESTARTS = range(0xD0, 0xD8)
BETWEEN_SCANS = (SOS, DQT, DHT, DNL, DRI, COM, *range(APP0, APP15 + 1))
END = b"\xff\xd9"

JFIF_HEAD, ADOBE_HEAD = b"JFIF\0", b"Adobe"
SHORTEST_JFIF, SHORTEST_ADOBE = 14, 12
"""The lengths in bytes below which libjpeg ignores such a segment. Both segments decide how colours are stored."""

MOST_COMPONENTS, MOST_SCANS = 4, 500
"""The largest numbers of colour components and of scans; a file with more is taken to be malicious."""

PRINTABLE = re.compile(rb"[\t\n\r -~]{8,}")
BOX = re.compile(rb"\0[\0-\xff]{3}(?:ftyp|mdat|moov|free|skip|wide|mpvd)", re.DOTALL)
"""The beginnings of data that cameras append to a picture: text, and the boxes of a video."""


class Segment(NamedTuple):
    """One segment before a JPEG's scan, or the header of that scan."""

    kind: int
    start: int
    """The position of its marker."""
    body: bytes

    @property
    def end(self) -> int:
        """Return the position after its last byte."""
        return self.start + 4 + len(self.body)


def segments(data: bytes, position: int = 2) -> Iterator[Segment]:
    """Yield the segments from a position on, up to and including the next scan's header. Junk is skipped."""
    while (position := data.find(b"\xff", position)) >= 0 and position + 4 <= len(data):
        kind = data[position + 1]
        if kind in (0x00, 0x01, 0xFF, *RESTARTS):
            position += 1
            continue
        end = position + 2 + int.from_bytes(data[position + 2 : position + 4], "big")
        if kind in (SOI, EOI) or end < position + 4 or end > len(data):
            return
        yield Segment(kind, position, data[position + 4 : end])
        if kind == SOS:
            return
        position = end


def after_scan(data: bytes, position: int) -> int:
    """Return the position of the next marker, or -1 if there is none.

    Inside a scan 0xFF is followed by zero, a restart marker or a fill byte.
    """
    while True:
        position = data.find(b"\xff", position)
        if position < 0 or position + 1 >= len(data):
            return -1
        if data[position + 1] not in (0x00, 0xFF, *RESTARTS):
            return position
        position += 1


def count_scans(data: bytes) -> int:
    """Return the number of scans of a JPEG file's first picture: decoding a progressive one takes time for each."""
    position, scans = 2, 0
    while 0 <= position < len(data) - 3:
        kind = data[position + 1]
        if data[position] != 0xFF or kind == EOI:
            break
        position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
        if kind == SOS:
            scans += 1
            position = after_scan(data, position)
    return scans


def size(data: bytes) -> tuple[int, int] | None:
    """Return the width and height that a JPEG file claims; None for anything else."""
    if not data.startswith(b"\xff\xd8"):
        return None
    frame = next((segment for segment in segments(data) if segment.kind in FRAMES), None)
    if frame is None or len(frame.body) < 5:
        return None
    height, width = struct.unpack(">HH", frame.body[1:5])
    return width, height


def without_helpers(data: bytes) -> bytes | None:
    """Return a JPEG file without the segments that do not decide its pixels; None if it has no pixels at all."""
    if not data.startswith(b"\xff\xd8"):
        return None
    parts: list[bytes | memoryview] = [b"\xff\xd8"]
    view = memoryview(data)
    for segment in segments(data):
        kind, start, body = segment
        if kind == SOS:
            return b"".join([*parts, view[start:]])
        helper = APP0 <= kind <= APP15 or kind == COM
        needed = kind == APP0 and body.startswith(JFIF_HEAD) and len(body) >= SHORTEST_JFIF
        needed |= kind == APP14 and body.startswith(ADOBE_HEAD) and len(body) >= SHORTEST_ADOBE
        if needed or not helper:
            parts.append(view[start : segment.end])
    return None


def ended(data: bytes) -> bytes | None:
    """Return a JPEG file up to its end marker, which is added if it is missing but all pixels are there.

    Return None if pixels are missing, or may be. Bytes that follow a truncated picture can pass for pixels, so there
    must be nothing after the last pixel, or something that is recognisably the beginning of other data.
    """
    found = list(segments(data))
    frame = next((segment for segment in found if segment.kind in FRAMES), None)
    if frame is None or len(frame.body) < 6 or frame.body[5] > MOST_COMPONENTS or found[-1].kind != SOS:
        return None
    scan = found[-1]
    missing = _coefficients(frame)
    for _ in range(MOST_SCANS):
        missing -= _brought(scan, frame)
        end = after_scan(data, scan.end)
        if data[end : end + 2] == END:
            return data[: end + 2]
        if not missing or end < 0:
            break
        found = list(segments(data, end))
        if not found or found[-1].kind != SOS or any(segment.kind not in BETWEEN_SCANS for segment in found):
            break
        scan = found[-1]
    return None if missing else _ended_here(data, frame, scan.end, end if end >= 0 else len(data))


def is_cut(data: bytes) -> bool:
    """Return whether a JPEG file ends before its pixels are complete, whatever follows them.

    A file that ends properly but is damaged in between is left to its decoder, which shows what it can.
    """
    picture = without_helpers(data)
    if picture is None or ended(picture) is not None:
        return picture is None
    first = next((segment for segment in segments(data) if segment.kind == SOS), None)
    assert first is not None
    following = after_scan(data, first.end)
    return not data.rstrip(b"\0").endswith(END) or data[following : following + 2] == bytes([0xFF, SOI])


def _coefficients(frame: Segment) -> set[tuple[int, int]]:
    """Return all coefficients that the scans of a frame have to contain, each with its component."""
    return {(component, number) for component in frame.body[6 : 6 + 3 * frame.body[5] : 3] for number in range(64)}


def _brought(scan: Segment, frame: Segment) -> set[tuple[int, int]]:
    """Return the coefficients that a scan completes to the last bit (T.81, B.2.3 and G.1.1)."""
    count = scan.body[0] if scan.body else 0
    if len(scan.body) < 4 + 2 * count or count > MOST_COMPONENTS:
        return set()
    first, last, bits = scan.body[1 + 2 * count : 4 + 2 * count]
    if frame.kind not in PROGRESSIVE:
        first, last, bits = 0, 63, 0
    if bits & 15:
        return set()
    numbers = range(first, min(last, 63) + 1)
    return {(component, number) for component in scan.body[1 : 1 + 2 * count : 2] for number in numbers}


def _ended_here(data: bytes, frame: Segment, start: int, end: int) -> bytes | None:
    """Return a file with an end marker after the last byte of its pixels, which is found before ``end``.

    Return None if pixels are missing, or if what follows them may be pixels too.
    """
    mode = {1: "GRAY", 3: "RGB", 4: "CMYK"}.get(frame.body[5])
    if mode is None or not _is_whole(data[:end], mode):
        return None
    without_zeros = max(start, len(data[:end].rstrip(b"\0")))
    high = without_zeros if without_zeros == end or _is_whole(data[:without_zeros], mode) else end
    # Usually little follows the last pixel, so the search goes from the end in growing steps.
    step = 1
    while high - step > start and _is_whole(data[: high - step], mode):
        high, step = high - step, 2 * step
    low = max(start, high - step)
    while low < high:
        middle = (low + high) // 2
        if _is_whole(data[:middle], mode):
            high = middle
        else:
            low = middle + 1
    if not _is_trailer(data, high) or not _has_restarts(data[:high], frame, start):
        return None
    return data[:high] + END


def _is_whole(data: bytes, mode: str) -> bool:
    """Return whether a file has all of its pixels, though perhaps no end marker."""
    try:
        simplejpeg.decode_jpeg(data + END, mode)
    except ValueError as error:
        # The bytes between the last pixel and the marker added here are no pixels.
        return "extraneous bytes before marker 0xd9" in str(error)
    except Exception:  # It raises several kinds of exceptions.
        return False
    return True


def _is_trailer(data: bytes, end: int) -> bool:
    """Return whether the data after the last pixel clearly begins there, so that none of it was decoded as pixels."""
    rest = data[end:]
    if not rest or rest[0] == 0xFF or BOX.match(rest):
        return True
    if not rest.strip(b"\0"):
        return data[end - 1] != 0
    text = PRINTABLE.match(rest)
    return text is not None and PRINTABLE.match(data[end - 8 : end]) is None


def _has_restarts(data: bytes, frame: Segment, start: int) -> bool:
    """Return whether the last scan of a file has all of its restart markers, in sequence (T.81, E.1.4)."""
    interval = next((int.from_bytes(body[:2], "big") for kind, _, body in segments(data) if kind == DRI), 0)
    found = [marker[1] - 0xD0 for marker in re.findall(rb"\xff[\xd0-\xd7]", data[start:])]
    if found != [number % 8 for number in range(len(found))]:
        return False
    if interval == 0 or frame.kind in PROGRESSIVE:
        return interval == 0
    height, width = struct.unpack(">HH", frame.body[1:5])
    samplings = frame.body[7 : 6 + 3 * frame.body[5] : 3]
    across, down = (max(s >> 4 for s in samplings), max(s & 15 for s in samplings)) if len(samplings) > 1 else (1, 1)
    if not (across and down):
        return False
    blocks: int = -(-width // (8 * across)) * -(-height // (8 * down))
    return len(found) == -(-blocks // interval) - 1
