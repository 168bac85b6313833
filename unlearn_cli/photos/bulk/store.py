"""A folder of photos, on this machine or in object storage: listing it as a stream, reading a file, writing one."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from unlearn_cli.files import TEMPORARY_PREFIX, write_atomically
from unlearn_cli.photos.decode import read_file
from unlearn_cli.photos.urls import url_of


@dataclass(frozen=True, slots=True)
class Stored:
    """A file as a listing shows it."""

    name: str
    """Its path below the folder, with forward slashes."""
    size: int
    version: str
    """What changes with its content: the modification time in nanoseconds, or what the object store says; may be
    empty."""


class Store(Protocol):
    """A folder of photos. It may be pickled, and any number of threads may use it."""

    @property
    def place(self) -> str:
        """Return the folder's path or URL."""

    def listing(self) -> Iterator[Stored]:
        """Yield all files below the folder, without ever holding the list of all. Raises ``WorkError``."""

    def read(self, file: Stored) -> bytes:
        """Return a file's bytes. Raises ``PhotoError`` if it cannot be read."""

    def start(self, file: Stored, count: int) -> bytes:
        """Return a file's first bytes; fewer if it has fewer. Raises ``PhotoError`` if an object cannot be read."""

    def stat(self, name: str) -> os.stat_result | None:
        """Return a local file's permissions and times; None for an object, which has none."""

    def find(self, name: str) -> Stored | None:
        """Return a file as a listing would show it; None if there is none."""

    def write(self, name: str, data: bytes, like: os.stat_result | None, *, times: bool) -> Stored:
        """Write a file so that it is complete or not there at all. Raises ``OSError`` if that fails."""


class LocalStore:
    """A folder on this machine."""

    def __init__(self, folder: Path, tag: str = "") -> None:
        self.folder, self.tag = Path(os.path.abspath(folder)), tag
        """The tag in the names of temporary files, by which a run knows what a killed one left."""

    @property
    def place(self) -> str:
        """Return the folder's path."""
        return str(self.folder)

    def listing(self) -> Iterator[Stored]:
        """Yield all files below the folder, in order of their names; folders that cannot be read are passed over."""
        for parent, folders, files in os.walk(self.folder):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            below = os.path.relpath(parent, self.folder).replace(os.sep, "/")
            for name in sorted(files):
                if name.startswith(TEMPORARY_PREFIX):
                    self._remove_left(Path(parent, name))
                    continue
                if (found := self.find(name if below == "." else f"{below}/{name}")) is not None:
                    yield found

    def _remove_left(self, path: Path) -> None:
        if self.tag and path.name.startswith(TEMPORARY_PREFIX + self.tag):
            with contextlib.suppress(OSError):
                path.unlink()

    def read(self, file: Stored) -> bytes:
        """Return a file's bytes. Raises ``PhotoError`` if it cannot be read."""
        return read_file(self.folder / file.name)

    def start(self, file: Stored, count: int) -> bytes:
        """Return a file's first bytes; fewer if it has fewer or cannot be read."""
        path = self.folder / file.name
        with contextlib.suppress(OSError):
            if path.is_file():
                with path.open("rb") as opened:
                    return opened.read(count)
        return b""

    def stat(self, name: str) -> os.stat_result | None:
        """Return a file's permissions and times; None if it is gone."""
        try:
            return (self.folder / name).stat()
        except OSError:
            return None

    def find(self, name: str) -> Stored | None:
        """Return a file as the listing shows it; None if there is none."""
        found = self.stat(name)
        return Stored(name, found.st_size, str(found.st_mtime_ns)) if found is not None else None

    def write(self, name: str, data: bytes, like: os.stat_result | None, *, times: bool) -> Stored:
        """Write a file so that it is complete or not there at all. Raises ``OSError`` if that fails."""
        write_atomically(self.folder / name, data, tag=self.tag, like=like, times=times)
        return self.find(name) or Stored(name, len(data), "")


def store_at(place: Path | str, tag: str = "") -> Store:
    """Return the folder at a path or URL. Raises ``UsageError`` for a URL that cannot be used.

    ``tag`` marks the temporary files of a local folder, which its next listing removes.
    """
    url = url_of(place)
    if url is None:
        return LocalStore(Path(place), tag)
    from unlearn_cli.photos.bulk.objects import ObjectStore

    return ObjectStore(url)
