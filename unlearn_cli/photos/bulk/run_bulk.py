"""Protecting any number of photos as a stream: from and to folders or object storage, in threads or by Ray."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, Protocol

from PIL import Image

from unlearn_cli.errors import UsageError
from unlearn_cli.photos.bulk.each import Ended, Job, protect_item
from unlearn_cli.photos.bulk.index import Index
from unlearn_cli.photos.bulk.ledger import Ledger, ledger_at
from unlearn_cli.photos.bulk.store import LocalStore, store_at
from unlearn_cli.photos.bulk.stream import Cut, Left, Stream, Unit, below
from unlearn_cli.photos.copying import digest_of
from unlearn_cli.photos.made_with import CHANGED, LOST
from unlearn_cli.photos.manifest import SUFFIX
from unlearn_cli.photos.outcome import OPTIONS, Options, PhotoDone
from unlearn_cli.photos.pipeline import in_order
from unlearn_cli.photos.protection import Protection
from unlearn_cli.photos.resample import Workspace
from unlearn_cli.photos.urls import url_of

Engine = Literal["local", "ray"]


class Spread(Protocol):
    """Something that protects the photos of units, in any order, and yields what became of each."""

    def __call__(self, job: Job, units: Iterator[Unit]) -> Generator[Ended | PhotoDone, None, None]:
        """Yield the results of all units; closing it early ends the work cleanly."""


@dataclass(frozen=True, kw_only=True)
class Places:
    """The places of a run: of its photos, of their copies, and of the record."""

    source: Path
    """A folder or a URL."""
    output: Path | None = None
    manifest: Path | None = None
    recursive: bool = True
    shard: tuple[int, int] | None = None
    again: bool = False

    @property
    def target(self) -> str:
        """Return the folder of the copies: the output, or one beside the source."""
        given = self.output if self.output is not None else self.source.with_name(f"{self.source.name}-protected")
        return url_of(given) or os.path.abspath(given)

    @property
    def recorded_in(self) -> str:
        """Return the place of the manifest: the named one, or beside the output."""
        if self.manifest is not None:
            return url_of(self.manifest) or os.path.abspath(self.manifest)
        if "/" not in self.target.partition("://")[2] and url_of(self.target) is not None:
            raise UsageError(f"The manifest cannot go beside {self.target}, a whole bucket. Name one with --manifest.")
        part = "" if self.shard is None else ".{}-of-{}".format(*self.shard)
        return f"{self.target}{part}{SUFFIX}"


class BulkRun:
    """One run over photos that are too many to be listed in memory, or that are in object storage."""

    def __init__(self, places: Places, options: Options = OPTIONS, *, dry_run: bool = False) -> None:
        """Open the places; in a ``dry_run`` nothing is written to the manifest.

        Raises ``UsageError`` for places that cannot be used, and ``WorkError``.
        """
        self.places, self.options = places, options
        self.left = Left()
        """What the listing showed besides photos; it is complete when all results were yielded."""
        self._stack = contextlib.ExitStack()
        tag = hashlib.sha256(os.fsencode(places.recorded_in)).hexdigest()[:8] + "-"
        self.source, self.target = store_at(places.source), store_at(places.target, tag)
        if isinstance(self.source, LocalStore) and not self.source.folder.is_dir():
            raise UsageError(f"There is no folder {self.source.folder}.")
        below(self.source, self.target)
        self.ledger: Ledger = ledger_at(places.recorded_in, write=not dry_run)
        self._stack.callback(self.ledger.close)
        self.index = Index()
        self._stack.callback(self.index.close)

    def __enter__(self) -> BulkRun:
        with contextlib.ExitStack() as stack:
            stack.push(self._stack)
            self.index.learn_records(self.ledger.records())
            self.index.learn_files(self.target.listing())
            stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def refuse_other_key(self, protection: Protection, *, missing: bool) -> None:
        """Raise ``UsageError`` if copies were made with another key than the one in use, which may be ``missing``."""
        others = [(key, count) for key, count in self.index.used_keys() if key != protection.key_fingerprint]
        if not others or protection.key_fingerprint is None:
            return
        old, count = others[0]
        if missing:
            raise UsageError(LOST.format(manifest=self.places.recorded_in, old=old))
        if not self.options.overwrite:
            new = protection.key_fingerprint
            raise UsageError(CHANGED.format(manifest=self.places.recorded_in, count=count, old=old, new=new))

    def protect(self, protection: Protection, spread: Spread, cut: Cut) -> Generator[PhotoDone, None, None]:
        """Protect all photos, and yield each one's result once its copy is complete and recorded.

        Raises ``WorkError`` if the manifest cannot be written. If the caller stops, what has begun is ended.
        """
        job = self.job(protection)
        stream = self.stream(job)
        with contextlib.closing(spread(job, stream.units(cut))) as results:
            for ended in results:
                if isinstance(ended, PhotoDone):
                    yield ended
                elif ended.photo is None:
                    self.left.others += 1
                else:
                    self._record(ended, stream.ended.pop(ended.name, ""))
                    yield ended.photo

    def job(self, protection: Protection) -> Job:
        """Return what all photos of this run have in common."""
        return Job(
            self.source, self.target, self.ledger.name_of(self.source), self.ledger.name_of(self.target), protection,
            self.options, digest_of(protection, self.options.writing), Image.MAX_IMAGE_PIXELS,
        )  # fmt: skip

    def stream(self, job: Job) -> Stream:
        """Return the photos to protect."""
        of = self.places
        stream = Stream(job, self.index, recursive=of.recursive, shard=of.shard, again=of.again)
        self.left = stream.left
        return stream

    def _record(self, ended: Ended, before: str) -> None:
        record = ended.record
        if record is not None and f"{record.status}: {record.reason}" != before:
            self.ledger.add(record)


def in_threads(job: Job, units: Iterator[Unit]) -> Generator[Ended | PhotoDone, None, None]:
    """Protect the photos of units in ``job.options.jobs`` threads, and yield the results in order."""
    work: Callable[[Unit], list[Ended | PhotoDone]] = partial(_unit, job, Workspace())
    for results in in_order(work, units, job.options.jobs, _failed if job.options.fail_fast else None):
        yield from results


def _unit(job: Job, workspace: Workspace, unit: Unit) -> list[Ended | PhotoDone]:
    return [*unit.done, *(protect_item(job, item, workspace) for item in unit.items)]


def _failed(results: list[Ended | PhotoDone]) -> bool:
    photos = (each.photo if isinstance(each, Ended) else each for each in results)
    return any(photo is not None and photo.status == "failed" for photo in photos)
