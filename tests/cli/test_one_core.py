"""What a photo costs: each worker has one core."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

PROTECT_AND_COUNT = """
import os, sys, time
from unlearn_cli.cli.app import app
app(["protect", "in", "--class", "cat", "-j", "1", "-q"], standalone_mode=False)
# The system takes a moment to end a worker's thread that Python has joined.
until = time.monotonic() + 20
while (threads := len(os.listdir("/proc/self/task"))) > int(sys.argv[1]) and time.monotonic() < until:
    time.sleep(0.01)
print(threads)
"""


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="threads are counted by /proc")
@pytest.mark.parametrize(("wanted", "threads"), [(None, 1), ("2", 2)])
def test_the_matrix_library_starts_no_threads_unless_it_is_told_to(
    tmp_path: Path, wanted: str | None, threads: int
) -> None:
    (tmp_path / "in").mkdir()
    levels = np.random.default_rng(0).integers(0, 256, (250, 250, 3)).astype(np.uint8)
    Image.fromarray(levels).save(tmp_path / "in" / "a.png")
    env = {key: value for key, value in os.environ.items() if "NUM_THREADS" not in key}
    if wanted is not None:
        if (os.cpu_count() or 1) < int(wanted):
            pytest.skip("the library starts no more threads than there are cores")
        env["OPENBLAS_NUM_THREADS"] = wanted
    done = subprocess.run(
        [sys.executable, "-c", PROTECT_AND_COUNT, str(threads)],
        cwd=tmp_path,
        env=env,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == threads
