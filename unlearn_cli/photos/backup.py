"""Saving an original in the backup before its copy takes its place."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from unlearn_cli.errors import PhotoError
from unlearn_cli.files import sha256_of, write_atomically
from unlearn_cli.photos.kinds import PHOTO_SUFFIXES
from unlearn_cli.photos.names import place_of


def keep_original(
    source: Path, backup: Path, data: bytes, *, sha256: str | None, like: os.stat_result | None, tag: str
) -> None:
    """Write a photo's bytes into the backup unless they are already there; no file there is ever overwritten.

    Raises ``PhotoError`` if the backup holds another photo in this place, or cannot be written.
    """
    if backup.is_symlink() or (backup.exists() and backup.samefile(source)):
        raise PhotoError("its place in the backup is a link, or the photo itself; name another --backup")
    try:
        write_atomically(backup, data, tag=tag, like=like, attributes=source, kind="new")
    except FileExistsError as error:
        if sha256_of(backup) != sha256:
            raise PhotoError("its place in the backup holds another photo; name another --backup") from error
    except OSError as error:
        raise PhotoError(f"it cannot be kept in the backup ({error.strerror or error})") from error


def is_perhaps_a_copy(source: Path, backup: Path, kept: Mapping[Path, set[Path]]) -> bool:
    """Return whether a photo looks like the copy of an original in the backup, and no manifest says otherwise.

    ``kept`` maps the backups that manifests know to the copies made from them. An original that is listed there has its
    copy, so a photo with a similar name beside that copy is a different one.
    """
    for name in _names_of_originals(backup.name):
        original = backup.with_name(name)
        if not os.path.lexists(original) or original.is_dir() or os.path.lexists(source.with_name(name)):
            continue
        # This is looked up last, because another thread records a swap before it removes the original.
        copies = kept.get(original)
        if copies is None or place_of(source) in map(place_of, set(copies)):
            return True
    return False


def _names_of_originals(name: str) -> Iterator[str]:
    """Yield the names from which a copy's name may come: with another suffix, or without the suffix or number."""
    stem, suffix = os.path.splitext(name)
    for whole in dict.fromkeys((stem, re.sub(r"-\d+$", "", stem))):
        for other in sorted(PHOTO_SUFFIXES - {suffix.lower()}):
            yield from (whole + other, whole + other.upper())
        if suffix:
            yield whole
