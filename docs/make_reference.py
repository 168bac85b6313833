"""Write docs/reference/cli.md from the commands themselves: ``python docs/make_reference.py``.

A test fails when the page is not what this script writes.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from unlearn_cli.cli.app import app

PAGE = Path(__file__).parent / "reference" / "cli.md"

HEAD = """# Commands

Written by `docs/make_reference.py` from the commands themselves. Do not edit.

Exit codes, the same for every command: **0** all done; **1** some of the work failed (a file, a run, a check
that says no; no photo found); **2** usage; **3** bank missing or corrupt; **130** interrupted.

Results go to stdout, progress and messages to stderr.
"""


def reference() -> str:
    """Return the whole page."""
    return "\n".join([HEAD, *_commands(typer.main.get_command(app), "unlearn")])


def _commands(command: Any, name: str) -> Iterator[str]:
    subcommands = getattr(command, "commands", None)
    if subcommands is not None:
        for child, subcommand in subcommands.items():
            yield from _commands(subcommand, f"{name} {child}")
        return
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    options = [p for p in command.params if p.param_type_name == "option" and not p.is_eager]
    shown = [(p.metavar or p.name.upper()) + ("..." if p.nargs == -1 else "") for p in arguments]
    usage = " ".join([name, *shown, "[OPTIONS]"])
    yield f"## {name}\n\n```\n{usage}\n```\n\n{inspect.cleandoc(command.help or '')}\n"
    yield "| option | meaning | default |\n|---|---|---|"
    yield from (_row(param) for param in [*arguments, *options])
    yield ""


def _row(param: Any) -> str:
    names = param.metavar or param.name.upper() if param.param_type_name == "argument" else ", ".join(param.opts)
    if param.secondary_opts:
        names += " / " + ", ".join(param.secondary_opts)
    text, told = param.help or "", ""
    if match := re.search(r"\s*\[default: (.*)\]$", text):
        text, told = text[: match.start()], match[1]
    return f"| `{names}` | {text.replace('|', '&#124;')} | {told or _default(param)} |"


def _default(param: Any) -> str:
    if param.required:
        return "required"
    if param.default is None:
        return ""
    if isinstance(param.default, bool) and param.secondary_opts:
        return f"`{(param.opts if param.default else param.secondary_opts)[0]}`"
    return "off" if param.default is False else f"`{param.default}`"


if __name__ == "__main__":
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(reference(), encoding="utf-8")
