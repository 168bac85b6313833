"""Kill runs over a folder at random moments, run once more to the end, and compare with an undisturbed run.

usage: python benchmarks/kill_runs.py PHOTO... [--kills 200] [--copies 60] [--in-place] [--seed 0]

Every run gets SIGKILL at a moment drawn uniformly from the time that a whole run takes, the first after a quarter of
it. Half of the killed runs start from an untouched folder. After each kill every file in the output must be complete,
and every original unchanged.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

COMMAND = [sys.executable, "-m", "unlearn_cli", "protect", "in", "--class", "person", "-q", "-j", "2"]
IN_PLACE = ["--in-place", "--backup", "kept"]

ENVIRONMENT = {"UNLEARN_KEY": "0f" * 32, **os.environ}
"""So that it makes and uses no key of whoever runs this."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", nargs="+", type=Path)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--copies", type=int, default=60)
    parser.add_argument("--in-place", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    draw = random.Random(options.seed)
    command = [*COMMAND, *(IN_PLACE if options.in_place else [])]
    with tempfile.TemporaryDirectory() as folder:
        album = Path(folder) / "album"
        for i in range(options.copies):
            source = options.photos[i % len(options.photos)]
            (album / "in" / f"{i % 3}").mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, album / "in" / f"{i % 3}" / f"{i:03}{source.suffix}")
        originals = contents(album / "in")
        whole = Path(folder) / "whole"
        shutil.copytree(album, whole)
        start = time.perf_counter()
        subprocess.run(command, env=ENVIRONMENT, cwd=whole, check=True)
        length = time.perf_counter() - start
        output = "in" if options.in_place else "in-protected"
        expected = contents(whole / output)
        interrupted = finished = left = 0
        work = Path(folder) / "work"
        for kill in range(options.kills):
            if kill % 2 == 0:
                shutil.rmtree(work, ignore_errors=True)
                shutil.copytree(album, work)
            process = subprocess.Popen(
                command, env=ENVIRONMENT, cwd=work, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            time.sleep(draw.uniform(0, length) if kill else length / 4)
            finished += process.poll() is not None
            process.kill()
            interrupted += process.wait() != 0
            left += check(work, output, originals, expected, in_place=options.in_place)
            subprocess.run(command, env=ENVIRONMENT, cwd=work, check=True)
            assert contents(work / output) == expected, f"kill {kill}: the rerun ended differently"
            if kill % 2 == 0:
                undo_outputs(work, output, originals, draw, in_place=options.in_place)
        print(
            f"{options.kills} runs over {options.copies} photos, killed at random moments of {length:.1f} s"
            f"{', in place' if options.in_place else ''}: {interrupted} were killed in their work, "
            f"{finished} had ended; "
            f"{left} temporary files were left and removed by the next run; all reruns ended as the undisturbed one, "
            "no original was lost, no file was ever half-written."
        )


def check(work: Path, output: str, originals: dict[str, str], expected: dict[str, str], *, in_place: bool) -> int:
    """Check what must hold right after a kill, and return how many temporary files there are."""
    found = contents(work / output)
    temporary = [name for name in found if Path(name).name.startswith(".unlearn-")]
    for name, digest in found.items():
        if name in temporary:
            continue
        if in_place and digest == originals.get(name):
            continue
        assert digest == expected[name], f"{name} is neither its original nor its whole copy"
    kept = contents(work / "kept") if in_place else {}
    for name, digest in originals.items():
        there = contents_of(work / "in" / name)
        assert digest in (there, kept.get(name)), f"the original {name} is lost"
    return len(temporary)


def undo_outputs(work: Path, output: str, originals: dict[str, str], draw: random.Random, *, in_place: bool) -> None:
    """Leave something to do for the next kill: put originals back, or remove some copies."""
    if in_place:
        undo = [sys.executable, "-m", "unlearn_cli", "restore", "in.jsonl", "-q"]
        subprocess.run(undo, env=ENVIRONMENT, cwd=work, check=True)
        assert contents(work / "in") == originals
        return
    for path in sorted((work / output).rglob("*.*")):
        if draw.random() < 0.7:
            path.unlink()


def contents(folder: Path) -> dict[str, str]:
    if not folder.is_dir():
        return {}
    return {
        path.relative_to(folder).as_posix(): contents_of(path) or "" for path in folder.rglob("*") if path.is_file()
    }


def contents_of(path: Path) -> str | None:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None


if __name__ == "__main__":
    main()
