"""A cache of what takes long to compute, in one SQLite file in the user's cache folder, shared by all processes."""

from __future__ import annotations

import contextlib
import hashlib
import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from platformdirs import user_cache_path

WAIT = 30.0
"""How many seconds to wait for other processes that write to the cache."""
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
        """Keep these values. While the cache is larger than it may be, the older half of it is forgotten first."""
        with contextlib.suppress(OSError, sqlite3.Error), self._opened() as kept:
            new, (count,) = sum(map(len, values.values())), kept.execute("SELECT COUNT(*) FROM kept").fetchone()
            while count and self._size(kept) + new > self.most_bytes:
                old = "SELECT rowid FROM kept ORDER BY rowid LIMIT ?"
                kept.execute(f"DELETE FROM kept WHERE rowid IN ({old})", ((count + 1) // 2,))
                count //= 2
            kept.executemany("INSERT OR IGNORE INTO kept (key, value) VALUES (?, ?)", values.items())

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
