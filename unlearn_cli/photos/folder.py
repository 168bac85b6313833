"""Protecting photos one by one, so that no photo's trouble becomes another's."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from unlearn_cli.errors import PhotoError, PhotoSkippedError
from unlearn_cli.files import write_atomically
from unlearn_cli.photos.decode import open_photo
from unlearn_cli.photos.encode import encode, output_name
from unlearn_cli.photos.noise import Change, Pattern
from unlearn_cli.photos.scan import Task


@dataclass(frozen=True)
class PhotoDone:
    """What became of one photo."""

    source: Path
    target: Path | None
    status: Literal["protected", "skipped", "failed"]
    reason: str = ""
    change: Change | None = None
    """What changed in the pixels before encoding."""
    grey: bool = False
    """Whether the photo could only carry the noise's luma."""
    seconds: float = 0.0


def protect_photos(tasks: Iterable[Task], pattern: Pattern, *, overwrite: bool = False) -> Iterator[PhotoDone]:
    """Protect each photo and yield what became of it, as soon as its file is whole on the disk.

    A target that is already there is skipped unless ``overwrite``. Originals are only ever read.
    """
    written: set[Path] = set()
    for task in tasks:
        start = time.perf_counter()
        try:
            done = _protect(task, pattern, overwrite, written)
        except PhotoSkippedError as reason:
            done = PhotoDone(task.source, None, "skipped", str(reason))
        except PhotoError as error:
            done = PhotoDone(task.source, None, "failed", str(error))
        except MemoryError:
            done = PhotoDone(task.source, None, "failed", "there is not enough memory to protect it")
        if done.target:
            written.add(done.target)
        yield replace(done, seconds=time.perf_counter() - start)


def _protect(task: Task, pattern: Pattern, overwrite: bool, written: set[Path]) -> PhotoDone:
    # Looked at before decoding, so that a second run over a large folder costs next to nothing.
    if not overwrite:
        _skip_if_there(task.target, written)
        _skip_if_there(task.target.with_name(f"{task.target.name}.png"), written)
    photo = open_photo(task.source)
    target = task.target.with_name(output_name(task.target, photo))
    if target in written:
        raise PhotoError(f"another photo of this run has become {target} already")
    if target.exists() and target.samefile(task.source):
        raise PhotoError(f"its copy {target} is the original itself, by a link")
    protected, change = pattern.protect(photo.image)
    data = encode(photo, protected)
    try:
        write_atomically(target, data)
        times = task.source.stat()
        os.utime(target, ns=(times.st_atime_ns, times.st_mtime_ns))
    except OSError as error:
        raise PhotoError(f"its copy {target} cannot be written ({error.strerror or error})") from error
    grey = protected.mode not in ("RGB", "RGBA", "CMYK")
    return PhotoDone(task.source, target, "protected", change=change, grey=grey)


def _skip_if_there(target: Path, written: set[Path]) -> None:
    if os.path.lexists(target) and target not in written:
        raise PhotoSkippedError("its protected copy is already there (--overwrite makes it again)")
