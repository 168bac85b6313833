"""The manifest of a run of any length: what is known is on the disk and not in memory, and records are appended.

Locally it is the same file that every other run writes. In object storage, where nothing can be appended, it is a
folder of that name whose objects, put now and then, have some records each.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Protocol

from unlearn_cli.errors import PhotoError, UsageError, WorkError
from unlearn_cli.photos.bulk.objects import ObjectStore, told
from unlearn_cli.photos.bulk.store import Store
from unlearn_cli.photos.manifest import SUFFIX, Manifest, Record, read_records
from unlearn_cli.photos.urls import url_of

RECORDS_A_PART = 1000
SECONDS_A_PART = 30
"""How many records, or records of how many seconds, are lost at most when a run is killed: their copies are found
again by their bytes."""


class Ledger(Protocol):
    """A manifest that is read once from its beginning to its end, and then appended to."""

    def records(self) -> Iterator[Record]:
        """Yield the records of earlier runs, in the order of writing. Raises ``WorkError``."""

    def add(self, record: Record) -> None:
        """Write a record. Raises ``WorkError`` if that fails."""

    def close(self) -> None:
        """Write what is left, and end. Raises ``WorkError`` if that fails."""

    def name_of(self, store: Store) -> str:
        """Return a folder as the manifest writes it, in front of a file's name."""


class FileLedger:
    """A manifest in a file."""

    def __init__(self, path: Path, *, write: bool) -> None:
        """Open the manifest, locked against other runs if it is to be written. Raises the errors of ``Manifest``."""
        self.path = Path(os.path.abspath(path))
        self._manifest = Manifest(self.path, write=write, remember=False)

    def records(self) -> Iterator[Record]:
        """Yield the records of earlier runs, in the order of writing. Raises ``WorkError``."""
        yield from read_records(self.path)

    def add(self, record: Record) -> None:
        """Write a record. Raises ``WorkError`` if that fails."""
        self._manifest.add(record)

    def close(self) -> None:
        """Close the file, which unlocks it."""
        self._manifest.close()

    def name_of(self, store: Store) -> str:
        """Return a folder as the manifest writes it: relative to the manifest's folder, or its URL."""
        return store.place if url_of(store.place) is not None else self._manifest.relative(Path(store.place))


class PartsLedger:
    """A manifest in object storage: a folder of objects, each with some lines, in the order of their names."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._store = ObjectStore(url)
        second, rest = divmod(time.time_ns(), 10**9)
        self._run = f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime(second))}{rest:09}-{secrets.token_hex(3)}"
        """Names the parts of this run: two runs never write the same object, and a later one's parts come later."""
        self._parts = 0
        self._lines: list[str] = []
        self._since = time.monotonic()

    def records(self) -> Iterator[Record]:
        """Yield the records of earlier runs, in the order of their parts. Raises ``WorkError``."""
        parts = [part for part in self._store.listing() if part.name.endswith(SUFFIX)]
        for part in sorted(parts, key=lambda part: part.name):
            try:
                lines = self._store.read(part).splitlines()
            except PhotoError as error:
                raise WorkError(f"The manifest {self.url}/{part.name} cannot be read: {error}.") from error
            yield from (record for line in lines if (record := Record.from_json(line)) is not None)

    def add(self, record: Record) -> None:
        """Keep a record until there are enough for a part. Raises ``WorkError`` if that cannot be put."""
        self._lines.append(record.to_json())
        if len(self._lines) >= RECORDS_A_PART or time.monotonic() - self._since > SECONDS_A_PART:
            self._put()

    def close(self) -> None:
        """Put the records that are left. Raises ``WorkError`` if that fails."""
        if self._lines:
            self._put()

    def _put(self) -> None:
        self._parts += 1
        data = "".join(f"{line}\n" for line in self._lines).encode("ascii")
        try:
            self._store.write(f"{self._run}-{self._parts:06}{SUFFIX}", data, None, times=False)
        except OSError as error:
            raise WorkError(
                f"The manifest {self.url} cannot be written ({told(error)}). "
                "Run the same command again: it continues where this one stopped."
            ) from error
        self._lines, self._since = [], time.monotonic()

    def name_of(self, store: Store) -> str:
        """Return a folder as the manifest writes it: relative to the manifest's folder if it is in the same bucket."""
        ours, theirs = (place.partition("://") for place in (self.url, store.place))
        parent = PurePosixPath(ours[2]).parent
        same = ours[0] == theirs[0] and PurePosixPath(theirs[2]).parts[0] == parent.parts[0]
        return os.path.relpath(theirs[2], parent).replace(os.sep, "/") if same else store.place


def ledger_at(place: Path | str, *, write: bool = True) -> Ledger:
    """Return the manifest at a path or URL. Raises ``UsageError`` unless its name ends in .jsonl, and ``WorkError``."""
    url = url_of(place)
    if not str(place).endswith(SUFFIX):
        raise UsageError(f"A manifest's name must end in {SUFFIX}, not be {PurePosixPath(str(place)).name}.")
    return PartsLedger(url) if url is not None else FileLedger(Path(place), write=write)
