"""Every command line that the documents, the cards and the benchmarks tell is one that the commands understand."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from tests.conftest import ROOT
from unlearn_cli.cli.app import app

DOCUMENTS = sorted([ROOT / "README.md", *ROOT.glob("docs/**/*.md")])
CARDS = sorted(ROOT.glob("pretrained/*.json"))
SCRIPTS = sorted([*ROOT.glob("benchmarks/*.sh"), ROOT / ".ci" / "run"])


def in_console(text: str) -> Iterator[str]:
    """Yield the lines behind a prompt, with those that they go on in."""
    yield from re.findall(r"^\$ (unlearn .*)$", text.replace("\\\n", " "), re.MULTILINE)


def in_sentences(text: str) -> Iterator[str]:
    """Yield what stands in code within sentences, which may be a part of a command."""
    yield from re.findall(r"`(unlearn [a-z]+ [^`\n]*)`", text)


def in_cards(values: Any) -> Iterator[str]:
    """Yield all texts below a key ``command`` that are an unlearn command."""
    if isinstance(values, dict):
        for key, value in values.items():
            if key == "command" and isinstance(value, str) and value.startswith("unlearn "):
                yield value
            else:
                yield from in_cards(value)
    elif isinstance(values, list):
        for value in values:
            yield from in_cards(value)


def in_script(text: str) -> Iterator[str]:
    """Yield the commands of a shell script, which may have variables."""
    without_comments = re.sub(r"(?m)(^|\s)#.*$", "", text)
    yield from re.findall(r"\bunlearn [a-z]+ [^\n|;]*", without_comments.replace("\\\n", " "))


def command_of(words: list[str]) -> Any:
    """Return the command that words begin with, which are taken off."""
    command: Any = typer.main.get_command(app)
    while hasattr(command, "commands") and words and words[0] in command.commands:
        command = command.commands[words.pop(0)]
    assert not hasattr(command, "commands"), "no such command"
    return command


def understand(line: str) -> None:
    """Parse a command as the terminal would, and run nothing. Raises what Click does for what it does not know."""
    words = shlex.split(line, comments=True)[1:]
    command_of(words).make_context("unlearn", words, resilient_parsing=False)


def know_options(line: str) -> None:
    """Assert that the options of a part of a command are that command's."""
    words = line.split()[1:]
    if any("$" in word for word in words[:2]):
        return  # Which command it is, is known only when the script runs.
    known = {name for param in command_of(words).params for name in (*param.opts, *param.secondary_opts)}
    for option in re.findall(r"(?<=\s)--[a-z][a-z-]*", line):
        assert option in known or option == "--help", f"no option {option}"


def check(line: str, how: Callable[[str], None]) -> None:
    """Fail with the line that is not understood."""
    try:
        how(line)
    except Exception as error:
        pytest.fail(f"{line}\n{getattr(error, 'message', error)}")


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_documents(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    for line in in_console(text):
        check(line, know_options if "..." in line or "[" in line or "$" in line else understand)
    for line in in_sentences(text):
        check(line, know_options)


@pytest.mark.parametrize("path", CARDS, ids=lambda path: path.name)
def test_cards(path: Path) -> None:
    for line in in_cards(json.loads(path.read_text(encoding="utf-8"))):
        check(line, understand)


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_scripts(path: Path) -> None:
    for line in in_script(path.read_text(encoding="utf-8")):
        check(line, know_options)


def test_a_line_that_is_wrong_is_found() -> None:
    (line,) = in_console("```console\n$ unlearn protect a \\\n    --class person --undo x\n```")
    with pytest.raises(Exception, match=r"[Nn]o such option"):
        understand(line)
    with pytest.raises(AssertionError, match="no option --undo"):
        know_options(line)
    assert list(in_sentences("as `unlearn protect --again` does"))
    assert list(in_cards({"made": {"command": "unlearn generate"}}))
    assert list(in_script('unlearn generate --seed "$seed" -o x | tail'))
