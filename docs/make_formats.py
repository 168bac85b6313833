"""Write the table of what each format keeps into docs/reference/photo-formats.md: ``python docs/make_formats.py``.

Every cell is measured: the script makes a file that has the property, protects it, and examines the copy. A test fails
when the page is not what this script writes. The script needs the extra ``dev``, for HEIC.
"""

from __future__ import annotations

import io
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pillow_heif
from PIL import Image, ImageCms, PngImagePlugin

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.photos.boxes import irot, with_properties
from tests.photos.test_colour import P3_PROFILE, gif_with_profile, jp2_with_profile
from unlearn_cli.errors import PhotoSkippedError
from unlearn_cli.photos.apply import Pattern
from unlearn_cli.photos.encode import Writing
from unlearn_cli.photos.formats import bmp, exif, heif, png, read
from unlearn_cli.photos.formats.beside import Beside
from unlearn_cli.photos.formats.exif import Block, Entry
from unlearn_cli.photos.formats.others import JP2_EXIF, JP2_XMP
from unlearn_cli.photos.metadata import Keep
from unlearn_cli.photos.one import Protected, protect_bytes

PAGE = Path(__file__).parent / "reference" / "photo-formats.md"
BEGIN, END = "<!-- written by docs/make_formats.py -->\n", "<!-- end -->\n"

FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "AVIF", "HEIF", "GIF", "JPEG2000")
KEEPS: tuple[Keep, ...] = ("safe", "all")
KEPT, LOST, NONE = "yes", "no", "-"

PATTERN = Pattern(np.random.default_rng(0).integers(-8, 9, (3, 32, 32)).astype(np.int8), 8)
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
NAME, DATE = "© 2024 Jürgen".encode(), b"2019:05:04 10:11:12"

BLOCK = Block(
    "<",
    {0x013B: Entry(2, len(NAME) + 1, NAME + b"\0"), 0x9003: Entry(2, 20, DATE + b"\0")},
    {0x9003: Entry(2, 20, DATE + b"\0")},
    {1: Entry(2, 2, b"N\0")},
)
PACKET = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    b'<rdf:Description rdf:about="" xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmp:CreateDate="2019-05-04" '
    b'xmp:Label="At home"/></rdf:RDF></x:xmpmeta>'
)


def picture(mode: str = "RGB") -> Image.Image:
    """Return a picture of random pixels in this mode."""
    values = np.random.default_rng(0).integers(40, 216, (48, 64, 4)).astype(np.uint8)
    if mode == "I;16":
        return Image.fromarray(values[..., 0].astype(np.uint16) * 257)
    return Image.fromarray(values, "RGBA").convert(mode)


def saved(name: str, image: Image.Image | None = None, **options: Any) -> bytes:
    """Return the bytes of a picture as Pillow writes them."""
    buffer = io.BytesIO()
    (image or picture()).save(buffer, name, **options)
    return buffer.getvalue()


def protected(data: bytes, keep: Keep = "safe") -> Protected:
    """Return the protected copy of a file's bytes."""
    return protect_bytes(data, PATTERN, Writing(metadata=keep))


def beside(data: bytes) -> Beside:
    """Return the metadata of a file."""
    with Image.open(io.BytesIO(data)) as image:
        return read(image, data)


def table() -> str:
    """Return the table, with a row for each format that is read."""
    columns: dict[str, Callable[[str], str]] = {
        "written as": lambda name: protected(saved(name)).format.replace("WEBP", "WebP"),
        "depth": _depths,
        "transparency": _transparency,
        "turned by": _orientation,
        "colour profile": _profile,
        "colour in numbers": _numbers,
        "EXIF, to the byte": _exif,
        "dates in XMP": lambda name: _xmp(name, "safe", b"xmp:CreateDate="),
        "all XMP (`all`)": lambda name: _xmp(name, "all", b"At home"),
        "place (`all`)": _place,
        "resolution": _resolution,
    }
    rows = [f"| format | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    for name in FORMATS:
        title = {"WEBP": "WebP", "HEIF": "HEIC, HEIF", "JPEG2000": "JPEG 2000"}.get(name, name)
        rows.append(f"| {title} | {' | '.join(column(name) for column in columns.values())} |")
    return "\n".join(rows) + "\n"


def _depths(name: str) -> str:
    """Return how many bits of a channel the copy keeps."""
    deep = None
    if name in ("PNG", "TIFF", "JPEG2000"):
        made = protected(saved(name, picture("I;16"), **({"irreversible": False} if name == "JPEG2000" else {})))
        with Image.open(io.BytesIO(made.data)) as image:
            deep = image.mode.startswith("I;16")
    return "8; grey 16" if deep else "8"


def _transparency(name: str) -> str:
    if name == "GIF":
        image = picture().quantize(16)
        data = saved(name, image, transparency=3)
    elif name in ("JPEG", "BMP"):
        return NONE
    else:
        data = saved(name, picture("RGBA"))
    with Image.open(io.BytesIO(data)) as before, Image.open(io.BytesIO(protected(data).data)) as after:
        one, other = (np.asarray(image.convert("RGBA"))[..., 3].astype(int) for image in (before, after))
    return KEPT if np.abs(one - other).max() <= 3 else LOST


def _orientation(name: str) -> str:
    """Return what in the file turns the pixels; "no" if the copy is not turned."""
    if name in ("HEIF", "AVIF"):
        # tests/photos/test_kinds.py checks every order of them against libvips.
        return "irot, imir, clap" if _is_turned(with_properties(saved(name), [irot(3)])) else LOST
    if name not in ("JPEG", "PNG", "WEBP", "TIFF"):
        return NONE
    tags = Image.Exif()
    tags[exif.ORIENTATION] = 6
    return "EXIF" if _is_turned(saved(name, exif=tags)) else LOST


def _is_turned(data: bytes) -> bool:
    with Image.open(io.BytesIO(protected(data).data)) as image:
        return image.size == (48, 64) and image.getexif().get(exif.ORIENTATION, 1) == 1


def _profile(name: str) -> str:
    # Pillow cannot write a profile into these three formats.
    makers = {
        "BMP": lambda: bmp.with_profile(saved("BMP"), P3_PROFILE),
        "GIF": gif_with_profile,
        "JPEG2000": jp2_with_profile,
    }
    if name in makers:
        return KEPT if beside(protected(makers[name]()).data).icc_profile == P3_PROFILE else LOST
    return KEPT if beside(protected(saved(name, icc_profile=PROFILE)).data).icc_profile == PROFILE else LOST


def _numbers(name: str) -> str:
    """Return how the copy keeps a colour space that the file states without a profile."""
    if name == "PNG":
        tags = PngImagePlugin.PngInfo()
        tags.add(b"cICP", bytes([12, 13, 0, 1]))
        tags.add(b"gAMA", struct.pack(">I", 55556))
        tags.add(b"cHRM", struct.pack(">8I", 31270, 32900, 64000, 33000, 21000, 71000, 15000, 6000))
        made = protected(saved(name, pnginfo=tags)).data
        kept = {chunk.kind for chunk in png.chunks(made)} >= {b"cICP", b"gAMA", b"cHRM"}
        return "gAMA, cHRM, sRGB, cICP kept" if kept else LOST
    if name == "AVIF":
        made = protected(heif_with_numbers(saved(name))).data
        return "nclx kept" if heif.properties(made).colour.primaries == 12 else LOST
    if name == "HEIF":
        made = protected(heif_with_numbers(saved(name))).data
        return "nclx as a profile" if beside(made).icc_profile else LOST
    if name == "TIFF":
        return "white point, primaries kept" if _keeps_white_point() else LOST
    return "EXIF's Adobe RGB kept" if _keeps_adobe(name) else NONE


def heif_with_numbers(data: bytes) -> bytes:
    """Return a file that states Display P3 where its encoder stated sRGB."""
    at = data.index(b"colrnclx") + 8
    return data[:at] + struct.pack(">HH", 12, 13) + data[at + 4 :]


def _keeps_white_point() -> bool:
    made = protected(saved("TIFF", tiffinfo={318: (0.3127, 0.329)})).data
    block = exif.read(made)
    return block is not None and 318 in block.main


def _keeps_adobe(name: str) -> bool:
    if name not in ("JPEG", "WEBP"):
        return False
    block = Block("<", {}, {0xA001: Entry(3, 1, b"\xff\xff")}, {}, {1: Entry(2, 4, b"R03\0")})
    found = beside(protected(with_exif(name, block)).data).exif
    return found is not None and found.interop[1].data == b"R03\0"


def with_exif(name: str, block: Block) -> bytes:
    """Return a file with an EXIF block, written by Pillow."""
    return saved(name, exif=(exif.HEAD if name == "JPEG" else b"") + exif.write(block))


def _exif(name: str) -> str:
    if name in ("BMP", "GIF"):
        return NONE
    if name == "JPEG2000":
        data = with_box(saved(name), JP2_EXIF + exif.write(BLOCK))
    elif name == "TIFF":
        data = tiff_with(BLOCK)
    else:
        data = with_exif(name, BLOCK)
    found = beside(protected(data).data).exif
    whole = found is not None and found.main[0x013B].data == NAME + b"\0" and found.detail[0x9003].data == DATE + b"\0"
    return KEPT if whole else LOST


def with_box(data: bytes, body: bytes) -> bytes:
    """Return a JPEG 2000 file with a further box of metadata."""
    at = data.index(b"jp2c") - 4
    return data[:at] + struct.pack(">I", len(body) + 8) + b"uuid" + body + data[at:]


def tiff_with(block: Block) -> bytes:
    """Return a compressed TIFF with these tags."""
    from unlearn_cli.photos.formats.tiff import add_tags

    buffer = io.BytesIO(saved("TIFF", compression="tiff_lzw"))
    add_tags(buffer, block, None)
    return buffer.getvalue()


def _xmp(name: str, keep: Keep, wanted: bytes) -> str:
    if name == "BMP":
        return NONE
    if name == "JPEG2000":
        data = with_box(saved(name), JP2_XMP + PACKET)
    elif name == "PNG":
        texts = PngImagePlugin.PngInfo()
        texts.add_itxt(png.XMP_KEY, PACKET.decode())
        data = saved(name, pnginfo=texts)
    elif name == "GIF":
        data = saved(name)
        at = data.index(b"\x2c", 13 + 3 * (2 << (data[10] & 7)))
        tail = b"\x01" + bytes(range(255, -1, -1)) + b"\0"
        data = data[:at] + b"\x21\xff\x0bXMP DataXMP" + PACKET + tail + data[at:]
    elif name == "TIFF":
        data = saved(name, tiffinfo={700: PACKET})
    else:
        data = saved(name, xmp=PACKET)
    return KEPT if wanted in protected(data, keep).data else LOST


def _place(name: str) -> str:
    if name in ("BMP", "GIF"):
        return NONE
    if name == "JPEG2000":
        data = with_box(saved(name), JP2_EXIF + exif.write(BLOCK))
    else:
        data = tiff_with(BLOCK) if name == "TIFF" else with_exif(name, BLOCK)
    safe, everything = (beside(protected(data, keep).data).exif for keep in KEEPS)
    assert safe is not None
    assert not safe.place
    return KEPT if everything is not None and everything.place else LOST


def _resolution(name: str) -> str:
    if name not in ("JPEG", "PNG", "TIFF", "BMP"):
        return NONE
    with Image.open(io.BytesIO(protected(saved(name, dpi=(300, 300))).data)) as image:
        return KEPT if np.allclose(image.info["dpi"], 300, atol=0.1) else LOST


def page(text: str) -> str:
    """Return the page with the table as it is measured now."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return before + BEGIN + table() + END + after


def main() -> None:
    """Write the page."""
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


pillow_heif.register_heif_opener()

if __name__ == "__main__":
    try:
        main()
    except PhotoSkippedError as reason:
        raise SystemExit(f"A file of the table is not taken any more: {reason}") from reason
