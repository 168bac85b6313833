"""Measures how much longer ``unlearn protect`` takes on folders of photos than it took at another commit.

Usage: ``python benchmarks/against_commit.py COMMIT FOLDER...``, with ``--runs`` for the number of runs of each version.
Both versions run as whole processes with this Python, in turn, each into an empty folder.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated

import typer

ROOT = Path(__file__).resolve().parent.parent


def seconds(version: Path, *arguments: str) -> float:
    """Return the wall time of one command of the version in this folder, in seconds."""
    start = "from unlearn_cli.cli.app import app; app()"
    environment = {**os.environ, "PYTHONPATH": str(version)}
    began = time.perf_counter()
    subprocess.run(
        [sys.executable, "-c", start, *arguments], env=environment, cwd=version, check=True, stdout=subprocess.DEVNULL
    )
    return time.perf_counter() - began


def protect(version: Path, photos: Path) -> float:
    """Return the wall time of protecting a folder into an empty one, by one job, in seconds."""
    with tempfile.TemporaryDirectory() as out:
        return seconds(version, "protect", str(photos), "--class", "cat", "-q", "-j", "1", "-o", f"{out}/copies")


def main(commit: str, folders: list[Path], runs: Annotated[int, typer.Option(min=1)] = 11) -> None:
    """Print for each folder the median of the runs' ratios of this version's time to the commit's (min to max)."""
    with tempfile.TemporaryDirectory() as scratch:
        old = Path(scratch, "old")
        subprocess.run(["git", "-C", str(ROOT), "worktree", "add", "-q", "--detach", str(old), commit], check=True)
        try:
            for folder in folders:
                photos = folder.resolve()
                ratios = [protect(ROOT, photos) / protect(old, photos) for _ in range(runs)]
                print(f"{folder}: {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")
        finally:
            subprocess.run(["git", "-C", str(ROOT), "worktree", "remove", "--force", str(old)], check=True)


if __name__ == "__main__":
    typer.run(main)
