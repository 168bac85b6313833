"""``unlearn key``: a key is shown, made, found and brought back, and never lost or told."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from unlearn_cli.banks.keys import Key
from unlearn_cli.cli.app import app

Here = Callable[..., Any]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Here:
    """Return the command in this process, in an empty folder, for somebody without a key."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))

    def invoke(*arguments: str, **more: Any) -> Any:
        return CliRunner().invoke(app, list(arguments), **more)

    return invoke


def key_in(path: Path) -> Key:
    return Key.parse(path.read_text(), str(path))


def test_show_path_and_new(tmp_path: Path, here: Here) -> None:
    path = tmp_path / "data" / "unlearn" / "key"
    assert here("key", "path").stdout == f"{path}\n"
    none = here("key", "show")
    assert none.exit_code == 1
    assert "unlearn key new" in none.stderr
    made = here("key", "new")
    assert made.exit_code == 0, made.stderr
    fingerprint = key_in(path).fingerprint
    assert fingerprint in made.stdout
    assert str(path) in made.stdout
    shown = here("key", "show")
    assert f"fingerprint: {fingerprint}" in shown.stdout
    assert f"stored in: {path}" in shown.stdout
    assert key_in(path).secret.hex() not in made.output + shown.output
    if os.name == "posix":
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_no_command_replaces_a_key(tmp_path: Path, here: Here) -> None:
    here("key", "new")
    path = tmp_path / "data" / "unlearn" / "key"
    before = path.read_bytes()
    again = here("key", "new")
    assert again.exit_code == 2
    assert key_in(path).fingerprint in again.stderr
    (tmp_path / "other.key").write_text("ab" * 32)
    imported = here("key", "import", "other.key")
    assert imported.exit_code == 2
    for fingerprint in (key_in(path).fingerprint, Key(b"\xab" * 32).fingerprint):
        assert fingerprint in imported.stderr
    assert "ab" * 32 not in imported.output
    assert path.read_bytes() == before


@pytest.mark.parametrize("how", ["file", "stdin"])
def test_a_key_is_brought_to_a_second_computer(tmp_path: Path, here: Here, how: str) -> None:
    (tmp_path / "stick.key").write_text("cd" * 32 + "\n")
    run = here("key", "import", "stick.key") if how == "file" else here("key", "import", "-", input="cd" * 32)
    assert run.exit_code == 0, run.stderr
    assert key_in(tmp_path / "data" / "unlearn" / "key").secret == b"\xcd" * 32
    assert Key(b"\xcd" * 32).fingerprint in run.stdout
    assert here("key", "import", "stick.key").exit_code == 0, "the same key again changes nothing"
    utf16 = here("key", "import", "-", input=("ef" * 32).encode("utf-16"))
    assert (utf16.exit_code, type(utf16.exception)) == (2, SystemExit)
    (tmp_path / "no.key").write_text("password")
    wrong = here("key", "import", "no.key")
    assert wrong.exit_code == 2
    assert "password" not in wrong.output


def test_a_second_person_is_told_how_to_get_a_key(tmp_path: Path, here: Here) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.png").touch()
    told = here("protect", "in", "--class", "person", "--key-file", "anna.key")
    assert told.exit_code == 2
    assert "run: unlearn key new anna.key" in told.stderr
    made = here("key", "new", "anna.key")
    assert made.exit_code == 0
    assert "--key-file anna.key" in made.stderr
    assert key_in(tmp_path / "anna.key").fingerprint in here("key", "show", "anna.key").stdout
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("text", ["anna.key", "/home/anna/key", "~/key", "keys\\mine", "here"])
def test_a_variable_that_holds_a_path_is_told_so(tmp_path: Path, here: Here, text: str) -> None:
    (tmp_path / "here").write_text("ab" * 32)
    run = here("key", "show", env={"UNLEARN_KEY": text})
    assert run.exit_code == 2
    assert "UNLEARN_KEY contains a path" in run.stderr
    assert "--key-file" in run.stderr


def test_the_variable_is_shown_as_what_it_is(here: Here) -> None:
    run = here("key", "show", env={"UNLEARN_KEY": "ab" * 32})
    assert "stored in: the variable UNLEARN_KEY" in run.stdout
    assert "UNLEARN_KEY is set" in here("key", "path", env={"UNLEARN_KEY": "ab" * 32}).stderr
