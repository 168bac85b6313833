"""Writing one photo's copy to the disk, or recognising that it exists already."""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path

from unlearn_cli.errors import PhotoError, PhotoSkippedError
from unlearn_cli.files import remove_temporary, sha256_of, write_atomically
from unlearn_cli.photos.anchored import Anchored
from unlearn_cli.photos.apply import Noise
from unlearn_cli.photos.decode import PIXELS_A_BYTE, Photo, claimed_pixels, decode, read_file
from unlearn_cli.photos.encode import Writing
from unlearn_cli.photos.kinds import why_not_taken
from unlearn_cli.photos.manifest import Manifest, Record, Status, kept_originals, protected_hashes
from unlearn_cli.photos.names import Choices, Task, choices, expected
from unlearn_cli.photos.one import Protected, protect_photo
from unlearn_cli.photos.originals import is_perhaps_a_copy, keep_original
from unlearn_cli.photos.outcome import DONE, HARDLY_PROTECTED, ITSELF_PROTECTED, LINKED, NO_FACE, Options, PhotoDone
from unlearn_cli.photos.protection import Protection
from unlearn_cli.photos.resample import LARGE, Workspace
from unlearn_cli.photos.scan import Plan

SMALL_FILE = LARGE // PIXELS_A_BYTE
"""A file size in bytes. A smaller file that claims a large photo is refused, so its header need not be read twice."""


class Run:
    """The state that all workers of one run share."""

    def __init__(
        self,
        todo: Plan,
        protections: Mapping[str, Protection],
        options: Options,
        manifests: Mapping[Path, Manifest],
        *,
        clean: bool = True,
    ) -> None:
        self.protections, self.options, self.manifests = protections, options, manifests
        self.workspace = Workspace()
        self.lock = threading.Lock()
        self.names = todo.names
        self.protected = protected_hashes(path for path in todo.manifests if path not in manifests)
        self.protected = self.protected.union(*(manifest.protected for manifest in manifests.values()))
        self.kept: dict[Path, set[Path]] = {}
        """The originals in the backups of in-place runs, including this one, with the places of their copies."""
        self.links: Counter[tuple[int, int]] = Counter()
        """How many photos of an in-place run are hard links to each file."""
        if any(task.backup for task in todo.tasks):
            self.kept = kept_originals({*todo.manifests, *manifests})
            self.links.update(file for task in todo.tasks if (file := _linked(task.source)) is not None)
        if not clean:
            return
        for folder, of in {(place.parent, task.manifest) for task in todo.tasks for place in task.places}:
            remove_temporary(folder, manifests[of].tag)

    def protect(self, task: Task) -> PhotoDone:
        """Protect one photo, whatever happens, and record the result."""
        start = time.perf_counter()
        photo = One(self, task)
        record: Record | None
        try:
            with photo.stack:
                done, record = photo.protect()
        except PhotoSkippedError as reason:
            done, record = photo.ended("skipped", str(reason))
            if str(reason) == ITSELF_PROTECTED:
                record = None  # It is recorded as protected where that was found out.
        except PhotoError as error:
            done, record = photo.ended("failed", str(error))
        except MemoryError:
            done, record = photo.ended("failed", "there is not enough memory to protect it")
        seconds = time.perf_counter() - start
        if record is not None:
            self.record(task, replace(record, seconds=round(seconds, 4)))
        if done.target is not None:
            photo.remove_replaced(done.target)
        return replace(done, seconds=seconds)

    def record(self, task: Task, record: Record) -> None:
        """Write a photo's record; from then on its copy is known to be one."""
        manifest = self.manifests[task.manifest]
        manifest.add(record)
        with self.lock:
            if record.output_sha256 is not None:
                self.protected.add(record.output_sha256)
            if task.backup is not None and record.output is not None:
                self.kept.setdefault(task.backup, set()).add(manifest.absolute(record.output))

    def claim(self, task: Task, names: Choices) -> Path:
        """Claim and return the place of a photo's copy.

        It is the planned one, or another free one if that is taken or the format does not fit its name.
        """
        with self.lock:
            if task.copy is not None and task.copy.name in names and self.names.is_free(task.copy, task.source):
                return task.copy
            return self.names.take_free(task.target.parent, names, task.source)

    def may_have(self, task: Task, place: Path) -> bool:
        """Return whether a photo's copy may be at a place where an earlier run put it."""
        names = choices(task.target.name, self.options.writing.format)
        if place.parent != task.target.parent or not any(place.name in some for some in names):
            return False
        with self.lock:
            return self.names.is_free(place, task.source)

    def moves_away(self, source: Path, place: Path) -> bool:
        """Return whether the photo whose copy is at a place belongs to this run and gets its copy elsewhere now."""
        with self.lock:
            return self.names.is_source(source) and not self.names.is_free(place, source)


class One:
    """One photo while it is being protected."""

    def __init__(self, run: Run, task: Task) -> None:
        self.run, self.task, self.options = run, task, run.options
        self.manifest = run.manifests[task.manifest]
        self.protection = run.protections.get("") or run.protections[task.folder]
        self.target = task.copy or task.target.with_name(expected(task, self.options.writing.format).alone)
        self.last = self.manifest.last(task.source)
        self.settings = _digest(self.protection, self.options.writing)
        self.noise: Noise = self.protection.pattern
        self.stack = contextlib.ExitStack()
        """The contexts that stay open until the photo is done."""
        self.sha256: str | None = None
        self.stat: os.stat_result | None = None

    def protect(self) -> tuple[PhotoDone, Record | None]:
        """Protect the photo; None stands for its record if the last one is still valid."""
        if self.is_done():
            return self._left_alone()
        data = self._read()
        if self._is_done_by_content():
            return self._left_alone()
        if self._is_begun():
            return self._finished()
        with self.run.lock:
            itself_protected = self.sha256 in self.run.protected
        if itself_protected and not self.options.again:
            raise PhotoSkippedError(ITSELF_PROTECTED)
        if self.options.skip_existing and self.target != self.task.source and os.path.lexists(self.target):
            raise PhotoSkippedError("something is at its copy's place already (--existing skip)")
        self.stack.enter_context(self.run.workspace.room(claimed_pixels(data) if len(data) > SMALL_FILE else 0))
        size, photo = len(data), decode(data, self.options.writing.metadata, self.run.workspace)
        if self.task.backup is None:
            data = b""  # A large photo's file need not be in memory beside its pixels.
        made = self._made(photo)
        digest = hashlib.sha256(made.data).hexdigest()
        done, record = self._ended(made, digest, size)
        if self._is_free(digest):
            if self.task.backup is not None:
                self._keep_original(self.task.backup, data)
            if self.task.backup is not None or self.protection.per_photo is not None:
                # Noise made for each photo may differ in a bit when it is made again, so only a record identifies its
                # copy; and after a swap only a record tells the copy from the original.
                self.run.record(self.task, replace(record, status="begun"))
            self._write(made.data)
        return done, replace(record, output_stat=_stat(self.target))

    def _read(self) -> bytes:
        if (why := why_not_taken(self.task.source)) is not None:
            raise PhotoError(why)
        if self.task.backup is not None and self.task.source.is_symlink():
            raise PhotoSkippedError("it is a link to another file, which --in-place would part from it")
        if self.task.backup is not None and self.task.source in self.run.kept:
            raise PhotoSkippedError("it is an original that an earlier run in place has kept")
        # The times are read before the file, so that a change in between is noticed before the photo is replaced.
        with contextlib.suppress(OSError):
            self.stat = self.task.source.stat()
        data = read_file(self.task.source)
        self.sha256 = hashlib.sha256(data).hexdigest()
        return data

    def _made(self, photo: Photo) -> Protected:
        of = self.options
        self.noise = self.protection.noise_for(photo)
        made = protect_photo(photo, self.noise, of.writing, of.measure, self.run.workspace)
        kept = of.writing.format == "keep"
        changes = made.format != made.source_format or not kept
        names = Choices(self.task.target.name, made.format if changes else None, instead=not kept)
        self.target = self.run.claim(self.task, names)
        return made

    def is_done(self) -> bool:
        """Return whether the last record is still valid.

        Only sizes and times are compared, which is fast for large folders.
        """
        output = self._recorded_output()
        if output is None or self.last is None or self.last.status != "protected":
            return False
        replaced = self.task.backup is not None and output == self.task.source
        return _stat(output) == self.last.output_stat and (replaced or _stat(self.task.source) == self.last.input_stat)

    def _is_done_by_content(self) -> bool:
        output = self._recorded_output()
        if output is None or self.last is None or self.last.status != "protected":
            return False
        if self.task.backup is not None and output == self.task.source:
            return self.sha256 == self.last.output_sha256
        return self.sha256 == self.last.input_sha256 and sha256_of(output) == self.last.output_sha256

    def _is_begun(self) -> bool:
        """Return whether a killed run wrote the copy but could not record that it had."""
        output = self._recorded_output()
        return (
            output is not None
            and self.last is not None
            and self.last.status == "begun"
            and sha256_of(output) == self.last.output_sha256
            and self.sha256 in (self.last.input_sha256, self.last.output_sha256)
        )

    def _recorded_output(self) -> Path | None:
        """Return the place of the last record's copy; None if that record is not of what this run would do."""
        last = self.last
        if last is None or last.output is None or last.settings != self.settings or self.options.overwrite:
            return None
        backup = self.manifest.relative(self.task.backup) if self.task.backup is not None else None
        if last.backup != backup or (self.options.measure and last.measured is None):
            return None
        output = self.manifest.absolute(last.output)
        return output if output == self.target or self.run.may_have(self.task, output) else None

    def _is_free(self, digest: str) -> bool:
        """Return whether the copy has to be written.

        Raises ``PhotoSkippedError`` if a file that is not ours is in its place.
        """
        if self.target == self.task.source or not os.path.lexists(self.target):
            return True
        if self.options.overwrite and self.task.backup is None:
            return True
        there = sha256_of(self.target)
        if there == digest and self.task.backup is None:
            return False  # A run that was killed before it could record it has written it.
        last = self.last
        ours = last is not None and last.output == self.manifest.relative(self.target)
        if self.task.backup is not None and last is not None:
            ours = ours and last.input_sha256 == self.sha256  # Otherwise it is another photo's copy by now.
        if ours and last is not None and there == last.output_sha256:
            return True
        if ours and last is not None and last.status == "begun" and there in self.manifest.protected:
            return True  # The run before the killed one wrote it.
        if self.task.backup is not None:
            raise PhotoSkippedError("another file already has the name of its copy: rename one of them and run again")
        if there in self.manifest.protected and self._is_left_behind():
            return True
        what = "its copy was changed after it was written" if ours else "something else is at its copy's place already"
        raise PhotoSkippedError(f"{what} (--existing overwrite replaces it)")

    def _is_left_behind(self) -> bool:
        """Return whether the file in the copy's place is another photo's copy, which gets another name in this run."""
        other = self.manifest.maker(self.target)
        return other is not None and self.run.moves_away(other, self.target)

    def _keep_original(self, backup: Path, data: bytes) -> None:
        """Write the original into the backup unless it is already there; no file there is ever overwritten."""
        if self.last is None and is_perhaps_a_copy(self.task.source, backup, self.run.kept):
            raise PhotoError("it may be a protected copy: the backup holds an original of its name in another format")
        keep_original(self.task.source, backup, data, sha256=self.sha256, like=self.stat, tag=self.manifest.tag)

    def _write(self, data: bytes) -> None:
        replaces = self.target == self.task.source
        if replaces and (self.stat is None or _stat(self.target) != (self.stat.st_size, self.stat.st_mtime_ns)):
            raise PhotoError("it was changed while it was being protected")
        times = self.options.writing.preserve_times
        of = self.task.source if self.task.backup is not None else None
        try:
            write_atomically(self.target, data, tag=self.manifest.tag, like=self.stat, times=times, attributes=of)
        except OSError as error:
            raise PhotoError(f"its copy cannot be written ({error.strerror or error})") from error

    def remove_replaced(self, target: Path) -> None:
        """Remove an original whose copy has another name, once the backup holds it and its copy is recorded."""
        backup = self.task.backup
        if backup is None or target == self.task.source:
            return
        kept = sha256_of(backup)
        if kept is not None and kept == sha256_of(self.task.source):
            with contextlib.suppress(OSError):
                self.task.source.unlink()

    def _left_alone(self) -> tuple[PhotoDone, None]:
        done, _ = self.ended("skipped", DONE)
        return replace(done, target=self._recorded_output()), None

    def _finished(self) -> tuple[PhotoDone, Record]:
        """Return the result and record of a photo that a killed run had finished but not recorded."""
        assert self.last is not None
        output = self._recorded_output()
        assert output is not None
        done, _ = self.ended("protected", "")
        record = replace(self.last, status="protected", output_stat=_stat(output))
        told = (part for part in record.reason.split("; ") if part not in ("", HARDLY_PROTECTED, NO_FACE))
        done = replace(done, target=output, linf=record.linf or 0, grey=record.grey, faces=record.faces)
        return replace(done, notes=tuple(told)), record

    def _ended(self, made: Protected, digest: str, size: int) -> tuple[PhotoDone, Record]:
        done, record = self.ended("protected", "")
        notes = (*made.notes, *self._notes())
        return replace(
            done,
            target=self.target,
            linf=made.linf,
            grey=made.grey,
            faces=self._faces(),
            quality=made.quality,
            sizes=(size, len(made.data)),
            notes=notes,
        ), replace(
            record,
            reason="; ".join((*self._doubts(made), *notes)),
            faces=self._faces(),
            output=self.manifest.relative(self.target),
            output_sha256=digest,
            format=made.format,
            linf=made.linf,
            grey=made.grey,
            measured=_finite(asdict(made.quality)) if made.quality is not None else None,
        )

    def _faces(self) -> int | None:
        return len(self.noise.boxes) if isinstance(self.noise, Anchored) else None

    def _doubts(self, made: Protected) -> Iterator[str]:
        """Yield the reasons why a protected photo may be protected less."""
        if made.grey and self.noise.mostly_chroma:
            yield HARDLY_PROTECTED
        if self._faces() == 0:
            yield NO_FACE

    def _notes(self) -> Iterator[str]:
        """Yield what else the user has to know about a protected photo."""
        if self.task.backup is not None and self.stat is not None:
            ours = self.run.links[self.stat.st_dev, self.stat.st_ino]
            if self.stat.st_nlink > max(ours, 1):
                yield LINKED

    def ended(self, status: Status, reason: str) -> tuple[PhotoDone, Record]:
        """Return what became of the photo, for the caller and for the manifest."""
        name, backup = self.protection.class_name, self.task.backup
        record = Record(
            input=self.manifest.relative(self.task.source),
            status=status,
            reason=reason,
            input_sha256=self.sha256,
            bank=self.protection.bank,
            bank_sha256=self.protection.bank_sha256,
            class_name=name,
            epsilon=self.protection.pattern.epsilon,
            form=self.protection.form,
            key_fingerprint=self.protection.key_fingerprint,
            settings=self.settings,
            input_stat=(self.stat.st_size, self.stat.st_mtime_ns) if self.stat is not None else None,
            backup=self.manifest.relative(backup) if backup is not None else None,
        )
        return PhotoDone(self.task.source, None, status, reason, class_name=name, backup=backup), record


def _digest(protection: Protection, writing: Writing) -> str:
    """Return a digest of everything that decides a copy besides its original."""
    text = repr((protection.fingerprint, protection.pattern.epsilon, sorted(asdict(writing).items())))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _stat(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns


def _linked(path: Path) -> tuple[int, int] | None:
    """Return the device and inode of a file that has several names; None if it has only one."""
    try:
        found = path.lstat()
    except OSError:
        return None
    return (found.st_dev, found.st_ino) if found.st_nlink > 1 else None


def _finite(values: dict[str, float | None]) -> dict[str, float | None]:
    """Return values that JSON can hold: it has no infinity, so an infinite PSNR becomes null."""
    return {key: None if value == float("inf") else value for key, value in values.items()}
