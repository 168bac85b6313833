"""Making and recording the copy of each photo of a run, unless an earlier run has already done so."""

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
from typing import Literal

from unlearn_cli.errors import AlreadyProtectedError, Code, PhotoError, PhotoSkippedError, UnlearnError
from unlearn_cli.files import remove_temporary, sha256_of, write_atomically
from unlearn_cli.photos.anchored import Anchored
from unlearn_cli.photos.apply import Noise
from unlearn_cli.photos.decode import PIXELS_A_BYTE, Photo, claimed_pixels, decode, read_file
from unlearn_cli.photos.encode import Writing
from unlearn_cli.photos.kinds import why_not_taken
from unlearn_cli.photos.manifest import Manifest, Record, Status, kept_originals, protected_hashes
from unlearn_cli.photos.names import Choices, Task
from unlearn_cli.photos.one import Protected, protect_photo
from unlearn_cli.photos.originals import is_perhaps_a_copy, keep_original
from unlearn_cli.photos.outcome import (
    DOUBTS,
    EARLIER_COPY,
    FACE_REQUIRED,
    ITSELF_PROTECTED,
    KEPT,
    LINKED,
    Options,
    Outcome,
    PhotoDone,
    doubts_in,
    unexpected,
)
from unlearn_cli.photos.protection import Protection
from unlearn_cli.photos.resample import LARGE, Workspace
from unlearn_cli.photos.scan import Plan
from unlearn_cli.photos.state import SharedNames, State, stat_of

SMALL_FILE = LARGE // PIXELS_A_BYTE
"""A file size in bytes. A smaller file that claims to be a large photo is refused, so its header is not read twice."""


class Run:
    """One run over photos, and everything that its workers share."""

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
        self.settings = {name: digest_of(of, options.writing) for name, of in protections.items()}
        """A digest of everything that decides a copy besides its original, for each entry of ``protections``."""
        self.workspace = Workspace()
        self.lock = threading.Lock()
        self.names = SharedNames(todo.names, options.writing.format)
        self.protected = protected_hashes(path for path in todo.manifests if path not in manifests)
        self.protected = self.protected.union(*(manifest.protected for manifest in manifests.values()))
        self.kept: dict[Path, set[Path]] = {}
        """The backed-up originals of in-place runs, including this one, each with the places of its copies."""
        self.links: Counter[tuple[int, int]] = Counter()
        """How many photos of an in-place run are hard links to each file."""
        if any(task.backup for task in todo.tasks):
            self.kept = kept_originals({*todo.manifests, *manifests})
            self.links.update(file for task in todo.tasks if (file := _linked(task.source)) is not None)
        if not clean:
            return
        for folder, of in {(place.parent, task.manifest) for task in todo.tasks for place in task.places}:
            remove_temporary(folder, manifests[of].tag)

    def protection(self, task: Task) -> Protection:
        """Return the protection of a photo's class."""
        return self.protections.get("") or self.protections[task.folder]

    def state(self, task: Task) -> State:
        """Return what earlier runs have done with a photo."""
        settings = self.settings.get("") or self.settings[task.folder]
        return State(task, self.manifests[task.manifest], self.names, self.options, settings)

    def unchanged(self, task: Task) -> PhotoDone | None:
        """Return the result of a photo that is plainly up to date; None for all others, which ``protect`` looks at.

        Nothing that another photo of this run does can change the answer.
        """
        state = self.state(task)
        last, output = state.last, state.output
        if last is None or output is None or output != state.expected or task.backup is not None:
            return None
        if not state.is_done() or (self.options.require_face and last.faces == 0):
            return None
        return PhotoDone(
            task.source, output, "unchanged", grey=last.grey, faces=last.faces, faces_found=last.faces_found,
            doubts=doubts_in(last.reason), class_name=self.protection(task).class_name,
        )  # fmt: skip

    def protect(self, task: Task) -> PhotoDone:
        """Protect one photo and record the result; errors become results too."""
        start = time.perf_counter()
        copying = Copying(self, task)
        record: Record | None
        try:
            with copying.stack:
                done, record = copying.protect()
        except PhotoSkippedError as reason:
            done, record = copying.ended("skipped", str(reason), reason.code)
            if isinstance(reason, AlreadyProtectedError):
                record = None  # It is recorded as protected where it was protected.
        except PhotoError as error:
            done, record = copying.ended("failed", str(error), error.code)
        except MemoryError:
            done, record = copying.ended("failed", "there is not enough memory to protect it", "out-of-memory")
        except (UnlearnError, OSError):
            raise
        except Exception as error:  # One photo must not end the run for all others.
            done, record = copying.ended("failed", unexpected(error), "noise-failed")
        seconds = time.perf_counter() - start
        if record is not None:
            self.record(task, replace(record, seconds=round(seconds, 4)))
        if done.target is not None:
            copying.remove_replaced(done.target)
        return replace(done, seconds=seconds)

    def record(self, task: Task, record: Record) -> None:
        """Write a photo's record; from then on its copy is known to be a copy."""
        manifest = self.manifests[task.manifest]
        manifest.add(record)
        with self.lock:
            if record.output_sha256 is not None:
                self.protected.add(record.output_sha256)
            if task.backup is not None and record.output is not None:
                self.kept.setdefault(task.backup, set()).add(manifest.absolute(record.output))

    def is_protected_copy(self, sha256: str) -> bool:
        """Return whether a manifest knows a file of this content as a protected copy."""
        with self.lock:
            return sha256 in self.protected


class Copying:
    """The making of one photo's copy."""

    def __init__(self, run: Run, task: Task) -> None:
        self.run, self.task, self.options = run, task, run.options
        self.manifest, self.protection, self.state = run.manifests[task.manifest], run.protection(task), run.state(task)
        self.target = self.state.expected
        self.noise: Noise = self.protection.pattern
        self.stack = contextlib.ExitStack()
        """The contexts that stay open until the photo is done."""
        self.size: tuple[int, ...] = (0, 0)
        """The width and height of the upright photo, once it is decoded."""
        self.sha256 = ""
        self.stat: os.stat_result | None = None

    def protect(self) -> tuple[PhotoDone, Record | None]:
        """Protect the photo, and return the result and its record; None where the last record is still valid."""
        if self.state.is_done():
            return self._unchanged()
        data = self._read()
        if self.state.is_done_by_content(self.sha256):
            return self._unchanged()
        if self.state.is_begun(self.sha256):
            return self._finished()
        if self.run.is_protected_copy(self.sha256) and not self.options.again:
            raise AlreadyProtectedError(ITSELF_PROTECTED, "already-protected")
        if self.state.is_to_be_skipped():
            raise PhotoSkippedError(KEPT, "copy-exists")
        self.stack.enter_context(self.run.workspace.room(claimed_pixels(data) if len(data) > SMALL_FILE else 0))
        size, photo = len(data), decode(data, self.options.writing.metadata, self.run.workspace)
        if self.task.backup is None:
            data = b""  # A large photo's file need not be in memory beside its pixels.
        made = self._made(photo)
        digest = hashlib.sha256(made.data).hexdigest()
        done, record = self._protected(made, digest, size)
        if self.state.is_to_be_written(self.target, self.sha256, digest):
            if self.task.backup is not None:
                self._keep_original(self.task.backup, data)
            if self.task.backup is not None or self.protection.per_photo is not None:
                # Noise made for each photo may differ in a bit when it is made again, so only a record identifies its
                # copy; and after a swap only a record tells the copy from the original.
                self.run.record(self.task, replace(record, status="begun"))
            self._write(made.data)
        return done, replace(record, output_stat=stat_of(self.target))

    def _read(self) -> bytes:
        if (why := why_not_taken(self.task.source)) is not None:
            raise PhotoError(why, "unsupported")
        if self.task.backup is not None and self.task.source.is_symlink():
            reason = "it is a link, and --in-place would replace only the link and not the linked file"
            raise PhotoSkippedError(reason, "is-link")
        if self.task.backup is not None and self.task.source in self.run.kept:
            reason = "it is the original that an earlier --in-place run saved in a backup"
            raise PhotoSkippedError(reason, "is-backup")
        # The times are read before the file, so that a change in between is noticed before the photo is replaced.
        with contextlib.suppress(OSError):
            self.stat = self.task.source.stat()
        data = read_file(self.task.source)
        self.sha256 = hashlib.sha256(data).hexdigest()
        return data

    def _made(self, photo: Photo) -> Protected:
        of = self.options
        self.noise = self.protection.noise_for(photo)
        self.size = photo.pixels.shape[1::-1]
        if self.options.require_face and self._faces() == 0:
            raise PhotoError(FACE_REQUIRED, "no-face")
        made = protect_photo(photo, self.noise, of.writing, of.measure, self.run.workspace)
        kept = of.writing.format == "keep"
        changes = made.format != made.source_format or not kept
        names = Choices(self.task.target.name, made.format if changes else None, instead=not kept)
        self.target = self.run.names.claim(self.task, names)
        return made

    def _keep_original(self, backup: Path, data: bytes) -> None:
        """Write the original into the backup unless it is already there; no file there is ever overwritten."""
        if self.state.last is None and is_perhaps_a_copy(self.task.source, backup, self.run.kept):
            raise PhotoError(
                "it may be a protected copy: the backup has an original of the same name in another format",
                "backup-conflict",
            )
        keep_original(self.task.source, backup, data, sha256=self.sha256, like=self.stat, tag=self.manifest.tag)

    def _write(self, data: bytes) -> None:
        replaces = self.target == self.task.source
        if replaces and (self.stat is None or stat_of(self.target) != (self.stat.st_size, self.stat.st_mtime_ns)):
            reason = "it was changed by another program while it was being protected; run the command again"
            raise PhotoError(reason, "changed")
        times = self.options.writing.preserve_times
        of = self.task.source if self.task.backup is not None else None
        try:
            write_atomically(self.target, data, tag=self.manifest.tag, like=self.stat, times=times, attributes=of)
        except OSError as error:
            raise PhotoError(f"its copy cannot be written ({error.strerror or error})", "not-written") from error

    def remove_replaced(self, target: Path) -> None:
        """Remove an original whose copy has another name, once the backup holds it and its copy is recorded."""
        backup = self.task.backup
        if backup is None or target == self.task.source:
            return
        kept = sha256_of(backup)
        if kept is not None and kept == sha256_of(self.task.source):
            with contextlib.suppress(OSError):
                self.task.source.unlink()

    def _unchanged(self) -> tuple[PhotoDone, None]:
        assert self.state.last is not None
        if self.options.require_face and self.state.last.faces == 0:
            raise PhotoError(f"{FACE_REQUIRED}; the copy that an earlier run made of it is still there", "no-face")
        return replace(self._remembered("unchanged", self.state.last), target=self.state.output), None

    def _finished(self) -> tuple[PhotoDone, Record]:
        """Return the result and record of a photo that a killed run had finished but not recorded."""
        last, output = self.state.last, self.state.output
        assert last is not None
        assert output is not None
        record = replace(last, status="protected", output_stat=stat_of(output))
        notes = tuple(part for part in record.reason.split("; ") if part not in ("", *DOUBTS))
        done = self._remembered("protected", last)
        return replace(done, target=output, linf=record.linf or 0, notes=notes), record

    def _remembered(self, outcome: Outcome, last: Record) -> PhotoDone:
        """Return a result with what the last record knows about the photo."""
        doubts, found = doubts_in(last.reason), last.faces_found
        return replace(self._done(outcome), grey=last.grey, faces=last.faces, faces_found=found, doubts=doubts)

    def _protected(self, made: Protected, digest: str, size: int) -> tuple[PhotoDone, Record]:
        done, record = self._done("protected"), self._record("protected")
        notes = (*made.notes, *self._notes())
        return replace(
            done,
            target=self.target,
            linf=made.linf,
            grey=made.grey,
            faces=self._faces(),
            faces_found=self._faces_found(),
            face_at=self._face_at(),
            doubts=made.doubts,
            quality=made.quality,
            sizes=(size, len(made.data)),
            notes=notes,
        ), replace(
            record,
            reason="; ".join((*made.doubts, *notes)),
            faces=self._faces(),
            faces_found=self._faces_found(),
            output=self.manifest.relative(self.target),
            output_sha256=digest,
            format=made.format,
            linf=made.linf,
            grey=made.grey,
            measured=_finite(asdict(made.quality)) if made.quality is not None else None,
        )

    def _faces(self) -> int | None:
        return len(self.noise.squares) if isinstance(self.noise, Anchored) else None

    def _faces_found(self) -> int | None:
        return self.noise.faces_found if isinstance(self.noise, Anchored) else None

    def _face_at(self) -> tuple[float, float] | None:
        if not isinstance(self.noise, Anchored) or not self.noise.squares:
            return None
        centre = self.noise.squares[-1].centre
        return centre.real / self.size[0], centre.imag / self.size[1]

    def _notes(self) -> Iterator[str]:
        """Yield other things that the user has to know about a protected photo."""
        if self.task.backup is not None and self.stat is not None:
            ours = self.run.links[self.stat.st_dev, self.stat.st_ino]
            if self.stat.st_nlink > max(ours, 1):
                yield LINKED
        if self._leaves_a_copy():
            yield EARLIER_COPY

    def _leaves_a_copy(self) -> bool:
        """Return whether the last copy has another name, as after a change of format, and is still there."""
        last = self.state.last
        if self.task.backup is not None or last is None or last.output is None:
            return False
        place = self.manifest.absolute(last.output)
        beside = place.parent == self.target.parent and place != self.target
        # Another photo of this run may get the name of the earlier copy.
        return beside and self.run.names.is_free(place, self.task.source) and sha256_of(place) == last.output_sha256

    def ended(self, how: Literal["skipped", "failed"], reason: str, code: Code) -> tuple[PhotoDone, Record]:
        """Return the result and the record of a photo that was not protected."""
        return replace(self._done(how), reason=reason, code=code), replace(self._record(how), reason=reason, code=code)

    def _record(self, status: Status) -> Record:
        backup = self.task.backup
        return Record(
            input=self.manifest.relative(self.task.source),
            status=status,
            input_sha256=self.sha256 or None,
            bank=self.protection.bank,
            bank_sha256=self.protection.bank_sha256,
            class_name=self.protection.class_name,
            epsilon=self.protection.pattern.epsilon,
            form=self.protection.form,
            key_fingerprint=self.protection.key_fingerprint,
            settings=self.state.settings,
            input_stat=(self.stat.st_size, self.stat.st_mtime_ns) if self.stat is not None else None,
            backup=self.manifest.relative(backup) if backup is not None else None,
        )

    def _done(self, outcome: Outcome) -> PhotoDone:
        name, backup = self.protection.class_name, self.task.backup
        return PhotoDone(self.task.source, None, outcome, class_name=name, backup=backup)


def digest_of(protection: Protection, writing: Writing) -> str:
    """Return a digest of everything that decides a copy besides its original."""
    text = repr((protection.fingerprint, protection.pattern.epsilon, sorted(asdict(writing).items())))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


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
