"""Writing protected pixels in the format of the original, or in another one if that format cannot store them."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, JpegImagePlugin

from unlearn_cli.errors import PhotoError, PhotoSkippedError, UsageError
from unlearn_cli.photos.apply import DEEP, GREY_MODES
from unlearn_cli.photos.decode import Photo
from unlearn_cli.photos.formats import bmp, exif, heif, jpeg, png, tiff
from unlearn_cli.photos.kinds import PHOTO_SUFFIXES
from unlearn_cli.photos.metadata import Keep, Metadata

JPEG_QUALITY = 95
JPEG_SUBSAMPLING = "444"
"""Most of the noise is in the colours, which 4:2:0 would halve; docs/results/quality.md has the figures."""

FormatChoice = Literal["keep", "png", "jpeg", "webp"]

HOLDS = {
    "JPEG": ("RGB", "L", "CMYK"),
    "PNG": ("RGB", "RGBA", "L", "LA", DEEP),
    "WEBP": ("RGB", "RGBA"),
    "TIFF": ("RGB", "RGBA", "L", "LA", "CMYK", DEEP),
    "BMP": ("RGB", "L"),
    "AVIF": ("RGB", "RGBA", "L"),
}
"""For each format, the modes in which written pixels are read back unchanged."""

SUFFIXES = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif", ".pjpeg", ".pjp"),
    "PNG": (".png", ".apng"),
    "WEBP": (".webp",),
    "TIFF": (".tif", ".tiff"),
    "BMP": (".bmp", ".dib"),
    "AVIF": (".avif", ".avifs"),
}
"""The suffixes of each format, the preferred one first."""

LOSSLESS_FORMATS = ("PNG", "TIFF", "BMP")

LOSSLESS_TIFF = ("raw", "tiff_lzw", "tiff_deflate", "tiff_adobe_deflate", "packbits", "lzma", "zstd")
LOSSY_TIFF = "jpeg"
"""The TIFF compressions that a copy retains; any other becomes deflate."""

HDR_HOLDS = ("PNG", "AVIF")
"""The formats that can record that a picture is HDR."""

LONGEST_WEBP = 16383

# These set the effort of the slow encoders: Pillow's defaults take 3 to 4 times as long, for files that are 1 to 6 %
# smaller.
PNG_LEVEL = 4
LOSSLESS_WEBP = {"lossless": True, "exact": True, "quality": 20, "method": 2}
AVIF_SPEED = 8


@dataclass(frozen=True)
class Writing:
    """The settings with which copies are written."""

    format: FormatChoice = "keep"
    quality: int | None = None
    """The quality of JPEG, WebP and AVIF, 1 to 100; None is ``JPEG_QUALITY``, or for a JPEG the source's own if that is
    higher."""
    metadata: Keep = "safe"
    preserve_times: bool = True

    def __post_init__(self) -> None:
        if self.quality is not None and not 1 <= self.quality <= 100:
            raise UsageError(f"The quality must be from 1 to 100, not {self.quality}.")


WRITING = Writing()
"""The default: each photo in its own format, at its default quality, with safe metadata."""


def output_format(photo: Photo, wanted: FormatChoice = "keep") -> str:
    """Return the format to write a photo in: the wanted one, or its own, or one that can hold it.

    Raises ``PhotoSkippedError`` if no format that we write holds its mode, or can record that it is HDR.
    """
    target = _output_format(photo, wanted)
    hdr = photo.metadata.colour.hdr
    if target in HDR_HOLDS:
        return target
    if hdr is not None:
        reason = f"it is an HDR picture ({hdr}), which {target} cannot store: it would look washed out"
        raise PhotoSkippedError(reason, "unsupported")
    told = photo.metadata.profile(grey=photo.mode in GREY_MODES)
    if photo.metadata.colour.primaries is not None and not photo.metadata.colour.is_srgb and told is None:
        reason = f"its colour space cannot be recorded in {target}; save it in sRGB or Display P3"
        raise PhotoSkippedError(reason, "unsupported")
    return target


def _output_format(photo: Photo, wanted: FormatChoice) -> str:
    if wanted != "keep":
        target = wanted.upper()
        if photo.mode not in HOLDS[target]:
            raise PhotoSkippedError(f"{target} cannot store a photo in mode {photo.mode} without loss", "unsupported")
        return target
    if photo.mode in HOLDS.get(photo.format, ()):
        return photo.format
    if photo.format == "HEIF" and photo.mode in HOLDS["JPEG"]:
        return "JPEG"
    if photo.mode in HOLDS["PNG"]:
        return "PNG"
    raise PhotoSkippedError(f"{photo.format} in mode {photo.mode} cannot be written back without loss", "unsupported")


def is_lossless(photo: Photo, target: str, quality: int | None = None) -> bool:
    """Return whether the written file decodes to exactly the same pixels, so that the bound holds in the file."""
    if target == "TIFF" and photo.format == "TIFF" and _tiff_compression(photo) == LOSSY_TIFF:
        return False
    return target in LOSSLESS_FORMATS or (target == "WEBP" and photo.lossless_webp and quality is None)


def renamed(name: str, target: str, *, instead: bool) -> str:
    """Return a file's name in another format: the new suffix follows the old one, or with ``instead`` replaces it."""
    stem, suffix = os.path.splitext(name)
    if suffix.lower() in SUFFIXES[target]:
        return name
    return (stem if instead else name) + SUFFIXES[target][0]


def encode(photo: Photo, writing: Writing = WRITING) -> bytes:
    """Return the encoded bytes of a photo: lossless if its format is, else at high quality.

    Raises ``PhotoSkippedError`` as ``output_format`` does, and ``PhotoError`` if the encoder cannot write it.
    """
    target = output_format(photo, writing.format)
    if target == "WEBP" and max(photo.pixels.shape[:2]) > LONGEST_WEBP:
        reason = f"it is larger than WebP allows ({LONGEST_WEBP} pixels per side); choose another --format"
        raise PhotoError(reason, "too-large")
    try:
        grey = photo.mode in GREY_MODES
        return _with_metadata(_encoded(photo, target, writing.quality), photo.metadata, target, grey=grey)
    except Exception as error:  # Like decoders, encoders raise many kinds of exceptions (size limits, memory).
        raise PhotoError(
            f"it cannot be written as {target} ({str(error) or type(error).__name__})", "not-written"
        ) from error


def _encoded(photo: Photo, target: str, quality: int | None) -> bytes:
    """Return the encoded bytes of a photo, with only the metadata that Pillow's encoders write unchanged."""
    if target == "JPEG":
        data = jpeg.encode(photo.pixels, photo.mode, _jpeg_quality(photo, quality), JPEG_SUBSAMPLING)
        if data is not None:
            return data
    image = to_image(photo.pixels, photo.mode)
    buffer = io.BytesIO()
    image.save(buffer, target, **_metadata_options(photo, target), **_format_options(photo, target, quality))
    del image  # There is not enough memory for both if the photo is large.
    if target == "TIFF":
        tiff.add_tags(buffer, photo.metadata.exif, photo.metadata.xmp)
    return buffer.getvalue()


def to_image(pixels: NDArray[Any], mode: str) -> Image.Image:
    """Return pixels as a Pillow image."""
    return Image.fromarray(np.ascontiguousarray(pixels), None if mode == DEEP else mode)


def _metadata_options(photo: Photo, target: str) -> dict[str, Any]:
    kept = photo.metadata
    options: dict[str, Any] = {}
    if target in ("WEBP", "TIFF", "AVIF") and (profile := _profile(photo, target)):
        options["icc_profile"] = profile
    if target in ("WEBP", "AVIF"):
        options["exif"] = exif.write(kept.exif) if kept.exif else b""
        options["xmp"] = kept.xmp or b""
    if kept.dpi and target in ("TIFF", "BMP"):
        options["dpi"] = kept.dpi
    return options


def _profile(photo: Photo, target: str) -> bytes | None:
    """Return the colour profile to write; for AVIF none is made from code points, which it stores directly."""
    if target == "AVIF" and photo.metadata.colour.primaries is not None:
        return photo.metadata.icc_profile
    return photo.metadata.profile(grey=photo.mode in GREY_MODES)


def _with_metadata(data: bytes, kept: Metadata, target: str, *, grey: bool) -> bytes:
    """Return an encoded photo with the metadata that its encoder did not write."""
    match target:
        case "JPEG":
            return jpeg.with_segments(
                data,
                dpi=kept.dpi,
                block=exif.write(kept.exif) if kept.exif else b"",
                xmp=kept.xmp,
                profile=kept.profile(grey=grey),
                comment=kept.comment,
            )
        case "PNG":
            return png.with_chunks(data, _png_chunks(kept))
        case "AVIF":
            return heif.with_colour(data, kept.colour)
        case "BMP" if profile := kept.profile(grey=grey):
            return bmp.with_profile(data, profile)
        case _:
            return data


def _png_chunks(kept: Metadata) -> Iterator[tuple[bytes, bytes]]:
    if kept.icc_profile:
        yield png.profile_chunk(kept.icc_profile)
    yield from png.colour_chunks(kept.colour)
    if kept.dpi:
        yield png.resolution_chunk(kept.dpi)
    if kept.exif:
        yield b"eXIf", exif.write(kept.exif)
    yield from ((text.kind, text.body) for text in kept.texts)
    if kept.xmp:
        yield png.xmp_chunk(kept.xmp)


def _format_options(photo: Photo, target: str, quality: int | None) -> dict[str, Any]:
    if target == "JPEG":
        return {"quality": _jpeg_quality(photo, quality), "subsampling": 0}
    if target == "WEBP":
        lossless = is_lossless(photo, target, quality)
        return dict(LOSSLESS_WEBP) if lossless else {"quality": quality or JPEG_QUALITY}
    if target == "TIFF":
        compression = _tiff_compression(photo)
        return {
            "compression": compression,
            **({"quality": quality or JPEG_QUALITY} if compression == LOSSY_TIFF else {}),
        }
    if target == "AVIF":
        subsampling = "4:0:0" if photo.mode == "L" else "4:4:4"
        return {"quality": quality or JPEG_QUALITY, "subsampling": subsampling, "speed": AVIF_SPEED}
    if target == "PNG":
        return {"compress_level": PNG_LEVEL}
    return {}


def _tiff_compression(photo: Photo) -> str:
    """Return the compression for a TIFF: its own, or deflate, which every reader knows."""
    own = photo.tiff_compression or ""
    jpeg_kept = own == LOSSY_TIFF and photo.mode in ("RGB", "L")
    return own if own in LOSSLESS_TIFF or jpeg_kept else "tiff_adobe_deflate"


def _jpeg_quality(photo: Photo, wanted: int | None) -> int:
    """Return the wanted quality, or else 95, or the lowest quality above 95 that is no coarser than the source."""
    if wanted is not None:
        return wanted
    tables = photo.jpeg_tables or {}
    for quality in range(JPEG_QUALITY, 100):
        ours = _tables_at(quality)
        if all(sum(ours.get(number, ours[0])) <= sum(table) for number, table in tables.items()):
            return quality
    return 100


@cache
def _tables_at(quality: int) -> dict[int, list[int]]:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "JPEG", quality=quality)
    with Image.open(buffer) as image:
        assert isinstance(image, JpegImagePlugin.JpegImageFile)
        return image.quantization


def default_format(source: Path) -> str | None:
    """Return the format that a photo with this name most likely changes to; None if it probably retains its own."""
    suffix = source.suffix.lower()
    if suffix == ".mpo" or suffix not in PHOTO_SUFFIXES or any(suffix in names for names in SUFFIXES.values()):
        return None  # A file with any other suffix is only taken for a photo because it begins as a JPEG.
    return "JPEG" if suffix in (".heic", ".heif", ".hif") else "PNG"
