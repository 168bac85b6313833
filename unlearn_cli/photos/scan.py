"""Which files to protect, and where each one's protected copy goes."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from unlearn_cli.errors import UsageError, WorkError
from unlearn_cli.files import sha256_of
from unlearn_cli.photos.encode import FormatChoice, default_format, renamed
from unlearn_cli.photos.lists import by_place, is_of_shard
from unlearn_cli.photos.manifest import SUFFIX, is_manifest, protected_hashes

PHOTO_SUFFIXES = frozenset(
    ".jpg .jpeg .jpe .jfif .mpo .png .apng .webp .tif .tiff .bmp .dib .gif .avif .avifs .heic .heif .hif "
    ".jp2 .j2k .jpf .jpx .jpc .ppm .pgm .pbm .pnm .tga .pcx .ico .icns .dds .psd".split()
)
"""Files with other names are not photos: they are counted, not touched. What is named so and is
no photo fails when it is read."""

COPY = "-protected"
"""What is put behind the name of a folder or file for its protected copy."""

FILES_MANIFEST = "photos-protected"
"""The manifest of single files that are protected beside themselves, one for each folder."""


@dataclass(frozen=True)
class Task:
    """One photo to protect."""

    source: Path
    target: Path
    """May still get another suffix, when its format is known."""
    manifest: Path
    """Where its record goes."""
    folder: str = ""
    """The name of the folder that tells its class: the first one below the given folder."""
    backup: Path | None = None
    """Where the original goes when the copy takes its place."""

    @property
    def places(self) -> tuple[Path, ...]:
        """Where files are written."""
        return (self.target,) if self.backup is None else (self.target, self.backup)


@dataclass(frozen=True)
class Plan:
    """All that a run will do, before it does any of it."""

    tasks: tuple[Task, ...]
    others: int = 0
    """How many files below the folders were passed over because they are no photos."""
    outputs: tuple[Path, ...] = ()
    """The folders, or files, that the copies go to: one for each given path."""
    copies: tuple[Path, ...] = ()
    """Folders and files passed over because they are protected copies of what lies beside them."""
    unreadable: tuple[Path, ...] = ()
    """Folders that could not be listed."""
    manifests: tuple[Path, ...] = ()
    """Manifests of earlier runs that were found on the way; they know protected photos."""


@dataclass(frozen=True, kw_only=True)
class Where:
    """Which photos of what is given, and where their copies go."""

    output: Path | None = None
    recursive: bool = True
    format: FormatChoice = "keep"
    manifest: Path | None = None
    backup: Path | None = None
    """A folder for the originals; with it, each copy takes its original's place."""
    again: bool = False
    """Also take what is known to be protected already."""
    shard: tuple[int, int] | None = None
    """Take only part I of N, from 1; the parts of a folder are the same on every machine."""


WHERE = Where()
"""Everything below, beside it."""


def plan(paths: Iterable[Path], where: Where = WHERE, *, listed: Iterable[Path] | None = None) -> Plan:
    """Find the photos below the given folders (or take the given files) and name their copies.

    A folder's copies go to ``<folder>-protected`` beside it, a file's to ``<name>-protected``
    beside it; with an output, a single folder's straight into it, several folders' each into
    one of its name, and files' into it; ``listed`` files, which need not be there, keep their
    relative folders. Hidden files, output folders, and protected copies beside their originals
    are passed over, links to folders are not followed. Raises ``UsageError`` for a path that is
    not there, an output that holds an input, or two photos with one target, and ``WorkError``
    for no photo, unless there is a list or a shard, which may be empty.
    """
    given = _without_aliases([Path(os.path.abspath(path)) for path in paths], where)
    listing = list(listed or ())
    walk = _Walk(where)
    walk.files = [path for path in given if path.is_file()] + [Path(os.path.abspath(entry)) for entry in listing]
    if where.output is not None and where.output.exists() and not where.output.is_dir():
        raise UsageError(f"The output {where.output} is a file. Name a folder with --output.")
    for path in given:
        if path.is_dir():
            walk.take_folder(path, single=len(given) == 1 and not listing)
        elif path.is_file():
            walk.take_file(path, path.name)
        else:
            raise UsageError(f"There is no file or folder {path}.")
    for path, entry in by_place(listing).items():
        below = entry.as_posix() if not entry.anchor and ".." not in entry.parts else entry.name
        walk.take_file(path, below)
    tasks = _without_begun(list(dict.fromkeys(walk.tasks)), walk.manifests, where)
    if not tasks and not walk.unreadable and where.shard is None and listed is None:
        raise WorkError(f"No photo found in {', '.join(str(path) for path in given[:3])}.")
    _refuse_collisions(tasks, where)  # of all shards, since they share the output
    return Plan(
        tuple(task for task in tasks if task in walk.ours),
        walk.others,
        tuple(dict.fromkeys(walk.outputs)),
        tuple(walk.copies),
        tuple(walk.unreadable),
        tuple(dict.fromkeys(walk.manifests)),
    )


def _without_aliases(paths: list[Path], where: Where) -> list[Path]:
    """Each path once; where photos are replaced, once by whatever names it is given."""
    if where.backup is None:
        return list(dict.fromkeys(paths))
    return list({resolved(path): path for path in reversed(paths)}.values())[::-1]


def photos_below(folder: Path, apart: Path | None = None) -> Iterator[Path]:
    """All photos below a folder, in order of their names, but for those of a folder ``apart``."""
    yield from _Walk(Where(again=True)).photos(folder, apart or folder)


def resolved(path: Path) -> Path:
    """Where a path leads; links in a circle lead nowhere, and raise nothing."""
    return Path(os.path.realpath(path))


def is_copy(path: Path) -> bool:
    """Whether a path is named as the protected copy of another that lies beside it.

    Protecting it again would lay noise on noise, beyond the bound.
    """
    if path.name.endswith(COPY):  # a folder's copy, whose name may hold dots
        return path.name != COPY and os.path.lexists(path.with_name(path.name.removesuffix(COPY)))
    # A file's, which may have got .png behind its name.
    for file in (path, path.with_suffix("")):
        if file.stem.endswith(COPY):
            return os.path.lexists(path.with_name(file.stem.removesuffix(COPY) + file.suffix))
    return False


def _refuse_output_around(folder: Path, target: Path) -> None:
    inside, around = resolved(folder), resolved(target)
    if inside == around:
        raise UsageError(
            f"The output {target} is the input itself. Name another folder with --output, "
            "or replace the photos with --in-place and --backup."
        )
    if inside.is_relative_to(around):
        raise UsageError(f"The output {target} holds the input {folder}. Name another folder with --output.")


def _folder_target(folder: Path, output: Path | None, *, single: bool) -> Path:
    if output is None:
        if folder.parent == folder:
            raise UsageError(f"{folder} has no folder beside it. Name one with --output.")
        return folder.with_name(f"{folder.name}{COPY}")
    return Path(os.path.abspath(output)) / ("" if single else folder.name)


class _Walk:
    """A walk over what is given that keeps account of what it passes over."""

    def __init__(self, where: Where) -> None:
        self.where = where
        self.backup = Path(os.path.abspath(where.backup)) if where.backup is not None else None
        self.output = Path(os.path.abspath(where.output)) if where.output is not None else None
        self.tasks: list[Task] = []
        """All of them; ``ours`` are those of this shard."""
        self.ours: set[Task] = set()
        self.others = 0
        self.outputs: list[Path] = []
        self.copies: list[Path] = []
        self.unreadable: list[Path] = []
        self.manifests: list[Path] = []
        self.files: list[Path] = []
        """The single files that are given; beside themselves they share a manifest."""
        self._real = functools.cache(resolved)
        self._looked: set[Path] = set()

    def take_folder(self, folder: Path, *, single: bool) -> None:
        """Take the photos below a folder, in order of their names."""
        if self.backup is not None:
            target = folder
            _refuse_backup_around(folder, self.backup)
        else:
            if is_copy(folder) and not self.where.again:
                raise UsageError(f"{folder} is the protected copy of what lies beside it. Name the original instead.")
            target = _folder_target(folder, self.output, single=single)
            _refuse_output_around(folder, target)
        manifest = self._manifest(self.output or target)
        self.outputs.append(target)
        self._find_manifests_above(folder)
        for file in self.photos(folder, target):
            below = file.relative_to(folder)
            backup = self.backup / ("" if single else folder.name) / below if self.backup is not None else None
            label = below.parts[0] if len(below.parts) > 1 else ""
            self._take(Task(file, target / below, manifest, label, backup), below.as_posix())

    def take_file(self, path: Path, below: str) -> None:
        """Take a single file; ``below`` is where it goes in an output folder."""
        if is_copy(path) and not self.where.again:
            self.copies.append(path)
            return
        self._find_manifests_above(path)
        backup = None
        if self.backup is not None:
            target, backup = path, self.backup / below
            manifest = self._manifest(self._shared_folder() / FILES_MANIFEST)
            if resolved(backup) == resolved(path):
                raise UsageError(f"The backup of {path} would be the photo itself. Name another folder with --backup.")
        elif self.output is not None:
            target = self.output / below
            manifest = self._manifest(self.output)
            if resolved(target) == resolved(path):
                raise UsageError(f"The output {target} is the input itself. Name another folder with --output.")
        else:
            target = path.with_name(f"{path.stem}{COPY}{path.suffix}")
            manifest = self._manifest(self._shared_folder() / FILES_MANIFEST)
        self._take(Task(path, target, manifest, path.parent.name, backup), below)
        self.outputs.append(target)

    def _take(self, task: Task, below: str) -> None:
        self.tasks.append(task)
        if self.where.shard is None or is_of_shard(below, self.where.shard):
            self.ours.add(task)

    def _shared_folder(self) -> Path:
        """The folder that holds all the single files that are given."""
        try:
            return Path(os.path.commonpath([path.parent for path in self.files]))
        except ValueError:  # On several drives.
            return Path.cwd()

    def _manifest(self, output: Path) -> Path:
        """Where the manifest of an output is: beside it, one for each part of a shared folder."""
        if self.where.manifest is not None:
            if self.where.manifest.suffix != SUFFIX:  # Later runs look for manifests by that.
                raise UsageError(f"A manifest's name ends in {SUFFIX}, not {self.where.manifest.name}.")
            return Path(os.path.abspath(self.where.manifest))
        if not output.name:
            raise UsageError(f"{output} has no folder beside it. Name a file for the records with --manifest.")
        part = "" if self.where.shard is None else ".{}-of-{}".format(*self.where.shard)
        return output.with_name(f"{output.name}{part}{SUFFIX}")

    def photos(self, folder: Path, output: Path) -> Iterator[Path]:
        """The photos below a folder, without what lies in the output."""
        places = (output, self.output, self.backup)
        apart = {self._real(path) for path in places if path is not None and path != folder}
        for parent, folders, files in os.walk(folder, onerror=self._unreadable):
            here = Path(parent)
            folders[:] = sorted(name for name in folders if self.where.recursive and self._enters(here / name, apart))
            self._find_manifests(here)
            for name in sorted(files):
                path = here / name
                if name.startswith("."):
                    continue
                if path.suffix.lower() not in PHOTO_SUFFIXES or not (path.is_file() or path.is_symlink()):
                    self.others += path.suffix != SUFFIX
                elif is_copy(path) and not self.where.again:
                    self.copies.append(path)
                else:
                    yield path

    def _enters(self, folder: Path, apart: set[Path]) -> bool:
        if folder.name.startswith(".") or (not folder.is_symlink() and self._real(folder) in apart):
            return False
        if is_copy(folder) and not self.where.again:
            self.copies.append(folder)
            return False
        return True

    def _find_manifests_above(self, path: Path) -> None:
        """The manifests of runs over folders that hold a path, whatever links lead to it."""
        for folder in dict.fromkeys((*path.parents, *resolved(path).parents)):
            self._find_manifests(folder)

    def _find_manifests(self, folder: Path) -> None:
        if folder in self._looked:
            return
        self._looked.add(folder)
        with contextlib.suppress(OSError):
            self.manifests += [path for path in sorted(folder.glob(f"*{SUFFIX}")) if is_manifest(path)]

    def _unreadable(self, error: OSError) -> None:
        self.unreadable.append(Path(error.filename))


def expected_target(task: Task, wanted: FormatChoice) -> Path:
    """Where a photo's copy goes, as far as its name tells its format."""
    name = task.target.name
    if wanted != "keep":
        return task.target.with_name(renamed(name, wanted.upper(), instead=True))
    other = default_format(task.source)
    return task.target if other is None else task.target.with_name(renamed(name, other, instead=False))


def _without_begun(tasks: list[Task], manifests: Iterable[Path], where: Where) -> list[Task]:
    """Without the copies that an earlier run put beside their originals, and was killed before it removed those.

    A copy in its original's place may have another name. The manifest knows it.
    """
    if where.backup is None:
        return tasks
    targets = {task: expected_target(task, where.format) for task in tasks}
    renamed_to = {target for task, target in targets.items() if target != task.source}
    if not any(task.source in renamed_to for task in tasks):
        return tasks
    known = protected_hashes({*manifests, *(task.manifest for task in tasks)})
    return [task for task in tasks if task.source not in renamed_to or sha256_of(task.source) not in known]


def _refuse_collisions(tasks: list[Task], where: Where) -> None:
    """Two photos with one target would leave one of them unprotected without a word.

    Compared without case, since many file systems know none, but not within one folder: where
    two names there differ by case alone, the file system does know it.
    """
    # Only folders are resolved: writing replaces a link in the output, and never what it points to.
    real = functools.cache(resolved)
    sources = {real(task.source.parent) / task.source.name for task in tasks}
    seen: dict[str, Task] = {}
    for task in tasks:
        target = expected_target(task, where.format)
        if real(target.parent) / target.name in sources and not (task.backup is not None and target == task.source):
            raise UsageError(f"{target} is an input, and would be written too. Name another --output.")
        for place, what in ((target, "become"), (task.backup, "be kept as")):
            if place is None:
                continue
            other = seen.setdefault(f"{what} {place}".casefold(), task)
            if other is not task and not _differ_by_case(other.source, task.source):
                raise UsageError(
                    f"{other.source} and {task.source} would both {what} {place}. "
                    "Protect them in two runs with different folders."
                )


def _differ_by_case(one: Path, other: Path) -> bool:
    """Whether two names in one folder differ by case alone, which only a file system that knows case has."""
    return one.parent == other.parent and one.name != other.name and one.name.casefold() == other.name.casefold()


def _refuse_backup_around(folder: Path, backup: Path) -> None:
    inside, around = resolved(folder), resolved(backup)
    if inside == around or inside.is_relative_to(around):
        raise UsageError(f"The backup {backup} is or holds the input {folder}. Name another folder with --backup.")
    if around.is_relative_to(inside):
        # Who shares the folder would share the originals with it, and the next run could take them for photos.
        raise UsageError(
            f"The backup {backup} is inside the input {folder}. Name a folder outside of it with --backup."
        )
