"""Everything in a photo's file besides its pixels, read and written for each format without touching the pixels."""

from __future__ import annotations

from PIL import Image

from unlearn_cli.photos.formats import bmp, exif, heif, jpeg, others, png, tiff
from unlearn_cli.photos.formats.beside import Beside
from unlearn_cli.photos.formats.colour import Colour


def read(image: Image.Image, data: bytes) -> Beside:
    """Return what an opened image's file, whose bytes are ``data``, holds besides the pixels."""
    match image.format:
        case "JPEG" | "MPO":
            return jpeg.read(data)
        case "PNG":
            return png.read(data)
        case "TIFF":
            block = exif.read(data)
            return Beside() if block is None else tiff.read(block)
        case "BMP" | "DIB":
            return bmp.read(data)
        case "GIF":
            return others.read_gif(data)
        case "JPEG2000":
            return others.read_jpeg2000(data)
        case "PSD":
            return others.read_psd(image)
        case "AVIF" | "HEIF":
            return _read_heif(image, heif.properties(data))
        case _:
            return _read_by_pillow(image)


def bare(data: bytes) -> bytes | None:
    """Return a JPEG or PNG file reduced to what decides its pixels; None for other formats, or missing pixels."""
    return jpeg.bare(data) or png.bare(data)


def _read_by_pillow(image: Image.Image) -> Beside:
    block, xmp = image.info.get("exif"), image.info.get("xmp")
    return Beside(
        image.info.get("icc_profile") or None,
        exif=exif.read(block) if isinstance(block, bytes) else None,
        xmp=xmp.encode("utf-8", "replace") if isinstance(xmp, str) else xmp,
    )


def _read_heif(image: Image.Image, told: heif.Properties) -> Beside:
    found = _read_by_pillow(image)
    # Pillow rewrites an AVIF's EXIF if its orientation differs from the picture's own, and loses text that is not
    # ASCII.
    decoder = getattr(image, "_decoder", None)
    block = exif.read(decoder.get_info()[4] or b"") if decoder is not None else found.exif
    colour = Colour() if found.icc_profile else told.colour  # In HEIF a profile wins over numbers.
    return Beside(found.icc_profile, colour, block, found.xmp, notes=told.notes)
