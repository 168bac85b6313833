"""Choosing the metadata that a protected photo keeps: what is listed here, and nothing else.

These are allow-lists, because anything not known to be harmless may be the location, a serial number, or a thumbnail of
the unprotected picture (maker notes, previews, XMP, Photoshop resources).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from PIL.ExifTags import Base

from unlearn_cli.photos.formats import exif
from unlearn_cli.photos.formats.beside import Beside, Text
from unlearn_cli.photos.formats.colour import Colour
from unlearn_cli.photos.formats.exif import Block, Directory

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

Keep = Literal["safe", "all", "none"]
"""The choices of what to keep: ``none`` keeps the colour space alone; ``safe`` also dates, camera, exposure and
copyright; ``all`` also the location, serial numbers, descriptions and XMP. Nothing that can hold the unprotected
picture is ever kept."""

COLOUR_MAIN = (Base.WhitePoint, Base.PrimaryChromaticities, Base.TransferFunction)
COLOUR_DETAIL = (Base.ColorSpace, Base.Gamma)
INTEROP, ADOBE_RGB = (1, 2), b"R03"
"""The tags that describe a colour space. This interoperability index stands for a camera's Adobe RGB (DCF 2.0)."""

SAFE_MAIN = (
    Base.Make, Base.Model, Base.Software, Base.DateTime, Base.Artist, Base.Copyright,
    Base.DateTimeOriginal, Base.DateTimeDigitized, *COLOUR_MAIN,
)  # fmt: skip

SAFE_DETAIL = (
    Base.DateTimeOriginal, Base.DateTimeDigitized, Base.OffsetTime, Base.OffsetTimeOriginal,
    Base.OffsetTimeDigitized, Base.SubsecTime, Base.SubsecTimeOriginal, Base.SubsecTimeDigitized,
    Base.ExposureTime, Base.FNumber, Base.ExposureProgram, Base.ISOSpeedRatings, Base.ShutterSpeedValue,
    Base.ApertureValue, Base.BrightnessValue, Base.ExposureBiasValue, Base.MaxApertureValue,
    Base.MeteringMode, Base.LightSource, Base.Flash, Base.FocalLength, Base.ColorSpace,
    Base.ExposureMode, Base.WhiteBalance, Base.DigitalZoomRatio, Base.FocalLengthIn35mmFilm,
    Base.SceneCaptureType, Base.LensMake, Base.LensModel, Base.Gamma,
)  # fmt: skip

ALL_MAIN = (
    *SAFE_MAIN, Base.ImageDescription, Base.HostComputer, Base.Rating, Base.RatingPercent,
    Base.XPTitle, Base.XPComment, Base.XPAuthor, Base.XPKeywords, Base.XPSubject,
)  # fmt: skip

NEVER_DETAIL = (Base.MakerNote, *exif.POINTERS)

LARGEST_EXIF = 60_000
LARGEST_XMP, LARGEST_READ = 65_000, 1 << 20
"""The largest EXIF block and XMP packet to keep, and the largest packet to read, in bytes; a JPEG's segment holds
65,533."""

ROOM_FOR_A_PICTURE = 2048
"""The size in bytes above which a value could hold a picture and is not kept, whatever its name is."""

XMP_PICTURES = re.compile(
    rb"Thumbnails|xmpGImg|GImage|GDepth|GCamera|GPano|hdrgm|HDRGainMap|Container:|MicroVideo|HasExtendedXMP|;base64,"
    rb"|[A-Za-z0-9+/=]{400}"
)
"""Signs that an XMP packet contains another picture or points to one. Such a packet is dropped as a whole."""


PICTURE_STARTS = re.compile(
    rb"\xff\xd8\xff|\x89PNG|GIF8[79]a|RIFF.{4}WEBP|ftyp(?:avif|heic|mif1)|/9j/|iVBORw0K|R0lGOD|UklGR|ffd8ff", re.DOTALL
)
"""The beginnings of picture files: as bytes, in base64 and in hexadecimal."""


RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"

XMP_SPACES = {
    "xmp": "http://ns.adobe.com/xap/1.0/",
    "photoshop": "http://ns.adobe.com/photoshop/1.0/",
    "exif": "http://ns.adobe.com/exif/1.0/",
    "tiff": "http://ns.adobe.com/tiff/1.0/",
    "dc": "http://purl.org/dc/elements/1.1/",
}

XMP_DATES = {
    f"{{{XMP_SPACES[name.split(':')[0]]}}}{name.split(':')[1]}": name
    for name in (
        "xmp:CreateDate xmp:ModifyDate xmp:MetadataDate photoshop:DateCreated exif:DateTimeOriginal "
        "exif:DateTimeDigitized tiff:DateTime dc:date"
    ).split()
}
"""The XMP properties that are dates, by their full names."""

XMP_DATE = re.compile(r"\d{4}(-\d\d(-\d\d(T\d\d:\d\d(:\d\d(\.\d{1,9})?)?(Z|[+-]\d\d:\d\d)?)?)?)?", re.ASCII)

TEXT_DATES = frozenset(
    "creation time|creationtime|create-date|modify-date|date|date:create|date:modify|date:timestamp|time|"
    "exif:datetime|exif:datetimeoriginal|exif:datetimedigitized".split("|")
)
TEXT_DATE = re.compile(r"(?=.*\d)[\w ,:+./()-]{4,64}", re.ASCII)
"""The keys of a PNG's texts that are dates, and the pattern of such a date; ``tIME`` has a chunk of its own."""


@dataclass(frozen=True)
class Metadata:
    """The metadata that is written into a copy besides its pixels."""

    icc_profile: bytes | None = None
    colour: Colour = field(default_factory=Colour)
    """The colour space, as far as the file described it by numbers."""
    exif: Block | None = None
    """The EXIF tags without the orientation, because the pixels are written upright."""
    dpi: tuple[float, float] | None = None
    xmp: bytes | None = None
    comment: bytes | None = None
    texts: tuple[Text, ...] = ()
    """The texts of a PNG file."""

    def profile(self, *, grey: bool) -> bytes | None:
        """Return the ICC profile for the colours that the file specified; None if that is sRGB."""
        if self.colour.primaries is not None:  # Code points take precedence over a profile (PNG, 4.3).
            return self.colour.icc_profile(grey=grey)
        return self.icc_profile or self.colour.icc_profile(grey=grey)


def choose(found: Beside, keep: Keep = "safe", dpi: Any = None) -> Metadata:
    """Return the part of a photo's metadata to keep, with its resolution ``dpi`` in dots per inch."""
    colours = Metadata(found.icc_profile, found.colour, _exif(found.exif, keep))
    if keep == "none":
        return colours
    if keep == "safe":
        texts = tuple(_plain_date(text) for text in found.texts if _is_date(text))
        return replace(colours, dpi=_plain_dpi(dpi), xmp=_dates(found.xmp), texts=texts)
    return replace(
        colours,
        dpi=_plain_dpi(dpi),
        xmp=_xmp(found.xmp),
        comment=found.comment if found.comment and _is_harmless(found.comment) else None,
        texts=tuple(text for text in found.texts if _is_harmless_text(text)),
    )


def _exif(block: Block | None, keep: Keep) -> Block | None:
    """Return the tags to keep from a block; None if there are none, or far too many for a photo."""
    if block is None:
        return None
    interop = _only(block.interop, INTEROP)
    if keep == "none":
        # A profile would be kept, so a tag with the same meaning is kept too.
        adobe = 1 in interop and interop[1].data.startswith(ADOBE_RGB)
        kept = Block(block.order, {}, _only(block.detail, COLOUR_DETAIL), {}, interop) if adobe else Block()
    elif keep == "safe":
        kept = Block(block.order, _only(block.main, SAFE_MAIN), _only(block.detail, SAFE_DETAIL), {}, interop)
    else:
        wanted = (tag for tag in block.detail if tag not in NEVER_DETAIL)
        main, place = _only(block.main, ALL_MAIN), _only(block.place, block.place)
        kept = Block(block.order, main, _only(block.detail, wanted), place, interop)
    return kept if 0 < len(exif.write(kept)) <= LARGEST_EXIF else None


def _only(directory: Directory, tags: Iterable[int]) -> Directory:
    """Return the entries for these tags that cannot hold a picture."""
    return {int(tag): directory[tag] for tag in tags if tag in directory and _is_harmless(directory[tag].data)}


def _is_harmless(value: bytes) -> bool:
    return len(value) <= ROOM_FOR_A_PICTURE and not PICTURE_STARTS.search(value)


def _xmp(packet: bytes | None) -> bytes | None:
    """Return an XMP packet with its orientation reset; None if it is empty, too large, or may hold a picture."""
    packet = packet.rstrip(b"\0") if packet else b""
    # A packet in UTF-16 could hold anything without matching the patterns.
    if not packet or b"\0" in packet or len(packet) > LARGEST_XMP:
        return None
    joined = re.sub(rb"&#x?[0-9A-Fa-f]+;|\s+", b"", packet)  # because encoded data is broken into lines
    if XMP_PICTURES.search(joined) or PICTURE_STARTS.search(joined):
        return None
    return re.sub(rb"(tiff:Orientation(?:>|\s*=\s*[\"']))\s*\d", rb"\g<1>1", packet)


def _dates(packet: bytes | None) -> bytes | None:
    """Return a new XMP packet with only the dates of the given one; None if that has none."""
    packet = (packet or b"").strip(b"\0 \r\n\t")
    # A document type can make a small file expand enormously.
    if not packet or len(packet) > LARGEST_READ or b"<!" in packet:
        return None
    from xml.etree import ElementTree as ET  # The import is here because few photos have XMP.

    try:
        described = ET.fromstring(packet).iter(f"{{{RDF}}}Description")
        found = {name: value for node in described for name, value in _properties(node) if name in XMP_DATES}
    except (ET.ParseError, ValueError, LookupError):
        return None
    dates = [f'{XMP_DATES[name]}="{value}"' for name, value in found.items() if XMP_DATE.fullmatch(value)]
    if not dates:
        return None
    names = " ".join(f'xmlns:{prefix}="{space}"' for prefix, space in XMP_SPACES.items())
    return (
        f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="{RDF}">'
        f'<rdf:Description rdf:about="" {names} {" ".join(dates)}/></rdf:RDF></x:xmpmeta>'
    ).encode("ascii")


def _properties(node: Element) -> Iterable[tuple[str, str]]:
    """Yield the properties of an RDF description, which may be attributes or elements."""
    yield from node.attrib.items()
    for child in node:
        item = child.find(f"*/{{{RDF}}}li")  # A list, as Dublin Core's dates are; its first counts.
        yield child.tag, ((child if item is None else item).text or "").strip()


def _is_date(text: Text) -> bool:
    """Return whether one of a PNG's texts is a date, by its key and by what it says."""
    return text.key.lower() in TEXT_DATES and TEXT_DATE.fullmatch(text.value) is not None


def _plain_date(text: Text) -> Text:
    """Return a date without all that a packed or international text can hide besides it."""
    if text.kind == b"tIME":
        return text
    return Text(text.key, text.value, b"tEXt", f"{text.key}\0{text.value}".encode("latin-1"))


def _is_harmless_text(text: Text) -> bool:
    """Return whether a PNG's text holds no raw profile, thumbnail or other picture, compressed or not."""
    apart = text.key.startswith(("Raw profile type", "Thumb::"))
    return not apart and _is_harmless(text.value.encode("utf-8", "replace")) and _is_harmless(text.body)


def _plain_dpi(dpi: Any) -> tuple[float, float] | None:
    try:
        x, y = (float(value) for value in dpi)
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return (x, y) if all(math.isfinite(v) and 1 <= v <= 65535 for v in (x, y)) else None
