"""Every error that a user can meet. ``str(error)`` says what is wrong and what to do next."""

from __future__ import annotations


class UnlearnError(Exception):
    """Base of the errors that end a command with one sentence and no traceback."""

    exit_code = 1


class WorkError(UnlearnError):
    """The work could not be done: no photo found, a dataset that cannot be read, a full disk."""


class UsageError(UnlearnError):
    """What was asked for makes no sense or names something that is not there."""

    exit_code = 2


class BankError(UnlearnError):
    """A noise bank is missing, corrupt, too new, or breaks its own bound."""

    exit_code = 3


class PhotoError(WorkError):
    """One photo could not be read, protected or written; the others are not touched by it."""


class PhotoSkippedError(UnlearnError):
    """One photo is left alone on purpose; the message is the reason."""
