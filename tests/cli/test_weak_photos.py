"""Photos without a face, with several faces, and what later runs and ``verify`` still know about them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from tests.conftest import RunUnlearn

PROTECT = ("protect", "album", "--class", "person", "--key-file", "key")


@pytest.fixture
def album(tmp_path: Path, shared: Path) -> Path:
    """Return a portrait, two people of whom the larger is on the right, and two walls."""
    people = sorted((shared / "datasets" / "faces" / "identities").iterdir())
    one, other = (Image.open(sorted(people[i].iterdir())[0]).convert("RGB") for i in (0, 42))
    folder = tmp_path / "album"
    folder.mkdir()
    (tmp_path / "key").write_text("ab" * 32)
    one.save(folder / "one.png")
    two = Image.new("RGB", (500, 250))
    two.paste(one.resize((180, 180)), (20, 40))
    two.paste(other, (250, 0))
    two.save(folder / "two.png")
    for i in range(2):
        Image.new("RGB", (200, 200), (120, 130, 140 + i)).save(folder / f"wall{i}.png")
    return folder


def test_photos_without_a_face_are_named_and_remembered(album: Path, unlearn: RunUnlearn) -> None:
    del album
    for _ in range(2):  # The second run protects nothing, but still knows.
        run = unlearn(*PROTECT)
        assert run.returncode == 0, run.stderr
        (line,) = [line for line in run.stdout.splitlines() if "wall0.png" in line]
        assert "wall1.png" in line
        assert "one.png" not in line
    found = json.loads(unlearn(*PROTECT, "--json").stdout)
    assert sorted(Path(photo["input"]).name for photo in found["weak"]) == ["wall0.png", "wall1.png"]


def test_ten_photos_are_named_unless_all_are_wanted(album: Path, unlearn: RunUnlearn) -> None:
    for i in range(2, 14):
        Image.new("RGB", (60, 60), (120, 130, 140 + i)).save(album / f"wall{i}.png")
    run = unlearn(*PROTECT)
    (line,) = [line for line in run.stdout.splitlines() if "wall0.png" in line]
    assert (line.count("wall"), "and 4 more" in line) == (10, True)
    run = unlearn(*PROTECT, "-v")
    (line,) = [line for line in run.stdout.splitlines() if "wall0.png" in line]
    assert line.count("wall") == 14


def test_verify_says_that_they_are_weak(album: Path, unlearn: RunUnlearn, tmp_path: Path) -> None:
    del album
    assert unlearn(*PROTECT).returncode == 0
    for known in (True, False):
        if not known:
            (tmp_path / "album-protected.jsonl").unlink()
        run = unlearn("verify", "album", "album-protected", "--key-file", "key")
        assert run.returncode == 0, run.stderr
        assert "protected: 2 of 4" in run.stdout
        assert "weak: 2 of 4" in run.stdout
        assert "why weak: 2: no face was found in it" in run.stdout
        assert "weak: album/wall0.png: no face was found in it" in run.stderr


def test_a_face_can_be_required(album: Path, unlearn: RunUnlearn, tmp_path: Path) -> None:
    run = unlearn(*PROTECT, "--require-face")
    assert run.returncode == 1
    assert "failed: 2: no face was found in it" in run.stdout
    assert sorted(path.name for path in (tmp_path / "album-protected").iterdir()) == ["one.png", "two.png"]
    verified = unlearn("verify", "album", "album-protected")
    assert verified.returncode == 1
    assert "no face was found" in verified.stderr
    # A copy that an earlier run made is no reason to succeed.
    assert unlearn(*PROTECT).returncode == 0
    again = unlearn(*PROTECT, "--require-face")
    assert again.returncode == 1
    assert "the copy that an earlier run made of it is still there" in again.stderr
    assert (tmp_path / "album-protected" / "wall0.png").exists()
    assert unlearn(*PROTECT).returncode == 0
    # Noise that is not for faces needs none.
    assert unlearn("protect", album, "--class", "cat", "-o", "cats", "--require-face").returncode == 0


def test_several_faces_are_counted_and_it_is_said_which_got_the_pattern(album: Path, unlearn: RunUnlearn) -> None:
    del album
    run = unlearn(*PROTECT)
    (line,) = [line for line in run.stdout.splitlines() if line.startswith("several faces")]
    assert "two.png (2 faces, the largest right)" in line
    assert "only on the largest face" in line
    assert "--faces all" in line
    found = json.loads(unlearn(*PROTECT, "--json").stdout)
    assert [(photo["faces"], photo["with_pattern"]) for photo in found["several_faces"]] == [(2, 1)]
    run = unlearn(*PROTECT, "--faces", "all")
    (line,) = [line for line in run.stdout.splitlines() if line.startswith("several faces")]
    assert "the pattern is on every face" in line
