"""Printing for ``--json``: one object on stdout for every command and every end (docs/reference/json.md)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperGroup

from unlearn_cli.photos.urls import shown

SCHEMA = 1
"""The version of the object; it is raised when a field is renamed, removed or changes its meaning."""

ERRORS = {1: "failed", 2: "usage", 3: "bank", 130: "interrupted"}
"""The names of the errors that end a command, by its exit code."""


class Answer:
    """The object that a command is going to print. It is printed when the command ends, and so holds its exit code."""

    def __init__(self) -> None:
        self.expect("", wanted=False)

    def expect(self, command: str, *, wanted: bool) -> None:
        """Begin a command, whose answer is printed only if it is ``wanted``."""
        self.command, self.wanted = command, wanted
        self._fields: dict[str, Any] = {}

    def give(self, counts: dict[str, int], photos: list[dict[str, Any]], **more: Any) -> None:
        """Set what the command has done: how many photos had each result, and the photos, as ``entry`` returns them."""
        self._fields = {"counts": counts, "photos": photos, **more}

    def end(self, exit_code: int, message: str = "") -> None:
        """Print the object, if it is wanted and there is something to say; only a ``message`` makes it an error."""
        if not self.wanted or not (self._fields or message):
            return
        said = {
            "schema": SCHEMA,
            "command": self.command,
            "exit_code": exit_code,
            "error": {"code": ERRORS.get(exit_code, "failed"), "message": message} if message else None,
            **(self._fields or {"counts": {}, "photos": []}),
        }
        self.wanted = False
        # In ASCII, so that file names that are not UTF-8 cannot break a reader.
        typer.echo(json.dumps(said, ensure_ascii=True))


answer = Answer()
"""The answer of the command that runs."""


def entry(source: Path | None, output: Path | None, status: str, reason: str = "", **more: Any) -> dict[str, Any]:
    """Return one photo's result, in the form that all commands share."""
    paths = {name: None if path is None else shown(path) for name, path in (("input", source), ("output", output))}
    return {**paths, "status": status, "code": more.pop("code", None), "reason": reason, **more}


class Commands(TyperGroup):
    """A group of commands; the one of all commands answers in JSON also where a command line makes no sense."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the command line as far as the command's name."""
        if ctx.parent is None:
            answer.expect(next((word for word in args if word in self.commands), ""), wanted="--json" in args)
        rest: list[str] = super().parse_args(ctx, args)
        return rest

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except WRONG_USAGE as error:
            answer.end(2, error.format_message())
            raise


WRONG_USAGE: Any = typer.BadParameter.__base__
"""What Typer raises for a command line that it does not understand."""
