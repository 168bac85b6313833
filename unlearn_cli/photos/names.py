"""What each photo's copy is called, so that no two of them, and no copy and original, ever share a place."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path

from unlearn_cli.errors import UsageError
from unlearn_cli.files import sha256_of
from unlearn_cli.photos.encode import FormatChoice, default_format, renamed
from unlearn_cli.photos.manifest import WRITTEN, Record, is_manifest, read_records


@dataclass(frozen=True)
class Task:
    """One photo to protect."""

    source: Path
    target: Path
    """Where its copy goes under its original's name; ``copy`` is where it goes in truth."""
    manifest: Path
    """Where its record goes."""
    folder: str = ""
    """The name of the folder that tells its class: the first one below the given folder."""
    backup: Path | None = None
    """Where the original goes when the copy takes its place."""
    copy: Path | None = None
    """Where its copy goes, as far as the photo's name tells its format; a plan sets it."""

    @property
    def places(self) -> tuple[Path, ...]:
        """Where files are written."""
        return (self.target,) if self.backup is None else (self.target, self.backup)


@dataclass(frozen=True)
class Choices:
    """The names that a photo's copy may have in one format, the one to prefer first."""

    name: str
    """The original's."""
    format: str | None = None
    """The format that the copy changes to; None where it keeps its own."""
    instead: bool = False
    """Whether the new suffix takes the old one's place."""

    @property
    def alone(self) -> str:
        """The name where no other photo has it."""
        return self.name if self.format is None else renamed(self.name, self.format, instead=self.instead)

    @property
    def whole(self) -> str:
        """The name that no photo with another suffix would get: the whole old name, with the new suffix behind it."""
        return self.name if self.format is None else renamed(self.name, self.format, instead=False)

    def __iter__(self) -> Iterator[str]:
        yield from dict.fromkeys((self.alone, self.whole))
        stem, suffix = os.path.splitext(self.whole)
        for number in count(2):
            yield f"{stem}-{number}{suffix}"

    def __contains__(self, name: str) -> bool:
        if name in (self.alone, self.whole):
            return True
        stem, suffix = os.path.splitext(self.whole)
        number = name.removesuffix(suffix).removeprefix(f"{stem}-")
        return name == f"{stem}-{number}{suffix}" and re.fullmatch(r"[2-9]|[1-9]\d+", number) is not None


def choices(name: str, wanted: FormatChoice) -> tuple[Choices, ...]:
    """The names that a photo's copy may have, whatever format the photo turns out to have."""
    if wanted != "keep":
        return (Choices(name, wanted.upper(), instead=True),)
    return (Choices(name), Choices(name, "JPEG"), Choices(name, "PNG"))


def expected(task: Task, wanted: FormatChoice) -> Choices:
    """The names that a photo's copy may have, as far as the photo's name tells its format."""
    if wanted != "keep":
        return Choices(task.target.name, wanted.upper(), instead=True)
    return Choices(task.target.name, default_format(task.source))


def resolved(path: Path) -> Path:
    """Where a path leads; links in a circle lead nowhere, and raise nothing."""
    return Path(os.path.realpath(path))


def place_of(path: Path) -> Path:
    """A path whose folder is resolved, and whose last part is not: writing replaces a link, not what it points to."""
    return resolved(path.parent) / path.name


class Places:
    """``place_of`` as text, which remembers folders."""

    def __init__(self) -> None:
        self._real = functools.cache(os.path.realpath)

    def __call__(self, path: Path) -> str:
        """The place of a path."""
        folder, name = os.path.split(path)
        return f"{self._real(folder)}/{name}"


class Names:
    """Which place is which photo's."""

    def __init__(self, sources: Iterable[Path] = ()) -> None:
        self._place = Places()
        self._sources = {self._place(source) for source in sources}
        self._owners: dict[str, dict[Path, Path]] = {}
        """By a place without its case, since many file systems know none."""

    def is_source(self, place: Path) -> bool:
        """Whether a photo to protect is there."""
        return self._place(place) in self._sources

    def is_free(self, place: Path, source: Path) -> bool:
        """Whether a photo's copy may go there: no other's does, and none is there, unless it is the photo itself."""
        if place != source and self.is_source(place):
            return False
        owners = self._owners.get(str(place).casefold(), {})
        return all(owner == source or (place != other and _only_case(owner, source)) for other, owner in owners.items())

    def take(self, place: Path, source: Path) -> None:
        """Give a place to a photo."""
        self._owners.setdefault(str(place).casefold(), {})[place] = source

    def take_free(self, folder: Path, names: Iterable[str], source: Path) -> Path:
        """Give the first free place of a folder to a photo. There always is one: names end in any number."""
        place = next(place for place in (folder / name for name in names) if self.is_free(place, source))
        self.take(place, source)
        return place

    def owner(self, place: Path) -> Path | None:
        """The photo whose place it is."""
        return self._owners.get(str(place).casefold(), {}).get(place)


def _only_case(one: Path, other: Path) -> bool:
    """Whether two names in one folder differ by case alone, which only a file system that knows case has."""
    return one.parent == other.parent and one.name != other.name and one.name.casefold() == other.name.casefold()


@dataclass
class Earlier:
    """What earlier runs called copies and backups, as manifests tell."""

    copies: dict[tuple[str, str], str] = field(default_factory=dict)
    """Names, by photo and folder."""
    backups: dict[tuple[str, str], str] = field(default_factory=dict)
    made_of: dict[str, set[str]] = field(default_factory=dict)
    """By the place of a copy that was put beside its photo to replace it: that photo."""
    hashes: set[str] = field(default_factory=set)
    """The SHA-256 of such copies."""
    place: Places = field(default_factory=Places)

    @classmethod
    def of(cls, manifests: Iterable[Path]) -> Earlier:
        """Read manifests, of which the last counts most. Raises ``WorkError`` if one cannot be read."""
        earlier = cls()
        for manifest in manifests:
            if is_manifest(manifest):
                for record in read_records(manifest):
                    earlier._keep(os.path.dirname(manifest), record)
        return earlier

    def _keep(self, base: str, record: Record) -> None:
        if record.output is None or record.status not in (*WRITTEN, "restored"):
            return
        source, output = _absolute(base, record.input), _absolute(base, record.output)
        folder, name = os.path.split(output)
        self.copies[source, folder] = name
        if record.backup is None:
            return
        folder, name = os.path.split(_absolute(base, record.backup))
        self.backups[source, folder] = name
        if record.output_sha256 is not None and source != output:
            self.made_of.setdefault(self.place(Path(output)), set()).add(self.place(Path(source)))
            self.hashes.add(record.output_sha256)

    def copy_of(self, task: Task, wanted: FormatChoice) -> Path | None:
        """The place of a photo's last copy, if that is one that it may have now."""
        name = self.copies.get((str(task.source), str(task.target.parent)))
        if name is None or not any(name in names for names in choices(task.target.name, wanted)):
            return None
        return task.target.with_name(name)

    def backup_of(self, task: Task, backup: Path) -> Path | None:
        """The place of a photo's last backup, if that is one that it may have now."""
        name = self.backups.get((str(task.source), str(backup.parent)))
        return backup.with_name(name) if name is not None and name in Choices(backup.name) else None

    def without_begun(self, tasks: list[Task]) -> list[Task]:
        """Photos without the copies that a run in place put beside them, and was killed before it removed them."""
        sources = {self.place(task.source) for task in tasks}

        def is_begun(task: Task) -> bool:
            originals = self.made_of.get(self.place(task.source), set())
            return bool(originals & sources) and sha256_of(task.source) in self.hashes

        return [task for task in tasks if not is_begun(task)]


def _absolute(base: str, path: str) -> str:
    return os.path.normpath(os.path.join(base, path))


def name_copies(tasks: Iterable[Task], wanted: FormatChoice, earlier: Earlier) -> tuple[dict[Task, Task], Names]:
    """Each task with the place of its copy and of its backup, and all the places that are taken.

    A photo that keeps its own name gets it, and one that an earlier run named keeps that name. Of the others the
    first, in order of names, gets the name that it would have alone, and each further one its whole old name with
    the new suffix behind, or else a number before that. Raises ``UsageError`` for a copy that would keep its name
    and so take the place of another photo.
    """
    order = sorted(tasks, key=lambda task: (str(task.target), str(task.source)))
    names = Names(task.source for task in order)
    places: dict[Task, Path] = {}

    def claim(task: Task, place: Path) -> None:
        if names.is_free(place, task.source):
            names.take(place, task.source)
            places.setdefault(task, place)

    last = {task: earlier.copy_of(task, wanted) for task in order}
    choice = {task: expected(task, wanted) for task in order}
    same = [task for task in order if choice[task].alone == task.target.name]
    for task in same:
        if task.target != task.source and names.is_source(task.target):
            raise UsageError(f"{task.target} is an input, and would be written too. Name another --output.")
    # Photos of one name that come from several folders: who had it has it, and then who is new.
    for task in sorted(same, key=lambda task: last[task] is None):
        if last[task] in (None, task.target):
            claim(task, task.target)
    for task, place in last.items():
        if place is not None:
            claim(task, place)
    for task in order:
        if task not in places:
            places[task] = names.take_free(task.target.parent, choice[task], task.source)
    backups = _name_backups(order, earlier)
    return {task: replace(task, copy=places[task], backup=backups.get(task)) for task in order}, names


def _name_backups(order: list[Task], earlier: Earlier) -> dict[Task, Path]:
    """Where each photo that is replaced is kept."""
    names = Names(task.source for task in order)
    places: dict[Task, Path] = {}
    for task in order:
        place = earlier.backup_of(task, task.backup) if task.backup is not None else None
        if place is not None and names.is_free(place, task.source):
            names.take(place, task.source)
            places[task] = place
    for task in order:
        if task.backup is not None and task not in places:
            places[task] = names.take_free(task.backup.parent, Choices(task.backup.name), task.source)
    return places
