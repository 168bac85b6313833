"""The work of ``unlearn protect`` for photos in object storage or on a Ray cluster: a stream of unknown length."""

from __future__ import annotations

import contextlib
import os
import shlex
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from unlearn_cli.cli.answer import answer, entry
from unlearn_cli.cli.choices import Engine
from unlearn_cli.cli.closing import for_rows, for_whom
from unlearn_cli.cli.console import Steps, duration, err, plain
from unlearn_cli.cli.key_use import refuse_unused_key, with_key
from unlearn_cli.cli.measured import after_protecting
from unlearn_cli.cli.summary import Talk, print_rows
from unlearn_cli.errors import UsageError
from unlearn_cli.photos.urls import shown, url_of

if TYPE_CHECKING:
    from unlearn_cli.photos.bulk.run_bulk import BulkRun
    from unlearn_cli.photos.outcome import Options, PhotoDone
    from unlearn_cli.photos.protection import Protection
    from unlearn_cli.photos.scan import Where
    from unlearn_cli.photos.wanted import Wanted

NAMED = 1000
"""How many photos that were not protected are named by ``--json``; all are in the manifest."""

RAY_PHOTOS, RAY_BYTES = 64, 256_000_000
"""The size of a batch for Ray."""

INSTEAD = {
    "--class-from-folders": "Run the command once for each subfolder, with its --class.",
    "--files-from": "Name the folder that holds the files; what is up to date there is passed over.",
    "--preview": "Leave it out; 'unlearn preview' shows photos and copies that are on this machine.",
    "--form sample-wise": "Leave it out, or use a folder and --engine local.",
}
"""What to do instead of the options that a stream of photos does not have."""


@dataclass(frozen=True)
class Bulk:
    """Photos that are protected as a stream, because they are at a URL or because Ray does it."""

    source: Path
    url: bool
    """Whether a place is a URL."""
    engine: Engine
    ray_address: str | None
    class_name: str = ""
    new_key: bool = False
    dry_run: bool = False
    jobs: int | None = None
    key_file: Path | None = None
    key_is_named: bool = False
    """Whether the key's file was named in the command, and not in the environment or the settings."""

    @classmethod
    def of(
        cls,
        paths: list[Path],
        output: Path | None,
        manifest: Path | None,
        engine: Engine,
        ray_address: str | None,
        flags: dict[str, bool],
        said: set[str],
    ) -> Bulk | None:
        """Return the stream that these options ask for; None if they ask for files on this machine alone.

        ``flags`` has the options that a stream of photos does not have, each with whether it is given, and ``said`` the
        names of the options that were typed; an engine that is only a default gives way. Raises ``UsageError``.
        """
        if "ray_address" in said and engine is Engine.local:
            raise UsageError("--ray-address works only together with --engine ray.")
        places = (*paths, *(place for place in (output, manifest) if place is not None))
        urls = [url_of(place) for place in places]  # All are looked at, since any may hold a password.
        url = any(urls)
        odd = any(flags.values()) or len(paths) != 1 or not paths[0].is_dir()
        if not url and (engine is Engine.local or (odd and "engine" not in said)):
            return None
        where = "photos at a URL" if url else "--engine ray"
        if flags["--in-place"]:
            why = "an object store keeps no original that a copy replaces" if url else "batches run more than once"
            raise UsageError(f"--in-place does not go with {where}, because {why}. Name an --output.")
        for option, given in flags.items():
            if given:
                raise UsageError(f"{option} does not go with {where}. {INSTEAD[option]}")
        if len(paths) != 1:
            raise UsageError(f"With {where}, name one folder to protect, and run the command once for each.")
        return cls(paths[0], url, engine, ray_address)

    def protect(self, wanted: Wanted, options: Options, where: Where, talk: Talk) -> None:
        """Protect the photos as a stream, and print the results. Exits with 1 if any photo failed."""
        from unlearn_cli.photos.bulk.run_bulk import BulkRun, Places
        from unlearn_cli.photos.scan import Plan
        from unlearn_cli.photos.wanted import protection_for

        source = self.source if url_of(self.source) is not None else Path(os.path.abspath(self.source))
        places = Places(
            source=source, output=where.output, manifest=where.manifest, recursive=where.recursive, shard=where.shard,
            again=where.again,
        )  # fmt: skip
        if self.jobs is None and self.url:
            options = replace(options, jobs=2 * options.jobs)  # While one photo travels, another is computed.
        with BulkRun(places, options, dry_run=self.dry_run) as run:
            run.refuse_other_key(protection_for(self.class_name, wanted), missing=wanted.keys.missing)
            protections = with_key(
                lambda: {"": protection_for(self.class_name, wanted)}, wanted.keys, Plan(()), options,
                new_key=self.new_key, dry_run=self.dry_run, talk=talk,
            )  # fmt: skip
            refuse_unused_key(protections, self.key_file if self.key_is_named else None, talk)
            run.refuse_other_key(protections[""], missing=False)
            if self.dry_run:
                _tell_plan(run, protections, talk)
            else:
                _run(run, protections, self, talk)


def _run(bulk: BulkRun, protections: dict[str, Protection], asked: Bulk, talk: Talk) -> None:
    start, totals = time.perf_counter(), BulkTotals()
    meaning = after_protecting(list(protections.values()))
    try:
        # Ray tells on stdout which of its workers have died, but stdout is for the result.
        with contextlib.redirect_stdout(sys.stderr), Steps("Protecting", None, hidden=talk.quiet) as steps:
            for photo in _results(bulk, protections[""], asked):
                totals.add(photo)
                _tell_photo(photo, steps, talk)
    except KeyboardInterrupt:
        err().print(f"{totals.photos} photos are done. To go on with the others, run the same command again.")
        raise
    if not bulk.left.photos and bulk.places.shard is None:
        raise _nothing(bulk)
    _tell_end(bulk, totals, protections, time.perf_counter() - start, meaning, talk)
    if totals.counts["protected"] and not (talk.json or talk.quiet):
        for line in meaning:
            err().print(f"- {plain(line)}")
        given, made = (shlex.quote(place) for place in (bulk.source.place, bulk.target.place))
        key = f" --key-file {shlex.quote(str(asked.key_file))}" if asked.key_file is not None else ""
        err().print(plain(f"Check the copies:  unlearn verify {given} {made}{key}"))
    if totals.counts["failed"]:
        raise typer.Exit(1)


def _results(bulk: BulkRun, protection: Protection, asked: Bulk) -> Iterator[PhotoDone]:
    from unlearn_cli.photos.bulk.run_bulk import in_threads
    from unlearn_cli.photos.bulk.stream import Cut

    if asked.engine is Engine.local:
        yield from bulk.protect(protection, in_threads, Cut())
        return
    from unlearn_cli.photos.bulk.by_ray import OnRay

    ray = OnRay(asked.ray_address, asked.jobs)
    try:
        yield from bulk.protect(protection, ray, Cut(photos=RAY_PHOTOS, bytes=RAY_BYTES))
    finally:
        ray.close()


def _nothing(bulk: BulkRun) -> Exception:
    from unlearn_cli.errors import WorkError

    return WorkError(f"No photo found in {bulk.source.place}.")


@dataclass
class BulkTotals:
    """The totals of a run of any length, which do not grow with it."""

    counts: Counter[str] = field(default_factory=Counter)
    reasons: Counter[tuple[str, str]] = field(default_factory=Counter)
    """How many photos were not protected, or are protected less, by status and reason."""
    entries: list[dict[str, Any]] = field(default_factory=list)
    linf: float = 0.0
    sizes: tuple[int, int] = (0, 0)

    def add(self, photo: PhotoDone) -> None:
        """Add one photo to the totals."""
        self.counts[photo.status] += 1
        self.linf = max(self.linf, photo.linf)
        self.sizes = self.sizes[0] + photo.sizes[0], self.sizes[1] + photo.sizes[1]
        for doubt in photo.doubts:
            self.reasons["weak", doubt] += 1
        for note in photo.notes:
            self.reasons["note", note] += 1
        if photo.status in ("skipped", "failed"):
            self.reasons[photo.status, photo.reason] += 1
            if len(self.entries) < NAMED:
                of = (photo.source, photo.target, photo.status, photo.reason)
                self.entries.append({**entry(*of, code=photo.code), "class": photo.class_name})

    @property
    def photos(self) -> int:
        """Return the number of photos."""
        return sum(self.counts.values())


def _tell_photo(photo: PhotoDone, steps: Steps, talk: Talk) -> None:
    steps.step(photo.source.name)
    if photo.status == "failed" or talk.verbose or (photo.status == "skipped" and not talk.quiet):
        text = photo.reason or shown(photo.target or photo.source)
        steps.say(f"{photo.status}: {plain(shown(photo.source))}: {plain(text)}")


def _tell_plan(bulk: BulkRun, protections: dict[str, Protection], talk: Talk) -> None:
    from unlearn_cli.photos.bulk.stream import Cut

    items = done = 0
    for unit in bulk.stream(bulk.job(protections[""])).units(Cut()):
        items, done = items + len(unit.items), done + len(unit.done)
    if talk.json:
        counts = {"would_protect": items, "already_protected": done}
        answer.give(counts, [], dry_run=True, **_places(bulk), **{"for": for_whom(protections)})
    elif not talk.quiet:
        would = f"{items} photos of {bulk.source.place} to {bulk.target.place}"
        rows = [("would protect", would), ("would record in", bulk.places.recorded_in)]
        print_rows([*rows, ("up to date", str(done)), *for_rows(protections), *_left(bulk)])


def _places(bulk: BulkRun) -> dict[str, Any]:
    return {
        "not_protected": [
            {**entry(None, None, "not protected", why, code="unsupported"), "count": count}
            for why, count in bulk.left.not_protected.items()
        ],
        "other_files": bulk.left.others,
        "outputs": [bulk.target.place],
        "manifests": [bulk.places.recorded_in],
    }


def _left(bulk: BulkRun) -> Iterator[tuple[str, str]]:
    for why, count in bulk.left.not_protected.most_common():
        yield "not protected", f"{count}: {why}"
    if bulk.left.copies:
        yield "ignored", f"{bulk.left.copies}, which are protected copies of photos next to them"
    if bulk.left.others:
        yield "other files", f"{bulk.left.others}, which are not photos and were ignored"


def _tell_end(
    bulk: BulkRun,
    totals: BulkTotals,
    protections: dict[str, Protection],
    seconds: float,
    meaning: list[str],
    talk: Talk,
) -> None:
    counts, protection = totals.counts, protections[""]
    if talk.json:
        names = {"unchanged": "already_protected"}
        answer.give(
            {names.get(name, name): counts[name] for name in ("protected", "skipped", "failed", "unchanged")},
            totals.entries,
            dry_run=False,
            **{"for": for_whom(protections)},
            **_places(bulk),
            banks={protection.bank: protection.bank_sha256},
            epsilon=protection.pattern.epsilon,
            linf=totals.linf,
            meaning=meaning,
            input_bytes=totals.sizes[0],
            output_bytes=totals.sizes[1],
            seconds=round(seconds, 3),
        )
        return
    if talk.quiet:
        return
    rows = [("protected", f"{counts['protected']} of {totals.photos} photos in {duration(seconds)}")]
    if counts["unchanged"]:
        rows.append(("up to date", f"{counts['unchanged']}, new: {counts['protected']}"))
    rows += [*for_rows(protections), ("written to", bulk.target.place), ("recorded in", bulk.places.recorded_in)]
    rows += [(status, f"{count}: {reason}") for (status, reason), count in totals.reasons.most_common()]
    rows += _left(bulk)
    if counts["protected"]:
        bound = protection.pattern.epsilon
        rows.append(("largest change", f"{totals.linf:g} of 255 levels before encoding (bound {bound})"))
    print_rows(rows)
