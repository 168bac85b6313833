"""The work of ``unlearn protect`` once its options are known: protecting, showing progress, printing the summary."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from unlearn_cli.cli.answer import answer
from unlearn_cli.cli.closing import here, next_steps
from unlearn_cli.cli.console import Steps, err, plain
from unlearn_cli.cli.measured import after_protecting
from unlearn_cli.cli.summary import Talk, Totals, not_protected_rows, tell_end

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from unlearn_cli.banks.bank import Bank
    from unlearn_cli.photos.apply import Pattern
    from unlearn_cli.photos.before_after import Preview
    from unlearn_cli.photos.outcome import Options, PhotoDone
    from unlearn_cli.photos.protection import Protection
    from unlearn_cli.photos.scan import Plan
    from unlearn_cli.photos.wanted import NoiseMaker


def run(
    todo: Plan,
    protections: dict[str, Protection],
    options: Options,
    show: Preview | None,
    talk: Talk,
    key_file: Path | None,
) -> None:
    """Protect the photos of a plan, and print the results. Exits with 1 if any photo failed.

    ``key_file`` is the key that the user named, which ``verify`` needs too.
    """
    import time

    from unlearn_cli.photos.folder import protect_photos

    if any(task.backup for task in todo.tasks) and not talk.quiet:
        # This is printed before any photo is replaced; a user who misses it would believe that all are protected.
        for name, text in not_protected_rows(todo, verbose=talk.verbose):
            err().print(f"{name}: {plain(text)}")
    start, limits = time.perf_counter(), after_protecting(list(protections.values()))
    totals = _watch(protect_photos(todo, protections, options), todo, show, talk)
    _tell_left_out(todo, talk)
    tell_end(totals, todo, protections, time.perf_counter() - start, talk, limits)
    if totals.counts["protected"] and not (talk.json or talk.quiet):
        for line in limits:
            err().print(f"- {plain(line)}")
        used = key_file if any(of.key_fingerprint for of in protections.values()) else None
        for line in next_steps(todo, used):
            err().print(plain(line))
    if show is not None:
        _write_preview(show, talk)
    if todo.unreadable or totals.counts["failed"]:
        raise typer.Exit(1)


def noise_makers() -> Callable[[Bank, Pattern], NoiseMaker]:
    """Return a function that returns the maker of a bank's sample-wise noise; each is made once and holds a network."""
    made: dict[tuple[Path, str], NoiseMaker] = {}

    def maker(bank: Bank, pattern: Pattern) -> NoiseMaker:
        from unlearn_cli.noise.face_noise import FaceNoise
        from unlearn_cli.noise.surrogate import PhotoNoise
        from unlearn_cli.training.devices import pick_device

        # For faces, noise begins with the person's own pattern; for other photos, the classes share a network.
        on_faces = bank.provenance.frame == "face"
        which = (bank.path, pattern.fingerprint if on_faces else "")
        if which not in made:
            device, bound = pick_device(), pattern.epsilon
            made[which] = FaceNoise(pattern.noise, bound, device) if on_faces else PhotoNoise(bank, bound, device)
        return made[which]

    return maker


def _tell_left_out(todo: Plan, talk: Talk) -> None:
    for path in todo.copies if not talk.quiet else ():
        err().print(f"ignored: {plain(str(path))}: it is the protected copy of a photo or folder next to it")
    for path in todo.unreadable:
        err().print(f"failed: {plain(str(path))}: the folder cannot be read")


def _write_preview(show: Preview, talk: Talk) -> None:
    written = show.write()
    if talk.quiet:
        return
    place = f"{show.path} (it shows your original photos, so do not share it)"
    err().print(
        f"Preview: {plain(place)}"
        if written
        else "No preview was written, because this run protected no photo. 'unlearn preview' shows earlier copies."
    )


def _watch(events: Generator[PhotoDone, None, None], todo: Plan, show: Preview | None, talk: Talk) -> Totals:
    totals, planned = Totals(), len(todo.tasks)
    try:
        with Steps("Protecting", planned, hidden=talk.quiet) as steps:
            for photo in events:
                totals.add(photo)
                if show is not None and photo.status == "protected":
                    show.add(photo)
                _tell_photo(photo, steps, talk)
    except KeyboardInterrupt:
        if talk.json:
            answer.give(totals.counted(), totals.entries, dry_run=False)
        done = totals.photos - totals.counts["failed"]
        err().print(f"{done} of {planned} photos are done. To go on with the others, run the same command again.")
        raise
    return totals


def _tell_photo(photo: PhotoDone, steps: Steps, talk: Talk) -> None:
    steps.step(photo.source.name)
    if photo.status == "failed" or talk.verbose or (photo.status == "skipped" and not talk.quiet):
        text = photo.reason or here(photo.target or photo.source)
        steps.say(f"{photo.status}: {plain(str(photo.source))}: {plain(text)}")
    for note in photo.notes if talk.verbose else ():
        steps.say(f"note: {plain(str(photo.source))}: {plain(note)}")
