"""Protecting one photo, from bytes to bytes or from image to image, without touching a disk."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from unlearn_cli.errors import PhotoError, PhotoSkippedError
from unlearn_cli.photos import formats
from unlearn_cli.photos.apply import ALPHA_MODES, DEEP, GREY_MODES, UNIT, Noise
from unlearn_cli.photos.decode import STRIP_ROWS, Photo, decode
from unlearn_cli.photos.encode import WRITING, Writing, encode, is_lossless, output_format, to_image
from unlearn_cli.photos.outcome import doubts_about
from unlearn_cli.photos.protection import Protection
from unlearn_cli.photos.quality import Quality, compare
from unlearn_cli.photos.resample import Workspace


@dataclass(frozen=True, eq=False)
class Protected:
    """A protected photo file."""

    data: bytes
    format: str
    """Pillow's name of the format in which it is written."""
    source_format: str
    linf: float
    """The largest change of any value before encoding, in pixel levels."""
    grey: bool
    """Whether the photo could only carry the noise's luma."""
    quality: Quality | None = None
    """How the file's content differs from the original; None if that was not measured."""
    notes: tuple[str, ...] = ()
    """Sentences about parts of the original's file that the copy does not have, as in ``Photo.notes``."""
    doubts: tuple[str, ...] = ()
    """Why it is protected less than others: some of ``outcome.DOUBTS``."""


def protect_image(image: Image.Image, protection: Protection | Noise) -> Image.Image:
    """Return a protected copy of an upright image, in the same mode.

    RGB and RGBA get the noise, grey gets its luma, CMYK its complement in the three inks, 16-bit grey the luma at 257
    values per level. Alpha is never touched, nor the colour beneath full transparency. No value moves by more than the
    noise's ``epsilon`` levels. A ``Protection`` finds the faces to which its noise is tied; a ``Noise`` is applied as
    it is. Raises ``UsageError`` for a mode that is not in ``noise.SUPPORTED_MODES``.
    """
    pixels = np.array(image)
    if image.mode in ("I;16B", "I;16L"):
        native = pixels.astype(np.uint16)
        _noise(protection, native, DEEP).apply(native, DEEP)
        return Image.frombytes(image.mode, image.size, native.astype(pixels.dtype).tobytes())
    _noise(protection, pixels, image.mode).apply(pixels, image.mode)
    return to_image(pixels, image.mode)


def protect_bytes(
    data: bytes,
    protection: Protection | Noise,
    writing: Writing = WRITING,
    *,
    measure: bool = False,
    workspace: Workspace | None = None,
) -> Protected:
    """Return a protected copy of a photo file's bytes.

    A ``Protection`` chooses its noise for the photo; a ``Noise`` is applied as it is. A lossless result is decoded
    again and compared before it is returned, so that the bound holds in the file. Raises ``PhotoSkippedError`` for a
    photo that is skipped on purpose and ``PhotoError`` for one that cannot be read or written; both say why.
    """
    photo = decode(data, writing.metadata, workspace)
    return protect_photo(photo, _noise(protection, photo.pixels, photo.mode), writing, measure, workspace)


def _noise(protection: Protection | Noise, pixels: NDArray[Any], mode: str) -> Noise:
    return protection.noise_for(Photo(pixels, mode, "")) if isinstance(protection, Protection) else protection


def protect_photo(
    photo: Photo,
    pattern: Noise,
    writing: Writing,
    measure: bool,
    workspace: Workspace | None = None,
    *,
    before_encoding: Callable[[], None] | None = None,
) -> Protected:
    """Protect a decoded photo as ``protect_bytes`` does, changing its pixels in place.

    ``before_encoding`` is called between adding the noise and writing the file, and may raise an error to give up.
    """
    target = output_format(photo, writing.format)
    original = replace(photo, pixels=photo.pixels.copy()) if measure else None
    linf = pattern.apply(photo.pixels, photo.mode, workspace.cache if workspace else None)
    if linf == 0:
        reason = "the noise changes none of its pixels: it is transparent, or all black or white"
        raise PhotoSkippedError(reason, "no-effect")
    if before_encoding is not None:
        before_encoding()
    encoded = encode(photo, writing)
    if is_lossless(photo, target, writing.quality):
        _check_lossless(encoded, photo)
    quality = None
    if original is not None:
        try:
            quality = compare(original, as_mode(decode(encoded, "none"), photo.mode))
        except (PhotoSkippedError, PhotoError) as error:
            raise PhotoError(f"its copy could not be measured: {error}", "check-failed") from error
    grey = photo.mode in GREY_MODES
    doubts = tuple(doubts_about(pattern, grey=grey))
    return Protected(encoded, target, photo.format, linf, grey, quality, photo.notes, doubts)


def _check_lossless(encoded: bytes, photo: Photo) -> None:
    """Raise ``PhotoError`` unless a file holds exactly a photo's pixels, except what full transparency hides.

    It compares one strip at a time, because there is not enough memory for another whole array of a large photo.
    """
    try:
        with _opened(encoded) as image:
            image.load()
            same = image.size == photo.pixels.shape[1::-1] and all(
                np.array_equal(_strip(image, photo.mode, top, before), before) for top, before in _strips(photo)
            )
    except Exception as error:  # As with any decoding, no file may end the whole run.
        raise PhotoError(
            f"its copy could not be read again ({str(error) or type(error).__name__})", "check-failed"
        ) from error
    if not same:
        raise PhotoError("its copy does not contain the pixels that were written into it", "check-failed")


def _opened(encoded: bytes) -> Image.Image:
    try:
        return Image.open(io.BytesIO(encoded))
    except ValueError:  # Pillow refuses colour profiles above a megabyte, which some printers have.
        return Image.open(io.BytesIO(formats.bare(encoded) or encoded))


def _strips(photo: Photo) -> Iterator[tuple[int, NDArray[Any]]]:
    for top in range(0, len(photo.pixels), STRIP_ROWS):
        yield top, photo.pixels[top : top + STRIP_ROWS]


def _strip(image: Image.Image, mode: str, top: int, before: NDArray[Any]) -> NDArray[Any]:
    """Return the rows of an image at the position of ``before``, in the same mode."""
    part = image.crop((0, top, image.width, top + len(before)))
    if part.mode != mode and mode != DEEP:  # Encoders drop an alpha channel that is opaque throughout.
        part = part.convert(mode)
    after = np.asarray(part)
    return np.where(before[..., -1:] == 0, before, after) if mode in ALPHA_MODES else after


def as_mode(photo: Photo, mode: str) -> Photo:
    """Return a photo in another mode if that shows the same picture, else unchanged.

    Encoders drop an alpha channel that is opaque throughout, and lossy ones have no grey mode.
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
