"""Lists of photos, and dividing them among several machines."""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata
from collections.abc import Iterable
from pathlib import Path

from unlearn_cli.errors import UsageError


def parse_list(data: bytes) -> list[Path]:
    """Return the paths in a list: one per line, or separated by zero bytes if there are any."""
    data = data.removeprefix(b"\xef\xbb\xbf")  # the byte order mark that Windows writes before UTF-8
    entries = data.split(b"\0") if b"\0" in data else data.splitlines()
    return [Path(os.fsdecode(entry)) for entry in entries if entry.strip()]


def parse_shard(text: str) -> tuple[int, int]:
    """Return ``I/N`` as two numbers. Raises ``UsageError`` unless 1 <= I <= N."""
    match = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text.strip())
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        raise UsageError(f"--shard must be I/N with I from 1 to N, such as 2/8, not '{text}'.")
    return int(match[1]), int(match[2])


def is_of_shard(below: str, shard: tuple[int, int]) -> bool:
    """Return whether a photo, by its path below the given folder, belongs to part I of N; the same on every machine."""
    digest = hashlib.sha256(unicodedata.normalize("NFC", below).encode("utf-8", "surrogateescape")).digest()
    return int.from_bytes(digest[:8], "big") % shard[1] == shard[0] - 1


def by_place(listing: Iterable[Path]) -> dict[Path, Path]:
    """Return each listed photo once, by its absolute path, with the path under which it was listed first."""
    places: dict[Path, Path] = {}
    for entry in listing:
        places.setdefault(Path(os.path.abspath(entry)), entry)
    return places
