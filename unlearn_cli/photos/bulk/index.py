"""A table on the disk of all that is known before a run: the last record of each photo, and the output's files."""

from __future__ import annotations

import json
import os
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from unlearn_cli.photos.bulk.store import Stored
from unlearn_cli.photos.manifest import WRITTEN, Record

AT_ONCE = 500
"""How many rows are written or looked up by one statement."""


@dataclass(frozen=True, slots=True)
class Last:
    """The last record of a photo that has a copy."""

    output: str
    settings: str | None
    input: Stored | None
    copy: Stored | None
    input_sha256: str | None
    output_sha256: str | None
    reason: str
    grey: bool
    faces: int | None
    faces_found: int | None


@dataclass(frozen=True, slots=True)
class Known:
    """Holds what earlier runs have recorded about one photo."""

    last: Last | None
    ended: str
    """The status and reason of its last record, if it was skipped or failed after that."""


class Index:
    """A table on the disk, in a file that nobody else sees and that is gone when the process ends."""

    def __init__(self, *, whole: bool = False) -> None:
        """Make an empty table; with ``whole`` it also keeps the whole last record of each photo."""
        self._whole = whole
        descriptor, self._path = tempfile.mkstemp(prefix="unlearn-", suffix=".sqlite")
        os.close(descriptor)
        self._base = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
        for line in (
            "PRAGMA journal_mode=OFF",
            "PRAGMA synchronous=OFF",
            "PRAGMA cache_size=-16000",
            "CREATE TABLE last (input TEXT PRIMARY KEY, said TEXT, ended TEXT, whole TEXT) WITHOUT ROWID",
            "CREATE TABLE there (name TEXT PRIMARY KEY, size INTEGER, version TEXT) WITHOUT ROWID",
        ):
            self._base.execute(line)
        if os.name != "nt":
            os.unlink(self._path)
        self.keys: Counter[str] = Counter()
        """How often each key's fingerprint is recorded."""

    def learn_records(self, records: Iterable[Record]) -> None:
        """Keep the last record of each photo."""
        rows = (self._row(record) for record in records)
        self._fill(
            "INSERT INTO last VALUES (?1, ?2, ?3, ?4) ON CONFLICT (input) DO UPDATE SET "
            "said = CASE WHEN ?2 = '' THEN said ELSE ?2 END, ended = ?3, whole = ?4",
            rows,
        )

    def _row(self, record: Record) -> tuple[str, str, str, str]:
        whole = record.to_json() if self._whole else ""
        if record.status not in WRITTEN or record.output is None:
            return record.input, "", f"{record.status}: {record.reason}", whole
        if record.key_fingerprint is not None:
            self.keys[record.key_fingerprint] += 1
        said = [
            record.output, record.settings, _stored(record.input_stat, record.input_version),
            _stored(record.output_stat, record.output_version), record.input_sha256, record.output_sha256,
            record.reason, record.grey, record.faces, record.faces_found,
        ]  # fmt: skip
        return record.input, json.dumps(said), "", whole

    def learn_files(self, files: Iterable[Stored]) -> None:
        """Keep which files are in the output."""
        rows = ((file.name, file.size, file.version) for file in files)
        self._fill("INSERT OR REPLACE INTO there VALUES (?, ?, ?)", rows)

    def _fill(self, statement: str, rows: Iterator[tuple[Any, ...]]) -> None:
        self._base.execute("BEGIN")
        while some := list(islice(rows, AT_ONCE)):
            self._base.executemany(statement, some)
        self._base.execute("COMMIT")

    def known(self, inputs: list[str]) -> dict[str, Known]:
        """Return what is known of some photos."""
        marks = ",".join("?" * len(inputs))
        found = self._base.execute(f"SELECT input, said, ended FROM last WHERE input IN ({marks})", inputs)
        return {name: Known(_last(said), ended) for name, said, ended in found}

    def record(self, name: str) -> Record | None:
        """Return the last record of a photo, if whole records are kept."""
        found = self._base.execute("SELECT whole FROM last WHERE input = ?", [name]).fetchone()
        return Record.from_json(found[0].encode("ascii")) if found is not None else None

    def take(self, name: str) -> Stored | None:
        """Return a file of the output, which is then no longer in the table; None if it is not there."""
        found = self._base.execute("DELETE FROM there WHERE name = ? RETURNING name, size, version", [name]).fetchone()
        return Stored(*found) if found is not None else None

    def left(self) -> Iterator[Stored]:
        """Yield the files of the output that were not taken."""
        for row in self._base.execute("SELECT name, size, version FROM there ORDER BY name"):
            yield Stored(*row)

    def there(self, names: list[str]) -> dict[str, Stored]:
        """Return those of some files that are in the output."""
        marks = ",".join("?" * len(names))
        found = self._base.execute(f"SELECT name, size, version FROM there WHERE name IN ({marks})", names)
        return {row[0]: Stored(*row) for row in found}

    def close(self) -> None:
        """Remove the table."""
        self._base.close()
        if os.path.exists(self._path):
            os.unlink(self._path)


def _stored(stat: tuple[int, int] | None, version: str | None) -> list[Any] | None:
    """Return the size and version that a record says of a file; a local file's version is its modification time."""
    return None if stat is None else [stat[0], version if version is not None else str(stat[1])]


def _last(said: str) -> Last | None:
    if not said:
        return None
    output, settings, *files, sha_in, sha_out, reason, grey, faces, found = json.loads(said)
    given, copy = (None if of is None else Stored("", *of) for of in files)
    return Last(output, settings, given, copy, sha_in, sha_out, reason, grey, faces, found)
