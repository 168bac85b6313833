"""What a stranger asks next: whose key was it, how is it undone, where does it go on, what do all the figures say."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from tests.cli.test_commands import make_photo
from tests.conftest import RunUnlearn, make_bank
from unlearn_cli.banks.bank import save_bank
from unlearn_cli.banks.keys import known_key
from unlearn_cli.cli.config import nearest


def test_a_new_key_where_one_exists_is_told(tmp_path: Path, unlearn: RunUnlearn) -> None:
    make_photo(tmp_path / "in" / "a.png")
    key = known_key()
    assert key is not None
    run = unlearn("protect", "in", "--class", "person", "--new-key")
    assert run.returncode == 0, run.stderr
    assert (
        f"--new-key makes no key here: your existing one is used, with the fingerprint {key.fingerprint}." in run.stderr
    )
    assert "'unlearn key new FILE'" in run.stderr
    assert "--new-key" not in unlearn("protect", "in", "--class", "person").stderr


def test_the_next_command_names_the_key_file(tmp_path: Path, unlearn: RunUnlearn) -> None:
    make_photo(tmp_path / "in" / "a.png")
    assert unlearn("key", "new", "anna's.key").returncode == 0
    run = unlearn("protect", "in", "--class", "person", "--key-file", "anna's.key")
    command = "unlearn verify in in-protected --key-file 'anna'\"'\"'s.key'"
    assert f"Check the copies:      {command}\n" in run.stderr
    checked = subprocess.run(
        command.replace("unlearn", f"{sys.executable} -m unlearn_cli", 1),
        shell=True,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stderr
    assert "another key" not in checked.stdout + checked.stderr


def test_restore_says_what_it_means_and_when_nothing_is_left(tmp_path: Path, unlearn: RunUnlearn) -> None:
    make_photo(tmp_path / "in" / "deep" / "a.png")
    run = unlearn("protect", "in", "--class", "cat", "--in-place", "--backup", "kept")
    assert "Put the originals back:  unlearn restore in.jsonl\n" in run.stderr
    # The manifest, the photos and the backup all say which run is meant.
    for named in ("in.jsonl", "in", "kept"):
        would = unlearn("restore", named, "-n")
        assert (would.stdout, "unprotected again" in would.stderr) == ("would restore: 1 of 1 photos\n", False)
    undone = unlearn("restore", "in")
    assert undone.stdout == "restored: 1 of 1 photos\n"
    assert "The restored photos are unprotected again. The backup folder remains" in undone.stderr
    for more in ([], ["-n"]):
        again = unlearn("restore", "in.jsonl", *more)
        assert (again.returncode, "0 of 0" in again.stdout) == (0, False)
        assert "nothing is left to restore" in again.stdout
        assert "already restored" in again.stdout
        assert "unprotected again" not in again.stderr
    (tmp_path / "other").mkdir()
    unknown = unlearn("restore", "other")
    assert (unknown.returncode, "No manifest of a run in place was found" in unknown.stderr) == (2, True)


def test_an_unmeasured_bank_says_how_it_is_measured(tmp_path: Path, unlearn: RunUnlearn) -> None:
    make_photo(tmp_path / "in" / "a.png")
    make_bank(tmp_path / "pets.safetensors", classes=("cat",))
    us = make_bank(tmp_path / "us.safetensors", family="person")
    save_bank(us.path, us.noise, replace(us.provenance, frame="face", span=2.0))
    for bank, of, how in (("pets", "cat", "bank"), ("us", "person", "people DIR --protect NAMES --bank")):
        run = unlearn("protect", "in", "--class", of, "--bank", f"{bank}.safetensors", "-o", bank)
        assert run.returncode == 0, run.stderr
        assert f"'unlearn evaluate {how} {bank}.safetensors --record'" in run.stderr
        assert f"evaluate {how} " in unlearn("banks", "show", f"{bank}.safetensors").stdout


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("maximum", "max"), ("hgih", "high"), ("mediums", "medium"), ("lowest", "low"), ("nothing like it", None)],
)
def test_a_choice_that_the_word_begins_with_is_the_nearest(typed: str, meant: str | None) -> None:
    found = nearest(typed, ["low", "medium", "high", "max"])
    assert found == ("" if meant is None else f" Did you mean '{meant}'?")


@pytest.mark.skipif(os.name != "posix", reason="sends SIGINT")
def test_an_interrupted_run_says_how_it_goes_on(tmp_path: Path) -> None:
    make_photo(tmp_path / "in" / "0.png")
    for i in range(1, 1000):
        (tmp_path / "in" / f"{i}.png").hardlink_to(tmp_path / "in" / "0.png")
    process = subprocess.Popen(
        [sys.executable, "-m", "unlearn_cli", "protect", "in", "--class", "cat", "-j", "1"],
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    while process.poll() is None and len(list(tmp_path.glob("in-protected/*.png"))) < 20:
        time.sleep(0.002)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    told = re.search(r"(\d+) of 1000 photos are done. To go on with the others, run the same command again", stderr)
    assert told, stderr
    assert 0 < int(told[1]) <= len(list(tmp_path.glob("in-protected/*.png"))) < 1000
    assert process.returncode == 130


def test_banks_show_breaks_no_words_on_a_terminal_and_has_tabs_elsewhere(unlearn: RunUnlearn) -> None:
    """A block for each result, the worst first, in the order of the rows that programs read."""
    piped = unlearn("banks", "show", "person", "--all").stdout.splitlines()
    start = next(i for i, line in enumerate(piped) if line.startswith("training\t"))
    rows = [line.split("\t") for line in piped[start + 1 :] if line.count("\t") == piped[start].count("\t")]
    assert len(rows) > 3
    shown = unlearn("banks", "show", "person", "--all", FORCE_COLOR="1", COLUMNS="80", TERM="xterm").stdout
    plain = re.sub(r"\x1b\[[0-9;]*m", "", shown)
    blocks = plain[plain.index("Accuracy of") : plain.index("- The noise")]
    assert max(map(len, blocks.splitlines())) <= 80
    words, at = " ".join(blocks.split()), 0
    for row in rows:
        block = f"{row[0]} accuracy {row[3]}; unprotected {row[4]}"
        at = words.index(" ".join(block.split()), at) + 1


def test_verify_names_every_photo_with_verbose_and_tells_the_noise_from_the_compression(
    tmp_path: Path, unlearn: RunUnlearn
) -> None:
    for i in range(12):
        make_photo(tmp_path / "in" / f"{i:02}.jpg")
    assert unlearn("protect", "in", "--class", "person").returncode == 0
    run = unlearn("verify", "in", "in-protected")
    assert "weak: 2 more photos (-v names all)" in run.stderr
    assert re.search(r"lossy files: 12: .* \(the noise itself changed at most \d+; the rest is the file's", run.stdout)
    loud = unlearn("verify", "in", "in-protected", "-v")
    assert all(f"weak: in/{i:02}.jpg: no face" in loud.stderr for i in range(12))
    assert "more photos" not in loud.stderr
    quiet = unlearn("verify", "in", "in-protected", "-q")
    assert (quiet.stdout, quiet.stderr, quiet.returncode) == ("", "", 0)
    (tmp_path / "in-protected" / "03.jpg").unlink()
    assert "missing: in/03.jpg" in unlearn("verify", "in", "in-protected", "-q").stderr
