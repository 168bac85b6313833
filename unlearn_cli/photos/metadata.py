"""What a protected photo keeps of its EXIF: what is listed here, and nothing else.

An allow-list, because whatever is not known to be harmless may be the place, the serial number,
or a thumbnail of the unprotected picture (maker notes, previews, XMP, Photoshop resources).
"""

from __future__ import annotations

from PIL import Image
from PIL.ExifTags import IFD, Base

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


def safe_exif(image: Image.Image) -> bytes:
    """An EXIF block with the camera, dates, exposure and copyright of an opened image.

    There is no orientation in it, because the pixels are written upright. Damaged EXIF, or EXIF
    that cannot be written again, gives an empty block: a tag is not worth a photo.
    """
    try:
        source = image.getexif()
        detail = source.get_ifd(IFD.Exif)
        kept = Image.Exif()
        kept.update({int(tag): source[tag] for tag in SAFE_MAIN if tag in source})
        details = {int(tag): detail[tag] for tag in SAFE_DETAIL if tag in detail}
        if details:
            kept.get_ifd(IFD.Exif).update(details)
        return kept.tobytes() if kept or details else b""
    except Exception:  # Pillow's EXIF parser and writer raise whatever the damage leads to.
        return b""
