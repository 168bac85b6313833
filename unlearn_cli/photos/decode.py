"""Reading a photo: upright, in a mode that can carry noise, with everything that must be written back."""

from __future__ import annotations

import io
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from unlearn_cli.errors import PhotoError, PhotoSkippedError
from unlearn_cli.photos import formats
from unlearn_cli.photos.apply import DEEP, SUPPORTED_MODES
from unlearn_cli.photos.depth import has_deep_colour
from unlearn_cli.photos.formats import exif, heif, jpeg, markers, tiff
from unlearn_cli.photos.formats.beside import UNREADABLE, Beside
from unlearn_cli.photos.metadata import Keep, Metadata, choose
from unlearn_cli.photos.resample import Workspace

UNSUPPORTED = {
    "1": "it has only black and white pixels, so there is no room for noise",
    "F": "it has floating-point values instead of pixel levels; save it with 8 bits per colour",
    "I": "it has 32-bit values instead of pixel levels; save it with 8 bits per colour",
    "LAB": "it is in the Lab colour space, which is not supported",
}
"""Why photos of these modes are skipped."""

DEEP_MODES = ("I;16", "I;16L", "I;16B")

LARGEST_SIDE = 65535
"""The longest side of a JPEG, in pixels. A picture with a longer side is no photo."""

LARGEST_FILE = 2 << 30

SLOW_SCANS = 2_000_000_000
"""The limit on pixels times scans of a progressive JPEG, which take a minute to decode. Cameras and tools write about
ten scans."""

DEFAULT_MEGAPIXELS = 400
"""The default limit for decoded photos; today's phones take photos of 200 megapixels."""

SUSPICIOUS_PIXELS = 100_000_000
PIXELS_A_BYTE = 200
"""A picture that has more than this many pixels in total, and more than this many for each byte of its file, is taken
for a decompression bomb. Photos have 1 to 5 pixels per byte, all-white JPEGs 85 to 170 in colour and 255 in grey."""

TURNED_BY_EXIF = ("JPEG", "MPO", "PNG", "WEBP")
"""The formats in which viewers obey an EXIF orientation that Pillow does not apply. Pillow applies a TIFF's by itself,
HEIF and AVIF have transformations of their own, and an orientation in XMP is obeyed by no viewer."""

STRIP_ROWS = 256


@dataclass(frozen=True, eq=False)
class Photo:
    """A decoded photo, with what has to be known about its file to write it back."""

    pixels: NDArray[Any]
    """The upright pixels, C-contiguous: ``[H, W]`` or ``[H, W, bands]``, uint8, or uint16 in mode ``I;16``."""
    mode: str
    """One of ``SUPPORTED_MODES``."""
    format: str
    """Pillow's name of the original's format; an ``MPO`` counts as the JPEG that it is."""
    metadata: Metadata = field(default_factory=Metadata)
    jpeg_tables: dict[int, list[int]] | None = None
    """The quantisation tables of a JPEG, from which its quality can be seen."""
    tiff_compression: str | None = None
    lossless_webp: bool = False
    notes: tuple[str, ...] = ()
    """Sentences about parts of the file that a copy does not have, except metadata that is dropped on purpose."""


def read_file(path: Path) -> bytes:
    """Return a photo file's bytes. Raises ``PhotoError`` if it cannot be read or is too large to be a photo."""
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):  # A pipe, to which a link may lead, would block.
            raise PhotoError("it is not a regular file", "unreadable")
        if found.st_size > LARGEST_FILE:
            raise PhotoError(f"it is larger than {LARGEST_FILE >> 30} GiB, too large for a photo", "too-large")
        return path.read_bytes()
    except MemoryError as error:
        raise PhotoError("there is not enough memory to read it", "out-of-memory") from error
    except OSError as error:
        raise PhotoError(f"it cannot be read ({error.strerror or error})", "unreadable") from error


def claimed_pixels(data: bytes) -> int:
    """Return how many pixels a photo's file claims to have, from its header alone; 0 if that cannot be read."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            return image.width * image.height
    except Exception:  # Decoding will report what is wrong.
        return 0


def decode(
    data: bytes, keep: Keep = "safe", workspace: Workspace | None = None, *, largest: int | None = None
) -> Photo:
    """Return the photo in a file's bytes.

    With a workspace the pixels may lie in its memory, and are valid until this thread's next photo. A photo of more
    than ``largest`` pixels is refused before it is decoded, and so is one above Pillow's own limit. Damage outside the
    pixels is no reason to fail: damaged parts are left out, and the photo's notes say so. Raises ``PhotoSkippedError``
    for photos that are skipped on purpose (animations, several pages, depths that Pillow would cut) and ``PhotoError``
    for what cannot be read; both say why.
    """
    try:
        return _decode(data, data, keep, workspace, largest)
    except (PhotoSkippedError, PhotoError):
        raise
    except MemoryError as error:
        raise PhotoError("there is not enough memory to decode it", "out-of-memory") from error
    except Image.DecompressionBombError as error:
        raise _explained(error) from error
    except Exception as error:
        # Pillow's decoders raise nearly every built-in exception on damaged files: OSError, SyntaxError, ValueError,
        # struct.error, IndexError, ... No file may end the whole run.
        photo = _decode_bare(data, keep, workspace, largest)
        if photo is not None:
            return photo
        raise _explained(error) from error


def _decode_bare(data: bytes, keep: Keep, workspace: Workspace | None, largest: int | None) -> Photo | None:
    """Return the photo in a file that is damaged outside its pixels; None if the pixels are damaged too."""
    try:
        size = markers.size(data)
        if size is not None and not _is_allowed(*size, len(data)):
            return None  # To see whether its pixels are there, they would have to be decoded.
        bare = formats.bare(data)
        return _decode(bare, data, keep, workspace, largest) if bare is not None else None
    except (PhotoSkippedError, PhotoError):
        raise
    except Exception:  # As above; the error of the first attempt is reported.
        return None


def _explained(error: Exception) -> PhotoError:
    if isinstance(error, UnidentifiedImageError):
        return PhotoError("it is damaged, or not an image that unlearn can read", "damaged")
    if isinstance(error, Image.DecompressionBombError):
        limit = 2 * (Image.MAX_IMAGE_PIXELS or 0) // 1_000_000
        return PhotoError(f"it has more than {limit} megapixels (--set max-megapixels=N raises the limit)", "too-large")
    return PhotoError(f"it cannot be decoded ({str(error) or type(error).__name__})", "damaged")


def _decode(picture: bytes, data: bytes, keep: Keep, workspace: Workspace | None, largest: int | None) -> Photo:
    """Decode ``picture``: the whole file ``data``, or if that is damaged the part that decides its pixels."""
    if tiff.is_tiff(data) and (reason := tiff.refusal(exif.read(data))) is not None:
        raise PhotoSkippedError(reason, "unsupported")
    if heif.is_heif(data):
        _learn_heif()
        picture = heif.readable(data)
    with Image.open(io.BytesIO(picture)) as image:
        if largest is not None and image.width * image.height > largest:
            raise PhotoError(f"it has more than {largest / 1_000_000:g} megapixels, the limit here", "too-large")
        _refuse(image, data)
        info = dict(image.info)
        found = _beside(image, data)
        pixels, mode = _pixels(image, picture, found, workspace)
        if mode == DEEP and "transparency" in info:
            reason = "it is 16-bit grey with a transparent colour, which noise would make visible"
            raise PhotoSkippedError(reason, "unsupported")
        is_jpeg = image.format in ("JPEG", "MPO")
        return Photo(
            pixels,
            mode,
            "JPEG" if is_jpeg else image.format or "",
            choose(found, keep, info.get("dpi")),
            jpeg_tables=getattr(image, "quantization", None) if is_jpeg else None,
            tiff_compression=info.get("compression") if image.format == "TIFF" else None,
            lossless_webp=image.format == "WEBP" and _is_lossless_webp(data),
            notes=found.notes,
        )


def _beside(image: Image.Image, data: bytes) -> Beside:
    """Return what the file holds besides its pixels; nothing but a note if reading it fails unexpectedly."""
    try:
        return formats.read(image, data)
    except Exception:  # No tag is worth a photo.
        return Beside(notes=(UNREADABLE,))


def _refuse(image: Image.Image, data: bytes) -> None:
    """Raise ``PhotoSkippedError`` or ``PhotoError`` for a picture that must not be decoded."""
    frames = int(getattr(image, "n_frames", 1))
    if frames > 1 and image.format not in ("MPO", "HEIF"):  # the first or main frame of these is the photo
        what = {"TIFF": "pages", "PSD": "layers"}.get(image.format or "", "frames")
        raise PhotoSkippedError(
            f"it has {frames} {what}; animations and documents are not supported", "several-pictures"
        )
    if has_deep_colour(image, data):
        raise PhotoSkippedError(
            "it has more than 8 bits per colour, and a copy would have only 8; save it with 8 bits first", "unsupported"
        )
    if not _is_allowed(image.width, image.height, len(data)):
        pixels = image.width * image.height // 1_000_000
        reason = f"it claims {pixels} megapixels in only {len(data) // 1000:,} kB, like a malicious file"
        raise PhotoError(reason, "suspicious")
    if max(image.size) > LARGEST_SIDE:
        raise PhotoSkippedError(f"it is more than {LARGEST_SIDE} pixels long, too long for a photo", "too-large")
    if "progressive" in image.info:
        scans = markers.count_scans(data)
        if scans * image.width * image.height > SLOW_SCANS:
            raise PhotoError(f"it is a JPEG of {scans} scans, which would take minutes to decode", "suspicious")


def _is_allowed(width: int, height: int, size: int) -> bool:
    """Return whether a picture of this width and height, in a file of ``size`` bytes, may be decoded."""
    pixels = width * height
    limit = 2 * (Image.MAX_IMAGE_PIXELS or pixels)
    return pixels <= limit and (pixels <= SUSPICIOUS_PIXELS or pixels <= PIXELS_A_BYTE * size)


def _pixels(image: Image.Image, data: bytes, found: Beside, workspace: Workspace | None) -> tuple[NDArray[Any], str]:
    """Return the upright pixels of an opened image, and their mode."""
    orientation = found.exif.orientation if found.exif and image.format in TURNED_BY_EXIF else 1
    if image.format in ("JPEG", "MPO"):
        plain = jpeg.decode(data, image.mode, *image.size, workspace)
        if plain is not None:
            return _turned(plain, orientation, workspace), image.mode
        if markers.is_cut(data):  # Pillow would decode whatever follows as pixels.
            raise PhotoError("it is incomplete: the end of the file, with part of the picture, is missing", "damaged")
    image.info.pop("xmp", None)  # If a TIFF has no other orientation, Pillow applies the one in its XMP.
    image.load()
    if image.format == "TIFF" and image.mode == "P" and (palette := tiff.small_palette(found.exif)):
        image.putpalette(palette)
    plain_image = _with_plain_mode(image, data)
    mode = DEEP if plain_image.mode in DEEP_MODES else plain_image.mode
    if mode not in SUPPORTED_MODES:
        raise PhotoSkippedError(UNSUPPORTED.get(mode, f"its pixel mode {mode} is not supported"), "unsupported")
    pixels = _to_array(plain_image)
    if image.format == "TIFF":
        if found.exif is not None and tiff.looks_otherwise(data, found.exif, pixels, mode):
            raise PhotoSkippedError(
                "it may look wrong, because two programs read different pictures from it; save it as an 8-bit RGB TIFF",
                "unsupported",
            )
        if tiff.is_inverted(found.exif):  # OpenCV also reads its white as black.
            np.invert(pixels, out=pixels)
    elif image.format == "AVIF":
        pixels = heif.properties(data).applied(pixels)
    return _turned(pixels, orientation), mode


def _to_array(image: Image.Image) -> NDArray[Any]:
    """Return an image's pixels, read one strip at a time: Pillow's own way needs three copies of the whole."""
    width, height = image.size
    bands = len(image.getbands())
    shape = (height, width) if bands == 1 else (height, width, bands)
    pixels = np.empty(shape, np.uint16 if image.mode in DEEP_MODES else np.uint8)
    for top in range(0, height, STRIP_ROWS):
        bottom = min(top + STRIP_ROWS, height)
        pixels[top:bottom] = np.asarray(image.crop((0, top, width, bottom)))
    return pixels


def _turned(pixels: NDArray[Any], orientation: int, workspace: Workspace | None = None) -> NDArray[Any]:
    """Return the pixels turned upright, as an EXIF orientation (Exif 2.3, table 6) requests."""
    if orientation == 1:
        return pixels
    size, dtype, bands = pixels.nbytes, pixels.dtype, pixels.shape[2:]
    if bands:  # Moving whole pixels is twice as fast as moving their bytes.
        pixels = pixels.view(f"V{bands[0]}")[..., 0]
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    turned = workspace.buffer(size, "turned") if workspace else np.empty(size, np.uint8)
    turned.view(pixels.dtype).reshape(pixels.shape)[...] = pixels
    return turned.view(dtype).reshape(*pixels.shape, *bands)


def _with_plain_mode(image: Image.Image, data: bytes) -> Image.Image:
    """Return an image whose palette is resolved to colours, and whose transparent colour is an alpha channel.

    Noise would change a transparent colour, so that it no longer equals the one that the file names.
    """
    transparent = "transparency" in image.info
    if image.mode in ("P", "PA"):
        return image.convert("RGBA" if transparent or image.mode == "PA" else "RGB")
    if transparent and image.mode == "L" and image.format == "PNG" and data[24] < 8:
        # The file gives the transparent grey in its own depth, but Pillow has scaled the pixels to 8 bits.
        image.info["transparency"] *= 255 // ((1 << data[24]) - 1)
    if transparent and image.mode in ("RGB", "L"):
        return image.convert("RGBA" if image.mode == "RGB" else "LA")
    if image.mode == "I" and image.format == "PPM":  # Its grey has at most 16 bits.
        return image.convert("I;16")
    if image.mode in ("RGBX", "YCbCr"):
        return image.convert("RGB")
    return image


def _is_lossless_webp(data: bytes) -> bool:
    """Return whether a WebP file's picture is a VP8L chunk, which Pillow does not report."""
    position = 12  # after RIFF, the size and WEBP
    while position + 8 <= len(data):
        if data[position : position + 4] in (b"VP8L", b"VP8 "):
            return data[position : position + 4] == b"VP8L"
        size = int.from_bytes(data[position + 4 : position + 8], "little")
        position += 8 + size + size % 2
    return False


def _learn_heif() -> None:
    """Make Pillow read HEIC, with the optional dependency ``heic``. Raises ``PhotoError`` if it is not installed."""
    try:
        import pillow_heif
    except ModuleNotFoundError as error:
        raise PhotoError(
            "HEIC photos need the extra 'heic': in unlearn's source folder, run pip install '.[heic]', "
            "or export the photo as JPEG",
            "needs-extra",
        ) from error
    pillow_heif.register_heif_opener()
