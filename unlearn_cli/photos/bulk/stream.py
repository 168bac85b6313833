"""The photos of a long run as a stream of units of work, decided from a listing, without a list of all of them."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from unlearn_cli.errors import UsageError
from unlearn_cli.photos.bulk.each import Item, Job, is_current, unchanged
from unlearn_cli.photos.bulk.index import AT_ONCE, Index, Known
from unlearn_cli.photos.bulk.store import Store, Stored
from unlearn_cli.photos.encode import FormatChoice, default_format, renamed
from unlearn_cli.photos.kinds import PHOTO_SUFFIXES, why_not_taken
from unlearn_cli.photos.lists import is_of_shard
from unlearn_cli.photos.manifest import SUFFIX
from unlearn_cli.photos.outcome import PhotoDone
from unlearn_cli.photos.scan import COPY
from unlearn_cli.photos.urls import url_of

NOTHING = Known(None, "")


@dataclass(frozen=True, slots=True)
class Unit:
    """Holds a batch: photos to protect, and the results of photos that need no work."""

    items: tuple[Item, ...] = ()
    done: tuple[PhotoDone, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Cut:
    """The size of the units of work."""

    photos: int = 1
    bytes: int = 64_000_000


@dataclass
class Left:
    """The other files that a listing showed, besides photos to protect; complete when the stream has ended."""

    others: int = 0
    """How many files were no photos."""
    copies: int = 0
    """How many files were passed over because they are protected copies of what lies beside them."""
    not_protected: Counter[str] = field(default_factory=Counter)
    """How many pictures cannot be protected, by the reason."""
    photos: int = 0
    """How many photos were listed."""


def is_hidden(path: Path) -> bool:
    """Return whether a file or a folder that holds it is hidden."""
    return any(part.startswith(".") for part in path.parts)


class Stream:
    """The photos of a source, in the order of its listing."""

    def __init__(self, job: Job, index: Index, *, recursive: bool, shard: tuple[int, int] | None, again: bool) -> None:
        self.job, self.index = job, index
        self.recursive, self.shard, self.again = recursive, shard, again
        self.left = Left()
        self.ended: dict[str, str] = {}
        """How earlier runs ended with photos that are under way now, if they were skipped or failed."""
        self._apart = below(job.source, job.target)

    def units(self, cut: Cut) -> Iterator[Unit]:
        """Yield all photos in units that are cut by their number and size; those that are done come by themselves."""
        photos = self._photos()
        waiting: list[Item] = []
        while some := list(islice(photos, AT_ONCE)):
            done: list[PhotoDone] = []
            for item in self._sorted_out(some, done):
                waiting.append(item)
                if len(waiting) >= cut.photos or sum(each.file.size for each in waiting) >= cut.bytes:
                    yield Unit(items=tuple(waiting))
                    waiting = []
            if done:
                yield Unit(done=tuple(done))
        if waiting:
            yield Unit(items=tuple(waiting))

    def _sorted_out(self, some: list[tuple[Stored, bool]], done: list[PhotoDone]) -> Iterator[Item]:
        """Yield the photos to protect; the results of the others are added to ``done``."""
        job = self.job
        known = self.index.known([f"{job.source_name}/{file.name}" for file, _ in some])
        places = {}
        for file, _ in some:
            last = known.get(f"{job.source_name}/{file.name}", NOTHING).last
            recorded = last.output.removeprefix(f"{job.target_name}/") if last is not None else ""
            places[file.name] = (
                recorded
                if last is not None and last.settings == job.settings
                else expected_name(file.name, job.options.writing.format)
            )
        there = self.index.there(list(places.values()))
        for file, perhaps in some:
            before, copy = known.get(f"{job.source_name}/{file.name}", NOTHING), there.get(places[file.name])
            if before.last is not None and is_current(job, file, before.last, copy):
                done.append(unchanged(job, file, before.last))
                continue
            if before.ended:
                self.ended[file.name] = before.ended
            yield Item(file, before.last, copy, perhaps)

    def _photos(self) -> Iterator[tuple[Stored, bool]]:
        """Yield the photos that are listed, each with whether it is one only if it begins as a JPEG."""
        for file in self.job.source.listing():
            path = Path(file.name)
            if is_hidden(path) or file.name.startswith(self._apart or "\0"):
                continue
            if path.suffix == SUFFIX or (not self.recursive and len(path.parts) > 1):
                continue
            if (why := why_not_taken(path)) is not None:
                self.left.not_protected[why] += 1
                continue
            if self.shard is not None and not is_of_shard(file.name, self.shard):
                continue
            if not self.again and self._is_copy(path):
                self.left.copies += 1
                continue
            self.left.photos += 1
            yield file, path.suffix.lower() not in PHOTO_SUFFIXES

    def _is_copy(self, path: Path) -> bool:
        """Return whether a file has the name of a protected copy of a photo that lies beside it."""
        for one in (path, path.with_suffix("")):
            if one.stem.endswith(COPY):
                original = path.with_name(one.stem.removesuffix(COPY) + one.suffix)
                return self.job.source.find(original.as_posix()) is not None
        return False


def expected_name(name: str, wanted: FormatChoice) -> str:
    """Return the name that a photo's copy most likely gets."""
    target = default_format(Path(name)) if wanted == "keep" else wanted.upper()
    return name if target is None else renamed(name, target, instead=False)


def below(source: Store, target: Store) -> str | None:
    """Return the beginning of the names in a source that belong to a target inside it; None if it lies elsewhere.

    Raises ``UsageError`` if the target is the source or contains it.
    """
    one, other = (_parts(store) for store in (source, target))
    if one[: len(other)] == other:
        what = "is the input itself" if one == other else f"contains the input {source.place}"
        raise UsageError(f"The output {target.place} {what}. Name another folder with --output.")
    return "/".join(other[len(one) :]) + "/" if other[: len(one)] == one else None


def _parts(store: Store) -> tuple[str, ...]:
    return (
        tuple(store.place.split("/")) if url_of(store.place) is not None else Path(os.path.realpath(store.place)).parts
    )
