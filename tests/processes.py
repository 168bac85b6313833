"""Finding the processes that a test has started, so that it kills no others."""

from __future__ import annotations

import os
import re
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def descendants(of: int) -> dict[int, str]:
    """Return the processes below one, with their command lines."""
    parents, names = {}, {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                names[int(entry.name)] = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
    found: dict[int, str] = {}
    new = {of}
    while new := {process for process, parent in parents.items() if parent in new}:
        found |= {process: names[process] for process in new}
    return found


def memory(process: int) -> float:
    """Return the resident memory of a process, in MB; 0 if it is gone."""
    try:
        return int(re.findall(r"VmRSS:\s+(\d+)", Path(f"/proc/{process}/status").read_text())[0]) / 1000
    except (OSError, IndexError):
        return 0.0


def memory_of_workers() -> float:
    """Return the resident memory of this process's largest Ray worker, in MB; 0 if there is none."""
    return max((memory(one) for one, name in descendants(os.getpid()).items() if "ray::" in name), default=0.0)


@contextmanager
def killing_workers(count: int, pause: float) -> Iterator[list[int]]:
    """Kill this process's Ray workers that are at work, one after another, until so many are killed."""
    killed: list[int] = []
    stop = threading.Event()

    def kill() -> None:
        while len(killed) < count and not stop.is_set():
            at_work = [one for one, name in descendants(os.getpid()).items() if "ray::unlearn-protect" in name]
            for process in at_work[len(killed) % 2 :][:1]:
                try:
                    os.kill(process, signal.SIGKILL)
                except ProcessLookupError:
                    continue
                killed.append(process)
            time.sleep(pause)

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        yield killed
    finally:
        stop.set()
        thread.join()
