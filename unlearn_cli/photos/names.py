"""Choosing the name of each photo's copy, so that it never replaces another photo or another photo's copy."""

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
    """The copy's place under its original's name; ``copy`` is the place where it is really written."""
    manifest: Path
    """The manifest that gets its record."""
    folder: str = ""
    """The name of the folder that decides its class: the first one below the given folder."""
    backup: Path | None = None
    """Where the original goes if the copy takes its place."""
    copy: Path | None = None
    """The copy's path, as it is expected from the photo's name alone; set by ``scan.plan``."""

    @property
    def places(self) -> tuple[Path, ...]:
        """Return the places where files are written."""
        return (self.target,) if self.backup is None else (self.target, self.backup)


@dataclass(frozen=True)
class Choices:
    """The names that a photo's copy may have in one format, the preferred one first."""

    name: str
    """The original's name."""
    format: str | None = None
    """The format that the copy changes to; None if it retains its own."""
    instead: bool = False
    """Whether the new suffix replaces the old one."""

    @property
    def alone(self) -> str:
        """Return the name to use if no other photo has it."""
        return self.name if self.format is None else renamed(self.name, self.format, instead=self.instead)

    @property
    def whole(self) -> str:
        """Return the whole old name followed by the new suffix, which no photo with another suffix would get."""
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
    """Return the names that a photo's copy may have, one entry for each format that the copy may turn out to need."""
    if wanted != "keep":
        return (Choices(name, wanted.upper(), instead=True),)
    return (Choices(name), Choices(name, "JPEG"), Choices(name, "PNG"))


def expected(task: Task, wanted: FormatChoice) -> Choices:
    """Return the names that a photo's copy may have, judged by the photo's name alone."""
    if wanted != "keep":
        return Choices(task.target.name, wanted.upper(), instead=True)
    return Choices(task.target.name, default_format(task.source))


def resolved(path: Path) -> Path:
    """Return the path with all links resolved; links that form a circle raise no error."""
    return Path(os.path.realpath(path))


def place_of(path: Path) -> Path:
    """Return a path with its folder resolved, but not its last part: writing replaces a link, not the link's target."""
    return resolved(path.parent) / path.name


class Places:
    """A version of ``place_of`` that returns text and remembers folders."""

    def __init__(self) -> None:
        self._real = functools.cache(os.path.realpath)

    def __call__(self, path: Path) -> str:
        """Return the place of a path."""
        folder, name = os.path.split(path)
        return f"{self._real(folder)}/{name}"


class Names:
    """A table of file paths (places) that says for which photo each one is reserved."""

    def __init__(self, sources: Iterable[Path] = ()) -> None:
        self._place = Places()
        self._sources = {self._place(source) for source in sources}
        self._owners: dict[str, dict[Path, Path]] = {}
        """The photo at each place, by the place in lower case, since many file systems ignore case."""

    def is_source(self, place: Path) -> bool:
        """Return whether a photo to protect is at this place."""
        return self._place(place) in self._sources

    def is_free(self, place: Path, source: Path) -> bool:
        """Return whether a photo's copy may use this place.

        Neither another photo nor another photo's copy may be there.
        """
        if place != source and self.is_source(place):
            return False
        owners = self._owners.get(str(place).casefold(), {})
        return all(owner == source or (place != other and _only_case(owner, source)) for other, owner in owners.items())

    def take(self, place: Path, source: Path) -> None:
        """Reserve a place for a photo."""
        self._owners.setdefault(str(place).casefold(), {})[place] = source

    def take_free(self, folder: Path, names: Iterable[str], source: Path) -> Path:
        """Reserve and return the first free place in a folder. There always is one, because ``names`` has no end."""
        place = next(place for place in (folder / name for name in names) if self.is_free(place, source))
        self.take(place, source)
        return place

    def owner(self, place: Path) -> Path | None:
        """Return the photo for which a place is reserved; None if there is none."""
        return self._owners.get(str(place).casefold(), {}).get(place)


def _only_case(one: Path, other: Path) -> bool:
    """Return whether two names in one folder differ only by case, which only case-sensitive file systems allow."""
    return one.parent == other.parent and one.name != other.name and one.name.casefold() == other.name.casefold()


@dataclass
class Earlier:
    """The names that earlier runs gave to copies and backups, according to manifests."""

    copies: dict[tuple[str, str], str] = field(default_factory=dict)
    """The names of copies, by photo and folder."""
    backups: dict[tuple[str, str], str] = field(default_factory=dict)
    made_of: dict[str, set[str]] = field(default_factory=dict)
    """For each place of a copy that was put beside its photo to replace it, the places of the originals."""
    hashes: set[str] = field(default_factory=set)
    """The SHA-256 of such copies."""
    place: Places = field(default_factory=Places)

    @classmethod
    def of(cls, manifests: Iterable[Path]) -> Earlier:
        """Return what manifests say; the last one takes precedence. Raises ``WorkError`` if one cannot be read."""
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
        """Return the place of a photo's last copy, if it may still have that name; else None."""
        name = self.copies.get((str(task.source), str(task.target.parent)))
        if name is None or not any(name in names for names in choices(task.target.name, wanted)):
            return None
        return task.target.with_name(name)

    def backup_of(self, task: Task, backup: Path) -> Path | None:
        """Return the place of a photo's last backup, if it may still have that name; else None."""
        name = self.backups.get((str(task.source), str(backup.parent)))
        return backup.with_name(name) if name is not None and name in Choices(backup.name) else None

    def without_begun(self, tasks: list[Task]) -> list[Task]:
        """Return the tasks without those for copies of in-place runs that were killed before removing the original."""
        sources = {self.place(task.source) for task in tasks}

        def is_begun(task: Task) -> bool:
            originals = self.made_of.get(self.place(task.source), set())
            return bool(originals & sources) and sha256_of(task.source) in self.hashes

        return [task for task in tasks if not is_begun(task)]


def _absolute(base: str, path: str) -> str:
    return os.path.normpath(os.path.join(base, path))


def name_copies(tasks: list[Task], wanted: FormatChoice, earlier: Earlier) -> tuple[list[Task], Names]:
    """Return each task with the places of its copy and backup, and all the places that are taken.

    A photo whose name stays the same gets it, and one that an earlier run named gets that name again. Of the others the
    first, in order of names, gets the name that it would have alone. Each further one gets its whole old name followed
    by the new suffix, if necessary with a number before that. Raises ``UsageError`` for a copy that would have its
    original's name and so take the place of another photo.
    """
    order = sorted(range(len(tasks)), key=lambda number: (str(tasks[number].target), str(tasks[number].source)))
    names = Names(task.source for task in tasks)
    places: list[Path | None] = [None] * len(tasks)

    def claim(number: int, place: Path) -> None:
        source = tasks[number].source
        if names.is_free(place, source):
            names.take(place, source)
            places[number] = places[number] or place

    last = [earlier.copy_of(task, wanted) for task in tasks]
    choice = [expected(task, wanted) for task in tasks]
    same = [number for number in order if choice[number].alone == tasks[number].target.name]
    for task in (tasks[number] for number in same):
        if task.target != task.source and names.is_source(task.target):
            raise UsageError(
                f"{task.target} is one of the photos to protect, but a copy would be written to the same path. "
                "Choose another --output."
            )
    # Photos of one name may come from several folders: one that had the name before comes first, then new ones.
    for number in sorted(same, key=lambda number: last[number] is None):
        if last[number] in (None, tasks[number].target):
            claim(number, tasks[number].target)
    for number in order:
        if (place := last[number]) is not None and place != places[number]:
            claim(number, place)
    for number in order:
        task = tasks[number]
        places[number] = places[number] or names.take_free(task.target.parent, choice[number], task.source)
    backups = _name_backups([tasks[number] for number in order], earlier)
    found = zip(tasks, places, strict=True)
    return [replace(task, copy=place, backup=backups.get(task) if backups else None) for task, place in found], names


def _name_backups(order: list[Task], earlier: Earlier) -> dict[Task, Path]:
    """Return the backup's place for each photo that is replaced."""
    if all(task.backup is None for task in order):
        return {}
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
