"""``unlearn key``: show, make and bring back the secret key that decides a person's pattern."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from unlearn_cli.cli.console import err, exits, out, plain
from unlearn_cli.cli.help import Command, Group

app = typer.Typer(
    cls=Group,
    help="Show, make and bring back your secret key, which decides your pattern.",
)

File = Annotated[Path | None, typer.Argument(metavar="[FILE]", help="A key file.  [default: your own key]")]

SAVED = (
    "It decides what the pattern in the photos looks like: keep a copy of this file in a safe place, copy it to your "
    "other computers, and show it to nobody."
)


@app.command("show", cls=Command, epilog="unlearn key show\nunlearn key show anna.key")
@exits()
def show(file: File = None) -> None:
    """Show the fingerprint of your key and where the key is stored; the key itself is not shown.

    The manifest records the same fingerprint for each copy that the key made.
    """
    from unlearn_cli.banks.keys import ENVIRONMENT, key_path, known_key
    from unlearn_cli.cli.summary import print_rows
    from unlearn_cli.errors import WorkError

    key = known_key(file)
    if key is None:
        raise WorkError(f"You have no key yet: there is no file {key_path()}. To make one, run 'unlearn key new'.")
    from_environment = file is None and os.environ.get(ENVIRONMENT)
    stored = f"the variable {ENVIRONMENT}" if from_environment else str(file or key_path())
    print_rows([("fingerprint", key.fingerprint), ("stored in", stored)])


@app.command("path", cls=Command, epilog='unlearn key path\ncp "$(unlearn key path)" /media/usb-stick/unlearn.key')
@exits()
def path() -> None:
    """Print the path of your own key and nothing else, for scripts and backups; the file need not exist yet."""
    from unlearn_cli.banks.keys import ENVIRONMENT, key_path

    out().print(plain(str(key_path())))
    if os.environ.get(ENVIRONMENT):
        err().print(f"{ENVIRONMENT} is set and is used instead of this file.")


@app.command("new", cls=Command, epilog="unlearn key new\nunlearn key new anna.key")
@exits()
def new(file: File = None) -> None:
    """Make a new key: your own, or one in FILE for another person. A key that exists is never replaced."""
    from unlearn_cli.banks.keys import key_path, make_key, read_key
    from unlearn_cli.errors import UsageError

    place = file or key_path()
    if os.path.lexists(place):
        raise UsageError(
            f"{place} already exists, and contains the key with the fingerprint {read_key(place).fingerprint}. "
            "To make another one, name another file, or move this one away first."
        )
    key = make_key(place)
    out().print(f"Made a new key in {plain(str(place))}, with the fingerprint {key.fingerprint}. {SAVED}")
    if file is not None:
        err().print(f"To use it, add --key-file {plain(str(file))} to 'unlearn protect' and 'unlearn verify'.")


@app.command("import", cls=Command, epilog="unlearn key import /media/usb-stick/unlearn.key\nunlearn key import -")
@exits()
def import_(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The file that contains your key; - is stdin.")],
) -> None:
    """Make the key in FILE your own, on a second computer or after a loss. A key that exists is never replaced."""
    from unlearn_cli.banks.keys import Key, key_path, read_key, save_key
    from unlearn_cli.errors import UsageError

    key = (
        Key.parse(sys.stdin.buffer.read().decode("ascii", "replace"), "The text on stdin")
        if str(file) == "-"
        else read_key(file)
    )
    place = key_path()
    there = save_key(key, place)
    if there != key:
        raise UsageError(
            f"You already have another key in {place}, with the fingerprint {there.fingerprint}; that of {file} is "
            f"{key.fingerprint}. Use the other one with --key-file {file}, or move {place} to a safe place first."
        )
    out().print(f"Your key is in {plain(str(place))} now, with the fingerprint {key.fingerprint}.")
