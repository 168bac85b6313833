"""TIFF files: which kinds are read correctly here, and the tags that Pillow's writer cannot hold."""

from __future__ import annotations

import io
import struct
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unlearn_cli.photos.formats import exif
from unlearn_cli.photos.formats.beside import Beside
from unlearn_cli.photos.formats.exif import Block, Directory, Entry

STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

BITS, COMPRESSION, PHOTOMETRIC, SAMPLES, PLANAR = 258, 259, 262, 277, 284
COLOUR_MAP, INK_SET, SAMPLE_FORMAT = 320, 332, 339
XMP, ICC_PROFILE = 700, 34675

MIN_IS_WHITE, MIN_IS_BLACK, RGB, PALETTE, CMYK, YCBCR, LAB = 0, 1, 2, 3, 5, 6, 8
OTHER_LABS = (9, 10)
EXTRA_SAMPLES, ASSOCIATED, UNASSOCIATED = 338, 1, 2

READ_COMPRESSIONS = (1, 2, 3, 4, 5, 6, 7, 8, 32771, 32773, 32946, 34925, 50000)
"""The compressions that can be read: none, fax, LZW, JPEG, deflate, PackBits, LZMA and Zstandard."""

RAW_PHOTOMETRICS = (32803, 34892)
"""The photometric interpretations of camera sensor data (TIFF/EP, DNG)."""

COLOURS = {MIN_IS_WHITE: 1, MIN_IS_BLACK: 1, RGB: 3, PALETTE: 1, CMYK: 4, YCBCR: 3}
"""The photometric interpretations that can be read, with the number of values per pixel, without transparency."""

UNSIGNED, SIGNED, FLOAT = 1, 2, 3

USUAL_COMPRESSIONS = (1, 5, 8, 32946)
"""No compression, LZW and deflate."""

LARGEST_COMPARED = 50_000_000
"""A size in pixels: reading a larger picture a second time would take too much memory."""


def is_tiff(data: bytes) -> bool:
    """Return whether a file begins as TIFF files do."""
    return data[:4] in STARTS


def refusal(block: Block | None) -> str | None:
    """Return why a TIFF file with these tags is skipped even if it is intact; None if this kind of TIFF can be read.

    Pillow reads more kinds than these, but some of them wrongly: 12 bits as 16, planes of 16 bits as planes of 8, white
    as black.
    """
    if block is None or PHOTOMETRIC not in block.main:
        return None  # It is damaged or no picture, which its decoder will report.
    if block.big and block.order == ">":
        return "it is a big-endian BigTIFF, which unlearn cannot read; save it as an ordinary TIFF or PNG"
    bits = set(block.integers(BITS) or (1,))
    formats = set(block.integers(SAMPLE_FORMAT) or (UNSIGNED,))
    (photometric,) = block.integers(PHOTOMETRIC)[:1] or (None,)
    (samples,) = block.integers(SAMPLES)[:1] or (1,)
    planar = block.integers(PLANAR)[:1] == (2,)
    if photometric in RAW_PHOTOMETRICS:
        return "it is a camera's raw picture; export it as JPEG or TIFF and protect that"
    if photometric in (LAB, *OTHER_LABS):
        return "it is in the Lab colour space, which is not supported"
    if photometric not in COLOURS:
        return None
    if block.integers(COMPRESSION)[:1] not in [(), *((kind,) for kind in READ_COMPRESSIONS)]:
        return "it is compressed in a way that unlearn cannot read; save it with LZW or deflate"
    if formats & {FLOAT, 5, 6}:
        return "it has floating-point values instead of pixel levels; save it with 8 bits per colour"
    if formats & {SIGNED}:
        return "it has signed values instead of pixel levels; save it with 8 bits per colour"
    if len(bits) > 1 or not bits <= {1, 2, 4, 8, 16, 32}:
        return f"it has {_listed(bits)} bits per colour, which is not supported; save it with 8 or 16"
    (depth,) = bits
    if depth == 32:
        return "it has 32-bit values instead of pixel levels; save it with 8 bits per colour"
    return _odd_layout(photometric, depth, samples - COLOURS[photometric], planar, block)


def _odd_layout(photometric: int, depth: int, others: int, planar: bool, block: Block) -> str | None:
    grey = photometric in (MIN_IS_WHITE, MIN_IS_BLACK)
    if depth == 16 and not (grey and others == 0):
        return "it has more than 8 bits per colour, and a copy would have only 8; save it with 8 bits first"
    if depth == 16 and photometric == MIN_IS_WHITE and block.order == ">":
        return "it is big-endian 16-bit grey in which zero is white, which unlearn cannot read; save it as PNG"
    if depth < 8 and (others or not (grey or photometric == PALETTE)):
        return f"it has {depth} bits per colour, which is not supported; save it with 8"
    extra = block.integers(EXTRA_SAMPLES)[:1]
    if others not in (0, 1) or (others and (photometric == CMYK or extra not in ((ASSOCIATED,), (UNASSOCIATED,)))):
        return "it has extra channels besides colours and transparency, which a copy would lose"
    if photometric == MIN_IS_WHITE and others:
        return "it is grey in which zero is white, with transparency, which unlearn cannot read; save it as PNG"
    if others and planar and extra == (ASSOCIATED,):
        return (
            "it stores its transparency separately (planar) and premultiplied, which is not supported; save it as PNG"
        )
    if grey and others and planar:
        return "it stores its transparency separately (planar), which is not supported; save it as PNG"
    if photometric == CMYK and block.integers(INK_SET)[:1] == (2,):
        return "its inks are not cyan, magenta, yellow and black"
    return None


def _listed(numbers: set[int]) -> str:
    return ", ".join(str(number) for number in sorted(numbers))


def is_inverted(block: Block | None) -> bool:
    """Return whether this is 16-bit grey in which zero is white, which Pillow inverts only up to 8 bits."""
    return block is not None and block.integers(PHOTOMETRIC) == (MIN_IS_WHITE,) and block.integers(BITS) == (16,)


def small_palette(block: Block | None) -> bytes | None:
    """Return the colours of a palette written with values up to 255 instead of 65535; None for any other palette.

    libtiff recognises such palettes in the same way. Pillow reads all of their colours as black.
    """
    values = block.integers(COLOUR_MAP) if block is not None else ()
    if not values or len(values) % 3 or max(values) > 255 or max(values) == 0:
        return None
    return np.array(values, np.uint8).reshape(3, -1).T.tobytes()


def read(block: Block) -> Beside:
    """Return what a TIFF file with these tags holds besides its pixels."""
    profile, xmp = block.main.get(ICC_PROFILE), block.main.get(XMP)
    return Beside(profile.data if profile else None, exif=block, xmp=xmp.data if xmp else None)


def add_tags(file: io.BytesIO, block: Block | None, xmp: bytes | None) -> None:
    """Add tags to a TIFF file in a new directory at its end; where both have a tag, the file's own is used.

    Pillow cannot write EXIF into a compressed TIFF, and writes texts as ASCII. The file is changed in place, because
    there is not enough memory for a second copy of a large photo.
    """
    with file.getbuffer() as data:
        own, length = exif.read(data), len(data)
    if own is None or own.big or not (block or xmp):
        return
    added = exif.in_order(block, own.order) if block else Block(own.order)
    main: Directory = {**added.main, **own.main}
    if xmp:
        main[XMP] = Entry(1, len(xmp), xmp)
    start = length + length % 2
    file.seek(4)
    file.write(struct.pack(f"{own.order}I", start))
    file.seek(length)
    file.write(bytes(length % 2) + exif.directories(replace(added, main=main), start))


def _is_usual(block: Block) -> bool:
    """Return whether a picture is of the kind that every program writes: interleaved RGB with 8 bits per channel."""
    return (
        block.integers(PHOTOMETRIC) == (RGB,)
        and set(block.integers(BITS)) == {8}
        and block.integers(PLANAR) in ((), (1,))
        and block.integers(COMPRESSION) in [(kind,) for kind in USUAL_COMPRESSIONS]
    )


def looks_otherwise(data: bytes, block: Block, pixels: NDArray[Any], mode: str) -> bool:
    """Return whether OpenCV, an independent reader, decodes a rarer kind of TIFF file to a different picture.

    The answer is False if OpenCV cannot read the file, or returns another layout than these pixels have.
    """
    if pixels.shape[0] * pixels.shape[1] > LARGEST_COMPARED or mode not in ("L", "I;16", "RGB") or _is_usual(block):
        return False
    if block.orientation != 1:  # Pillow has applied the orientation, and OpenCV does not.
        return False
    import cv2

    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        other = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        return False
    if other is None or other.dtype != pixels.dtype:
        return False
    if mode == "RGB" and other.ndim == 3:
        other = other[..., 2::-1]
    if other.shape != pixels.shape:
        return False
    # JPEG decoders and colour conversions of the two differ by a few levels; a misread picture differs by far more.
    step = max(1, pixels.shape[0] // 64)
    apart = np.abs(other[::step].astype(np.int32) - pixels[::step].astype(np.int32)).mean()
    return bool(apart > (8 if mode != "I;16" else 8 * 257))
