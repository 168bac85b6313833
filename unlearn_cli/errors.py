"""All errors that are shown to a user. ``str(error)`` says what is wrong and what to do next."""

from __future__ import annotations

import re
from typing import Literal

INTERRUPTED = 130
"""The exit code after Ctrl-C or a request to terminate."""

Code = Literal[
    "already-protected",
    "altered",
    "backup-changed",
    "backup-conflict",
    "changed",
    "check-failed",
    "copy-exists",
    "crashed",
    "damaged",
    "extra",
    "grey",
    "is-backup",
    "is-link",
    "missing",
    "needs-extra",
    "no-face",
    "no-effect",
    "no-noise",
    "noise-failed",
    "not-written",
    "other-key",
    "out-of-memory",
    "over-bound",
    "several-pictures",
    "suspicious",
    "too-large",
    "too-slow",
    "unreadable",
    "unsupported",
]
"""Why a photo was not protected, is protected less or cannot be checked fully, for scripts (docs/reference/json.md).
Sentences may change; codes do not."""


class UnlearnError(Exception):
    """The base of the errors that end a command with one sentence and no traceback."""

    exit_code = 1


class WorkError(UnlearnError):
    """The work could not be done: for example no photo was found, a dataset cannot be read, or the disk is full."""


class UsageError(UnlearnError):
    """The request makes no sense or names something that does not exist."""

    exit_code = 2


class BankError(UnlearnError):
    """A noise bank is missing, corrupt, too new, or breaks its own bound."""

    exit_code = 3


class NewerBankError(BankError):
    """A noise bank was written by a newer version of unlearn."""


class PhotoError(WorkError):
    """One photo could not be read, protected or written; this does not affect the others."""

    def __init__(self, reason: str, code: Code) -> None:
        super().__init__(reason)
        self.code = code


class PhotoSkippedError(UnlearnError):
    """One photo is skipped on purpose; the message is the reason."""

    def __init__(self, reason: str, code: Code) -> None:
        super().__init__(reason)
        self.code = code


class AlreadyProtectedError(PhotoSkippedError):
    """One photo is skipped because a manifest lists it as a protected copy."""


def where_damaged(error: ValueError) -> str:
    """Return in which line a parser of TOML or JSON found a fault, as "line 3 of it"; "it" if it does not say.

    Parsers say the rest in words of their own, which help nobody who does not know the format.
    """
    line = re.search(r"line (\d+)", str(error))
    return f"line {line[1]} of it" if line else "it"
