"""``unlearn generate --preset personal PHOTOS``: a pattern for one person, fitted to some of their photos."""

from __future__ import annotations

import dataclasses
import json
import secrets
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from unlearn_cli.cli.console import SECONDS_A_LINE, Lines, command_line, duration, err, out, plain, progress_bar

if TYPE_CHECKING:
    from collections.abc import Iterator

    from unlearn_cli.banks.keys import Key
    from unlearn_cli.noise.bank_file import BankWritten
    from unlearn_cli.noise.personal import Fitting

EPSILON = 16
FEW, MANY = 10, 200
"""The least number of photos that is advised, and the most that a search makes use of."""
NAMED = 5
"""How many photos without a face are named."""
START = "max"
"""The strength of the shipped bank whose pattern the search begins with."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Chosen:
    """The options that decide a personal pattern."""

    epsilon: int | None
    key_file: Path | None
    device: str | None
    seed: int


def personal(photos: Path | None, output: Path | None, chosen: Chosen, *, overwrite: bool, as_json: bool) -> None:
    """Make a person's own bank from their photos, show how far it is, and say how to use it.

    Raises ``UsageError`` without a folder and for a bound above that of the pattern that the search begins with.
    """
    from unlearn_cli.banks.catalog import check_output, choose
    from unlearn_cli.banks.keys import identity_pattern
    from unlearn_cli.errors import UsageError
    from unlearn_cli.noise.face_noise import SIDE
    from unlearn_cli.noise.personal import STEPS, Start, make_personal_bank
    from unlearn_cli.noise.shift import ShiftSettings
    from unlearn_cli.photos.apply import Pattern
    from unlearn_cli.photos.face_pixels import read_faces
    from unlearn_cli.training.devices import pick_device

    if photos is None:
        raise UsageError(
            "A folder of photos and --preset personal belong together: unlearn generate --preset personal selfies "
            "-o me.safetensors. For other banks, name a dataset, as in --dataset folder:PATH."
        )
    path = output or Path(f"{photos.resolve().name}.safetensors")
    check_output(path, overwrite=overwrite)
    bank, bound = choose("person", strength=START).bank, chosen.epsilon or EPSILON
    pattern = Pattern(identity_pattern(bank.noise, _key(chosen.key_file)), bank.provenance.epsilon)
    if bound > pattern.epsilon:
        raise UsageError(f"A personal pattern has at most {pattern.epsilon} levels. Use a smaller --epsilon.")
    where = pick_device(chosen.device)
    with progress_bar(hidden=as_json) as bar:
        row = bar.add_task("Finding faces", total=None, detail="")
        faces, without = read_faces(photos, SIDE, lambda _: bar.advance(row))
    _tell_faces(len(faces), without)
    start = Start(pattern.scaled(bound).noise, bank.name)
    settings = ShiftSettings(epsilon=bound, steps=STEPS, seed=chosen.seed)
    events = make_personal_bank(path, faces[:MANY], start, settings, where, command_line())
    _tell_written(_watch(events, as_json=as_json), as_json=as_json)


def _key(path: Path | None) -> Key:
    """Return the user's key, or a new one that is used only here, because the bank holds all that is needed later."""
    from unlearn_cli.banks.keys import BYTES, Key, known_key

    return known_key(path) or Key(secrets.token_bytes(BYTES))


def _tell_faces(count: int, without: list[Path]) -> None:
    if without:
        names = ", ".join(path.name for path in without[:NAMED]) + (" and others" if len(without) > NAMED else "")
        err().print(f"No face was found in {len(without)} photos, which are left out: {plain(names)}.")
    if count < FEW:
        err().print(f"There are only {count} faces. With {FEW} or more, the pattern may protect new photos better.")
    if count > MANY:
        err().print(f"The first {MANY} of {count} faces are used.")


def _watch(events: Iterator[Fitting | BankWritten], *, as_json: bool) -> BankWritten:
    from unlearn_cli.noise.bank_file import BankWritten

    lines = Lines(SECONDS_A_LINE, hidden=as_json)
    with progress_bar(hidden=as_json) as bar:
        row = bar.add_task("Fitting the pattern", total=None, detail="")
        for event in events:
            if isinstance(event, BankWritten):
                return event
            if as_json:
                typer.echo(json.dumps({"event": "fitting", **dataclasses.asdict(event)}))
            detail = f"likeness {event.cosine:.2f}"
            bar.update(row, total=event.steps, completed=event.step, detail=detail)
            lines.tell(f"Fitting the pattern: step {event.step} of {event.steps}, {detail}")
    raise AssertionError("The search ended without a bank.")


def _tell_written(written: BankWritten, *, as_json: bool) -> None:
    if as_json:
        told = {"event": "finished", "bank": str(written.path), "sha256": written.sha256}
        typer.echo(json.dumps(told | dataclasses.asdict(written.made)))
        return
    took = duration(written.made.seconds or 0)
    out().print(f"Wrote {plain(str(written.path))}: your own pattern, made in {took}.")
    out().print(f"Next: unlearn protect PHOTOS --bank {plain(shlex.quote(str(written.path)))}")
    out().print(
        "Keep the file to yourself, like a key: with it, others could remove the noise from your photos. Use it for "
        "all your photos, also those that you take later. Look at a preview first: this noise is plainly visible."
    )
