"""Protecting photos one by one, so that no photo's trouble becomes another's."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from unlearn_cli.errors import PhotoError, PhotoSkippedError
from unlearn_cli.files import write_atomically
from unlearn_cli.photos.decode import open_photo
from unlearn_cli.photos.encode import encode, is_lossless, output_name
from unlearn_cli.photos.noise import Change, Pattern
from unlearn_cli.photos.scan import Task
from unlearn_cli.photos.similarity import largest_change


@dataclass(frozen=True)
class PhotoDone:
    """What became of one photo."""

    source: Path
    target: Path | None
    status: Literal["protected", "skipped", "failed"]
    reason: str = ""
    change: Change | None = None
    """What changed in the pixels before encoding."""
    realised: float = 0.0
    """L-infinity in pixel levels of the encoded file against the original, decoded again."""
    grey: bool = False
    """Whether the photo could only carry the noise's luma."""
    seconds: float = 0.0


def protect_photos(
    tasks: Iterable[Task], pattern: Pattern, *, overwrite: bool = False, jobs: int = 1
) -> Generator[PhotoDone, None, None]:
    """Protect each photo and yield what became of it, in order, when its file is whole on the disk.

    A target that is already there is skipped unless ``overwrite``. Originals are only ever read.
    ``jobs`` photos are worked on at once, in threads, since decoding, adding and encoding all run
    outside the interpreter's lock; as many more wait at most, however many there are.
    """
    run = _Run(pattern, overwrite)
    with ThreadPoolExecutor(jobs) as pool:
        waiting: deque[Future[PhotoDone]] = deque()
        try:
            for task in tasks:
                waiting.append(pool.submit(run.protect, task))
                if len(waiting) >= 2 * jobs:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            # Interrupted, or not asked on: what has begun is finished, the rest never begins.
            pool.shutdown(wait=True, cancel_futures=True)


class _Run:
    """What the workers of one run share."""

    def __init__(self, pattern: Pattern, overwrite: bool) -> None:
        self.pattern, self.overwrite = pattern, overwrite
        self.claimed: set[Path] = set()
        self.lock = threading.Lock()

    def protect(self, task: Task) -> PhotoDone:
        """Protect one photo, whatever happens."""
        start = time.perf_counter()
        try:
            done = self._protect(task)
        except PhotoSkippedError as reason:
            done = PhotoDone(task.source, None, "skipped", str(reason))
        except PhotoError as error:
            done = PhotoDone(task.source, None, "failed", str(error))
        except MemoryError:
            done = PhotoDone(task.source, None, "failed", "there is not enough memory to protect it")
        return replace(done, seconds=time.perf_counter() - start)

    def _protect(self, task: Task) -> PhotoDone:
        # Looked at before decoding, so that a second run over a large folder costs next to nothing.
        if not self.overwrite:
            self._skip_if_there(task.target)
        photo = open_photo(task.source)
        target = task.target.with_name(output_name(task.target, photo))
        if not self.overwrite:
            self._skip_if_there(target)
        self._claim(target)
        protected, change = self.pattern.protect(photo.image)
        if change.linf == 0:
            raise PhotoSkippedError("the noise changes nothing in it: it is transparent, or all black or white")
        data = encode(photo, protected)
        realised = largest_change(photo.image, data)
        if is_lossless(photo) and realised > self.pattern.epsilon:
            raise PhotoError(f"its {target.suffix} file would change it by {realised:g} levels, more than the bound")
        _write(target, data, task.source)
        grey = protected.mode not in ("RGB", "RGBA", "CMYK")
        return PhotoDone(task.source, target, "protected", change=change, realised=realised, grey=grey)

    def _skip_if_there(self, target: Path) -> None:
        with self.lock:
            ours = target in self.claimed
        if os.path.lexists(target) and not ours:
            raise PhotoSkippedError(
                "a copy from an earlier run is already there, as it was made then (--overwrite makes it again)"
            )

    def _claim(self, target: Path) -> None:
        with self.lock:
            if target in self.claimed:
                raise PhotoError(f"another photo of this run has become {target} already")
            self.claimed.add(target)


def _write(target: Path, data: bytes, source: Path) -> None:
    """Write a copy with its original's times."""
    try:
        write_atomically(target, data)
        times = source.stat()
        os.utime(target, ns=(times.st_atime_ns, times.st_mtime_ns))
    except OSError as error:
        raise PhotoError(f"its copy {target} cannot be written ({error.strerror or error})") from error
