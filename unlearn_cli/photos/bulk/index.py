"""A table on the disk of all that is known before a run: the last record of each photo, and the output's files."""

from __future__ import annotations

import json
import os
import sqlite3
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from unlearn_cli.errors import WorkError
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
            # Names are bytes, because on Linux they need not be text.
            "CREATE TABLE last (input BLOB PRIMARY KEY, said TEXT, ended TEXT, whole TEXT, key TEXT) WITHOUT ROWID",
            "CREATE TABLE there (name BLOB PRIMARY KEY, size INTEGER, version TEXT) WITHOUT ROWID",
        ):
            self._base.execute(line)
        if os.name != "nt":
            os.unlink(self._path)

    def used_keys(self) -> list[tuple[str, int]]:
        """Return the fingerprints of the keys that present copies were made with, and how many; most copies first."""
        counted = "SELECT key, count(*) FROM last WHERE key != '' GROUP BY key ORDER BY count(*) DESC"
        return list(self._base.execute(counted))

    def learn_records(self, records: Iterable[Record]) -> None:
        """Keep the last record of each photo."""
        rows = (self._row(record) for record in records)
        self._fill(
            "INSERT INTO last VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT (input) DO UPDATE SET "
            "said = CASE WHEN ?2 = '' THEN said ELSE ?2 END, ended = ?3, whole = ?4, "
            "key = CASE WHEN ?2 = '' THEN key ELSE ?5 END",
            rows,
        )

    def _row(self, record: Record) -> tuple[bytes, str, str, str, str]:
        whole = record.to_json() if self._whole else ""
        name = os.fsencode(record.input)
        if record.status not in WRITTEN or record.output is None:
            return name, "", f"{record.status}: {record.reason}", whole, ""
        said = [
            record.output, record.settings, _stored(record.input_stat, record.input_version),
            _stored(record.output_stat, record.output_version), record.input_sha256, record.output_sha256,
            record.reason, record.grey, record.faces, record.faces_found,
        ]  # fmt: skip
        return name, json.dumps(said), "", whole, record.key_fingerprint or ""

    def learn_files(self, files: Iterable[Stored]) -> None:
        """Keep which files are in the output."""
        rows = ((os.fsencode(file.name), file.size, file.version) for file in files)
        self._fill("INSERT OR REPLACE INTO there VALUES (?, ?, ?)", rows)

    def _fill(self, statement: str, rows: Iterator[tuple[Any, ...]]) -> None:
        try:
            self._base.execute("BEGIN")
            while some := list(islice(rows, AT_ONCE)):
                self._base.executemany(statement, some)
            self._base.execute("COMMIT")
        except sqlite3.OperationalError as error:
            where = tempfile.gettempdir()
            raise WorkError(
                f"What is done already cannot be listed in {where} ({error}). Free some space there."
            ) from error

    def known(self, inputs: list[str]) -> dict[str, Known]:
        """Return what is known of some photos."""
        marks = ",".join("?" * len(inputs))
        names = [os.fsencode(name) for name in inputs]
        found = self._base.execute(f"SELECT input, said, ended FROM last WHERE input IN ({marks})", names)
        return {os.fsdecode(name): Known(_last(said), ended) for name, said, ended in found}

    def record(self, name: str) -> Record | None:
        """Return the last record of a photo, if whole records are kept."""
        found = self._base.execute("SELECT whole FROM last WHERE input = ?", [os.fsencode(name)]).fetchone()
        return Record.from_json(found[0].encode("ascii")) if found is not None else None

    def take(self, name: str) -> Stored | None:
        """Return a file of the output, which is then no longer in the table; None if it is not there."""
        gone = "DELETE FROM there WHERE name = ? RETURNING name, size, version"
        found = self._base.execute(gone, [os.fsencode(name)]).fetchone()
        return _file(*found) if found is not None else None

    def left(self) -> Iterator[Stored]:
        """Yield the files of the output that were not taken."""
        for row in self._base.execute("SELECT name, size, version FROM there ORDER BY name"):
            yield _file(*row)

    def there(self, names: list[str]) -> dict[str, Stored]:
        """Return those of some files that are in the output."""
        marks = ",".join("?" * len(names))
        wanted = [os.fsencode(name) for name in names]
        rows = self._base.execute(f"SELECT name, size, version FROM there WHERE name IN ({marks})", wanted)
        return {found.name: found for found in (_file(*row) for row in rows)}

    def close(self) -> None:
        """Remove the table."""
        self._base.close()
        if os.path.exists(self._path):
            os.unlink(self._path)


def _file(name: bytes, size: int, version: str) -> Stored:
    return Stored(os.fsdecode(name), size, version)


def _stored(stat: tuple[int, int] | None, version: str | None) -> list[Any] | None:
    """Return the size and version that a record says of a file; a local file's version is its modification time."""
    return None if stat is None else [stat[0], version if version is not None else str(stat[1])]


def _last(said: str) -> Last | None:
    if not said:
        return None
    output, settings, *files, sha_in, sha_out, reason, grey, faces, found = json.loads(said)
    given, copy = (None if of is None else Stored("", *of) for of in files)
    return Last(output, settings, given, copy, sha_in, sha_out, reason, grey, faces, found)
