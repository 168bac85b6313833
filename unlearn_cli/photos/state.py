"""Finding out from the manifest and the disk what earlier runs have done with a photo. Nothing is changed here."""

from __future__ import annotations

import os
import threading
from pathlib import Path

from unlearn_cli.errors import PhotoError
from unlearn_cli.files import sha256_of
from unlearn_cli.photos.encode import FormatChoice
from unlearn_cli.photos.manifest import Manifest
from unlearn_cli.photos.names import Choices, Names, Task, choices, expected
from unlearn_cli.photos.outcome import Options, refusal


class SharedNames:
    """The names of all copies of a run, which its workers share."""

    def __init__(self, names: Names, format: FormatChoice) -> None:  # noqa: A002
        self._names, self._format = names, format
        self._lock = threading.Lock()

    def claim(self, task: Task, names: Choices) -> Path:
        """Claim and return the place of a photo's copy.

        It is the planned one, or another free one if that is taken or the format does not fit its name.
        """
        with self._lock:
            if task.copy is not None and task.copy.name in names and self._names.is_free(task.copy, task.source):
                return task.copy
            return self._names.take_free(task.target.parent, names, task.source)

    def may_have(self, task: Task, place: Path) -> bool:
        """Return whether a photo's copy may be at a place where an earlier run put it."""
        names = choices(task.target.name, self._format)
        if place.parent != task.target.parent or not any(place.name in some for some in names):
            return False
        with self._lock:
            return self._names.is_free(place, task.source)

    def is_free(self, place: Path, source: Path) -> bool:
        """Return whether no other photo of this run has or gets its copy at a place."""
        with self._lock:
            return self._names.is_free(place, source)

    def moves_away(self, source: Path, place: Path) -> bool:
        """Return whether the photo whose copy is at a place belongs to this run and gets its copy elsewhere now."""
        with self._lock:
            return self._names.is_source(source) and not self._names.is_free(place, source)


class State:
    """Tells what earlier runs have done with one photo, so that this run knows what is left to do."""

    def __init__(self, task: Task, manifest: Manifest, names: SharedNames, options: Options, settings: str) -> None:
        self.task, self.manifest, self.names, self.options = task, manifest, names, options
        self.settings = settings
        """A digest of everything that decides the copy besides the original."""
        self.expected = task.copy or task.target.with_name(expected(task, options.writing.format).alone)
        """The copy's path, as it is expected from the photo's name alone."""
        self.last = manifest.last(task.source)
        """The last record with a copy."""

    @property
    def output(self) -> Path | None:
        """Return the place of the last recorded copy; None if this run would make another one."""
        last = self.last
        if last is None or last.output is None or last.settings != self.settings or self.options.overwrite:
            return None
        backup = self.manifest.relative(self.task.backup) if self.task.backup is not None else None
        if last.backup != backup or (self.options.measure and last.measured is None):
            return None
        if last.output == self.manifest.relative(self.expected):
            return self.expected
        output = self.manifest.absolute(last.output)
        return output if output == self.expected or self.names.may_have(self.task, output) else None

    def is_done(self) -> bool:
        """Return whether the copy is there and up to date, judged by sizes and times, which is fast."""
        output = self.output
        if output is None or self.last is None or self.last.status != "protected":
            return False
        replaced = self.task.backup is not None and output == self.task.source
        return stat_of(output) == self.last.output_stat and (
            replaced or stat_of(self.task.source) == self.last.input_stat
        )

    def is_to_be_skipped(self) -> bool:
        """Return whether a file is in the copy's place and the user wants to keep whatever is there."""
        at = self.expected
        return self.options.skip_existing and at != self.task.source and os.path.lexists(at)

    def is_done_by_content(self, sha256: str) -> bool:
        """Return whether the copy is there and up to date, judged by contents; ``sha256`` is that of the photo now."""
        output = self.output
        if output is None or self.last is None or self.last.status != "protected":
            return False
        if self.task.backup is not None and output == self.task.source:
            return sha256 == self.last.output_sha256
        return sha256 == self.last.input_sha256 and sha256_of(output) == self.last.output_sha256

    def is_begun(self, sha256: str) -> bool:
        """Return whether a killed run wrote the copy but could not record that it had."""
        output = self.output
        return (
            output is not None
            and self.last is not None
            and self.last.status == "begun"
            and sha256_of(output) == self.last.output_sha256
            and sha256 in (self.last.input_sha256, self.last.output_sha256)
        )

    def is_to_be_written(self, target: Path, sha256: str, digest: str) -> bool:
        """Return whether the copy, of this ``digest``, has to be written to its place; ``sha256`` is the original's.

        Raises what ``refusal`` returns if something else is in its place.
        """
        if target == self.task.source or not os.path.lexists(target):
            return True
        in_place = self.task.backup is not None
        if self.options.overwrite and not in_place:
            return True
        there = sha256_of(target)
        if there == digest and not in_place:
            return False  # An earlier run wrote it, but was killed before it could record that.
        last = self.last
        ours = last is not None and last.output == self.manifest.relative(target)
        if in_place and last is not None:
            ours = ours and last.input_sha256 == sha256  # Otherwise it is another photo's copy by now.
        if ours and last is not None and there == last.output_sha256:
            return True
        if ours and last is not None and last.status == "begun" and there in self.manifest.protected:
            return True  # The run before the killed one wrote it.
        if in_place:
            reason = "another file already has the name of its copy: rename one of them and run again"
            raise PhotoError(reason, "copy-exists")
        if there in self.manifest.protected and self._is_left_behind(target):
            return True
        raise refusal(ours=ours and there != sha256)

    def _is_left_behind(self, target: Path) -> bool:
        """Return whether the file in the copy's place is another photo's copy, which gets another name in this run."""
        other = self.manifest.maker(target)
        return other is not None and self.names.moves_away(other, target)


def stat_of(path: Path) -> tuple[int, int] | None:
    """Return a file's size in bytes and its modification time in nanoseconds; None if there is none."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns
