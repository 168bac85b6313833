"""Deciding which files are photos that can be protected, and why other pictures cannot be."""

from __future__ import annotations

import os
import stat
from pathlib import Path

PHOTO_SUFFIXES = frozenset(
    ".jpg .jpeg .jpe .jfif .pjpeg .pjp .mpo .png .apng .webp .tif .tiff .bmp .dib .gif .avif .avifs .heic .heif .hif "
    ".jp2 .j2k .jpf .jpx .jpc .ppm .pgm .pbm .pnm .tga .pcx .ico .icns .dds .psd".split()
)
"""The suffixes of photos; a file with one of them that is no photo fails when it is read. Files with other suffixes are
photos too if they begin as a JPEG; the rest are counted but not touched."""

RAW_SUFFIXES = frozenset(
    ".3fr .arw .cr2 .cr3 .crw .dcr .dng .erf .gpr .iiq .kdc .mef .mrw .nef .nrw .orf .pef .raf .rw2 .rwl .sr2 .srf "
    ".srw .x3f".split()
)
"""The suffixes of raw files. Many begin as a TIFF does, and Pillow would read only their thumbnail."""

JXL_SUFFIXES = frozenset({".jxl"})
VIDEO_SUFFIXES = frozenset({".mov", ".mp4"})

RAW = "it is a camera's raw file: export it as JPEG or TIFF and protect that"
JXL = "JPEG XL is not supported: export it as JPEG or PNG"
LIVE_PHOTO = "it is the video of a Live Photo and shows the same scene without protection: do not share it"
LINKED_FOLDER = "it is a link to another folder, which is not followed: protect that folder too if it will be shared"

JPEG_START = b"\xff\xd8\xff"


def why_not_taken(path: Path) -> str | None:
    """Return why a picture with this name cannot be protected, and what to do instead; None for all other files."""
    suffix = path.suffix.lower()
    if suffix in RAW_SUFFIXES:
        return RAW
    return JXL if suffix in JXL_SUFFIXES else None


def is_photo(path: Path) -> bool:
    """Return whether a file is a photo to protect, by its suffix, or by its first bytes if the suffix says nothing."""
    if path.suffix.lower() in PHOTO_SUFFIXES:
        return path.is_file() or path.is_symlink()
    return why_not_taken(path) is None and begins_as_jpeg(path)


def begins_as_jpeg(path: Path) -> bool:
    """Return whether a file begins as every JPEG does; False for pipes, devices and files that cannot be read."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return False
        # The file may have become a pipe by now, and opening that would block.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        try:
            return os.read(descriptor, len(JPEG_START)) == JPEG_START
        finally:
            os.close(descriptor)
    except OSError:
        return False


def is_video(path: Path) -> bool:
    """Return whether a file's name is that of a video, of the kinds that phones save beside a photo."""
    return path.suffix.lower() in VIDEO_SUFFIXES


def stems(path: Path) -> set[str]:
    """Return the names, without suffix, that a photo's video may have; in-place copies may have two suffixes."""
    stem = Path(path.stem)
    found = {path.stem.casefold()}
    return found | {stem.stem.casefold()} if stem.suffix.lower() in PHOTO_SUFFIXES else found
