"""What ``protect`` says: at its end, when there is nothing to do, and before it does anything."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from typer.testing import CliRunner

from tests.cli.test_commands import make_photo
from unlearn_cli.banks.keys import known_key
from unlearn_cli.cli.app import app

Here = Callable[..., Any]
INNER_WORDS = r"(?i)\b(victim|epoch|seed|surrogate|trip|resnet|sface|dlib|yunet|mobilefacenet)"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Here:
    """Return the command in this process, in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def invoke(*arguments: str) -> Any:
        return CliRunner().invoke(app, list(arguments))

    return invoke


def files_in(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {
        str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.mark.parametrize("strength", ["low", "medium", "high"])
def test_the_closing_says_what_for_whom_what_is_weak_and_what_next(strength: str, tmp_path: Path, here: Here) -> None:
    for i in range(12):
        make_photo(tmp_path / "in" / f"{i:02}.png")
    run = here("protect", "in", "--class", "selfie", "--strength", strength)
    assert run.exit_code == 0, run.stderr
    key = known_key()
    assert key is not None
    bank = {"medium": "person"}.get(strength, f"person-{strength}")
    lines = run.stdout.splitlines()
    assert re.match(r"protected: 12 of 12 photos, 12 of them weakly, in ", lines[0])
    assert lines[1] == f"for: person (from 'selfie'), bank {bank}, strength {strength}, key {key.fingerprint}"
    (weak,) = [line for line in lines if line.startswith("weak: ")]
    named = ", ".join(f"{i:02}.png" for i in range(10))
    assert weak.startswith(f"weak: 12 photos: {named} and 2 more (-v names all): no face was found")
    meaning = [line for line in run.stderr.splitlines() if line.startswith("- ")]
    assert 2 <= len(meaning) <= 4
    assert "face search" in meaning[0]
    assert meaning[-1].endswith(f"For every attacker, run 'unlearn banks show {bank}'.")
    assert run.stderr.splitlines()[-2:] == [
        "Check the copies:      unlearn verify in in-protected",
        "See before and after:  unlearn preview in in-protected",
    ]
    verified = here("verify", "in", "in-protected")
    assert not re.search(INNER_WORDS, run.output + verified.output)
    loud = here("protect", "in", "--class", "person", "--strength", strength, "-v", "--existing", "overwrite")
    assert all(f"in/{i:02}.png" in loud.stdout for i in range(12))


@pytest.mark.parametrize(
    ("arguments", "originals", "copies"),
    [
        (["in", "-o", "out"], "in", "out"),
        (["in", "--in-place", "--backup", "my originals"], "'my originals'", "in"),
        (["in/a.png"], "in/a.png", "in/a-protected.png"),
        (["in/a.gif"], "in/a.gif", "in/a-protected.gif.png"),
        (["in/sub", "-o", "out"], "in/sub", "out"),
        (["in/a.png", "in/sub"], "ORIGINALS", "COPIES"),
    ],
)
def test_the_next_commands_are_those_that_work(
    arguments: list[str], originals: str, copies: str, tmp_path: Path, here: Here
) -> None:
    for name in ("a.png", "a.gif", "sub/deep/b.png"):
        make_photo(tmp_path / "in" / name)
    if "in/a.png" in arguments:
        (tmp_path / "in" / "a.gif").unlink()
    run = here("protect", *arguments, "--class", "cat")
    assert run.exit_code == 0, run.stderr
    assert re.search(f"Check the copies: +unlearn verify {originals} {copies}\n", run.stderr)
    if originals != "ORIGINALS":
        assert here("verify", originals.strip("'"), copies).exit_code == 0
    assert ("Put the originals back:  unlearn restore in.jsonl\n" in run.stderr) == ("--in-place" in arguments)


def test_a_finished_rerun_says_that_all_is_up_to_date(tmp_path: Path, here: Here) -> None:
    for name in ("a.png", "b.png"):
        make_photo(tmp_path / "in" / name)
    assert here("protect", "in", "--class", "cat").stdout.startswith("protected: 2 of 2 photos")
    again = here("protect", "in", "--class", "cat")
    assert again.stdout.startswith("up to date: 2, new: 0\n")
    assert "protected: 0" not in again.stdout
    make_photo(tmp_path / "in" / "c.png")
    assert here("protect", "in", "--class", "cat").stdout.startswith("up to date: 2, new: 1\n")
    (tmp_path / "in" / "d.png").write_bytes(b"damaged")
    failed = here("protect", "in", "--class", "cat")
    assert failed.exit_code == 1
    assert "failed: 1: " in failed.stdout
    assert "up to date: 3" in failed.stdout


@pytest.mark.parametrize("more", [[], ["--json"], ["-v"], ["-q"]])
def test_no_dry_run_says_that_anything_was_done(more: list[str], tmp_path: Path, here: Here) -> None:
    """Each dry run says what would happen, and nothing happens."""
    for name in ("a.png", "b.png", "c.png"):
        make_photo(tmp_path / "in" / name)
    run = ("protect", "in", "--class", "cat", "--in-place", "--backup", "kept")
    done = r"(?m)\b(protected|restored|failed|skipped|written to|recorded in): |\"(protected|restored|failed)\""
    for plan in (("protect", "in", "--class", "cat"), run):
        before = files_in(tmp_path)
        planned = here(*plan, "-n", *more)
        assert planned.exit_code == 0, planned.stderr
        assert not re.search(done, planned.output)
        assert more == ["-q"] or re.search(r"would.protect", planned.output)
        assert files_in(tmp_path) == before
    assert here(*run).exit_code == 0
    Image.new("RGB", (8, 8)).save(tmp_path / "in" / "b.png")  # it would not be replaced
    before = files_in(tmp_path)
    planned = here("restore", "in.jsonl", "-n", *more)
    assert planned.exit_code == 1
    assert not re.search(done, planned.output)
    if more == ["--json"]:
        found = json.loads(planned.stdout)
        assert (found["dry_run"], found["counts"]) == (True, {"would_restore": 2, "would_fail": 1})
        assert [photo["status"] for photo in found["photos"]].count("would_fail") == 1
    elif more != ["-q"]:
        assert "would restore: 2 of 3 photos" in planned.stdout
    assert files_in(tmp_path) == before


def test_a_dry_run_foresees_what_existing_files_do(tmp_path: Path, here: Here) -> None:
    for name in ("a.png", "b.png"):
        make_photo(tmp_path / "in" / name)
    make_photo(tmp_path / "in-protected" / "a.png")
    command = ("protect", "in", "--class", "cat", "--existing", "skip")
    planned = json.loads(here(*command, "-n", "--json").stdout)
    assert planned["counts"] == {"would_protect": 1, "would_skip": 1, "already_protected": 0}
    assert "would skip: 1: " in here(*command, "-n").stdout
    done = json.loads(here(*command, "--json").stdout)
    assert (done["counts"]["protected"], done["counts"]["skipped"]) == (1, 1)
    (one,) = done["for"]
    assert one == {
        "class": "cat",
        "means": "cat",
        "bank": "cifar10",
        "strength": None,
        "form": "class-wise",
        "epsilon": 8,
        "key_fingerprint": None,
    }
