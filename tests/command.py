"""Running the command in processes that begin with the large libraries loaded, which saves each of them seconds."""

from __future__ import annotations

import multiprocessing
import os
import runpy
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

LIBRARIES = ["numpy", "PIL.Image", "cv2", "pydantic", "typer", "rich.console", "safetensors", "torch", "torchvision"]
"""What the processes have loaded; none of it is ours, so that each reads its settings anew."""

SECONDS = 300


def run_command(arguments: list[str], folder: Path, env: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Run ``python -m unlearn_cli`` with these arguments in a folder and an environment, and return what it wrote.

    Each run is a process of its own, forked from a server that has loaded ``LIBRARIES`` and nothing else. Its standard
    input is no terminal. Raises ``subprocess.TimeoutExpired`` after five minutes.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(LIBRARIES)
    with TemporaryDirectory() as written:
        out, err = (Path(written) / name for name in ("out", "err"))
        process = context.Process(target=_command, args=(arguments, folder, dict(env), out, err))
        process.start()
        process.join(SECONDS)
        if process.exitcode is None:
            process.kill()
            raise subprocess.TimeoutExpired(arguments, SECONDS)
        said = [path.read_text() if path.exists() else "" for path in (out, err)]
        return subprocess.CompletedProcess(arguments, process.exitcode, *said)


def _command(arguments: list[str], folder: Path, env: dict[str, str], out: Path, err: Path) -> None:
    """Become the command."""
    for descriptor, path in ((1, out), (2, err)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), descriptor)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(env)
    sys.argv = ["unlearn", *arguments]
    runpy.run_module("unlearn_cli", run_name="__main__", alter_sys=True)
