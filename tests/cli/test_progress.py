"""What long work over photos says where there is no terminal: a line now and then, instead of nothing for minutes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from tests.cli.conftest import Run
from tests.cli.test_generate import QUICK
from unlearn_cli.cli import console
from unlearn_cli.cli.app import app

COMMANDS = {
    "Protecting": ["protect", "in", "--class", "cat"],
    "Verifying": ["verify", "in", "in-protected"],
}


@pytest.fixture
def album(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "in").mkdir()
    for i in range(3):
        Image.effect_noise((40, 40), 40).convert("RGB").save(tmp_path / "in" / f"{i}.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("seconds", [0.0, 60.0])
def test_lines_tell_the_progress_where_there_is_no_terminal(
    album: Path, monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    del album
    monkeypatch.setattr(console, "SECONDS_A_LINE", seconds)
    for what, arguments in COMMANDS.items():
        done = CliRunner().invoke(app, arguments)
        assert done.exit_code == 0, done.output
        lines = [line for line in done.stderr.splitlines() if line.startswith(f"{what}: ")]
        assert lines == ([f"{what}: {i} of 3 photos" for i in (1, 2, 3)] if seconds == 0 else [])
        assert what not in done.stdout


def test_quiet_is_quiet(album: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    del album
    monkeypatch.setattr(console, "SECONDS_A_LINE", 0.0)
    assert CliRunner().invoke(app, [*COMMANDS["Protecting"], "-q"]).output == ""


def test_lines_tell_how_far_a_search_and_an_evaluation_are(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("generate", "evaluate_show"):
        monkeypatch.setattr(f"unlearn_cli.cli.{module}.SECONDS_A_LONG_LINE", 0.0)
    made = run("generate", *QUICK, "-o", "a.safetensors")
    assert re.search(r"^error rate 0\.\d+ after iteration 1 of at most 1$", made.stderr, re.MULTILINE), made.stderr
    each = run("generate", *QUICK, "--form", "sample-wise", "--set", "batch-size=8", "-o", "each.safetensors")
    assert re.search(r"^\d\d% of iteration 1 of at most 1$", each.stderr, re.MULTILINE)
    small = ("--dataset", "folder:album", "--set", "image-size=16", "--set", "batch-size=8", "--scale", "tiny")
    done = run("evaluate", "bank", "a.safetensors", *small, "-o", "report")
    assert done.exit_code == 0, done.stderr
    line = r"^about .* left, run 2 of 2: .*a.*; training 1 of 1, clean accuracy \d\.\d+$"
    assert re.search(line, done.stderr, re.MULTILINE), done.stderr
