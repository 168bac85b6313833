"""Which files to protect, and where each one's protected copy goes."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from unlearn_cli.errors import UsageError, WorkError

PHOTO_SUFFIXES = frozenset(
    ".jpg .jpeg .jpe .jfif .mpo .png .apng .webp .tif .tiff .bmp .dib .gif .avif .avifs .heic .heif .hif "
    ".jp2 .j2k .jpf .jpx .jpc .ppm .pgm .pbm .pnm .tga .pcx .ico .icns .dds .psd".split()
)
"""Files with other names are not photos: they are counted, not touched. What is named so and is
no photo fails when it is read."""

COPY = "-protected"
"""What is put behind the name of a folder or file for its protected copy."""


@dataclass(frozen=True)
class Task:
    """One photo to protect. ``target`` may still get a suffix, when its format is known."""

    source: Path
    target: Path


@dataclass(frozen=True)
class Plan:
    """All that a run will do, before it does any of it."""

    tasks: tuple[Task, ...]
    others: int
    """How many files below the folders were passed over because they are no photos."""
    outputs: tuple[Path, ...] = ()
    """The folders, or files, that the copies go to: one for each given path."""
    copies: tuple[Path, ...] = ()
    """Folders and files passed over because they are protected copies of what lies beside them."""
    unreadable: tuple[Path, ...] = ()
    """Folders that could not be listed."""


def plan(paths: Iterable[Path], output: Path | None = None, *, recursive: bool = True) -> Plan:
    """Find the photos below the given folders (or take the given files) and name their copies.

    A folder's copies go to ``<folder>-protected`` beside it, a file's to ``<name>-protected``
    beside it; with ``output``, a single folder's straight into it, several folders' each into
    one of its name, and files' into it. Hidden files, output folders, and protected copies
    beside their originals are passed over, links to folders are not followed. Raises
    ``UsageError`` for a path that is not there, an output that holds an input, or two photos
    with one target, and ``WorkError`` for no photo.
    """
    given = list(dict.fromkeys(Path(os.path.abspath(path)) for path in paths))
    if output is not None and output.exists() and not output.is_dir():
        raise UsageError(f"The output {output} is a file. Name a folder with --output.")
    walk = _Walk(recursive)
    tasks: list[Task] = []
    outputs: list[Path] = []
    for path in given:
        if path.is_dir():
            if is_copy(path):
                raise UsageError(f"{path} is the protected copy of what lies beside it. Name the original instead.")
            target = _folder_target(path, output, single=len(given) == 1)
            _refuse_output_around(path, target)
            outputs.append(target)
            tasks += [Task(file, target / file.relative_to(path)) for file in walk.photos(path, target)]
        elif not path.is_file():
            raise UsageError(f"There is no file or folder {path}.")
        elif is_copy(path):
            walk.copies.append(path)
        else:
            tasks.append(Task(path, _file_target(path, output)))
            outputs.append(tasks[-1].target)
    tasks = list(dict.fromkeys(tasks))
    if not tasks and not walk.unreadable:
        raise WorkError(f"No photo found in {', '.join(str(path) for path in given)}.")
    _refuse_collisions(tasks)
    return Plan(tuple(tasks), walk.others, tuple(outputs), tuple(walk.copies), tuple(walk.unreadable))


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
    inside, around = folder.resolve(), target.resolve()
    if inside == around:
        raise UsageError(f"The output {target} is the input itself. Name another folder with --output.")
    if inside.is_relative_to(around):
        raise UsageError(f"The output {target} holds the input {folder}. Name another folder with --output.")


def _folder_target(folder: Path, output: Path | None, *, single: bool) -> Path:
    if output is None:
        if folder.parent == folder:
            raise UsageError(f"{folder} has no folder beside it. Name one with --output.")
        return folder.with_name(f"{folder.name}{COPY}")
    return Path(os.path.abspath(output)) / ("" if single else folder.name)


def _file_target(path: Path, output: Path | None) -> Path:
    if output is None:
        return path.with_name(f"{path.stem}{COPY}{path.suffix}")
    target = Path(os.path.abspath(output)) / path.name
    if target.resolve() == path.resolve():
        raise UsageError(f"The output {target} is the input itself. Name another folder with --output.")
    return target


class _Walk:
    """A walk over folders that keeps account of what it passes over."""

    def __init__(self, recursive: bool) -> None:
        self.recursive = recursive
        self.others = 0
        self.copies: list[Path] = []
        self.unreadable: list[Path] = []

    def photos(self, folder: Path, output: Path) -> Iterator[Path]:
        """The photos below a folder, in order of their names."""
        for parent, folders, files in os.walk(folder, onerror=self._unreadable):
            here = Path(parent)
            folders[:] = sorted(name for name in folders if self.recursive and self._enters(here / name, output))
            for name in sorted(files):
                path = here / name
                if name.startswith("."):
                    continue
                if path.suffix.lower() not in PHOTO_SUFFIXES or not (path.is_file() or path.is_symlink()):
                    self.others += 1
                elif is_copy(path):
                    self.copies.append(path)
                else:
                    yield path

    def _enters(self, folder: Path, output: Path) -> bool:
        if folder.name.startswith(".") or folder.resolve() == output.resolve():
            return False
        if is_copy(folder):
            self.copies.append(folder)
            return False
        return True

    def _unreadable(self, error: OSError) -> None:
        self.unreadable.append(Path(error.filename))


def _refuse_collisions(tasks: list[Task]) -> None:
    """Two photos with one target would leave one of them unprotected without a word.

    Compared without case, since many file systems know none, but not within one folder: where
    two names there differ by case alone, the file system does know it.
    """
    # Only folders are resolved: writing replaces a link in the output, and never what it points to.
    real = functools.cache(Path.resolve)
    sources = {real(task.source.parent) / task.source.name for task in tasks}
    seen: dict[str, Task] = {}
    for task in tasks:
        if real(task.target.parent) / task.target.name in sources:
            raise UsageError(f"{task.target} is an input, and would be written too. Name another --output.")
        other = seen.setdefault(str(task.target).casefold(), task)
        if other is not task and (other.target == task.target or other.source.parent != task.source.parent):
            raise UsageError(
                f"{other.source} and {task.source} would both become {task.target}. "
                "Protect them in two runs with different --output folders."
            )
