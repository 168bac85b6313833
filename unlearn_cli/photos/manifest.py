"""The manifest: one JSON object per line for each photo, written when the photo is done.

It lies beside the output and not in it, because people share the whole folder. It lets a run continue where an earlier
one stopped, and tells protected photos from originals. Nothing in the photo itself does, because scrapers could read
such a mark too.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import threading
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, get_args

from unlearn_cli.errors import Code, UsageError, WorkError
from unlearn_cli.files import lock

SUFFIX = ".jsonl"
BEGINNING = b'{"input": "'
"""The beginning of every line, including an incomplete first line from a run that was killed while writing it."""

LONGEST_LINE = 1 << 20
FIRST_LINE = 1 << 16
"""How many bytes are read to see whether a file is a manifest."""

Status = Literal["protected", "skipped", "failed", "begun", "restored"]
"""The states of a photo. ``begun`` is written before a copy takes its original's place, ``restored`` when the original
is back."""

WRITTEN = ("protected", "begun")
"""The statuses of records whose output may exist."""

STATUSES: tuple[str, ...] = get_args(Status)


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """The record of one photo's result. Paths are relative to the manifest's folder, with forward slashes."""

    input: str
    status: Status
    output: str | None = None
    reason: str = ""
    code: Code | None = None
    """The reason's code, for scripts, if the photo was not protected."""
    input_sha256: str | None = None
    output_sha256: str | None = None
    bank: str | None = None
    bank_sha256: str | None = None
    class_name: str | None = None
    """The name of the class; the field is called ``class`` in the file."""
    epsilon: int | None = None
    """The bound, in pixel levels."""
    form: str | None = None
    """``class-wise`` for the bank's pattern; ``sample-wise`` for noise made for this photo, which fits no pattern."""
    key_fingerprint: str | None = None
    format: str | None = None
    linf: float | None = None
    """The largest change before encoding, in pixel levels."""
    grey: bool = False
    """Whether the photo could only carry the noise's luma."""
    faces: int | None = None
    """The number of faces to which the pattern was applied; 0 if none was found and it covers the whole photo. None if
    the noise is not for faces."""
    faces_found: int | None = None
    """The number of faces in the photo, of which perhaps only the largest got the pattern."""
    measured: dict[str, float | None] | None = None
    """The quality of the written file, if it was measured: the fields of ``metrics.Quality``."""
    settings: str | None = None
    """A digest of everything that decides the output besides the input."""
    input_stat: tuple[int, int] | None = None
    """The size in bytes and the modification time in nanoseconds."""
    output_stat: tuple[int, int] | None = None
    input_version: str | None = None
    """What the object store says of the photo's content, such as its ETag, if the photo is at a URL."""
    output_version: str | None = None
    backup: str | None = None
    """The path to which the original was moved when its copy replaced it."""
    seconds: float = 0.0

    def to_json(self) -> str:
        """Return one line of ASCII, so that names that are not UTF-8 survive too."""
        values = {key: value for key, value in asdict(self).items() if value is not None}
        if "class_name" in values:
            values["class"] = values.pop("class_name")
        return json.dumps(values, allow_nan=False)

    @classmethod
    def from_json(cls, line: bytes) -> Record | None:
        """Return the record in a line; None if there is none, such as in an incomplete line from a killed run."""
        try:
            values = json.loads(line)
            values["class_name"] = values.pop("class", None)
            for name in ("input_stat", "output_stat"):
                if values.get(name) is not None:
                    size, modified = values[name]
                    values[name] = int(size), int(modified)
            if not values.keys() <= FIELDS:
                values = {key: value for key, value in values.items() if key in FIELDS}
            record = cls(**values)
        except (ValueError, TypeError, AttributeError, KeyError, OverflowError, RecursionError):
            return None
        return record if record._is_sound() else None

    def _is_sound(self) -> bool:
        """Return whether the fields on which the code relies have their types."""
        texts = (self.input, self.reason)
        maybe = (self.code, self.output, self.input_sha256, self.output_sha256, self.settings, self.backup)
        return (
            self.status in STATUSES
            and all(isinstance(text, str) for text in texts)
            and all(text is None or isinstance(text, str) for text in maybe)
            and isinstance(self.epsilon, int | None)
            and all(_is_path(text) for text in (self.input, self.output, self.backup) if text is not None)
        )


FIELDS = frozenset(field.name for field in fields(Record))
"""The fields that this version knows; a newer version may write more."""


def _is_path(text: str) -> bool:
    try:
        return bool(text) and b"\0" not in os.fsencode(text)
    except UnicodeEncodeError:
        return False


def read_records(path: Path) -> Iterator[Record]:
    """Yield the records of a manifest, in the order of writing. Raises ``WorkError`` if it cannot be read."""
    try:
        with path.open("rb") as file:
            for line in file:
                if (record := Record.from_json(line)) is not None:
                    yield record
    except FileNotFoundError:
        return
    except OSError as error:
        raise WorkError(f"The manifest {path} cannot be read ({error.strerror or error}).") from error


def is_manifest(path: Path) -> bool:
    """Return whether a file begins like one of our manifests."""
    try:
        if not path.is_file():  # Opening a pipe would block.
            return False
        with path.open("rb") as file:
            line = file.readline(FIRST_LINE)
        if line.endswith(b"\n") or _is_json(line):
            return Record.from_json(line) is not None
        return line.startswith(BEGINNING) or BEGINNING.startswith(line)
    except OSError:
        return False


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True


def kept_originals(manifests: Iterable[Path]) -> dict[Path, set[Path]]:
    """Return the places of the originals that in-place runs moved to backups, each with its copies' places."""
    kept: dict[Path, set[Path]] = {}
    for path in manifests:
        for record in read_records(path):
            if record.backup is not None:
                copies = kept.setdefault(Path(os.path.normpath(path.parent / record.backup)), set())
                if record.output is not None:
                    copies.add(Path(os.path.normpath(path.parent / record.output)))
    return kept


def protected_hashes(manifests: Iterable[Path]) -> set[str]:
    """Return the SHA-256 of every protected photo that these manifests know."""
    return {
        record.output_sha256
        for path in manifests
        for record in read_records(path)
        if record.output_sha256 is not None and record.status in WRITTEN
    }


class Manifest:
    """An open manifest: what is known about each photo, and a single writer, locked against a second run."""

    def __init__(self, path: Path, *, write: bool = True, remember: bool = True) -> None:
        """Read a manifest; with ``write``, also lock and open it for writing.

        Without ``remember`` it is not read, nothing is kept in memory, and every record is written that is added.
        Raises ``WorkError`` if it cannot be read or written, or another run is writing to it, and ``UsageError`` if the
        file is something else.
        """
        self.path = path
        self.folder = path.parent
        self._below = os.path.join(os.path.abspath(self.folder), "")
        self.tag = hashlib.sha256(os.fsencode(path)).hexdigest()[:8] + "-"
        """The tag in the names of temporary files, by which runs that write to this manifest know their own."""
        self._lock = threading.Lock()
        if path.is_dir() or (path.exists() and not is_manifest(path)):
            raise UsageError(f"{path} is not a manifest that unlearn wrote. Name another file.")
        self._file = self._open() if write else None
        self._last: dict[str, Record] = {}
        self._written: dict[str, Record] = {}
        self._swaps: dict[tuple[str, str], Record] = {}
        self._makers: dict[str, str] = {}
        self.protected: set[str] = set()
        """The SHA-256 of every copy that this manifest knows."""
        self.swapped = False
        """Whether any copy ever took its original's place."""
        self._broken: WorkError | None = None
        self._remember = remember
        for record in read_records(path) if remember else ():
            self._keep(record)

    def _keep(self, record: Record) -> None:
        self._last[record.input] = record
        if record.status in (*WRITTEN, "restored"):
            self._written[record.input] = record
            self._keep_swap(record)
        if record.status in WRITTEN and record.output_sha256 is not None:
            self.protected.add(record.output_sha256)
        if record.status in WRITTEN and record.output is not None:
            self._makers[record.output] = record.input

    def _keep_swap(self, record: Record) -> None:
        if record.backup is None:
            return
        self.swapped = True
        self._swaps.pop((record.input, record.backup), None)
        if record.status in WRITTEN:
            self._swaps[record.input, record.backup] = record

    def _open(self) -> Any:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            while True:
                file = self.path.open("ab+", buffering=0)
                locked = lock(file)
                # Another run may have removed its empty manifest between the two lines above.
                if not locked or (self.path.exists() and os.path.samestat(self.path.stat(), os.fstat(file.fileno()))):
                    break
                file.close()
        except OSError as error:
            raise WorkError(
                f"The manifest {self.path}, the record of this run, cannot be written ({error.strerror or error}). "
                "Name another folder for the copies with --output, or another place for the manifest with --manifest."
            ) from error
        if not locked:
            file.close()
            raise WorkError(f"Another run is writing to {self.path}. Wait for it to end, or name another --manifest.")
        self._cut_torn_line(file)
        return file

    def _cut_torn_line(self, file: Any) -> None:
        """Cut off the incomplete last line of a killed run."""
        end = file.seek(0, os.SEEK_END)
        start = max(0, end - LONGEST_LINE)
        file.seek(start)
        tail = file.read(end - start)
        line = tail[tail.rfind(b"\n") + 1 :]
        if line and _is_json(line):  # The line is complete; an editor left out its end.
            file.write(b"\n")
        elif line:
            file.truncate(end - len(line))

    def relative(self, path: Path) -> str:
        """Return a path as the manifest writes it."""
        text = os.fspath(path)
        # Nearly all paths are below the folder, and this takes a tenth of the time of the rest.
        if text.startswith(self._below) and f"{os.sep}.." not in text:
            return text[len(self._below) :].replace(os.sep, "/")
        try:
            return Path(os.path.relpath(path, self.folder)).as_posix()
        except ValueError:  # It is on another drive.
            return path.as_posix()

    def absolute(self, path: str) -> Path:
        """Return the absolute path for a path in the manifest."""
        return Path(os.path.normpath(self.folder / path))

    def last(self, source: Path) -> Record | None:
        """Return a photo's last record that has a copy, ignoring later runs that skipped it or failed."""
        return self._written.get(self.relative(source))

    def maker(self, place: Path) -> Path | None:
        """Return the photo whose copy was the last one to be written to this place; None if there is none."""
        source = self._makers.get(self.relative(place))
        return None if source is None else self.absolute(source)

    def swaps(self) -> list[Record]:
        """Return the records of originals that copies replaced and that were not restored, newest first.

        A photo may have several.
        """
        return list(self._swaps.values())[::-1]

    def add(self, record: Record) -> None:
        """Write a record, unless the photo was skipped or failed in the same way before.

        Raises ``WorkError`` if the manifest cannot be written.
        """
        with self._lock:
            last = self._last.get(record.input)
            if last is not None and record.status in ("skipped", "failed") and _same(last, record):
                return
            if self._broken is not None:
                raise self._broken
            self._write(record.to_json().encode("ascii") + b"\n")
            if self._remember:
                self._keep(record)

    def _write(self, line: bytes) -> None:
        assert self._file is not None
        end = self._file.seek(0, os.SEEK_END)
        try:
            if self._file.write(line) != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            self._broken = WorkError(
                f"The manifest {self.path} cannot be written ({error.strerror or error}). "
                "Free some disk space and run the same command again: it continues where it stopped."
            )
            with contextlib.suppress(OSError):
                self._file.truncate(end)
            raise self._broken from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file, which unlocks it, and remove it if nothing was ever written to it."""
        if self._file is None:
            return
        if self._file.seek(0, os.SEEK_END) == 0:
            with contextlib.suppress(OSError):  # Windows does not remove open files; the file then stays, empty.
                self.path.unlink()
        self._file.close()
        self._file = None


def _same(one: Record, other: Record) -> bool:
    return (one.status, one.reason, one.input_sha256) == (other.status, other.reason, other.input_sha256)
