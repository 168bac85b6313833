"""Reading a photo: upright, in a mode that can carry noise, with what must be written back."""

from __future__ import annotations

import contextlib
import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.ExifTags import Base

from unlearn_cli.errors import PhotoError, PhotoSkippedError
from unlearn_cli.photos import jpeg
from unlearn_cli.photos.depth import has_deep_colour
from unlearn_cli.photos.metadata import Keep, Metadata, read_metadata
from unlearn_cli.photos.noise import DEEP, SUPPORTED_MODES
from unlearn_cli.photos.resample import Workspace

UNSUPPORTED = {
    "1": "it is pure black and white, one bit a pixel, and has no room for noise",
    "F": "it holds floating-point values, not pixel levels",
    "I": "it holds 32-bit values, not pixel levels",
    "LAB": "it is in the Lab colour space, which is not supported",
}
"""Why photos of these modes are left alone."""

DEEP_MODES = ("I;16", "I;16L", "I;16B")

LARGEST_SIDE = 65535
"""Pixels: what a JPEG can have. A longer line of pixels is no photo."""

LARGEST_FILE = 2 << 30

SLOW_SCANS = 2_000_000_000
"""Pixels times scans of a progressive JPEG: a minute's decoding. Cameras and tools write about ten scans."""

HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")

STRIP_ROWS = 256


@dataclass(frozen=True, eq=False)
class Photo:
    """A decoded photo and what of its file has to be known to write it back."""

    pixels: NDArray[Any]
    """Upright, C-contiguous: ``[H, W]`` or ``[H, W, bands]``, uint8, or uint16 in mode ``I;16``."""
    mode: str
    """One of ``SUPPORTED_MODES``."""
    format: str
    """Pillow's name of the format that it came in, ``MPO`` as the JPEG that it is."""
    metadata: Metadata = field(default_factory=Metadata)
    jpeg_tables: dict[int, list[int]] | None = None
    """The quantisation tables of a JPEG, which tell its quality."""
    tiff_compression: str | None = None
    lossless_webp: bool = False


def read_file(path: Path) -> bytes:
    """A photo file's bytes. Raises ``PhotoError`` if it cannot be read or is too large to be a photo."""
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise PhotoError(f"it is larger than {LARGEST_FILE >> 30} GiB, which no photo is")
        return path.read_bytes()
    except MemoryError as error:
        raise PhotoError("there is not enough memory to read it") from error
    except OSError as error:
        raise PhotoError(f"it cannot be read ({error.strerror or error})") from error


def decode(data: bytes, keep: Keep = "safe", workspace: Workspace | None = None) -> Photo:
    """Decode a photo file's bytes.

    With a workspace the pixels may lie in its memory, until the next photo of this thread.
    Raises ``PhotoSkippedError`` for what is left alone on purpose (animations, several pages,
    depths that Pillow would cut) and ``PhotoError`` for what cannot be read; both say why.
    """
    try:
        if _is_heif(data):
            _learn_heif()
        with Image.open(io.BytesIO(data)) as image:
            return _decode(image, data, keep, workspace)
    except (PhotoSkippedError, PhotoError):
        raise
    except UnidentifiedImageError as error:
        raise PhotoError("it is no image that can be read, or it is damaged") from error
    except Image.DecompressionBombError as error:
        limit = 2 * (Image.MAX_IMAGE_PIXELS or 0) // 1_000_000
        raise PhotoError(
            f"it claims more than {limit} megapixels, as a malicious file would (--max-megapixels raises the limit)"
        ) from error
    except MemoryError as error:
        raise PhotoError("there is not enough memory to decode it") from error
    except Exception as error:
        # Pillow's decoders raise nearly every built-in exception on damaged files: OSError,
        # SyntaxError, ValueError, struct.error, IndexError, ... No file may end the whole run.
        raise PhotoError(f"it cannot be decoded ({str(error) or type(error).__name__})") from error


def _decode(image: Image.Image, data: bytes, keep: Keep, workspace: Workspace | None) -> Photo:
    source_format = "JPEG" if image.format == "MPO" else image.format or ""
    _refuse(image, data)
    info = dict(image.info)
    # Before the metadata: asking a PNG for its EXIF decodes it, and swallows what is wrong with it.
    pixels, mode = _pixels(image, data, workspace)
    metadata = read_metadata(image, keep)
    if mode == DEEP and "transparency" in info:
        raise PhotoSkippedError("it is 16-bit grey with a transparent colour, which noise would make visible")
    return Photo(
        pixels,
        mode,
        source_format,
        metadata,
        jpeg_tables=getattr(image, "quantization", None) if source_format == "JPEG" else None,
        tiff_compression=info.get("compression") if source_format == "TIFF" else None,
        lossless_webp=source_format == "WEBP" and _is_lossless_webp(data),
    )


def _refuse(image: Image.Image, data: bytes) -> None:
    """Raise for what is left alone before it is decoded."""
    frames = int(getattr(image, "n_frames", 1))
    if frames > 1 and image.format not in ("MPO", "HEIF"):  # of these the first, or the main one, is the photo
        what = "pages" if image.format == "TIFF" else "frames"
        raise PhotoSkippedError(f"it has {frames} {what}; animations and documents are not supported")
    if has_deep_colour(image, data):
        raise PhotoSkippedError("it has more than 8 bits a colour, which would be cut to 8")
    if max(image.size) > LARGEST_SIDE:
        raise PhotoSkippedError(f"it is more than {LARGEST_SIDE} pixels long, which no photo is")
    if "progressive" in image.info:
        scans = jpeg.count_scans(data)
        if scans * image.width * image.height > SLOW_SCANS:
            raise PhotoError(f"it is a JPEG of {scans} scans, which would take minutes to decode")


def _pixels(image: Image.Image, data: bytes, workspace: Workspace | None) -> tuple[NDArray[Any], str]:
    """The upright pixels of an opened image, and their mode."""
    if image.format in ("JPEG", "MPO"):
        plain = jpeg.decode(data, image.mode, *image.size, workspace)
        if plain is not None:
            return _turned(plain, _orientation(image), workspace), image.mode
    image.load()
    upright = _with_plain_mode(_upright(image))
    mode = DEEP if upright.mode in DEEP_MODES else upright.mode
    if mode not in SUPPORTED_MODES:
        raise PhotoSkippedError(UNSUPPORTED.get(mode, f"its pixel mode {mode} is not supported"))
    return _to_array(upright), mode


def _to_array(image: Image.Image) -> NDArray[Any]:
    """An image's pixels, taken a strip at a time: Pillow's own way needs three copies of the whole."""
    width, height = image.size
    bands = len(image.getbands())
    shape = (height, width) if bands == 1 else (height, width, bands)
    pixels = np.empty(shape, np.uint16 if image.mode in DEEP_MODES else np.uint8)
    for top in range(0, height, STRIP_ROWS):
        bottom = min(top + STRIP_ROWS, height)
        pixels[top:bottom] = np.asarray(image.crop((0, top, width, bottom)))
    return pixels


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 to 8; damaged EXIF asks for nothing."""
    try:
        return int(image.getexif().get(Base.Orientation, 1))
    except Exception:  # Whatever Pillow's EXIF parser raises on damage, the pixels are good.
        return 1


def _turned(pixels: NDArray[np.uint8], orientation: int, workspace: Workspace | None) -> NDArray[np.uint8]:
    """Pixels as an EXIF orientation (Exif 2.3, table 6) asks for them to be shown."""
    if orientation not in range(2, 9):
        return pixels
    size, bands = pixels.size, pixels.shape[2:]
    if bands:  # Whole pixels are moved twice as fast as their bytes one by one.
        pixels = pixels.view(f"V{bands[0]}")[..., 0]
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    turned = workspace.buffer(size, "turned") if workspace else np.empty(size, np.uint8)
    turned.view(pixels.dtype).reshape(pixels.shape)[...] = pixels
    return turned.reshape(*pixels.shape, *bands)


def _upright(image: Image.Image) -> Image.Image:
    """The image, turned as its orientation asks; itself, since a copy would take as much memory again."""
    with contextlib.suppress(Exception):  # As above.
        ImageOps.exif_transpose(image, in_place=True)
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
    if image.mode in ("RGBX", "YCbCr"):
        return image.convert("RGB")
    return image


def _is_lossless_webp(data: bytes) -> bool:
    """Whether a WebP file's picture is a VP8L chunk, which Pillow does not tell."""
    position = 12  # past RIFF, the size and WEBP
    while position + 8 <= len(data):
        if data[position : position + 4] in (b"VP8L", b"VP8 "):
            return data[position : position + 4] == b"VP8L"
        size = int.from_bytes(data[position + 4 : position + 8], "little")
        position += 8 + size + size % 2
    return False


def _is_heif(data: bytes) -> bool:
    return data[4:8] == b"ftyp" and data[8:12] in HEIF_BRANDS and b"avif" not in data[8:64]


def _learn_heif() -> None:
    """Teach Pillow to read HEIC, by the extra ``heic``."""
    try:
        import pillow_heif
    except ModuleNotFoundError as error:
        raise PhotoError(
            "HEIC needs the extra 'heic': in unlearn's checkout, pip install '.[heic]', or export it as JPEG"
        ) from error
    pillow_heif.register_heif_opener()
