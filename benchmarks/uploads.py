"""The documented upload handler under 10,000 uploads: what it answers, how fast, and how much memory it takes.

python benchmarks/uploads.py ../shared/photos/corrupt [--uploads 10000] [--threads 8]
"""

from __future__ import annotations

import argparse
import http.client
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from PIL import Image

PAGE = Path(__file__).resolve().parents[1] / "docs" / "how-to" / "upload-server.md"


def memory(process: int) -> float:
    """Return the resident memory of a process, in MB."""
    status = Path(f"/proc/{process}/status").read_text(encoding="utf-8")
    return int(re.findall(r"VmRSS:\s+(\d+)", status)[0]) / 1000


def post(port: int, data: bytes) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
    try:
        connection.request("POST", "/", data)
        answer = connection.getresponse()
        answer.read()
        return answer.status
    finally:
        connection.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("corrupt", type=Path)
    parser.add_argument("--uploads", type=int, default=10_000)
    parser.add_argument("--threads", type=int, default=8)
    choice = parser.parse_args()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    program = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)[0]
    sent = [path.read_bytes() for path in sorted(choice.corrupt.iterdir()) if path.is_file()]
    with tempfile.TemporaryDirectory() as folder:
        for side, kind in ((320, "png"), (640, "jpg"), (1000, "jpg"), (500, "webp"), (400, "tif")):
            path = Path(folder) / f"{side}.{kind}"
            Image.effect_noise((side, side * 3 // 4), 40).convert("RGB").save(path)
            sent.append(path.read_bytes())
        (Path(folder) / "upload.py").write_text(program.replace("8080", str(port)), encoding="utf-8")
        environment = {**os.environ, "UNLEARN_KEY": "0f" * 32}
        with subprocess.Popen(
            [sys.executable, "upload.py"], cwd=folder, env=environment, stderr=subprocess.DEVNULL
        ) as server:
            try:
                drive(server, port, sent, choice.uploads, choice.threads)
            finally:
                server.terminate()


def listens(port: int) -> bool:
    """Return whether a server takes connections at this port."""
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) == 0


def drive(server: subprocess.Popen[bytes], port: int, sent: list[bytes], uploads: int, threads: int) -> None:
    deadline = time.monotonic() + 60
    while not listens(port):
        if time.monotonic() > deadline or server.poll() is not None:
            sys.exit("The server did not start.")
        time.sleep(0.1)
    counts: Counter[int] = Counter()
    print(f"{'uploads':>8} {'MB':>7} {'a second':>9}  answers")
    with ThreadPoolExecutor(threads) as crowd:
        step = max(1, uploads // 10)
        for first in range(0, uploads, step):
            began = time.monotonic()
            some = range(first, min(first + step, uploads))
            counts.update(crowd.map(lambda number: post(port, sent[number % len(sent)]), some))
            rate = len(some) / (time.monotonic() - began)
            print(f"{sum(counts.values()):>8} {memory(server.pid):>7.0f} {rate:>9.1f}  {dict(counts)}", flush=True)
    print("died" if server.poll() is not None else "still serving")


if __name__ == "__main__":
    main()
