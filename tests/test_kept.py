"""Tests of the cache that outlives a run."""

from __future__ import annotations

import stat
import sys
from pathlib import Path

import pytest

from unlearn_cli.kept import Kept, key_of


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("unlearn_cli.kept.user_cache_path", lambda *_, **__: tmp_path)
    return tmp_path / "things.sqlite"


def test_what_is_kept_is_found_again(cache: Path) -> None:
    keys = [key_of("a", number) for number in range(1200)]
    Kept("things", 10**6).put({key: key[:4] for key in keys[:-1]})
    assert Kept("things", 10**6).get(keys) == {key: key[:4] for key in keys[:-1]}
    assert Kept("others", 10**6).get(keys) == {}
    assert len(set(keys) | {key_of("a", 1, data=b"x"), key_of("b", 1)}) == 1202


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such permissions")
def test_nobody_else_may_read_it(cache: Path) -> None:
    Kept("things", 10**6).put({b"k": b"v"})
    assert stat.S_IMODE(cache.stat().st_mode) == 0o600


def test_the_oldest_are_forgotten_when_it_is_full(cache: Path) -> None:
    kept = Kept("things", 400_000)
    for number in range(100):
        kept.put({bytes([number]): bytes(10_000)})
    found = kept.get([bytes([number]) for number in range(100)])
    assert bytes([99]) in found
    assert bytes([0]) not in found
    assert list(found) == [bytes([number]) for number in range(100 - len(found), 100)]
    assert len(found) > 20
    assert cache.stat().st_size < 500_000


def test_what_is_too_much_at_once_does_not_fill_it(cache: Path) -> None:
    kept = Kept("things", 400_000)
    kept.put({b"old": bytes(100)})
    kept.put({bytes([number]): bytes(10_000) for number in range(100)})
    assert kept.get([bytes([number]) for number in range(100)]).keys() == {bytes([number]) for number in range(20)}
    assert kept.get([b"old"])
    assert cache.stat().st_size < 500_000


def test_a_damaged_or_unwritable_file_keeps_nothing_and_fails_nothing(cache: Path) -> None:
    kept = Kept("things", 10**6)
    cache.write_bytes(b"no database" * 1000)
    assert kept.get([b"k"]) == {}
    kept.put({b"k": b"v"})  # The damaged file is gone by now.
    assert kept.get([b"k"]) == {b"k": b"v"}
    cache.unlink()
    cache.mkdir()
    kept.put({b"k": b"v"})
    assert kept.get([b"k"]) == {}
