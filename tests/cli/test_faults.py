"""What goes wrong on real machines: killed runs, full disks, folders that may not be read, loops, two runs."""

from __future__ import annotations

import hashlib
import os
import runpy
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.test_commands import make_photo, one_sentence
from tests.conftest import ROOT, RunUnlearn

PROTECT = ("protect", "in", "--class", "person")


def digests(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
@pytest.mark.parametrize("in_place", [False, True])
def test_killed_at_any_moment_a_run_goes_on_to_the_same_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], in_place: bool
) -> None:
    """A few of the kills of ``benchmarks/kill_runs.py``, which has the record of 200."""
    photos = [make_photo(tmp_path / f"photo.{suffix}") for suffix in ("png", "jpg", "gif")]
    arguments = [*map(str, photos), "--kills", "4", "--copies", "30", *(["--in-place"] if in_place else [])]
    monkeypatch.setattr(sys, "argv", ["kill_runs.py", *arguments])
    runpy.run_path(str(ROOT / "benchmarks" / "kill_runs.py"), run_name="__main__")
    said = capsys.readouterr().out
    assert "no original was lost" in said
    assert ": 0 were killed in their work" not in said


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Yield a disk of one mebibyte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = (
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], capture_output=True, text=True, check=False
        )
        if sys.platform == "linux"
        else None
    )
    if mount is None or mount.returncode:
        pytest.skip("a small disk can only be mounted by root on Linux")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_full_disk_fails_photo_by_photo_and_the_next_run_goes_on(
    tmp_path: Path, unlearn: RunUnlearn, small_disk: Path
) -> None:
    for i in range(30):
        make_large(tmp_path / "in" / f"{i:02}.png")
    before = digests(tmp_path / "in")
    run = unlearn(*PROTECT, "-o", "disk/out")
    assert run.returncode == 1
    assert "No space left" in run.stderr
    assert "Traceback" not in run.stderr
    written = digests(small_disk / "out")
    assert 0 < len(written) < 30
    assert not [name for name in written if name.startswith(".unlearn-")]
    assert unlearn(*PROTECT, "-o", "whole").returncode == 0
    whole = digests(tmp_path / "whole")
    assert all(whole[name] == digest for name, digest in written.items())
    assert digests(tmp_path / "in") == before
    subprocess.run(["mount", "-o", "remount,size=20m", small_disk], check=True)
    assert unlearn(*PROTECT, "-o", "disk/out").returncode == 0
    assert digests(small_disk / "out") == whole


def test_a_backup_on_a_full_disk_leaves_the_originals(tmp_path: Path, unlearn: RunUnlearn, small_disk: Path) -> None:
    for i in range(30):
        make_large(tmp_path / "in" / f"{i:02}.png")
    before = digests(tmp_path / "in")
    run = unlearn(*PROTECT, "--in-place", "--backup", "disk/kept")
    assert run.returncode == 1
    assert "cannot be saved in the backup folder (No space left" in run.stderr
    kept = digests(small_disk / "kept")
    for name, digest in digests(tmp_path / "in").items():
        assert before[name] in (digest, kept.get(name))
    assert unlearn("restore", "in.jsonl").returncode == 0
    assert digests(tmp_path / "in") == before


def make_large(path: Path) -> None:
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    Image.effect_noise((160, 160), 60).convert("RGB").save(path)


def test_an_output_that_cannot_be_written_says_so(tmp_path: Path, unlearn: RunUnlearn, small_disk: Path) -> None:
    make_photo(tmp_path / "in" / "a.png")
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    run = unlearn(*PROTECT, "-o", "disk/out")
    assert run.returncode == 1
    assert "Read-only file system" in one_sentence(run.stderr)
    elsewhere = unlearn(*PROTECT, "-o", "disk/out", "--manifest", "m.jsonl")
    assert elsewhere.returncode == 1
    assert "failed: " in elsewhere.stderr
    assert "Read-only file system" in elsewhere.stderr


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="permissions are POSIX's")
def test_photos_and_folders_that_may_not_be_read_fail_alone(tmp_path: Path) -> None:
    without_rights: list[str] = []
    if os.geteuid() == 0:  # Root may read everything, unless it lays its capabilities down.
        if shutil.which("setpriv") is None:
            pytest.skip("root may read everything, and there is no setpriv to give that up")
        without_rights = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"]
    for name in ("a.png", "secret.png", "locked/b.png"):
        make_photo(tmp_path / "in" / name)
    (tmp_path / "in" / "secret.png").chmod(0)
    (tmp_path / "in" / "locked").chmod(0)
    command = [*without_rights, sys.executable, "-m", "unlearn_cli", *PROTECT]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    (tmp_path / "in" / "locked").chmod(0o700)
    assert run.returncode == 1, run.stderr
    assert "Traceback" not in run.stderr
    assert "secret.png: it cannot be read (Permission denied)" in run.stderr
    assert "locked: the folder cannot be read" in run.stderr
    assert "1 of 2 photos" in run.stdout


OFFLINE = """
import os, socket, sys
def fail(*_, **__):
    print("it uses the network", file=sys.stderr, flush=True)
    os._exit(1)
socket.socket.connect = socket.socket.connect_ex = socket.socket.sendto = fail
socket.getaddrinfo = socket.create_connection = fail
from unlearn_cli.cli.app import app
app(prog_name="unlearn")
"""


def test_no_photo_leaves_the_computer(tmp_path: Path) -> None:
    make_photo(tmp_path / "in" / "a.png")
    for arguments in (
        PROTECT,
        ["verify", "in", "in-protected"],
        ["preview", "in", "in-protected"],
        ["banks", "list"],
    ):
        run = subprocess.run([sys.executable, "-c", OFFLINE, *arguments], cwd=tmp_path, capture_output=True, text=True)
        assert run.returncode == 0, run.stderr
        assert "network" not in run.stderr


@pytest.mark.skipif(os.name != "posix", reason="POSIX links")
def test_links_that_loop_end(tmp_path: Path, unlearn: RunUnlearn) -> None:
    make_photo(tmp_path / "in" / "a.png")
    (tmp_path / "in" / "again").symlink_to(tmp_path / "in", target_is_directory=True)
    (tmp_path / "in" / "loop.png").symlink_to("loop.png")
    run = unlearn(*PROTECT)
    assert run.returncode == 1
    assert "loop.png: it cannot be read (Too many levels of symbolic links)" in run.stderr
    assert "1 of 2 photos" in run.stdout


def test_two_runs_at_once_end_as_one(tmp_path: Path, unlearn: RunUnlearn) -> None:
    for i in range(60):
        make_large(tmp_path / "in" / f"{i:02}.png")
    command = [sys.executable, "-m", "unlearn_cli", *PROTECT, "-j", "1"]  # which takes its time
    unlearn("--version")  # The first command of all loads what the others need, which takes longer than the first run.
    first = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while first.poll() is None and not list(tmp_path.glob("in-protected/*.png")):
        time.sleep(0.002)
    second = unlearn(*PROTECT)
    assert first.wait(timeout=120) == 0
    assert second.returncode == 1
    assert "Another run is writing to" in one_sentence(second.stderr)
    assert "already" not in unlearn(*PROTECT).stderr
    assert len(list((tmp_path / "in-protected").iterdir())) == 60


@pytest.mark.skipif(os.name != "posix", reason="only POSIX has names that are not UTF-8")
def test_names_that_are_not_utf8_go_through_everything(tmp_path: Path, unlearn: RunUnlearn) -> None:
    source = Path(os.fsdecode(os.fsencode(tmp_path) + b"/in/caf\xe9.png"))
    make_photo(source)
    for arguments in (
        PROTECT,
        (*PROTECT, "--json"),
        (*PROTECT, "-v"),
        (*PROTECT, "-n"),
        ("verify", "in", "in-protected"),
    ):
        run = unlearn(*arguments)
        assert run.returncode == 0, run.stderr
    assert unlearn("verify", "in", "in-protected", "--json").returncode == 0
    preview = unlearn(*PROTECT, "--existing", "overwrite", "--preview", "p.html")
    assert preview.returncode == 0, preview.stderr
