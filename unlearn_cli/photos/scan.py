"""Which files to protect, and where each one's protected copy goes."""

from __future__ import annotations

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


def plan(paths: Iterable[Path], output: Path | None = None, *, recursive: bool = True) -> Plan:
    """Find the photos below the given folders (or take the given files) and name their copies.

    A folder's copies go to ``<folder>-protected`` beside it, a file's to ``<name>-protected``
    beside it; with ``output``, a single folder's straight into it, several folders' each into
    one of its name, and files' into it. Hidden files and output folders are passed over, links
    to folders are not followed. Raises ``UsageError`` for a path that is not there, an output
    that is the input itself, or two photos with one target, and ``WorkError`` for no photo.
    """
    given = list(dict.fromkeys(Path(os.path.abspath(path)) for path in paths))
    folders = [path for path in given if path.is_dir()]
    roots = {folder: _folder_target(folder, output, single=len(given) == 1) for folder in folders}
    for folder, target in roots.items():
        if target == folder or target.resolve() == folder.resolve():
            raise UsageError(f"The output {target} is the input itself. Name another folder with --output.")
    outputs = {target.resolve() for target in roots.values()}
    tasks: list[Task] = []
    others = 0
    for path in given:
        if path in roots:
            for file in _walk(path, outputs, recursive):
                if file.suffix.lower() in PHOTO_SUFFIXES:
                    tasks.append(Task(file, roots[path] / file.relative_to(path)))
                else:
                    others += 1
        elif path.exists():
            tasks.append(Task(path, _file_target(path, output)))
        else:
            raise UsageError(f"There is no file or folder {path}.")
    tasks = list(dict.fromkeys(tasks))
    if not tasks:
        raise WorkError(f"No photo found in {', '.join(str(path) for path in given)}.")
    _refuse_collisions(tasks)
    return Plan(tuple(tasks), others)


def _folder_target(folder: Path, output: Path | None, *, single: bool) -> Path:
    if output is None:
        if folder.parent == folder:
            raise UsageError(f"{folder} has no folder beside it. Name one with --output.")
        return folder.with_name(f"{folder.name}-protected")
    return Path(os.path.abspath(output)) / ("" if single else folder.name)


def _file_target(path: Path, output: Path | None) -> Path:
    if output is None:
        return path.with_name(f"{path.stem}-protected{path.suffix}")
    target = Path(os.path.abspath(output)) / path.name
    if target.resolve() == path.resolve():
        raise UsageError(f"The output {target} is the input itself. Name another folder with --output.")
    return target


def _walk(folder: Path, outputs: set[Path], recursive: bool) -> Iterator[Path]:
    for parent, folders, files in os.walk(folder):
        here = Path(parent)
        folders[:] = sorted(
            name
            for name in folders
            if recursive and not name.startswith(".") and (here / name).resolve() not in outputs
        )
        yield from (here / name for name in sorted(files) if not name.startswith("."))


def _refuse_collisions(tasks: list[Task]) -> None:
    """Two photos with one target would leave one of them unprotected without a word.

    Compared without case, since many file systems know none, but not within one folder: where
    two names there differ by case alone, the file system does know it.
    """
    seen: dict[str, Task] = {}
    for task in tasks:
        other = seen.setdefault(str(task.target).casefold(), task)
        if other is not task and (other.target == task.target or other.source.parent != task.source.parent):
            raise UsageError(
                f"{other.source} and {task.source} would both become {task.target}. "
                "Protect them in two runs with different --output folders."
            )
