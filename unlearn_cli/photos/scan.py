"""Finding the files to protect, and the place for the protected copy of each one."""

from __future__ import annotations

import contextlib
import functools
import glob
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from unlearn_cli.errors import UsageError, WorkError
from unlearn_cli.photos.encode import FormatChoice
from unlearn_cli.photos.kinds import LINKED_FOLDER, LIVE_PHOTO, is_photo, is_video, stems, why_not_taken
from unlearn_cli.photos.lists import by_place, is_of_shard
from unlearn_cli.photos.manifest import SUFFIX, is_manifest
from unlearn_cli.photos.names import Earlier, Names, Places, Task, name_copies, resolved
from unlearn_cli.photos.single import is_file_name
from unlearn_cli.photos.urls import shown

COPY = "-protected"
"""The ending of the name of a protected copy of a folder or file."""

FILES_MANIFEST = "photos-protected"
"""The name of the manifest for single files that are protected beside themselves; they share one."""


@dataclass(frozen=True)
class Plan:
    """Everything that a run will do, prepared before any of it is done."""

    tasks: tuple[Task, ...]
    others: int = 0
    """How many files below the folders were ignored because they are no photos."""
    outputs: tuple[Path, ...] = ()
    """The folders or files that the copies go to, one for each given path."""
    copies: tuple[Path, ...] = ()
    """Folders and files that were ignored because they are protected copies of what lies beside them."""
    unreadable: tuple[Path, ...] = ()
    """Folders that could not be listed."""
    manifests: tuple[Path, ...] = ()
    """Manifests of earlier runs that were found on the way; they know protected photos."""
    not_protected: tuple[tuple[Path, str], ...] = ()
    """Pictures and links to folders below the given ones that are left out, each with the reason and what to do."""
    names: Names = field(default_factory=Names, compare=False)
    """The places of all copies, including those of the other shards of a shared folder."""


@dataclass(frozen=True, kw_only=True)
class Where:
    """The user's choice of photos among the given paths, and of the place of their copies."""

    output: Path | None = None
    recursive: bool = True
    format: FormatChoice = "keep"
    manifest: Path | None = None
    backup: Path | None = None
    """A folder for the originals; if it is given, each copy takes its original's place."""
    again: bool = False
    """Whether to include what is known to be protected already."""
    shard: tuple[int, int] | None = None
    """Take only shard I of N, counted from 1; every machine divides a folder in the same way."""


WHERE = Where()
"""The default: everything below a folder, with the copies beside it."""


def plan(paths: Iterable[Path], where: Where = WHERE, *, listed: Iterable[Path] | None = None) -> Plan:
    """Return the plan for the photos below the given folders and for the given files, with named copies.

    A folder's copies go to ``<folder>-protected`` beside it, a file's copy to ``<name>-protected`` beside it. If there
    is an output, those of a single folder go straight into it, those of several folders each into a subfolder with the
    folder's name, and those of files into it, unless it has the name of a photo: that is the name of a single file's
    copy (give the format that ``single.format_by_name`` returns). ``listed`` files, which need not exist, keep their
    relative folders.
    ``names.name_copies`` decides which photo gets a name that several would have. Hidden files, output folders, and
    protected copies beside their originals are ignored, and links to folders are not followed. Raises ``UsageError``
    for a path that does not exist, an output that holds an input, or a copy that would take another photo's place, and
    ``WorkError`` if there is no photo, unless there is a list or a shard, which may be empty.
    """
    given = _without_aliases([Path(os.path.abspath(path)) for path in paths], where)
    listing = list(listed or ())
    walk = _Walk(where)
    walk.files = [path for path in given if path.is_file()] + [Path(os.path.abspath(entry)) for entry in listing]
    one = is_file_name(where.output)
    if one and (len(given) != 1 or given[0].is_dir() or listing):
        raise UsageError(f"The output {where.output} has a photo's name, and is for one photo only. Name a folder.")
    if where.output is not None and where.output.exists() and not where.output.is_dir() and not one:
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
    tasks = _once(walk.tasks, where)
    earlier = Earlier.of(walk.known_manifests())
    if where.backup is not None:
        tasks = earlier.without_begun(tasks)
    if not tasks and not walk.unreadable and where.shard is None and listed is None:
        raise WorkError(_nothing_found(given, walk.not_protected))
    named, names = name_copies(tasks, where.format, earlier)  # names cover all shards, since they share the output
    return Plan(
        tuple(task for task, given in zip(named, tasks, strict=True) if where.shard is None or given in walk.ours),
        walk.others,
        tuple(dict.fromkeys(walk.outputs)),
        tuple(walk.copies),
        tuple(walk.unreadable),
        tuple(dict.fromkeys(walk.manifests)),
        tuple(dict.fromkeys(walk.not_protected)),
        names,
    )


def _once(tasks: Iterable[Task], where: Where) -> list[Task]:
    """Return each photo once, as it was found first; in-place photos only once even if links lead to them."""
    place, found = Places(), dict[object, Task]()
    for task in tasks:
        found.setdefault(place(task.source) if where.backup is not None else (task.source, task.target), task)
    return list(found.values())


def _nothing_found(given: list[Path], not_protected: list[tuple[Path, str]]) -> str:
    sentence = f"No photo found in {', '.join(str(path) for path in given[:3])}."
    if not_protected:
        path, why = not_protected[0]
        more = f", and {len(not_protected) - 1} more" if not_protected[1:] else ""
        sentence += f" Not protected: {path.name}{more}: {why}."
    return sentence


def _without_aliases(paths: list[Path], where: Where) -> list[Path]:
    """Return each path once; for in-place runs only once even if links lead to it under several names."""
    if where.backup is None:
        return list(dict.fromkeys(paths))
    return list({resolved(path): path for path in reversed(paths)}.values())[::-1]


def copy_beside(path: Path) -> Path:
    """Return where the copies of a folder's photos go, or the copy of a photo, if no output is named: beside it."""
    if path.is_dir():
        return path.with_name(f"{path.name}{COPY}")
    return path.with_name(f"{path.stem}{COPY}{path.suffix}")


def both_of(path: Path) -> tuple[Path, Path]:
    """Return the originals and their copies, if no output was named for them and one of the two is given.

    Raises ``UsageError`` if the other one is not there.
    """
    if path.name in ("", ".."):  # The name of "." is that of the folder.
        path = Path(os.path.abspath(path))
    if not path.name:
        raise UsageError(f"Nothing can be beside {path}. Name the originals and their copies.")
    name, suffix = (path.name, "") if path.is_dir() else (path.stem, path.suffix)
    original, copy = path.with_name(name.removesuffix(COPY) + suffix), copy_beside(path)
    if original != path and original.exists():
        return original, path
    if not copy.exists():
        raise UsageError(f"Nothing is at {shown(copy)}. Name the originals and their copies.")
    return path, copy


def photos_below(folder: Path, apart: Path | None = None) -> Iterator[Path]:
    """Yield all photos below a folder, in order of their names, except those in the folder ``apart``."""
    yield from _Walk(Where(again=True)).photos(folder, apart or folder)


def is_copy(path: Path) -> bool:
    """Return whether a path has the name of a protected copy, and its original is next to it.

    Protecting it again would add noise to noise, and so exceed the bound.
    """
    if path.name.endswith(COPY):  # a folder's copy, whose name may contain dots
        return path.name != COPY and os.path.lexists(path.with_name(path.name.removesuffix(COPY)))
    if COPY not in path.name:
        return False
    # A file's copy may have got .png after its name.
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
        raise UsageError(f"The output {target} contains the input {folder}. Name another folder with --output.")


def _folder_target(folder: Path, output: Path | None, *, single: bool) -> Path:
    if output is None:
        if folder.parent == folder:
            raise UsageError(
                f"The copies cannot go beside {folder}, which is the top folder. Name a folder with --output."
            )
        return copy_beside(folder)
    return Path(os.path.abspath(output)) / ("" if single else folder.name)


class _Walk:
    """A search of the given paths that records what it ignores."""

    def __init__(self, where: Where) -> None:
        self.where = where
        self.backup = Path(os.path.abspath(where.backup)) if where.backup is not None else None
        self.output = Path(os.path.abspath(where.output)) if where.output is not None else None
        self.tasks: list[Task] = []
        """The tasks of all shards; if there are shards, ``ours`` has those of this one."""
        self.ours: set[Task] = set()
        self.others = 0
        self.outputs: list[Path] = []
        self.copies: list[Path] = []
        self.unreadable: list[Path] = []
        self.manifests: list[Path] = []
        self.not_protected: list[tuple[Path, str]] = []
        self.files: list[Path] = []
        """The given single files, which share a manifest if their copies go beside them."""
        self._real = functools.cache(resolved)
        self._looked: set[Path] = set()
        self._bases: set[Path] = set()
        """The outputs beside which manifests may lie: each shard of a shared folder has its own."""

    def take_folder(self, folder: Path, *, single: bool) -> None:
        """Add the photos below a folder, in order of their names."""
        if self.backup is not None:
            target = folder
            _refuse_backup_around(folder, self.backup)
        else:
            if is_copy(folder) and not self.where.again:
                raise UsageError(
                    f"{folder} is the protected copy of the folder next to it. Name the folder of originals instead."
                )
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
        """Add a single file; ``below`` is its path in an output folder."""
        if is_copy(path) and not self.where.again:
            self.copies.append(path)
            return
        self._find_manifests_above(path)
        backup = None
        if self.backup is not None:
            target, backup = path, self.backup / below
            manifest = self._manifest(self._shared_folder / FILES_MANIFEST)
            if resolved(backup) == resolved(path):
                raise UsageError(f"The backup of {path} would be the photo itself. Name another folder with --backup.")
        elif self.output is not None:
            one = is_file_name(self.output)
            target = self.output if one else self.output / below
            manifest = self._manifest(self.output.with_name(FILES_MANIFEST) if one else self.output)
            if resolved(target) == resolved(path):
                raise UsageError(f"The output {target} is the input itself. Name another folder with --output.")
        else:
            target = copy_beside(path)
            manifest = self._manifest(self._shared_folder / FILES_MANIFEST)
        self._take(Task(path, target, manifest, path.parent.name, backup), below)
        self.outputs.append(target)

    def _take(self, task: Task, below: str) -> None:
        self.tasks.append(task)
        if self.where.shard is not None and is_of_shard(below, self.where.shard):
            self.ours.add(task)

    @functools.cached_property
    def _shared_folder(self) -> Path:
        """Return the folder that holds all the given single files, or the working directory if there is none."""
        try:
            return Path(os.path.commonpath([path.parent for path in self.files]))
        except ValueError:  # They are on several drives.
            return Path.cwd()

    def _manifest(self, output: Path) -> Path:
        """Return the manifest's path: beside the output, with a separate manifest for each shard.

        Raises ``UsageError`` for a name that is not a manifest's, and for a place in the folder that will be shared.
        """
        if self.where.manifest is not None:
            if self.where.manifest.suffix != SUFFIX:  # Later runs look for manifests by this suffix.
                raise UsageError(f"A manifest's name must end in {SUFFIX}, not be {self.where.manifest.name}.")
            if resolved(self.where.manifest).is_relative_to(resolved(output)):
                raise UsageError(
                    f"The manifest {self.where.manifest} would be in {output}, which you will share. It is for you "
                    "alone: name a file in another folder with --manifest."
                )
            return Path(os.path.abspath(self.where.manifest))
        if not output.name:
            raise UsageError(f"The manifest cannot go beside {output}. Name a file for it with --manifest.")
        self._bases.add(output)
        part = "" if self.where.shard is None else ".{}-of-{}".format(*self.where.shard)
        return output.with_name(f"{output.name}{part}{SUFFIX}")

    def known_manifests(self) -> list[Path]:
        """Return the manifests that may record the names of earlier copies; those that this run writes come last."""
        ours = dict.fromkeys(task.manifest for task in self.tasks)
        parts = [path for base in self._bases for path in sorted(base.parent.glob(f"{glob.escape(base.name)}.*"))]
        found = dict.fromkeys(path for path in (*self.manifests, *parts) if path.suffix == SUFFIX and path not in ours)
        return [*found, *ours]

    def photos(self, folder: Path, output: Path) -> Iterator[Path]:
        """Yield the photos below a folder, without those in the output."""
        places = (output, self.output, self.backup)
        apart = {self._real(path) for path in places if path is not None and path != folder}
        for parent, folders, files in os.walk(folder, onerror=self._unreadable):
            here = Path(parent)
            folders[:] = sorted(name for name in folders if self.where.recursive and self._enters(here / name, apart))
            self._find_manifests(here)
            yield from self._photos_among([here / name for name in sorted(files) if not name.startswith(".")])

    def _photos_among(self, files: list[Path]) -> Iterator[Path]:
        """Yield the photos among the files of one folder."""
        videos, photos = [], []
        for path in files:
            if (why := why_not_taken(path)) is not None:
                self.not_protected.append((path, why))
            elif path.suffix == SUFFIX:  # It is a manifest, or some other JSON lines.
                continue
            elif is_photo(path):
                photos.append(path)
                if is_copy(path) and not self.where.again:
                    self.copies.append(path)
                else:
                    yield path
            elif is_video(path):
                videos.append(path)
            else:
                self.others += 1
        of_photos = {stem for path in photos for stem in stems(path)} if videos else set()
        live = [path for path in videos if path.stem.casefold() in of_photos]
        self.not_protected += [(path, LIVE_PHOTO) for path in live]
        self.others += len(videos) - len(live)

    def _enters(self, folder: Path, apart: set[Path]) -> bool:
        if folder.name.startswith(".") or (not folder.is_symlink() and self._real(folder) in apart):
            return False
        if folder.is_symlink():
            self.not_protected.append((folder, LINKED_FOLDER))
            return False
        if is_copy(folder) and not self.where.again:
            self.copies.append(folder)
            return False
        return True

    def _find_manifests_above(self, path: Path) -> None:
        """Find the manifests of runs over the folders that hold a path, also through links."""
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


def _refuse_backup_around(folder: Path, backup: Path) -> None:
    inside, around = resolved(folder), resolved(backup)
    if inside == around or inside.is_relative_to(around):
        raise UsageError(f"The backup {backup} is or contains the input {folder}. Name another folder with --backup.")
    if around.is_relative_to(inside):
        # Sharing the folder would share the originals too, and the next run could take them for photos.
        raise UsageError(
            f"The backup {backup} is inside the input {folder}. Name a folder outside of it with --backup."
        )
