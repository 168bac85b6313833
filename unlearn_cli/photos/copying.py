"""Making one photo's copy on the disk, or finding that it is made already."""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from unlearn_cli.errors import PhotoError, PhotoSkippedError
from unlearn_cli.files import remove_temporary, write_atomically
from unlearn_cli.photos.decode import read_file
from unlearn_cli.photos.encode import WRITING, Writing, renamed
from unlearn_cli.photos.manifest import Manifest, Record, Status, protected_hashes
from unlearn_cli.photos.metrics import Quality
from unlearn_cli.photos.noise import Pattern
from unlearn_cli.photos.one import Protected, protect_bytes
from unlearn_cli.photos.resample import Workspace
from unlearn_cli.photos.scan import Plan, Task, expected_target

DONE = "it was protected by an earlier run, and nothing has changed since"
ITSELF_PROTECTED = "it is a protected photo already, as a manifest tells (--again lays noise on noise)"


@dataclass(frozen=True, eq=False)
class Protection:
    """What a class of photos is protected with."""

    pattern: Pattern
    class_name: str
    bank: str
    bank_sha256: str
    bank_epsilon: int
    """The bound that the bank was made and measured with."""
    bank_path: Path = Path()


@dataclass(frozen=True, kw_only=True)
class Options:
    """How a run goes."""

    writing: Writing = WRITING
    overwrite: bool = False
    """Write over whatever is at a copy's place."""
    skip_existing: bool = False
    """Leave photos alone at whose copy's place there is anything, without looking at it."""
    again: bool = False
    """Also protect what a manifest knows as protected."""
    measure: bool = False
    fail_fast: bool = False
    """Begin nothing more after a photo has failed."""
    jobs: int = 1


OPTIONS = Options()
"""One photo at a time, and nothing that is there already is touched."""


@dataclass(frozen=True, eq=False)
class PhotoDone:
    """What became of one photo."""

    source: Path
    target: Path | None
    status: Status
    reason: str = ""
    linf: float = 0.0
    """The largest change before encoding, in pixel levels."""
    grey: bool = False
    """Whether the photo could only carry the noise's luma."""
    quality: Quality | None = None
    """What the written file holds, where that was measured."""
    class_name: str = ""
    sizes: tuple[int, int] = (0, 0)
    """Bytes of the original and of the copy."""
    backup: Path | None = None
    """Where the original is, if its copy has taken its place."""
    seconds: float = 0.0

    @property
    def original(self) -> Path:
        """Where the unprotected photo is."""
        return self.backup or self.source


class Run:
    """What the workers of one run share."""

    def __init__(
        self,
        todo: Plan,
        protections: Mapping[str, Protection],
        options: Options,
        manifests: Mapping[Path, Manifest],
    ) -> None:
        self.protections, self.options, self.manifests = protections, options, manifests
        self.workspace = Workspace()
        self.lock = threading.Lock()
        wanted = options.writing.format
        self.claimed = {expected_target(task, wanted): task.source for task in todo.tasks}
        self.protected = protected_hashes(path for path in todo.manifests if path not in manifests)
        self.protected = self.protected.union(*(manifest.protected for manifest in manifests.values()))
        for folder in {path.parent for task in todo.tasks for path in (task.target, task.backup) if path}:
            for manifest in manifests.values():
                remove_temporary(folder, manifest.tag)

    def protect(self, task: Task) -> PhotoDone:
        """Protect one photo, whatever happens, and record it."""
        start = time.perf_counter()
        photo = _One(self, task)
        try:
            done, record = photo.protect()
        except PhotoSkippedError as reason:
            done, record = photo.ended("skipped", str(reason))
        except PhotoError as error:
            done, record = photo.ended("failed", str(error))
        except MemoryError:
            done, record = photo.ended("failed", "there is not enough memory to protect it")
        seconds = time.perf_counter() - start
        if record is not None:
            self.manifests[task.manifest].add(replace(record, seconds=round(seconds, 4)))
            photo.after_recording()
        return replace(done, seconds=seconds)

    def claim(self, target: Path, source: Path) -> None:
        """Take a copy's place for a photo whose format was not what its name says."""
        with self.lock:
            if self.claimed.setdefault(target, source) != source:
                raise PhotoError(f"another photo of this run becomes {target}")


class _One:
    """One photo on its way."""

    def __init__(self, run: Run, task: Task) -> None:
        self.run, self.task, self.options = run, task, run.options
        self.manifest = run.manifests[task.manifest]
        self.protection = run.protections.get("") or run.protections[task.folder]
        self.target = expected_target(task, self.options.writing.format)
        self.sha256: str | None = None
        self.stat: os.stat_result | None = None
        self.settings = _digest(self.protection, self.options.writing)

    def protect(self) -> tuple[PhotoDone, Record | None]:
        """Protect the photo; None instead of a record where the last one still holds."""
        last = self.manifest.last(self.task.source)
        if self._is_done(last):
            return self._left_alone(last)
        data = read_file(self.task.source)
        self.stat = self.task.source.stat()
        self.sha256 = hashlib.sha256(data).hexdigest()
        if self._is_done_by_content(last):
            return self._left_alone(last)
        if self.sha256 in self.run.protected and not self.options.again:
            raise PhotoSkippedError(ITSELF_PROTECTED)
        if self.task.backup is None and self.options.skip_existing and os.path.lexists(self.target):
            raise PhotoSkippedError("something is at its copy's place already (--skip-existing)")
        made = self._adopted(data) if self.task.backup is not None else None
        if made is None:
            made = self._protected(data)
            self._write(made, last)
        return self._done(made, len(data))

    def _protected(self, data: bytes) -> Protected:
        made = protect_bytes(
            data,
            self.protection.pattern,
            self.options.writing,
            measure=self.options.measure,
            workspace=self.run.workspace,
        )
        kept = self.options.writing.format == "keep"
        if made.format != made.source_format or not kept:
            self.target = self.task.target.with_name(renamed(self.task.target.name, made.format, instead=not kept))
        else:
            self.target = self.task.target
        self.run.claim(self.target, self.task.source)
        return made

    def _is_done(self, last: Record | None) -> bool:
        """Whether the last record still holds, as far as sizes and times tell: large folders are seen through fast."""
        if last is None or not self._is_record_of_this(last) or last.output is None:
            return False
        output = self.manifest.absolute(last.output)
        in_place = self.task.backup is not None and output == self.task.source
        return _stat(output) == last.output_stat and (in_place or _stat(self.task.source) == last.input_stat)

    def _is_done_by_content(self, last: Record | None) -> bool:
        if last is None or not self._is_record_of_this(last) or last.output is None:
            return False
        output = self.manifest.absolute(last.output)
        if self.task.backup is not None and output == self.task.source:
            return self.sha256 == last.output_sha256
        return self.sha256 == last.input_sha256 and _sha256(output) == last.output_sha256

    def _is_record_of_this(self, last: Record) -> bool:
        return (
            last.status == "protected"
            and last.settings == self.settings
            and (last.backup is None) == (self.task.backup is None)
            and not self.options.overwrite
            and not (self.options.measure and last.measured is None)
        )

    def _adopted(self, data: bytes) -> Protected | None:
        """Keep the original before its copy takes its place, or find that a killed run's copy has taken it already."""
        backup = self.task.backup
        assert backup is not None
        assert self.stat is not None
        kept = read_file(backup) if os.path.lexists(backup) else None
        if kept is None:
            self._write_file(backup, data, (self.stat.st_atime_ns, self.stat.st_mtime_ns), "backup")
            return None
        if kept == data:
            return None
        made = self._protected(kept)
        if made.data != data or self.target != self.task.source:
            raise PhotoError(f"its backup {backup} holds another photo already; name another --backup")
        self.sha256, self.stat = hashlib.sha256(kept).hexdigest(), backup.stat()
        return made

    def _write(self, made: Protected, last: Record | None) -> None:
        if self.target != self.task.source and os.path.lexists(self.target) and not self.options.overwrite:
            there = _sha256(self.target)
            if there == hashlib.sha256(made.data).hexdigest():
                return  # Written by a run that was killed before it could record it.
            ours = last is not None and last.output == self.manifest.relative(self.target)
            if not (ours and last is not None and there == last.output_sha256):
                what = "its copy was changed after it was written" if ours else f"{self.target} is there already"
                raise PhotoSkippedError(f"{what} (--overwrite replaces it)")
        assert self.stat is not None
        if self.target == self.task.source and _stat(self.target) != (self.stat.st_size, self.stat.st_mtime_ns):
            raise PhotoError("it was changed while it was being protected")
        kept = self.options.writing.preserve_times
        self._write_file(
            self.target, made.data, (self.stat.st_atime_ns, self.stat.st_mtime_ns) if kept else None, "copy"
        )

    def _write_file(self, path: Path, data: bytes, times: tuple[int, int] | None, what: str) -> None:
        try:
            write_atomically(path, data, tag=self.manifest.tag, times=times)
        except OSError as error:
            raise PhotoError(f"its {what} {path} cannot be written ({error.strerror or error})") from error

    def after_recording(self) -> None:
        """Remove an original whose copy has another name, now that it is kept and its copy recorded."""
        if self.task.backup is not None and self.done and self.target != self.task.source:
            with contextlib.suppress(OSError):
                if _sha256(self.task.source) == _sha256(self.task.backup):
                    self.task.source.unlink()

    done = False

    def _done(self, made: Protected, size: int) -> tuple[PhotoDone, Record]:
        self.done = True
        done, record = self.ended("protected", "")
        assert record is not None
        return replace(
            done, linf=made.linf, grey=made.grey, quality=made.quality, sizes=(size, len(made.data))
        ), replace(
            record,
            output_sha256=hashlib.sha256(made.data).hexdigest(),
            format=made.format,
            linf=made.linf,
            grey=made.grey,
            measured=_finite(asdict(made.quality)) if made.quality is not None else None,
            output_stat=_stat(self.target),
        )

    def _left_alone(self, last: Record | None) -> tuple[PhotoDone, None]:
        assert last is not None
        assert last.output is not None
        self.target, self.done = self.manifest.absolute(last.output), True
        self.after_recording()
        return replace(self.ended("skipped", DONE)[0], target=self.target), None

    def ended(self, status: Status, reason: str) -> tuple[PhotoDone, Record | None]:
        """What became of the photo, for the caller and for the manifest."""
        written = status == "protected"
        name = self.protection.class_name
        done = PhotoDone(
            self.task.source, self.target if written else None, status, reason, class_name=name, backup=self.task.backup
        )
        record = Record(
            input=self.manifest.relative(self.task.source),
            status=status,
            output=self.manifest.relative(self.target) if written else None,
            reason=reason,
            input_sha256=self.sha256,
            bank=self.protection.bank,
            bank_sha256=self.protection.bank_sha256,
            class_name=name,
            epsilon=self.protection.pattern.epsilon,
            settings=self.settings,
            input_stat=(self.stat.st_size, self.stat.st_mtime_ns) if self.stat is not None else None,
            backup=self.manifest.relative(self.task.backup) if self.task.backup is not None else None,
        )
        return done, record


def _digest(protection: Protection, writing: Writing) -> str:
    """Of all that decides a copy besides its original."""
    text = repr((protection.pattern.fingerprint, protection.pattern.epsilon, sorted(asdict(writing).items())))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _stat(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns


def _sha256(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None


def _finite(values: dict[str, float | None]) -> dict[str, float | None]:
    """JSON knows no infinity: an infinite PSNR is null."""
    return {key: None if value == float("inf") else value for key, value in values.items()}
