"""A server can protect what strangers send: the documented program stands damaged files, threads and limits."""

from __future__ import annotations

import http.client
import io
import re
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import ROOT
from unlearn_cli import Protector
from unlearn_cli.banks.keys import Key, key_path
from unlearn_cli.errors import PhotoError, PhotoSkippedError, UsageError
from unlearn_cli.photos.upload import Limits

PAGE = ROOT / "docs" / "how-to" / "upload-server.md"


def photo(width: int = 60, height: int = 40, kind: str = "PNG") -> bytes:
    data = io.BytesIO()
    Image.effect_noise((width, height), 50).convert("RGB").save(data, kind)
    return data.getvalue()


@pytest.fixture
def port(tmp_path: Path) -> Iterator[int]:
    """Yield the port of a server that runs the documented program, in a process of its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        number = int(free.getsockname()[1])
    program = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)[0]
    (tmp_path / "upload.py").write_text(program.replace("8080", str(number)), encoding="utf-8")
    with subprocess.Popen([sys.executable, "upload.py"], cwd=tmp_path, stderr=subprocess.PIPE, text=True) as server:
        for _ in range(600):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", number)) == 0:
                    break
            assert server.poll() is None, server.stderr and server.stderr.read()
            time.sleep(0.05)
        yield number
        assert server.poll() is None, "the server has died"
        server.terminate()
        sys.stderr.write(server.communicate()[1])  # for whoever reads why a test failed


def post(port: int, data: bytes) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    try:
        connection.request("POST", "/", data)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def test_the_documented_server_stands_a_crowd_of_damaged_files(port: int, photos: Path) -> None:
    good = [photo(), photo(70, 50, "JPEG")]
    damaged = [path.read_bytes() for path in sorted((photos / "corrupt").iterdir()) if path.is_file()]
    random = np.random.default_rng(0)
    for data in good:
        for _ in range(10):
            bent = bytearray(data)
            for at in random.integers(0, len(data), 8):
                bent[at] ^= 1 << int(random.integers(8))
            damaged += [bytes(bent), data[: int(random.integers(len(data)))]]
    sent = [*damaged, *good * 5, b"", b"x" * 30_000_001]
    with ThreadPoolExecutor(8) as crowd:
        answers = list(crowd.map(lambda data: post(port, data), sent))
    counts = Counter(status for status, _ in answers)
    assert set(counts) == {200, 413, 422}, counts
    assert answers[-1][0] == 413
    expected = [Protector("person").protect(data) for data in good] * 5
    assert [body for _, body in answers[len(damaged) : -2]] == expected


def test_limits_are_kept_and_have_codes() -> None:
    protector = Protector("cat")
    data = photo(200, 150)
    assert protector.protect_upload(data, Limits(megapixels=0.03, size=len(data))).data == protector.protect(data)
    for limits, code in (
        (Limits(megapixels=0.0299), "too-large"),
        (Limits(size=len(data) - 1), "too-large"),
        (Limits(seconds=0), "too-slow"),
    ):
        with pytest.raises(PhotoError, match="the limit here") as refused:
            protector.protect_upload(data, limits)
        assert refused.value.code == code
    with pytest.raises(PhotoSkippedError):
        protector.protect_upload(black_and_white(), Limits())


def black_and_white() -> bytes:
    data = io.BytesIO()
    Image.new("1", (20, 20)).save(data, "PNG")
    return data.getvalue()


def test_limits_are_kept_also_for_a_photo_that_is_damaged_outside_its_pixels() -> None:
    data = photo(200, 150, "JPEG")
    exif = b"\xff\xe1\x00\x20Exif\0\0" + b"\xff" * 24
    with pytest.raises(PhotoError) as refused:
        Protector("cat").protect_upload(data[:2] + exif + data[2:], Limits(megapixels=0.02))
    assert refused.value.code == "too-large"


def test_a_face_can_be_required() -> None:
    protector = Protector("person")
    assert protector.protect_upload(photo()).doubts
    with pytest.raises(PhotoError) as refused:
        protector.protect_upload(photo(), require_face=True)
    assert refused.value.code == "no-face"


def test_each_user_may_have_a_key_and_none_is_read_from_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = photo()
    own = Protector("person").protect(data)
    key = Key(bytes.fromhex(key_path().read_text().strip()))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.setenv("UNLEARN_KEY", "ff" * 32)
    assert Protector.of("person", key).protect(data) == own
    assert Protector.of("person", Key(bytes(32))).protect(data) != own
    with pytest.raises(UsageError, match="needs a key"):
        Protector.of("person")
    assert Protector.of("cat", epsilon=2).protection.pattern.epsilon == 2
