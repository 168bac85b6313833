"""Which files are photos that can be protected, and what is said of the pictures that cannot be."""

from __future__ import annotations

import os
import stat
from pathlib import Path

PHOTO_SUFFIXES = frozenset(
    ".jpg .jpeg .jpe .jfif .pjpeg .pjp .mpo .png .apng .webp .tif .tiff .bmp .dib .gif .avif .avifs .heic .heif .hif "
    ".jp2 .j2k .jpf .jpx .jpc .ppm .pgm .pbm .pnm .tga .pcx .ico .icns .dds .psd".split()
)
"""What is named so and is no photo fails when it is read. Of other files those that begin as a JPEG are photos too;
the rest is counted, not touched."""

RAW_SUFFIXES = frozenset(
    ".3fr .arw .cr2 .cr3 .crw .dcr .dng .erf .gpr .iiq .kdc .mef .mrw .nef .nrw .orf .pef .raf .rw2 .rwl .sr2 .srf "
    ".srw .x3f".split()
)
"""Many of them begin as a TIFF does, of which Pillow would read the thumbnail alone."""

JXL_SUFFIXES = frozenset({".jxl"})
VIDEO_SUFFIXES = frozenset({".mov", ".mp4"})

RAW = "it is a camera's raw file: export it as JPEG or TIFF and protect that"
JXL = "JPEG XL is not supported: export it as JPEG or PNG"
LIVE_PHOTO = "it is the video of a Live Photo, which shows the same unprotected: leave it out when you share"

JPEG_START = b"\xff\xd8\xff"


def why_not_taken(path: Path) -> str | None:
    """Why a picture of this name cannot be protected, and what to do instead; None for all other files."""
    suffix = path.suffix.lower()
    if suffix in RAW_SUFFIXES:
        return RAW
    return JXL if suffix in JXL_SUFFIXES else None


def is_photo(path: Path) -> bool:
    """Whether a file in a folder is a photo to protect, by its name, or by its first bytes where the name says none."""
    if path.suffix.lower() in PHOTO_SUFFIXES:
        return path.is_file() or path.is_symlink()
    return why_not_taken(path) is None and begins_as_jpeg(path)


def begins_as_jpeg(path: Path) -> bool:
    """Whether a file begins as every JPEG does; no pipe or device is opened, and what cannot be read does not."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return False
        # It may have become a pipe by now, which would be waited for.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        try:
            return os.read(descriptor, len(JPEG_START)) == JPEG_START
        finally:
            os.close(descriptor)
    except OSError:
        return False


def is_video(path: Path) -> bool:
    """Whether a file's name is a video's, of those that phones write beside a photo."""
    return path.suffix.lower() in VIDEO_SUFFIXES


def stems(path: Path) -> set[str]:
    """The names without suffix that a photo's video may have; a copy in place may have a second suffix."""
    stem = Path(path.stem)
    found = {path.stem.casefold()}
    return found | {stem.stem.casefold()} if stem.suffix.lower() in PHOTO_SUFFIXES else found
