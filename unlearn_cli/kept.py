"""A cache of what takes long to compute, in one SQLite file in the user's cache folder, shared by all processes."""

from __future__ import annotations

import contextlib
import hashlib
import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from platformdirs import user_cache_path

WAIT = 30.0
"""How many seconds to wait for other processes that write to the cache."""
PARTS = 16
"""Into how many parts room is made for what is kept."""
AT_ONCE = 500
"""How many keys to ask for at a time; SQLite allows 999 in its oldest builds."""


class Kept:
    """A cache of bytes by key, of which the oldest are forgotten when it grows too large.

    It is never needed: if its file cannot be read or written, nothing is found and nothing is kept.
    """

    def __init__(self, name: str, most_bytes: int) -> None:
        self.name, self.most_bytes = name, most_bytes

    def get(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        """Return the values of those keys that are in the cache."""
        found: dict[bytes, bytes] = {}
        with contextlib.suppress(OSError, sqlite3.Error), self._opened() as kept:
            for start in range(0, len(keys), AT_ONCE):
                some = keys[start : start + AT_ONCE]
                places = ",".join("?" * len(some))
                found |= kept.execute(f"SELECT key, value FROM kept WHERE key IN ({places})", some).fetchall()
        return found

    def put(self, values: Mapping[bytes, bytes]) -> None:
        """Keep these values, as far as half of the cache has room for them; the oldest others are forgotten for it."""
        with contextlib.suppress(OSError, sqlite3.Error), self._opened() as kept:
            written, free = 0, 0
            for key, value in values.items():
                if written + len(value) > self.most_bytes / 2:
                    break
                if free < len(value):  # Only now and then, because asking for the size takes longer than writing.
                    free = max(len(value), self.most_bytes // PARTS)
                    self._forget(kept, free)
                written, free = written + len(value), free - len(value)
                kept.execute("INSERT OR IGNORE INTO kept (key, value) VALUES (?, ?)", (key, value))

    def _forget(self, kept: sqlite3.Connection, room: int) -> None:
        """Forget the oldest values until there is room for so many bytes; the file itself does not shrink."""
        while self._size(kept) + room > self.most_bytes:
            (count,) = kept.execute("SELECT COUNT(*) FROM kept").fetchone()
            if not count:
                return
            oldest = "SELECT rowid FROM kept ORDER BY rowid LIMIT ?"
            kept.execute(f"DELETE FROM kept WHERE rowid IN ({oldest})", ((count + 3) // 4,))

    @contextlib.contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        path = user_cache_path("unlearn", ensure_exists=True) / f"{self.name}.sqlite"
        path.touch(mode=0o600)  # It may hold faces, so that nobody else may read it.
        try:
            with contextlib.closing(sqlite3.connect(path, timeout=WAIT)) as kept, kept:
                kept.execute("PRAGMA synchronous = OFF")  # A power cut may damage it, and then it begins anew.
                kept.execute("CREATE TABLE IF NOT EXISTS kept (key BLOB PRIMARY KEY, value BLOB)")
                yield kept
        except sqlite3.DatabaseError as error:
            if type(error) is sqlite3.DatabaseError:  # The file is damaged, and not just in use.
                path.unlink()
            raise

    @staticmethod
    def _size(kept: sqlite3.Connection) -> int:
        pages, free, size = (
            kept.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
        )
        return int((pages - free) * size)


def key_of(*what: Any, data: bytes = b"") -> bytes:
    """Return the key for what decides a value: anything that JSON can hold, and bytes."""
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode() + b"\0" + data).digest()


def version_of(package: str) -> str:
    """Return the name and version of an installed package, for a key; an empty text if it is not installed."""
    try:
        return f"{package} {version(package)}"
    except PackageNotFoundError:
        return ""
