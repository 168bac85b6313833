"""Protecting one photo of a long run, in whatever process: it is read once, and its copy is written once."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Literal

from unlearn_cli.errors import Code, PhotoError, PhotoSkippedError, UnlearnError
from unlearn_cli.photos.anchored import Anchored
from unlearn_cli.photos.apply import Noise
from unlearn_cli.photos.bulk.index import Last
from unlearn_cli.photos.bulk.objects import told
from unlearn_cli.photos.bulk.store import Store, Stored
from unlearn_cli.photos.decode import PIXELS_A_BYTE, claimed_pixels, decode
from unlearn_cli.photos.encode import renamed
from unlearn_cli.photos.kinds import JPEG_START
from unlearn_cli.photos.manifest import Record
from unlearn_cli.photos.one import Protected, protect_photo
from unlearn_cli.photos.outcome import FACE_REQUIRED, KEPT, Options, PhotoDone, doubts_in, refusal, unexpected
from unlearn_cli.photos.protection import Protection
from unlearn_cli.photos.resample import LARGE, Workspace
from unlearn_cli.photos.urls import url_of


@dataclass(frozen=True)
class Job:
    """The part of a run that all its photos share. It is pickled to other machines, and holds no key."""

    source: Store
    target: Store
    source_name: str
    """The source folder as the manifest writes it."""
    target_name: str
    protection: Protection
    options: Options
    settings: str
    """A digest of everything that decides a copy besides its original."""
    largest: int | None
    """Pillow's limit for pixels, which each process has for itself."""


@dataclass(frozen=True, slots=True)
class Item:
    """One photo to protect, with what is known of it."""

    file: Stored
    last: Last | None = None
    there: Stored | None = None
    """The file that is in the expected place of its copy."""
    perhaps: bool = False
    """Whether it is a photo only if it begins as a JPEG, because its name says nothing."""


@dataclass(frozen=True, slots=True)
class Ended:
    """The result for one file, which has no ``photo`` if the file turned out to be no photo."""

    name: str
    photo: PhotoDone | None
    record: Record | None = None


def protect_item(job: Job, item: Item, workspace: Workspace) -> Ended:
    """Protect one photo, and return the result and its record; errors become results too."""
    begun = time.perf_counter()
    making = _Making(job, item, workspace)
    try:
        if item.perhaps and job.source.start(item.file, len(JPEG_START)) != JPEG_START:
            return Ended(item.file.name, None)
        photo, record = making.protect()
    except PhotoSkippedError as reason:
        photo, record = making.ended("skipped", str(reason), reason.code)
    except PhotoError as error:
        photo, record = making.ended("failed", str(error), error.code)
    except MemoryError:
        photo, record = making.ended("failed", "there is not enough memory to protect it", "out-of-memory")
    except (UnlearnError, OSError):
        raise
    except Exception as error:  # One photo must not end the run for all others.
        photo, record = making.ended("failed", unexpected(error), "noise-failed")
    seconds = time.perf_counter() - begun
    done = replace(record, seconds=round(seconds, 4)) if record is not None else None
    return Ended(item.file.name, replace(photo, seconds=seconds), done)


def unchanged(job: Job, file: Stored, last: Last) -> PhotoDone:
    """Return the result for a photo that an earlier run has protected."""
    name = last.output.removeprefix(f"{job.target_name}/")
    return PhotoDone(
        _path(job.source, file.name), _path(job.target, name), "unchanged", class_name=job.protection.class_name,
        grey=last.grey, faces=last.faces, faces_found=last.faces_found, doubts=doubts_in(last.reason),
    )  # fmt: skip


def died(job: Job, item: Item) -> Ended:
    """Return the result for a photo whose process died each time that it protected it."""
    reason = "the process that protected it died each time; protect it alone on one machine to see why"
    return Ended(item.file.name, *_Making(job, item, Workspace()).ended("failed", reason, "crashed"))


class _Making:
    def __init__(self, job: Job, item: Item, workspace: Workspace) -> None:
        self.job, self.item, self.workspace = job, item, workspace
        self.sha256 = ""

    def protect(self) -> tuple[PhotoDone, Record | None]:
        job, file, last = self.job, self.item.file, self.item.last
        data = job.source.read(file)
        self.sha256 = hashlib.sha256(data).hexdigest()
        if last is not None and last.input_sha256 == self.sha256 and self._is_there(last):
            return unchanged(job, file, last), None
        if job.options.skip_existing and (self.item.there or job.target.find(file.name)) is not None:
            raise PhotoSkippedError(KEPT, "copy-exists")
        size = len(data)
        with self.workspace.room(claimed_pixels(data) if size > LARGE // PIXELS_A_BYTE else 0):
            photo = decode(data, job.options.writing.metadata, self.workspace)
            del data
            noise = job.protection.noise_for(photo)
            faces, found = _faces(noise)
            if job.options.require_face and faces == 0:
                raise PhotoError(FACE_REQUIRED, "no-face")
            of = photo.pixels.shape[1::-1]
            made = protect_photo(photo, noise, job.options.writing, job.options.measure, self.workspace)
        digest = hashlib.sha256(made.data).hexdigest()
        name = self._name(made)
        copy = self._written(name, made, digest)
        at = _face_at(noise, of)
        done, record = self._ended("protected"), self._record("protected")
        return replace(
            done, target=_path(job.target, name), linf=made.linf, grey=made.grey, faces=faces, faces_found=found,
            face_at=at, doubts=made.doubts, sizes=(size, len(made.data)), notes=made.notes,
        ), replace(
            record, reason="; ".join((*made.doubts, *made.notes)), faces=faces, faces_found=found,
            output=f"{job.target_name}/{name}", output_sha256=digest, output_stat=_stat(job.target, copy),
            output_version=_version(job.target, copy), format=made.format, linf=made.linf, grey=made.grey,
        )  # fmt: skip

    def _is_there(self, last: Last) -> bool:
        """Return whether the recorded copy is there and was made with the same settings."""
        of = self.job
        there = self.item.there is not None and _same(self.item.there, last.copy)
        return there and last.settings == of.settings and not of.options.overwrite

    def _name(self, made: Protected) -> str:
        """Return the copy's name: the photo's, with another suffix after it if the format changes.

        So names depend on nothing but the photo, unless a photo already has that very name.
        """
        kept = self.job.options.writing.format == "keep"
        name = self.item.file.name
        if kept and made.format == made.source_format:
            return name
        whole = renamed(name, made.format, instead=False)
        return next(one for one in _candidates(whole) if one == name or self.job.source.find(one) is None)

    def _written(self, name: str, made: Protected, digest: str) -> Stored:
        """Write the copy, unless it is there. Raises what ``refusal`` returns if something else is in its place."""
        job, last, there = self.job, self.item.last, self.item.there
        try:
            if there is None or there.name != name:
                there = job.target.find(name)
            if there is not None and not job.options.overwrite:
                ours = last is not None and last.output == f"{job.target_name}/{name}"
                if not (ours and last is not None and there.version and _same(there, last.copy)):
                    content = hashlib.sha256(job.target.read(there)).hexdigest()
                    if content == digest:
                        return there  # An earlier run wrote it, but was killed before it could record that.
                    if not (ours and last is not None and content == last.output_sha256):
                        raise refusal(ours=ours and content != self.sha256)
            writing = job.options.writing
            like = job.source.stat(self.item.file.name)
            return job.target.write(name, made.data, like, times=writing.preserve_times)
        except OSError as error:
            raise PhotoError(f"its copy cannot be written ({told(error)})", "not-written") from error

    def ended(self, how: Literal["skipped", "failed"], reason: str, code: Code) -> tuple[PhotoDone, Record]:
        """Return the result and the record of a photo that was not protected."""
        return replace(self._ended(how), reason=reason, code=code), replace(self._record(how), reason=reason, code=code)

    def _ended(self, how: Literal["protected", "skipped", "failed"]) -> PhotoDone:
        return PhotoDone(
            _path(self.job.source, self.item.file.name), None, how, class_name=self.job.protection.class_name
        )

    def _record(self, status: Literal["protected", "skipped", "failed"]) -> Record:
        job, protection = self.job, self.job.protection
        return Record(
            input=f"{job.source_name}/{self.item.file.name}", status=status, input_sha256=self.sha256 or None,
            bank=protection.bank, bank_sha256=protection.bank_sha256, class_name=protection.class_name,
            epsilon=protection.pattern.epsilon, form=protection.form, key_fingerprint=protection.key_fingerprint,
            settings=job.settings, input_stat=_stat(job.source, self.item.file),
            input_version=_version(job.source, self.item.file),
        )  # fmt: skip


def _candidates(whole: str) -> Iterator[str]:
    yield whole
    stem, suffix = os.path.splitext(whole)
    for number in count(2):
        yield f"{stem}-{number}{suffix}"


def _same(there: Stored, recorded: Stored | None) -> bool:
    """Return whether a file is the recorded one, by its size and version; not all stores tell a version."""
    if recorded is None or there.size != recorded.size:
        return False
    return not there.version or not recorded.version or there.version == recorded.version


def is_current(job: Job, file: Stored, last: Last | None, there: Stored | None) -> bool:
    """Return whether a photo's copy is there and up to date, judged by sizes and versions, without reading any."""
    if last is None or there is None or last.settings != job.settings or job.options.overwrite:
        return False
    return last.input is not None and _same(file, last.input) and _same(there, last.copy)


def _path(store: Store, name: str) -> Path:
    return Path(f"{store.place}/{name}")


def _stat(store: Store, file: Stored) -> tuple[int, int]:
    return file.size, 0 if url_of(store.place) is not None or not file.version else int(file.version)


def _version(store: Store, file: Stored) -> str | None:
    return file.version if url_of(store.place) is not None else None


def _faces(noise: Noise) -> tuple[int | None, int | None]:
    return (len(noise.squares), noise.faces_found) if isinstance(noise, Anchored) else (None, None)


def _face_at(noise: Noise, size: tuple[int, ...]) -> tuple[float, float] | None:
    if not isinstance(noise, Anchored) or not noise.squares:
        return None
    centre = noise.squares[-1].centre
    return centre.real / size[0], centre.imag / size[1]
