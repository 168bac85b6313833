"""Protecting one photo, from bytes to bytes or from image to image, without touching a disk."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from unlearn_cli.errors import PhotoError, PhotoSkippedError
from unlearn_cli.photos.decode import Photo, decode
from unlearn_cli.photos.encode import WRITING, Writing, encode, is_lossless, output_format, to_image
from unlearn_cli.photos.metrics import Quality, compare, largest_change
from unlearn_cli.photos.noise import DEEP, GREY_MODES, UNIT, Pattern
from unlearn_cli.photos.resample import Workspace


@dataclass(frozen=True, eq=False)
class Protected:
    """A protected photo file."""

    data: bytes
    format: str
    """Pillow's name of the format that it is written in."""
    source_format: str
    linf: float
    """The largest change of any value before encoding, in pixel levels."""
    grey: bool
    """Whether the photo could only carry the noise's luma."""
    quality: Quality | None = None
    """What the file holds, against the original, where that was measured."""


def protect_image(image: Image.Image, pattern: Pattern) -> Image.Image:
    """A protected copy of an upright image, in the same mode.

    RGB and RGBA get the noise, grey its luma, CMYK its complement in the three inks, 16-bit grey
    the luma at 257 values a level. Alpha is never touched, nor the colour beneath full
    transparency. No value moves by more than ``pattern.epsilon`` levels. Raises ``UsageError``
    for a mode that is not in ``noise.SUPPORTED_MODES``.
    """
    pixels = np.array(image)
    if image.mode in ("I;16B", "I;16L"):
        native = pixels.astype(np.uint16)
        pattern.lay(native, DEEP)
        return Image.frombytes(image.mode, image.size, native.astype(pixels.dtype).tobytes())
    pattern.lay(pixels, image.mode)
    return to_image(pixels, image.mode)


def protect_bytes(
    data: bytes,
    pattern: Pattern,
    writing: Writing = WRITING,
    *,
    measure: bool = False,
    workspace: Workspace | None = None,
) -> Protected:
    """Protect the bytes of a photo file.

    A lossless result is decoded again and compared before it is given out, so that the bound
    holds in the file. Raises ``PhotoSkippedError`` for what is left alone on purpose and
    ``PhotoError`` for what cannot be read or written; both say why.
    """
    photo = decode(data, writing.metadata, workspace)
    target = output_format(photo, writing.format)
    original = replace(photo, pixels=photo.pixels.copy()) if measure else None
    linf = pattern.lay(photo.pixels, photo.mode, workspace.cache if workspace else None)
    if linf == 0:
        raise PhotoSkippedError("the noise changes nothing in it: it is transparent, or all black or white")
    encoded = encode(photo, writing)
    lossless = is_lossless(photo, target, writing.quality)
    quality = None
    if lossless or original is not None:
        after = _decode_again(encoded, photo.mode)
        if lossless and largest_change(photo, after) > 0:
            raise PhotoError(f"its {target} copy does not hold the pixels that it was made of")
        quality = compare(original, after) if original is not None else None
    return Protected(encoded, target, photo.format, linf, photo.mode in GREY_MODES, quality)


def _decode_again(data: bytes, mode: str) -> Photo:
    try:
        return as_mode(decode(data, "none"), mode)
    except (PhotoSkippedError, PhotoError) as error:
        raise PhotoError(f"its copy could not be read again: {error}") from error


def as_mode(photo: Photo, mode: str) -> Photo:
    """A photo in another mode, where that is the same picture; else as it is.

    Encoders drop an alpha channel that is opaque throughout, and lossy ones know no grey.
    """
    pixels = photo.pixels
    if (photo.mode, mode) in (("RGB", "RGBA"), ("L", "LA")):
        opaque = np.full((*pixels.shape[:2], 1), 255, np.uint8)
        pixels = np.concatenate([pixels.reshape(*pixels.shape[:2], -1), opaque], axis=2)
    elif (photo.mode, mode) == ("RGB", "L") and (pixels == pixels[..., :1]).all():
        pixels = np.ascontiguousarray(pixels[..., 0])
    elif (photo.mode, mode) == ("L", DEEP):
        pixels = pixels.astype(np.uint16) * np.uint16(UNIT)
    else:
        return photo
    return replace(photo, pixels=pixels, mode=mode)
