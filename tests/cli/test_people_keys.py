"""Keys at the command line: made once, named, shared, never told."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import RunUnlearn
from unlearn_cli.banks.bank import save_bank
from unlearn_cli.banks.catalog import choose
from unlearn_cli.banks.keys import Key
from unlearn_cli.banks.provenance import Provenance
from unlearn_cli.errors import UsageError
from unlearn_cli.photos.protection import Protection

MINE, OTHER = Key(bytes(range(32))), Key(bytes(range(1, 33)))
PROTECT = ("protect", "in", "--class", "person", "--bank", "faces.safetensors", "--format", "png")


@pytest.fixture
def home(tmp_path: Path, shared: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a photo of a person, a bank that applied to faces, and nobody's key."""
    draw = np.random.default_rng(0)
    small = draw.normal(size=(20, 3, 6, 6))
    noise = np.clip(np.rint(np.kron(small, np.ones((4, 4))) * 6), -8, 8).astype(np.int8)
    names = tuple(f"piece{i}" for i in range(20))
    of = Provenance(classes=names, epsilon=8, scale=24, frame="face", span=1.6, family="person")
    save_bank(tmp_path / "faces.safetensors", noise, of)
    (tmp_path / "in").mkdir()
    source = sorted((shared / "datasets" / "faces" / "identities" / "id000").iterdir())[0]
    Image.open(source).convert("RGB").save(tmp_path / "in" / "me.png")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    return tmp_path


def copy_of(home: Path, folder: str = "in-protected") -> bytes:
    return (home / folder / "me.png").read_bytes()


def test_a_key_is_made_when_asked_for_and_told_once(home: Path, unlearn: RunUnlearn) -> None:
    path = home / "data" / "unlearn" / "key"
    plan = unlearn(*PROTECT, "--new-key", "-n")
    assert plan.returncode == 0, plan.stderr
    assert f"A secret key would be created for you: {path}" in plan.stderr
    assert "key not made yet" in plan.stdout
    assert not (home / "data").exists(), "a dry run makes no key"
    first = unlearn(*PROTECT, "--new-key")
    assert first.returncode == 0, first.stderr
    assert f"A secret key was created for you: {path}" in first.stderr.replace("\n", "")
    again = unlearn(*PROTECT, "--new-key")
    assert "A secret key was created for you" not in again.stderr
    record = json.loads((home / "in-protected.jsonl").read_text().splitlines()[0])
    key = Key.parse(path.read_text(), "the file")
    assert record["key_fingerprint"] == key.fingerprint
    assert f"key {key.fingerprint}" in first.stdout
    assert record["faces"] == 1
    written = (home / "in-protected.jsonl").read_text() + first.stdout + first.stderr
    assert key.secret.hex() not in written


@pytest.mark.parametrize("more", [[], ["-n"], ["--json"], ["-q"]])
def test_without_a_terminal_no_key_is_made_unnoticed(home: Path, unlearn: RunUnlearn, more: list[str]) -> None:
    """A job of cron has no terminal, and often another home."""
    run = unlearn(*PROTECT, *more)
    assert run.returncode == 2
    for way_out in ("unlearn key import FILE", "--key-file", "unlearn key new", "--new-key"):
        assert way_out in run.stderr
    assert not (home / "data").exists()
    assert not (home / "in-protected").exists()


def test_a_lost_key_stops_the_run_and_is_named(home: Path, unlearn: RunUnlearn) -> None:
    assert unlearn(*PROTECT, "--new-key").returncode == 0
    before, path = copy_of(home), home / "data" / "unlearn" / "key"
    old = Key.parse(path.read_text(), "").fingerprint
    path.rename(home / "saved.key")
    for more in ([], ["--new-key"], ["-n", "--new-key"]):
        lost = unlearn(*PROTECT, *more)
        assert lost.returncode == 2
        assert f"the fingerprint {old}, but there is no key here" in lost.stderr
        assert "unlearn key import FILE" in lost.stderr
        assert not path.exists()
    # A new folder beside the old one is no reason to forget the old key either.
    (home / "later").mkdir()
    (home / "in" / "me.png").rename(home / "later" / "me.png")
    assert old in unlearn("protect", "later", *PROTECT[2:], "--new-key").stderr
    (home / "later" / "me.png").rename(home / "in" / "me.png")
    # With another key the run stops too, and names both.
    assert unlearn("key", "new").returncode == 0
    new = Key.parse(path.read_text(), "").fingerprint
    other = unlearn(*PROTECT)
    assert other.returncode == 2
    assert old in other.stderr
    assert new in other.stderr
    assert copy_of(home) == before
    # The ways out: the old key, or the new one on purpose.
    assert "up to date: 1, new: 0" in unlearn(*PROTECT, "--key-file", "saved.key").stdout
    assert unlearn(*PROTECT, "--existing", "overwrite").returncode == 0
    assert copy_of(home) != before
    # And back: the old key is now the other one.
    back = unlearn(*PROTECT, "--key-file", "saved.key")
    assert back.returncode == 2
    assert old in back.stderr
    assert new in back.stderr


def test_two_people_may_share_an_output(home: Path, unlearn: RunUnlearn) -> None:
    for name, key in (("anna", MINE), ("ben", OTHER)):
        (home / f"{name}.key").write_text(key.secret.hex())
        (home / name).mkdir()
        Image.open(home / "in" / "me.png").save(home / name / f"{name}.png")
        run = unlearn("protect", name, *PROTECT[2:], "--key-file", f"{name}.key", "-o", "out")
        assert run.returncode == 0, run.stderr
    assert (home / "out" / "anna.png").read_bytes() != (home / "out" / "ben.png").read_bytes()


def test_another_key_is_another_pattern_and_the_same_key_the_same(
    home: Path, unlearn: RunUnlearn, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "mine").write_text(MINE.secret.hex() + "\n")
    assert unlearn(*PROTECT, "--key-file", "mine", "-o", "a").returncode == 0
    monkeypatch.setenv("UNLEARN_KEY", OTHER.secret.hex())
    assert unlearn(*PROTECT, "-o", "b").returncode == 0
    monkeypatch.setenv("UNLEARN_KEY", MINE.secret.hex())
    assert unlearn(*PROTECT, "-o", "c").returncode == 0
    assert copy_of(home, "a") == copy_of(home, "c") != copy_of(home, "b")
    # A copy that was made with another key is made again, if that is asked for.
    assert unlearn(*PROTECT, "-o", "b").returncode == 2
    assert unlearn(*PROTECT, "-o", "b", "--existing", "overwrite").returncode == 0
    assert copy_of(home, "b") == copy_of(home, "a")
    assert not (home / "data").exists(), "nobody's own key was needed"


def test_verify_says_that_a_copy_was_made_with_another_key(home: Path, unlearn: RunUnlearn) -> None:
    (home / "mine").write_text(MINE.secret.hex())
    (home / "other").write_text(OTHER.secret.hex())
    assert unlearn(*PROTECT, "--key-file", "mine").returncode == 0
    verify = ("verify", "in", "in-protected", "--bank", "faces.safetensors")
    said = f"made with another key (fingerprint {MINE.fingerprint})"
    assert said not in unlearn(*verify, "--key-file", "mine").stdout
    for keys in ([], ["--key-file", "other"]):
        run = unlearn(*verify, *keys)
        assert run.returncode == 0, "the manifest knows the copy as it is"
        assert said in run.stdout
        (photo,) = json.loads(unlearn(*verify, *keys, "--json").stdout)["photos"]
        assert (photo["status"], photo["code"], photo["reason"]) == ("protected", "other-key", said)
    with Image.open(home / "in-protected" / "me.png") as copy:
        copy.save(home / "in-protected" / "me.png", compress_level=1)
    changed = unlearn(*verify)
    assert changed.returncode == 1
    assert said in changed.stderr
    assert "no noise can be found" not in changed.stderr, "it was not looked for"


def test_a_weak_copy_that_another_key_made_is_told_as_both(home: Path, unlearn: RunUnlearn) -> None:
    Image.new("RGB", (80, 80), (120, 130, 140)).save(home / "in" / "me.png")
    (home / "mine").write_text(MINE.secret.hex())
    assert unlearn(*PROTECT, "--key-file", "mine").returncode == 0
    run = unlearn("verify", "in", "in-protected", "--bank", "faces.safetensors")
    assert run.returncode == 0, run.stderr
    lines = run.stdout.splitlines()
    assert lines[0] == "weak: 1 of 1"
    (why,) = [line for line in lines if line.startswith("why weak: 1: no face was found")]
    assert "another key" not in why
    assert f"note: 1: made with another key (fingerprint {MINE.fingerprint})" in lines


def test_a_photo_in_a_pipe_needs_a_key_too(home: Path, unlearn: RunUnlearn) -> None:
    command = ("protect", "in/me.png", *PROTECT[2:], "-o", "-")
    for defaults in ({}, {"UNLEARN_PROTECT_DRY_RUN": "1"}):
        refused = unlearn(*command, **defaults)
        assert (refused.returncode, refused.stdout) == (2, "")
        assert "unlearn key new" in refused.stderr
    assert not (home / "data").exists()
    made = subprocess.run(
        [sys.executable, "-m", "unlearn_cli", *command, "--new-key"], cwd=home, capture_output=True, check=False
    )
    assert (made.returncode, made.stdout[:8]) == (0, b"\x89PNG\r\n\x1a\n"), made.stderr
    assert b"A secret key was created for you" in made.stderr
    assert unlearn(*PROTECT).returncode == 0
    assert made.stdout == copy_of(home), "the pattern is that of the new key"


def test_verify_finds_a_pattern_with_its_key_alone(home: Path, unlearn: RunUnlearn) -> None:
    (home / "mine").write_text(MINE.secret.hex())
    assert unlearn(*PROTECT, "--key-file", "mine").returncode == 0
    (home / "in-protected.jsonl").unlink()
    verify = ("verify", "in", "in-protected", "--bank", "faces.safetensors", "--json")
    with_key = json.loads(unlearn(*verify, "--key-file", "mine").stdout)
    assert with_key["counts"] == {"protected": 1}
    without = json.loads(unlearn(*verify).stdout)
    assert without["counts"] == {"not protected": 1}
    assert not (home / "data").exists(), "verify makes no key"


@pytest.mark.parametrize("text", ["", "my password", "00" * 31])
def test_a_file_without_a_key_is_one_sentence(home: Path, unlearn: RunUnlearn, text: str) -> None:
    (home / "mine").write_text(text)
    run = unlearn(*PROTECT, "--key-file", "mine")
    assert run.returncode == 2
    assert "64 hexadecimal digits" in " ".join(run.stderr.split())
    assert not text or text not in run.stderr
    assert not (home / "in-protected").exists()


def test_a_pattern_for_people_needs_a_key(home: Path) -> None:
    with pytest.raises(UsageError, match="key"):
        Protection.of(choose("person", str(home / "faces.safetensors")), "person")
