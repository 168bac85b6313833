"""Tests of the cache of faces after a trip."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from unlearn_cli.errors import WorkError
from unlearn_cli.training import crops
from unlearn_cli.training.crops import read_faces
from unlearn_cli.training.trip import TRIPS, Trip, arrive

FACE = replace(TRIPS["face"], jitter=0.3)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The views that were made, and not taken from the cache."""
    made: list[str] = []

    def count(path: Path, trip: Trip, size: int, keys: Any) -> Any:
        made.extend(keys)
        return arrive(path, trip, size, keys)

    monkeypatch.setattr(crops, "arrive", count)
    return made


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    Image.effect_noise((90, 70), 80).convert("RGB").save(path)
    return path


def test_a_view_is_made_once(photo: Path, tmp_path: Path, asked: list[str]) -> None:
    first = read_faces([(photo, "a"), (photo, "b")], FACE, 16)
    assert sorted(asked) == ["a", "b"]
    moved = photo.rename(tmp_path / "other.png")
    again = read_faces([(moved, "b"), (moved, "c"), (moved, "a")], FACE, 16)
    assert sorted(asked) == ["a", "b", "c"]
    np.testing.assert_array_equal(again[[2, 0]], first)
    direct = np.stack(arrive(moved, FACE, 16, ["b", "c", "a"])).transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(again, direct)


def test_whatever_changes_a_view_makes_it_anew(photo: Path, asked: list[str]) -> None:
    read_faces([(photo, "a")], FACE, 16)
    read_faces([(photo, "a")], FACE, 24)
    read_faces([(photo, "a")], replace(FACE, quality=50), 16)
    read_faces([(photo, "a")], replace(FACE, seed=1), 16)
    Image.effect_noise((90, 70), 20).convert("RGB").save(photo)
    read_faces([(photo, "a")], FACE, 16)
    assert asked == ["a"] * 5


def test_files_that_cannot_be_read_are_named(photo: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.jpg"
    damaged.write_bytes(b"no photo")
    with pytest.raises(WorkError, match=r"damaged\.jpg"):
        read_faces([(photo, "a"), (damaged, "a")], FACE, 16)
    with pytest.raises(WorkError, match=r"gone\.jpg"):
        read_faces([(tmp_path / "gone.jpg", "a")], FACE, 16)
