"""Configuration and environment are defaults: what is typed wins, and a default that does not apply is ignored."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.main import get_command
from typer.testing import CliRunner

from unlearn_cli.cli.app import app

Here = Callable[..., Any]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Here:
    """Return the command in this process, in an empty folder: a hundred runs take seconds so."""
    monkeypatch.chdir(tmp_path)

    def invoke(*arguments: str, **env: str) -> Any:
        return CliRunner().invoke(app, list(arguments), env=env)

    return invoke


def make_photo(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (24, 32, 3)).astype(np.uint8)).save(path)


DEFAULTS = {
    "class": '"cat"',
    "bank": '"cifar10"',
    "form": '"class-wise"',
    "strength": '"medium"',
    "epsilon": "4",
    "key-file": '"my.key"',
    "new-key": "true",
    "faces": '"all"',
    "output": '"elsewhere"',
    "backup": '"kept"',
    "existing": '"update"',
    "manifest": '"records.jsonl"',
    "format": '"png"',
    "quality": "80",
    "metadata": '"none"',
    "preview": '"p.html"',
    "jobs": "2",
    "shard": '"1/1"',
    "engine": '"local"',
    "ray-address": '"auto"',
    "set": '["again=no"]',
    "dry-run": "false",
    "json": "false",
    "verbose": "true",
    "class-from-folders": "true",
    "require-face": "false",
    "in-place": "true",
}
"""Every option of ``protect``, but for ``--files-from``, which names photos."""

MODES = {
    "a folder": ["in", "--class", "cat"],
    "class from folders": ["in", "--class-from-folders"],
    "into a folder": ["in", "--class", "cat", "--output", "out"],
    "in place": ["in", "--class", "cat", "--in-place", "--backup", "originals"],
    "a dry run": ["in", "--class", "cat", "-n"],
    "as PNG": ["in", "--class", "cat", "--format", "png"],
}


def test_no_option_is_left_out() -> None:
    command = get_command(app).commands["protect"]  # type: ignore[attr-defined]
    options = {name.removeprefix("--") for option in command.params for name in option.opts if name.startswith("--")}
    assert options - {"files-from", "help"} == set(DEFAULTS)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("option", DEFAULTS)
def test_no_default_of_any_option_breaks_any_mode(option: str, mode: str, tmp_path: Path, here: Here) -> None:
    make_photo(tmp_path / "in" / "cat" / "a.png")
    text = f"[protect]\n{option} = {DEFAULTS[option]}\n"
    if option == "in-place":
        text += 'backup = "kept"\n'
    (tmp_path / "config.toml").write_text(text)
    run = here("protect", *MODES[mode], UNLEARN_CONFIG="config.toml")
    assert run.exit_code == 0, run.stderr
    if mode == "into a folder":
        assert (tmp_path / "out" / "cat" / "a.png").is_file()
    if mode == "in place":
        assert (tmp_path / "originals" / "cat" / "a.png").is_file()
    if option != "in-place":
        assert not (tmp_path / "kept").exists()


def test_a_default_of_every_option_reaches_the_command_by_its_own_variable(tmp_path: Path, here: Here) -> None:
    make_photo(tmp_path / "in" / "a.png")
    run = here("protect", "in", UNLEARN_PROTECT_CLASS="cat", UNLEARN_PROTECT_OUTPUT="out")
    assert run.exit_code == 0, run.stderr
    assert (tmp_path / "out" / "a.png").is_file()
    assert "does not depend on a key" not in run.stderr


def test_a_variable_of_one_command_is_none_of_another(tmp_path: Path, here: Here) -> None:
    make_photo(tmp_path / "in" / "a.png")
    here("protect", "in", "--class", "cat")
    run = here("verify", "in", "in-protected", "--json", UNLEARN_PROTECT_OUTPUT="out", UNLEARN_OUTPUT="out")
    assert run.exit_code == 0, run.stderr
    assert json.loads(run.stdout)["photos"]


def test_what_is_typed_on_both_sides_is_refused(tmp_path: Path, here: Here) -> None:
    make_photo(tmp_path / "in" / "a.png")
    for arguments, sentence in (
        (["--class", "cat", "--class-from-folders"], "either --class or"),
        (["--class", "cat", "--in-place", "--backup", "b", "--output", "o"], "either --output or"),
        (["--class", "cat", "--backup", "b"], "--backup works only together with --in-place"),
    ):
        run = here("protect", "in", *arguments)
        assert run.exit_code == 2
        assert sentence in run.stderr
