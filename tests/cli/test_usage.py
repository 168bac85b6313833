"""Help, and what is said about wrong words: the nearest name, the true source of a value, never a parser's words."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

from tests.cli.test_commands import make_photo, one_sentence
from tests.conftest import ROOT
from tests.test_documented_commands import understand
from unlearn_cli.cli.app import app

Here = Callable[..., Any]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Here:
    """Return the command in this process, in a folder with one photo."""
    monkeypatch.chdir(tmp_path)
    make_photo(tmp_path / "in" / "a.png")

    def invoke(*arguments: str, **env: str) -> Any:
        return CliRunner().invoke(app, list(arguments), env=env)

    return invoke


def commands(command: Any = None, name: str = "unlearn") -> Iterator[tuple[str, Any]]:
    command = command or typer.main.get_command(app)
    for child, sub in getattr(command, "commands", {}).items():
        yield from commands(sub, f"{name} {child}")
    if not hasattr(command, "commands"):
        yield name, command


COMMANDS = dict(commands())


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_examples_that_work(name: str, here: Here) -> None:
    words = name.split()[1:]
    short, long = here(*words, "-h"), here(*words, "--help")
    assert short.exit_code == long.exit_code == 0
    assert short.stdout == long.stdout
    assert "<" not in short.stdout.partition("Arguments:")[2].partition("\n\n")[0], "an argument needs no Python type"
    examples = re.findall(r"^  (unlearn .*)$", short.stdout.partition("Examples:")[2], re.MULTILINE)
    ours = re.findall(r"^  (.*unlearn .*)$", short.stdout.partition("Examples:")[2], re.MULTILINE)
    assert len(ours) == 2
    for example in examples:
        assert example.startswith(name)
        understand(example.partition(" >")[0])


GROUPED = [name for name, command in COMMANDS.items() if len(command.params) > 4]


@pytest.mark.parametrize("name", GROUPED)
def test_the_options_of_a_long_help_are_in_groups(name: str, here: Here) -> None:
    shown = here(*name.split()[1:], "-h").stdout
    titles = re.findall(r"^(\w.*):$", shown, re.MULTILINE)
    assert len(titles) >= 4, titles
    others = shown.partition("Other options:\n")[2].partition("\n\n")[0]
    assert others == "  -h, --help  Show this message and exit."


@pytest.mark.parametrize("words", [[], ["key"], ["banks"], ["evaluate"]])
def test_without_a_command_the_help_is_shown_and_nothing_went_wrong(words: list[str], here: Here) -> None:
    run = here(*words)
    assert run.exit_code == 0
    assert run.stderr == ""
    assert "Usage: " in run.stdout
    if not words:
        assert "Your photos:" in run.stdout
        assert re.search(r"Example:\n  unlearn protect \w+ --class person\n", run.stdout)


WRONG = {
    "choice": (["protect", "in", "--class", "cat", "--strength", "hgih"], ["--strength", "'hgih'", "mean 'high'"]),
    "number": (["protect", "in", "--class", "cat", "--jobs", "many"], ["--jobs must be a whole number from 1 to 256"]),
    "range": (["protect", "in", "--class", "cat", "--jobs", "0"], ["--jobs must be a whole number from 1 to 256"]),
    "option": (["protect", "in", "--clas", "cat"], ["no such option: --clas.", "mean '--class'"]),
    "command": (["protec"], ["no such command: protec.", "mean 'protect'"]),
    "sub-command": (["banks", "lst"], ["no such command: lst.", "mean 'list'"]),
    "class": (["protect", "in", "--class", "persn"], ["'persn'", "mean 'person'"]),
    "bank": (["protect", "in", "--class", "cat", "--bank", "cifar11"], ["'cifar11'", "mean 'cifar10'"]),
    "setting": (["protect", "in", "--class", "cat", "--set", "recursiv=no"], ["'recursiv'", "mean 'recursive'"]),
    "value of a setting": (["generate", "--dataset", "cifar10", "--set", "solver=pdg"], ["'pdg'", "mean 'pgd'"]),
    "no argument": (["verify"], ["ORIGINALS is missing"]),
    "no value": (["protect", "in", "--class"], ["--class needs a value"]),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_said_in_our_words_with_the_nearest_name(case: str, here: Here) -> None:
    arguments, parts = WRONG[case]
    run = here(*arguments)
    assert run.exit_code in (2, 3)
    sentence = one_sentence(run.stderr)
    for part in parts:
        assert part in sentence
    assert not re.search(r"Value error|Input should|Invalid value|unable to parse", run.output)


SOURCES = {
    "strength": ("hgih", "high"),
    "class": ("persn", "person"),
    "bank": ("cifar11", "cifar10"),
    "jobs": ("many", None),
    "epsilon": ("99", None),
    "existing": ("updat", "update"),
}


@pytest.mark.parametrize("option", SOURCES)
@pytest.mark.parametrize("source", ["variable", "file"])
def test_a_bad_value_names_where_it_comes_from(option: str, source: str, tmp_path: Path, here: Here) -> None:
    value, near = SOURCES[option]
    typed = ["protect", "in", *([] if option == "class" else ["--class", "cat"])]
    variable = f"UNLEARN_PROTECT_{option.upper()}"
    (tmp_path / "c.toml").write_text(f'[verify]\njobs = 1\n\n[protect]\n# mine\n{option} = "{value}"\n')
    run = here(*typed, **({variable: value} if source == "variable" else {"UNLEARN_CONFIG": "c.toml"}))
    assert run.exit_code in (2, 3)
    sentence = one_sentence(run.stderr)
    assert (variable if source == "variable" else "c.toml, line 6") in sentence
    assert value in sentence or f"--{option}" in sentence
    assert near is None or f"'{near}'" in sentence
    # The same word, typed, comes from nowhere else.
    typed_too = one_sentence(here(*typed, f"--{option}", value).stderr)
    assert "UNLEARN_" not in typed_too
    assert "line" not in typed_too


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ('[protect]\nclass "cat"\n', ["line 2", "not valid TOML"]),
        ('[protct]\nclass = "cat"\n', ["line 1", "'protct'", "mean 'protect'"]),
        ('[protect]\n\nclas = "cat"\n', ["line 3", "'clas'", "mean 'class'"]),
        ('class = "cat"\n', ["line 1", "'class'"]),
    ],
)
def test_a_wrong_line_of_the_configuration_is_named(text: str, parts: list[str], tmp_path: Path, here: Here) -> None:
    (tmp_path / "c.toml").write_text(text)
    run = here("protect", "in", UNLEARN_CONFIG="c.toml")
    assert run.exit_code == 2
    for part in parts:
        assert part in one_sentence(run.stderr)
    assert "Expected" not in run.stderr


def test_defaults_in_force_are_told_and_those_that_are_not_are_not(tmp_path: Path, here: Here) -> None:
    (tmp_path / "c.toml").write_text('[protect]\nclass = "kitten"\nstrength = "high"\n[verify]\njobs = 1\n')
    env = {"UNLEARN_CONFIG": "c.toml", "UNLEARN_PROTECT_EPSILON": "4", "UNLEARN_PROTECT_STRENTGH": "low"}
    run = here("protect", "in", **env)
    assert run.exit_code == 0, run.stderr
    assert "for: cat (from 'kitten'), bank cifar10\n" in run.stdout
    assert "--class kitten (from c.toml, line 2)" in run.stdout
    assert "--epsilon 4 (from UNLEARN_PROTECT_EPSILON)" in run.stdout
    assert "--strength" not in run.stdout, "that bank has one strength"
    assert "UNLEARN_PROTECT_STRENTGH is set, but there is no such option" in run.stderr
    assert "mean 'UNLEARN_PROTECT_STRENGTH'" in run.stderr
    typed = here("protect", "in", "--class", "cat", **env)
    assert "kitten" not in typed.stdout
    assert "Defaults used: --jobs 1 (from c.toml, line 5)." in here("verify", "in", "in-protected", **env).stderr
    quiet = here("protect", "in", "--json", **env)
    assert quiet.stderr == ""


def test_banks_are_plain_lines_when_piped(here: Here) -> None:
    lines = here("banks", "list").stdout.splitlines()
    head, *rows = [line.split("\t") for line in lines]
    assert head == ["bank", "classes", "strength", "patterns", "epsilon", "image size"]
    assert all(len(row) == len(head) for row in rows)
    assert ["person", "person", "medium"] in [row[:3] for row in rows]


def test_recipes_are_listed_with_times_and_without_torch(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "sys.modules['torch'] = sys.modules['torchvision'] = None\n"
        "from unlearn_cli.cli.app import app\n"
        "app(sys.argv[1:])\n"
    )
    command = [sys.executable, "-c", code, "evaluate", "recipe", "--list"]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    head, *rows = [line.split("\t") for line in run.stdout.splitlines()]
    assert head[0] == "recipe"
    assert sorted(row[0] for row in rows) == sorted(
        path.stem for path in (ROOT / "unlearn_cli" / "evaluation" / "recipes").glob("*.toml")
    )
    assert all(re.search(r"^\d+ (min|h)\b.*: \d+ trainings$", row[2]) for row in rows)


def test_ctrl_c_while_the_program_is_loaded_ends_it_without_a_traceback() -> None:
    code = """
import sys
class Ctrl_C:
    def find_spec(self, name, path=None, target=None):
        if name == "typer":
            raise KeyboardInterrupt
sys.meta_path.insert(0, Ctrl_C())
from unlearn_cli.__main__ import main
main()
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", "")


@pytest.mark.skipif(os.name != "posix", reason="sends SIGTERM")
def test_a_request_to_terminate_ends_like_ctrl_c(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    Image.effect_noise((1200, 900), 60).convert("RGB").save(tmp_path / "in" / "0.png")
    for i in range(1, 200):
        (tmp_path / "in" / f"{i}.png").hardlink_to(tmp_path / "in" / "0.png")
    command = [sys.executable, "-m", "unlearn_cli", "protect", "in", "--class", "cat", "-j", "1"]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    out = tmp_path / "in-protected"
    while process.poll() is None and not list(out.glob("*.png")):
        time.sleep(0.002)
    process.send_signal(signal.SIGTERM)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Interrupted" in one_sentence(stderr)
    assert 0 < len(list(out.iterdir())) < 200
    for file in out.iterdir():
        with Image.open(file) as image:
            image.load()
