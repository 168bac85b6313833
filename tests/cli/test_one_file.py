"""One photo to a named file, and one through a pipe."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import RunUnlearn

CAT = ("--class", "cat")


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    levels = np.random.default_rng(0).integers(60, 200, (48, 64, 3)).astype(np.uint8)
    Image.fromarray(levels).save(tmp_path / "a.png")
    Image.fromarray(levels).save(tmp_path / "a.jpg", quality=90)
    return tmp_path / "a.png"


def pipe(folder: Path, *arguments: str, data: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "unlearn_cli", *arguments]
    return subprocess.run(command, cwd=folder, input=data, capture_output=True, timeout=100, check=False)


def kind(path: Path) -> str:
    with Image.open(path) as image:
        return str(image.format)


@pytest.mark.parametrize(
    ("source", "target", "is_a"),
    [
        ("a.png", "b.png", "PNG"),
        ("a.jpg", "b.JPEG", "JPEG"),
        ("a.png", "new/b.jpg", "JPEG"),
        ("a.jpg", "b.webp", "WEBP"),
    ],
)
def test_a_photos_name_as_the_output_is_one_file(
    photo: Path, tmp_path: Path, source: str, target: str, is_a: str, unlearn: RunUnlearn
) -> None:
    del photo
    run = unlearn("protect", source, *CAT, "-o", target)
    assert run.returncode == 0, run.stderr
    assert kind(tmp_path / target) == is_a
    assert f"written to: {target}" in run.stdout
    assert (tmp_path / target).parent.joinpath("photos-protected.jsonl").is_file()
    again = json.loads(unlearn("protect", source, *CAT, "-o", target, "--json").stdout)
    assert again["counts"]["already_protected"] == 1
    verified = unlearn("verify", source, target)
    assert verified.returncode == 0, verified.stderr
    assert "bank cifar10, class cat" in verified.stdout


def test_a_file_that_is_there_is_not_lost(photo: Path, tmp_path: Path, unlearn: RunUnlearn) -> None:
    (tmp_path / "b.png").write_bytes(b"mine")
    run = unlearn("protect", photo, *CAT, "-o", "b.png")
    assert run.returncode == 1
    assert "--existing overwrite replaces it" in run.stderr
    assert (tmp_path / "b.png").read_bytes() == b"mine"
    assert unlearn("protect", photo, *CAT, "-o", "b.png", "--existing", "overwrite").returncode == 0
    assert kind(tmp_path / "b.png") == "PNG"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["folder", "-o", "b.jpg"], "for one photo only"),
        (["a.png", "a.jpg", "-o", "b.jpg"], "for one photo only"),
        (["a.png", "-o", "a.png"], "is the input itself"),
        (["a.png", "-o", "b.tif"], "cannot be written as .tif"),
        (["a.png", "-o", "b.png", "--format", "jpeg"], "is not a name for --format jpeg"),
        (["a.png", "-", "-o", "b.png"], "Name nothing else with it"),
        (["-", "--dry-run"], "--dry-run does not go with -"),
        (["a.png", "-o", "-", "--json"], "--json does not go with -"),
    ],
)
def test_what_makes_no_sense_is_one_sentence(
    photo: Path, tmp_path: Path, arguments: list[str], says: str, unlearn: RunUnlearn
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "a.png").write_bytes(photo.read_bytes())
    before = sorted(os.listdir(tmp_path))
    run = unlearn("protect", *arguments, *CAT)
    assert run.returncode == 2, run.stderr
    assert says in " ".join(run.stderr.split())
    assert "Traceback" not in run.stderr
    assert run.stdout == ""
    assert sorted(os.listdir(tmp_path)) == before


def test_a_folder_may_have_a_photos_name(photo: Path, tmp_path: Path, unlearn: RunUnlearn) -> None:
    (tmp_path / "b.jpg").mkdir()
    assert unlearn("protect", photo, *CAT, "-o", "b.jpg").returncode == 0
    assert (tmp_path / "b.jpg" / "a.png").is_file()


def test_in_a_pipe_stdout_is_the_photos_whatever_the_defaults_are(
    photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = pipe(tmp_path, "protect", "-", *CAT, data=photo.read_bytes()).stdout
    monkeypatch.setenv("UNLEARN_PROTECT_JSON", "1")
    assert pipe(tmp_path, "protect", "-", *CAT, data=photo.read_bytes()).stdout == expected
    for data, options in ((b"damaged", ()), (photo.read_bytes(), ("--quality", "9", "--format", "png"))):
        run = pipe(tmp_path, "protect", "-", *CAT, *options, data=data)
        assert (run.returncode != 0, run.stdout) == (True, b"")


def test_a_pipe_writes_what_a_file_would(photo: Path, tmp_path: Path, unlearn: RunUnlearn) -> None:
    for name in ("a.png", "a.jpg"):
        unlearn("protect", name, *CAT, "-o", f"copy-{name}")
        expected = (tmp_path / f"copy-{name}").read_bytes()
        data = (tmp_path / name).read_bytes()
        through = pipe(tmp_path, "protect", "-", *CAT, data=data)
        assert (through.returncode, through.stdout) == (0, expected), through.stderr
        assert b"protected: one" in through.stderr
        assert pipe(tmp_path, "protect", name, *CAT, "-o", "-", "-q").stdout == expected
        into = pipe(tmp_path, "protect", "-", *CAT, "-o", f"piped-{name}", "-q", data=data)
        assert (into.returncode, into.stdout, into.stderr) == (0, b"", b"")
        assert (tmp_path / f"piped-{name}").read_bytes() == expected
    assert pipe(tmp_path, "protect", "-", *CAT, "-o", "c.jpg", data=photo.read_bytes()).returncode == 0
    assert kind(tmp_path / "c.jpg") == "JPEG"


def test_a_pipe_that_fails_writes_nothing(photo: Path, tmp_path: Path) -> None:
    for data, arguments, says in (
        (b"damaged", ("-o", "-"), b"it is damaged"),
        (b"damaged", ("-o", "b.jpg"), b"it is damaged"),
        (photo.read_bytes(), ("-o", "a.jpg"), b"a.jpg exists already"),
        (b"", (), b"it is damaged"),
    ):
        before = {path: path.read_bytes() for path in tmp_path.iterdir()}
        run = pipe(tmp_path, "protect", "-", *CAT, *arguments, data=data)
        assert (run.returncode, run.stdout) == (1, b""), run.stderr
        assert says in run.stderr
        assert b"Traceback" not in run.stderr
        assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_pipe_can_require_a_face(photo: Path, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("ab" * 32)
    person = ("protect", "-", "--class", "person", "--key-file", "key")
    weak = pipe(tmp_path, *person, data=photo.read_bytes())
    assert (weak.returncode, b"no face was found in it" in weak.stderr) == (0, True)
    refused = pipe(tmp_path, *person, "--require-face", data=photo.read_bytes())
    assert (refused.returncode, refused.stdout) == (1, b"")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudo-terminals that Python opens")
def test_a_terminal_is_no_pipe(photo: Path, tmp_path: Path) -> None:
    import pty

    _, theirs = pty.openpty()
    command = [sys.executable, "-m", "unlearn_cli", "protect", "-", *CAT]
    from_terminal = subprocess.run(
        command, cwd=tmp_path, stdin=theirs, capture_output=True, text=True, timeout=60, check=False
    )
    assert (from_terminal.returncode, "no photo on stdin" in from_terminal.stderr) == (2, True)
    with photo.open("rb") as file:
        to_terminal = subprocess.run(
            command, cwd=tmp_path, stdin=file, stdout=theirs, stderr=subprocess.PIPE, text=True, timeout=60, check=False
        )
    assert (to_terminal.returncode, "cannot be shown in a terminal" in to_terminal.stderr) == (2, True)


def test_the_thumbnail_of_a_raw_file_is_not_taken_for_the_photo(tmp_path: Path) -> None:
    Image.new("RGB", (40, 30)).save(tmp_path / "x.nef", "TIFF")
    run = pipe(tmp_path, "protect", "x.nef", *CAT, "-o", "-")
    assert (run.returncode, run.stdout) == (1, b"")
    assert b"raw file: export it as JPEG or TIFF" in run.stderr
