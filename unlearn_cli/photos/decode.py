"""Reading a photo: upright, in a mode that can carry noise, with what must be written back."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps, UnidentifiedImageError

from unlearn_cli.errors import PhotoError, PhotoSkippedError
from unlearn_cli.photos.depth import has_deep_colour
from unlearn_cli.photos.metadata import safe_exif
from unlearn_cli.photos.noise import DEEP, SUPPORTED_MODES

HEIF_SUFFIXES = (".heic", ".heif", ".hif")

UNSUPPORTED = {
    "1": "it is pure black and white, one bit a pixel, and has no room for noise",
    "F": "it holds floating-point values, not pixel levels",
    "I": "it holds 32-bit values, not pixel levels",
    "LAB": "it is in the Lab colour space, which is not supported",
}
"""Why photos of these modes are left alone."""


@dataclass(frozen=True, eq=False)
class Photo:
    """A decoded photo and what of its file has to be known to write it back."""

    image: Image.Image
    """Upright, in one of ``SUPPORTED_MODES``."""
    format: str
    """Pillow's name of the format that it came in, ``MPO`` as the JPEG that it is."""
    icc_profile: bytes | None = None
    exif: bytes = b""
    """Only what is safe to share, see ``metadata``."""
    dpi: tuple[float, float] | None = None
    jpeg_tables: dict[int, list[int]] | None = None
    """The quantisation tables of a JPEG, which tell its quality."""
    tiff_compression: str | None = None
    lossless_webp: bool = False


def open_photo(path: Path) -> Photo:
    """Decode a photo file.

    Raises ``PhotoSkippedError`` for what is left alone on purpose (animations, several pages,
    depths that Pillow would cut) and ``PhotoError`` for what cannot be read; both say why.
    """
    try:
        with Image.open(path) as image:
            return _decode(image, path)
    except (PhotoSkippedError, PhotoError):
        raise
    except UnidentifiedImageError as error:
        raise PhotoError(_unidentified(path)) from error
    except Image.DecompressionBombError as error:
        limit = 2 * (Image.MAX_IMAGE_PIXELS or 0) // 1_000_000
        raise PhotoError(f"it claims more than {limit} megapixels, which a malicious file would do") from error
    except MemoryError as error:
        raise PhotoError("there is not enough memory to decode it") from error
    except Exception as error:
        # Pillow's decoders raise nearly every built-in exception on damaged files: OSError,
        # SyntaxError, ValueError, struct.error, IndexError, ... No file may end the whole run.
        if isinstance(error, OSError) and error.strerror:
            raise PhotoError(f"it cannot be read ({error.strerror})") from error
        raise PhotoError(f"it cannot be decoded ({str(error) or type(error).__name__})") from error


def _decode(image: Image.Image, path: Path) -> Photo:
    source_format = "JPEG" if image.format == "MPO" else image.format or ""
    frames = int(getattr(image, "n_frames", 1))
    if frames > 1 and image.format != "MPO":
        what = "pages" if image.format == "TIFF" else "frames"
        raise PhotoSkippedError(f"it has {frames} {what}; animations and documents are not supported")
    if has_deep_colour(image, path):
        raise PhotoSkippedError("it has more than 8 bits a colour, which would be cut to 8")
    info = dict(image.info)
    tables = getattr(image, "quantization", None)
    exif = safe_exif(image)
    image.load()
    upright = _with_plain_mode(_upright(image))
    if upright.mode in DEEP and "transparency" in info:
        raise PhotoSkippedError("it is 16-bit grey with a transparent colour, which noise would make visible")
    if upright.mode not in SUPPORTED_MODES:
        raise PhotoSkippedError(UNSUPPORTED.get(upright.mode, f"its pixel mode {upright.mode} is not supported"))
    return Photo(
        image=upright,
        format=source_format,
        icc_profile=info.get("icc_profile") or None,
        exif=exif,
        dpi=_plain_dpi(info.get("dpi")),
        jpeg_tables=tables if source_format == "JPEG" else None,
        tiff_compression=info.get("compression") if source_format == "TIFF" else None,
        lossless_webp=source_format == "WEBP" and _is_lossless_webp(path),
    )


def _upright(image: Image.Image) -> Image.Image:
    """The image as its EXIF orientation asks for; damaged EXIF asks for nothing."""
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # Whatever Pillow's EXIF parser raises on damage, the pixels are good.
        return image


def _with_plain_mode(image: Image.Image) -> Image.Image:
    """Palettes become colours, and a transparent colour becomes an alpha channel.

    A colour that noise has changed would no longer be the one that a file calls transparent.
    """
    transparent = "transparency" in image.info
    if image.mode in ("P", "PA"):
        return image.convert("RGBA" if transparent or image.mode == "PA" else "RGB")
    if transparent and image.mode in ("RGB", "L"):
        return image.convert("RGBA" if image.mode == "RGB" else "LA")
    if image.mode == "RGBX":
        return image.convert("RGB")
    return image


def _plain_dpi(dpi: Any) -> tuple[float, float] | None:
    try:
        x, y = (float(value) for value in dpi)
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return (x, y) if all(math.isfinite(v) and 1 <= v <= 65535 for v in (x, y)) else None


def _is_lossless_webp(path: Path) -> bool:
    """Whether a WebP file's picture is a VP8L chunk, which Pillow does not tell."""
    with path.open("rb") as file:
        file.seek(12)  # past RIFF, the size and WEBP
        while len(chunk := file.read(8)) == 8:
            if chunk[:4] in (b"VP8L", b"VP8 "):
                return chunk[:4] == b"VP8L"
            size = int.from_bytes(chunk[4:], "little")
            file.seek(size + size % 2, 1)
    return False


def _unidentified(path: Path) -> str:
    if path.suffix.lower() in HEIF_SUFFIXES:
        return "HEIC is not supported yet; export it as JPEG first"
    return "it is no image that can be read, or it is damaged"
