"""``--json`` is one object on stdout, of one form for all commands and at every end, errors included."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, get_args

import pytest
from PIL import Image

from tests.cli.test_commands import make_photo
from tests.conftest import ROOT, RunUnlearn
from unlearn_cli.cli.answer import ERRORS, SCHEMA
from unlearn_cli.errors import Code

PAGE = (ROOT / "docs" / "reference" / "json.md").read_text(encoding="utf-8")
SHARED = ("schema", "command", "exit_code", "error", "counts", "photos")
OF_A_PHOTO = ("input", "output", "status", "code", "reason")


@pytest.fixture
def album(tmp_path: Path) -> Path:
    make_photo(tmp_path / "in" / "good.png")
    (tmp_path / "in" / "damaged.jpg").write_bytes(b"\xff\xd8\xff nothing more")
    make_photo(tmp_path / "in" / "good.jpg").rename(tmp_path / "in" / "raw.nef")
    return tmp_path


def answer_of(run: Any) -> dict[str, Any]:
    """Return the one object, after checking what all have."""
    found = json.loads(run.stdout)
    assert isinstance(found, dict)
    assert tuple(found)[: len(SHARED)] == SHARED
    assert (found["schema"], found["exit_code"]) == (SCHEMA, run.returncode)
    for photo in found["photos"]:
        assert tuple(photo)[: len(OF_A_PHOTO)] == OF_A_PHOTO
        assert (photo["code"] is None) == (photo["reason"] == "")
        assert photo["code"] is None or photo["code"] in get_args(Code)
        assert Path(photo["input"] or photo["output"]).name in ("good.png", "damaged.jpg", "left.png")
    return found


def codes(found: dict[str, Any]) -> dict[str, tuple[str, str | None]]:
    return {Path(photo["input"]).name: (photo["status"], photo["code"]) for photo in found["photos"]}


def test_all_four_commands_answer_alike(album: Path, unlearn: RunUnlearn) -> None:
    protected = answer_of(unlearn("protect", "in", "--class", "person", "--json"))
    assert (protected["command"], protected["error"], protected["dry_run"]) == ("protect", None, False)
    assert codes(protected) == {"damaged.jpg": ("failed", "damaged"), "good.png": ("protected", "no-face")}
    assert [Path(photo["input"]).name for photo in protected["not_protected"]] == ["raw.nef"]
    assert "face search" in protected["meaning"][0]
    assert protected["for"][0]["form"] == "class-wise"
    assert protected["not_protected"][0]["code"] == "unsupported"
    again = answer_of(unlearn("protect", "in", "--class", "person", "--json"))
    assert again["counts"] == {"protected": 0, "skipped": 0, "failed": 1, "already_protected": 1}
    assert codes(again) == {"damaged.jpg": ("failed", "damaged")}
    # What an earlier run protected is only counted, but it stays weak.
    assert [(Path(photo["input"]).name, photo["code"]) for photo in again["weak"]] == [("good.png", "no-face")]
    required = answer_of(unlearn("protect", "in", "--class", "person", "--require-face", "-o", "faces", "--json"))
    assert codes(required) == {"damaged.jpg": ("failed", "damaged"), "good.png": ("failed", "no-face")}

    verified = answer_of(unlearn("verify", "in", "in-protected", "--json"))
    assert (verified["command"], codes(verified)["good.png"]) == ("verify", ("weak", "no-face"))
    assert codes(verified)["damaged.jpg"] == ("unreadable", "damaged")

    preview = answer_of(unlearn("preview", "in", "in-protected", "--json"))
    assert (preview["command"], codes(preview)["good.png"]) == ("preview", ("shown", None))
    assert codes(preview)["damaged.jpg"] == ("left out", "missing")

    unlearn("protect", "in/good.png", "--class", "person", "--in-place", "--backup", "kept", "--manifest", "m.jsonl")
    restored = answer_of(unlearn("restore", "m.jsonl", "--json"))
    assert (restored["command"], codes(restored)) == ("restore", {"good.png": ("restored", None)})


@pytest.mark.parametrize(
    ("arguments", "command", "error"),
    [
        (["protect", "in", "--class", "unicorn"], "protect", "usage"),
        (["protect", "in", "--klass", "person"], "protect", "usage"),
        (["protect", "in", "--class", "person", "--strength", "hihg"], "protect", "usage"),
        (["protect", "in", "--class", "cat", "--bank", "none"], "protect", "bank"),
        (["protect", "empty", "--class", "cat"], "protect", "failed"),
        (["verify", "in"], "verify", "usage"),
        (["verify", "in", "missing"], "verify", "usage"),
        (["preview", "in", "empty"], "preview", "failed"),
        (["restore", "missing.jsonl"], "restore", "usage"),
    ],
)
def test_errors_are_an_object_too(
    album: Path, unlearn: RunUnlearn, arguments: list[str], command: str, error: str
) -> None:
    (album / "empty").mkdir()
    run = unlearn(*arguments, "--json")
    found = answer_of(run)
    assert (found["command"], found["error"]["code"]) == (command, error)
    assert found["error"]["message"] in " ".join(run.stderr.split())


def test_a_broken_configuration_is_an_object_too(album: Path, unlearn: RunUnlearn) -> None:
    (album / "config.toml").write_text("[nonsense]\n")
    found = answer_of(unlearn("protect", "in", "--json", UNLEARN_CONFIG="config.toml"))
    assert (found["command"], found["error"]["code"]) == ("protect", "usage")


def test_a_default_can_ask_for_it(album: Path, unlearn: RunUnlearn) -> None:
    run = unlearn("protect", "in", "--class", "unicorn", UNLEARN_PROTECT_JSON="1")
    assert answer_of(run)["error"]["code"] == "usage"
    assert unlearn("protect", "in", "--class", "unicorn").stdout == ""


def test_a_preview_that_cannot_be_written_loses_no_result(album: Path, unlearn: RunUnlearn) -> None:
    (album / "file").touch()
    found = answer_of(unlearn("protect", "in", "--class", "person", "--preview", "file/p.html", "--json"))
    assert found["counts"]["protected"] == 1
    assert "cannot be written" in found["error"]["message"]


def test_what_is_protected_less_says_why(tmp_path: Path, unlearn: RunUnlearn) -> None:
    (tmp_path / "in").mkdir()
    with Image.open(ROOT / "docs" / "portrait.jpg") as portrait:
        portrait.save(tmp_path / "in" / "good.png")
        portrait.convert("L").save(tmp_path / "in" / "left.png")
    found = answer_of(unlearn("protect", "in", "--class", "person", "--json"))
    assert codes(found) == {"good.png": ("protected", None), "left.png": ("protected", "grey")}
    assert [photo["faces"] for photo in found["photos"]] == [1, 1]


@pytest.mark.skipif(os.name != "posix", reason="sends SIGINT")
def test_an_interruption_is_an_object_too(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    make_photo(tmp_path / "in" / "0.png")
    for i in range(1, 1000):
        (tmp_path / "in" / f"{i}.png").hardlink_to(tmp_path / "in" / "0.png")
    process = subprocess.Popen(
        [sys.executable, "-m", "unlearn_cli", "protect", "in", "--class", "person", "-j", "1", "--json"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    while process.poll() is None and len(list(tmp_path.glob("in-protected/*.png"))) < 5:
        time.sleep(0.002)
    process.send_signal(signal.SIGINT)
    stdout, _ = process.communicate(timeout=60)
    said = json.loads(stdout)
    assert (process.returncode, said["error"]["code"]) == (130, "interrupted")
    # It has what was done until then.
    assert 0 < said["counts"]["protected"] == len(said["photos"]) < 1000


def test_verify_names_the_code_of_each_verdict(album: Path, unlearn: RunUnlearn) -> None:
    (album / "in" / "damaged.jpg").unlink()
    make_photo(album / "in" / "left.png")
    (album / "out").mkdir()
    (album / "out" / "good.png").write_bytes((album / "in" / "good.png").read_bytes())
    found = answer_of(unlearn("verify", "in", "out", "--json"))
    assert codes(found) == {"good.png": ("not protected", "no-noise"), "left.png": ("missing", "missing")}
    assert found["exit_code"] == 1


def test_skipped_photos_keep_their_code_in_the_manifest(album: Path, unlearn: RunUnlearn) -> None:
    (album / "in" / "damaged.jpg").unlink()
    unlearn("protect", "in", "--class", "cat")
    (album / "in-protected" / "good.png").write_bytes(b"edited by its owner")
    found = answer_of(unlearn("protect", "in", "--class", "cat", "--json"))
    assert codes(found) == {"good.png": ("skipped", "changed")}
    assert json.loads((album / "in-protected.jsonl").read_text().splitlines()[-1])["code"] == "changed"


def test_the_page_tells_every_code_and_the_version() -> None:
    assert f'"schema": {SCHEMA}' in PAGE
    table = PAGE[PAGE.index("## Codes") :]
    assert sorted(re.findall(r"^\| `([a-z-]+)` \|", table, re.MULTILINE)) == sorted(get_args(Code))
    for name in (*SHARED, *OF_A_PHOTO, *ERRORS.values()):
        assert f"`{name}`" in PAGE, name


def test_the_example_of_the_page_is_a_real_one(album: Path, unlearn: RunUnlearn) -> None:
    example = re.search(r"```json\n(.*?)```", PAGE, re.DOTALL)
    assert example is not None
    shown = json.loads(example[1])
    (album / "in").rename(album / "selfies")
    (album / "selfies" / "raw.nef").unlink()
    found = json.loads(unlearn("protect", "selfies", "--class", "person", "--json").stdout)
    assert found.keys() == shown.keys()
    assert [photo.keys() for photo in found["photos"]] == [photo.keys() for photo in shown["photos"]]
    for name in ("schema", "command", "exit_code", "error", "counts", "dry_run", "not_protected", "several_faces"):
        assert found[name] == shown[name]
    assert [list(photo.values())[1:] for photo in found["weak"]] == [
        list(photo.values())[1:] for photo in shown["weak"]
    ]
    for name in ("status", "code", "reason", "faces", "notes", "class"):
        assert [photo[name] for photo in found["photos"]] == [photo[name] for photo in shown["photos"]]
