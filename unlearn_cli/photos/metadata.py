"""What a protected photo keeps of its metadata: what is listed here, and nothing else.

Allow-lists, because whatever is not known to be harmless may be the place, the serial number, or a
thumbnail of the unprotected picture (maker notes, previews, XMP, Photoshop resources).
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import Any, Literal

from PIL import Image
from PIL.ExifTags import IFD, Base

Keep = Literal["safe", "all", "none"]
"""What to keep: ``none`` is the colour profile alone, ``safe`` also dates, camera, exposure and copyright, ``all``
also the place, serial numbers, descriptions and XMP. Nothing keeps what can hold the unprotected picture."""

SAFE_MAIN = (
    Base.Make, Base.Model, Base.Software, Base.DateTime, Base.Artist, Base.Copyright,
)  # fmt: skip

SAFE_DETAIL = (
    Base.DateTimeOriginal, Base.DateTimeDigitized, Base.OffsetTime, Base.OffsetTimeOriginal,
    Base.OffsetTimeDigitized, Base.SubsecTime, Base.SubsecTimeOriginal, Base.SubsecTimeDigitized,
    Base.ExposureTime, Base.FNumber, Base.ExposureProgram, Base.ISOSpeedRatings, Base.ShutterSpeedValue,
    Base.ApertureValue, Base.BrightnessValue, Base.ExposureBiasValue, Base.MaxApertureValue,
    Base.MeteringMode, Base.LightSource, Base.Flash, Base.FocalLength, Base.ColorSpace,
    Base.ExposureMode, Base.WhiteBalance, Base.DigitalZoomRatio, Base.FocalLengthIn35mmFilm,
    Base.SceneCaptureType, Base.LensMake, Base.LensModel,
)  # fmt: skip

ALL_MAIN = (
    *SAFE_MAIN, Base.ImageDescription, Base.HostComputer, Base.Rating, Base.RatingPercent,
    Base.XPTitle, Base.XPComment, Base.XPAuthor, Base.XPKeywords, Base.XPSubject,
)  # fmt: skip

NEVER_DETAIL = (Base.MakerNote, Base.ExifInteroperabilityOffset)

ROOM_FOR_A_PICTURE = 2048
"""A value of more bytes is not kept, whatever its name is."""

XMP_PICTURES = re.compile(
    rb"Thumbnails|xmpGImg|GImage|GDepth|GCamera|GPano|hdrgm|HDRGainMap|Container:|MicroVideo|HasExtendedXMP|;base64,"
    rb"|[A-Za-z0-9+/=]{400}"
)
"""What an XMP packet that holds, or points to, another picture says. Such a packet is dropped whole."""


PICTURE_STARTS = re.compile(
    rb"\xff\xd8\xff|\x89PNG|GIF8[79]a|RIFF.{4}WEBP|ftyp(?:avif|heic|mif1)|/9j/|iVBORw0K|R0lGOD|UklGR|ffd8ff", re.DOTALL
)
"""How pictures begin, as they are, in base64 and in hexadecimal."""


@dataclass(frozen=True)
class Metadata:
    """What is written back beside the pixels."""

    icc_profile: bytes | None = None
    exif: bytes = b""
    """Without a tag for the orientation, because the pixels are written upright."""
    dpi: tuple[float, float] | None = None
    xmp: bytes | None = None
    comment: bytes | None = None
    text: dict[str, str] = field(default_factory=dict)
    """A PNG's."""


def read_metadata(image: Image.Image, keep: Keep = "safe") -> Metadata:
    """What to keep of the metadata of an opened image. Damaged metadata is dropped: no tag is worth a photo."""
    icc_profile = image.info.get("icc_profile") or None
    if keep == "none":
        return Metadata(icc_profile)
    dpi = _plain_dpi(image.info.get("dpi"))
    exif = _exif(image, keep)
    if keep == "safe":
        return Metadata(icc_profile, exif, dpi)
    comment = image.info.get("comment")
    return Metadata(
        icc_profile,
        exif,
        dpi,
        xmp=_xmp(image.info.get("xmp")),
        comment=comment if isinstance(comment, bytes) and _is_harmless(comment) else None,
        text=_text(getattr(image, "text", {})) if image.format == "PNG" else {},
    )


def _exif(image: Image.Image, keep: Keep) -> bytes:
    try:
        source = image.getexif()
        kept = Image.Exif()
        main = SAFE_MAIN if keep == "safe" else ALL_MAIN
        kept.update({int(tag): source[tag] for tag in main if tag in source and _is_harmless(source[tag])})
        detail = source.get_ifd(IFD.Exif)
        wanted = SAFE_DETAIL if keep == "safe" else [tag for tag in detail if tag not in NEVER_DETAIL]
        details = {int(tag): detail[tag] for tag in wanted if tag in detail and _is_harmless(detail[tag])}
        if details:
            kept.get_ifd(IFD.Exif).update(details)
        place = {tag: value for tag, value in source.get_ifd(IFD.GPSInfo).items() if _is_harmless(value)}
        if keep == "all" and place:
            kept.get_ifd(IFD.GPSInfo).update(place)
        return kept.tobytes() if kept or details or (keep == "all" and place) else b""
    except Exception:  # Pillow's EXIF parser and writer raise whatever the damage leads to.
        return b""


def _is_harmless(value: Any) -> bool:
    if isinstance(value, tuple | list):
        return len(value) <= ROOM_FOR_A_PICTURE // 8 and all(map(_is_harmless, value))
    if isinstance(value, str):
        value = value.encode("utf-8", "replace")
    return not isinstance(value, bytes) or (len(value) <= ROOM_FOR_A_PICTURE and not PICTURE_STARTS.search(value))


def _xmp(packet: Any) -> bytes | None:
    """An XMP packet with its orientation reset, unless it holds a picture."""
    if isinstance(packet, str):
        packet = packet.encode("utf-8", "replace")
    packet = packet.rstrip(b"\0") if isinstance(packet, bytes) else b""
    # One in UTF-16 could hold anything without looking like it.
    if not packet or b"\0" in packet or len(packet) > 32 * ROOM_FOR_A_PICTURE:
        return None
    joined = re.sub(rb"&#x?[0-9A-Fa-f]+;|\s+", b"", packet)  # as encoded data is broken into lines
    if XMP_PICTURES.search(joined) or PICTURE_STARTS.search(joined):
        return None
    return re.sub(rb"(tiff:Orientation(?:>|\s*=\s*[\"']))\s*\d", rb"\g<1>1", packet)


def _text(text: dict[str, str]) -> dict[str, str]:
    """A PNG's texts, but for raw profiles and thumbnails, and XMP, which is kept apart."""
    apart = ("XML:com.adobe.xmp", "Raw profile type", "Thumb::")
    return {key: str(value) for key, value in text.items() if not key.startswith(apart) and _is_harmless(str(value))}


def _plain_dpi(dpi: Any) -> tuple[float, float] | None:
    try:
        x, y = (float(value) for value in dpi)
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return (x, y) if all(math.isfinite(v) and 1 <= v <= 65535 for v in (x, y)) else None
