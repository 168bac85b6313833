"""What long work over photos says where there is no terminal: a line now and then, instead of nothing for minutes."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

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
