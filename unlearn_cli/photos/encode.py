"""Writing protected pixels back in the format that they came in, as far as it can hold them."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from PIL import Image, JpegImagePlugin

from unlearn_cli.errors import PhotoError, PhotoSkippedError
from unlearn_cli.photos.decode import Photo
from unlearn_cli.photos.noise import DEEP

JPEG_QUALITY = 95
"""With full colour resolution: most of the noise is in the colours, which 4:2:0 would halve."""

HOLDS = {
    "JPEG": ("RGB", "L", "CMYK"),
    "PNG": ("RGB", "RGBA", "L", "LA", *DEEP),
    "WEBP": ("RGB", "RGBA"),
    "TIFF": ("RGB", "RGBA", "L", "LA", "CMYK", *DEEP),
    "BMP": ("RGB", "L"),
    "AVIF": ("RGB", "RGBA"),
}
"""The modes that each format gives back as they were written."""

LOSSLESS_TIFF = ("raw", "tiff_lzw", "tiff_deflate", "tiff_adobe_deflate", "packbits")


def output_format(photo: Photo) -> str:
    """The format to write a photo in: its own, else PNG.

    Raises ``PhotoSkippedError`` when no format that we write holds its mode.
    """
    if photo.image.mode in HOLDS.get(photo.format, ()):
        return photo.format
    if photo.image.mode in HOLDS["PNG"]:
        return "PNG"
    raise PhotoSkippedError(f"{photo.format} in mode {photo.image.mode} cannot be written back without loss")


def is_lossless(photo: Photo) -> bool:
    """Whether what is written decodes to the very pixels, so that the bound holds in the file."""
    target = output_format(photo)
    return target in ("PNG", "TIFF", "BMP") or (target == "WEBP" and photo.lossless_webp)


def output_name(source: Path, photo: Photo) -> str:
    """The name to write a photo under: its own, with ``.png`` behind it where it becomes one."""
    return source.name if output_format(photo) == photo.format else f"{source.name}.png"


def encode(photo: Photo, pixels: Image.Image) -> bytes:
    """The bytes of the protected photo: lossless where its format is, else at high quality.

    Raises ``PhotoError`` when the encoder cannot write it.
    """
    target = output_format(photo)
    options: dict[str, Any] = {}
    if photo.icc_profile:
        options["icc_profile"] = photo.icc_profile
    if photo.exif and target != "BMP":
        options["exif"] = photo.exif
    if photo.dpi and target in ("JPEG", "PNG", "TIFF", "BMP"):
        options["dpi"] = photo.dpi
    buffer = io.BytesIO()
    try:
        pixels.save(buffer, target, **options, **_format_options(target, photo))
    except Exception as error:  # As with decoding, encoders raise many kinds (size limits, memory).
        raise PhotoError(f"it cannot be written as {target} ({error or type(error).__name__})") from error
    return buffer.getvalue()


def _format_options(target: str, photo: Photo) -> dict[str, Any]:
    if target == "JPEG":
        finer = photo.jpeg_tables and _mean(photo.jpeg_tables) < _mean(_tables_at(JPEG_QUALITY))
        quality = {"qtables": photo.jpeg_tables} if finer else {"quality": JPEG_QUALITY}
        return {**quality, "subsampling": 0, "optimize": False}
    if target == "WEBP":
        return {"lossless": True, "exact": True} if photo.lossless_webp else {"quality": JPEG_QUALITY}
    if target == "TIFF":
        kept = photo.tiff_compression in LOSSLESS_TIFF
        return {"compression": photo.tiff_compression if kept else "tiff_adobe_deflate"}
    if target == "AVIF":
        return {"quality": JPEG_QUALITY, "subsampling": "4:4:4"}
    return {}


def _mean(tables: dict[int, list[int]]) -> float:
    return sum(map(sum, tables.values())) / sum(map(len, tables.values()))


def _tables_at(quality: int) -> dict[int, list[int]]:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "JPEG", quality=quality)
    with Image.open(buffer) as image:
        assert isinstance(image, JpegImagePlugin.JpegImageFile)
        return image.quantization
