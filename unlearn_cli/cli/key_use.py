"""The key of a run of ``unlearn protect``: never made unnoticed, and never another one than that of earlier copies."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from unlearn_cli.cli.console import err, plain

if TYPE_CHECKING:
    from collections.abc import Callable

    from unlearn_cli.banks.keys import Keyring
    from unlearn_cli.cli.summary import Talk
    from unlearn_cli.photos.outcome import Options
    from unlearn_cli.photos.protection import Protection
    from unlearn_cli.photos.scan import Plan

NEW_KEY = (
    "A secret key was created for you: {path}. It decides what your pattern looks like, so keep it, copy it to your "
    "other computers, and show it to nobody."
)
WOULD_MAKE = "A secret key would be created for you: {path}."
NO_KEY = (
    "These photos need your secret key, and there is none: there is no file {path}. Without a terminal, no key is made "
    "unnoticed. If you have a key, put it there with 'unlearn key import FILE', or name it with --key-file. "
    "To make your first key, run 'unlearn key new', or add --new-key."
)
KEY_EXISTS = (
    "--new-key makes no key here: your existing one is used, with the fingerprint {key}. A key for another person is "
    "made by 'unlearn key new FILE', and used with --key-file FILE."
)
NOT_YET = "not made yet"
"""What stands in place of the fingerprint of a key that a dry run does not make."""


def with_key(
    find: Callable[[], dict[str, Protection]],
    keys: Keyring,
    todo: Plan,
    options: Options,
    *,
    new_key: bool,
    dry_run: bool,
    talk: Talk,
) -> dict[str, Protection]:
    """Return the protections of a run, after making a key if there is none and nothing speaks against it.

    Raises ``UsageError`` if the key may have been lost, if nobody would notice that one is made, and if photos of the
    run have copies that were made with another key, which only ``options.overwrite`` replaces.
    """
    from unlearn_cli.banks.keys import key_path
    from unlearn_cli.errors import UsageError
    from unlearn_cli.photos.made_with import refuse_lost_key, refuse_other_key

    protections = find()
    if keys.missing:
        refuse_lost_key(todo)
        if not (new_key or sys.stderr.isatty()):
            raise UsageError(NO_KEY.format(path=key_path()))
        if not talk.quiet:
            err().print(plain((WOULD_MAKE if dry_run else NEW_KEY).format(path=key_path())))
        if dry_run:
            return {
                name: replace(of, key_fingerprint=NOT_YET) if of.key_fingerprint else of
                for name, of in protections.items()
            }
        keys.make()
        protections = find()
    elif new_key and not talk.quiet:
        for key in sorted({of.key_fingerprint for of in protections.values() if of.key_fingerprint}):
            err().print(plain(KEY_EXISTS.format(key=key)))
    if not options.overwrite:
        refuse_other_key(todo, protections)
    return protections


def refuse_unused_key(protections: dict[str, Protection], key_file: Path | None, talk: Talk) -> None:
    """Raise ``UsageError`` for a named key that is not used; only print a notice if the environment names it.

    The environment's key may be meant for other runs.
    """
    import os

    from unlearn_cli.banks.keys import ENVIRONMENT
    from unlearn_cli.errors import UsageError

    if any(protection.key_fingerprint for protection in protections.values()):
        return
    if key_file is not None:
        raise UsageError(
            "The noise for these photos does not depend on a key: it is the same for everybody. Leave out --key-file."
        )
    if os.environ.get(ENVIRONMENT) and not talk.quiet:
        err().print(
            f"{ENVIRONMENT} is set, but the noise for these photos does not depend on a key: "
            "it is the same for everybody."
        )
