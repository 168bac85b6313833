"""A key is made once, kept for its owner alone, and decides a pattern of one's own."""

from __future__ import annotations

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from unlearn_cli.banks import keys
from unlearn_cli.banks.keys import Key, identity_pattern
from unlearn_cli.errors import UsageError, WorkError


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    return tmp_path


def key(number: int) -> Key:
    return Key(bytes([number]) * 32)


def bank(seed: int = 0, count: int = 40, size: int = 24) -> NDArray[np.int8]:
    """Return a bank of smooth patterns, as made ones are."""
    draw = np.random.default_rng(seed).normal(size=(count, 3, 6, 6))
    wide = np.kron(draw, np.ones((size // 6, size // 6)))
    return np.asarray(np.clip(np.rint(wide * 8), -8, 8), np.int8)


def test_it_is_made_once_and_for_its_owner_alone(home: Path) -> None:
    assert keys.known_key() is None
    made = keys.make_key()
    path = keys.key_path()
    assert home in path.parents
    if os.name == "posix":
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert keys.known_key() == made == keys.make_key()
    assert keys.known_key(path) == made
    assert made.secret.hex() not in repr(made)


def test_of_many_that_make_one_at_once_all_get_the_first(home: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = set(pool.map(lambda _: keys.make_key().secret, range(16)))
    assert made == {keys.make_key().secret}


def test_a_file_goes_before_the_environment_and_that_before_ones_own(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = keys.make_key()
    assert keys.known_key() == own
    monkeypatch.setenv("UNLEARN_KEY", key(1).secret.hex())
    assert keys.known_key() == key(1)
    (home / "mine").write_text(key(2).secret.hex().upper() + "\n")
    assert keys.known_key(home / "mine") == key(2)


@pytest.mark.parametrize("text", ["", "x" * 64, "00" * 31, "00" * 33, "correct horse"])
def test_what_is_no_key_is_refused_without_being_told(home: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "bad").write_text(text)
    with pytest.raises(UsageError, match="64 hexadecimal digits") as caught:
        keys.known_key(home / "bad")
    assert not text or text not in str(caught.value)
    with pytest.raises(UsageError, match=r"unlearn key new .*missing"):
        keys.known_key(home / "missing")
    if text:
        monkeypatch.setenv("UNLEARN_KEY", text)
        with pytest.raises(UsageError, match="UNLEARN_KEY"):
            keys.known_key()


def test_a_key_that_cannot_be_kept_is_told(home: Path) -> None:
    (home / "data").write_text("a file where a folder should be")
    with pytest.raises(WorkError, match="--key-file"):
        keys.make_key()


def test_a_fingerprint_tells_keys_apart_and_is_no_part_of_them() -> None:
    assert len({key(n).fingerprint for n in range(50)}) == 50
    assert key(7).fingerprint not in key(7).secret.hex()


def test_the_same_key_has_the_same_pattern_for_ever() -> None:
    """To the value: a later version that changes it would give everybody another pattern."""
    noise = np.arange(2 * 3 * 4 * 4).reshape(2, 3, 4, 4).astype(np.int8)
    assert identity_pattern(noise, key(3)).sum(axis=(1, 2)).tolist() == PINNED
    np.testing.assert_array_equal(identity_pattern(bank(), key(3)), identity_pattern(bank(), key(3)))


PINNED = [238, 755, 1278]


def test_patterns_of_different_keys_have_little_in_common() -> None:
    patterns = np.stack([identity_pattern(bank(), key(n)).ravel() for n in range(40)]).astype(float)
    correlations = np.corrcoef(patterns)[np.triu_indices(40, 1)]
    assert abs(correlations.mean()) < 0.05
    assert np.abs(correlations).max() < 0.6


def test_a_pattern_does_not_lie_in_the_span_of_the_public_ones() -> None:
    public = bank(count=40)
    basis, _ = np.linalg.qr(public.reshape(40, -1).T.astype(float))
    shares = []
    for n in range(20):
        own = identity_pattern(public, key(n)).ravel().astype(float)
        shares.append(((own @ basis) ** 2).sum() / (own**2).sum())
    # What any vector has in a span of 40 of some 300 dimensions is 0.13; a mixture would have 1.
    assert np.mean(shares) < 0.6


@given(secret=st.binary(min_size=32, max_size=32), count=st.integers(1, 9), size=st.integers(1, 12))
def test_the_bound_is_the_bank_s(secret: bytes, count: int, size: int) -> None:
    noise = np.random.default_rng(0).integers(-8, 9, (count, 3, size, size)).astype(np.int8)
    own = identity_pattern(noise, Key(secret))
    assert own.shape == (3, size, size)
    assert own.dtype == np.int8
    assert np.abs(own.astype(int)).max() <= 8
