"""Where a face was found is remembered, and nothing that happens to the memory changes what is found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from unlearn_cli.training import found_faces as module
from unlearn_cli.training.found_faces import found_faces
from unlearn_cli.training.haar import find_boxes


@pytest.fixture(scope="module")
def portrait(shared: Path) -> NDArray[np.uint8]:
    with Image.open(shared / "datasets" / "faces" / "identities" / "id003" / "000.jpg") as image:
        return np.asarray(image.convert("RGB"))


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "unlearn"


def test_the_same_pixels_are_searched_once(portrait: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch) -> None:
    searched: list[tuple[int, ...]] = []

    def search(pixels: NDArray[Any]) -> Any:
        searched.append(pixels.shape)
        return find_boxes(pixels)

    monkeypatch.setattr(module, "find_boxes", search)
    empty = np.zeros((60, 80, 3), np.uint8)
    other = portrait.copy()
    other[0, 0] ^= 1
    first = [found_faces(pixels) for pixels in (portrait, empty, other)]
    assert first == [find_boxes(pixels) for pixels in (portrait, empty, other)]
    assert first[0]
    assert not first[1]
    assert [found_faces(pixels) for pixels in (portrait, empty, other)] == first
    assert len(searched) == 3


def test_another_detector_searches_again(portrait: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "find_boxes", lambda _: [])
    monkeypatch.setattr(module, "DETECTOR", "one that sees nothing")
    assert found_faces(portrait) == []
    monkeypatch.undo()
    assert found_faces(portrait) == find_boxes(portrait)


def test_a_damaged_or_missing_memory_is_none(portrait: NDArray[np.uint8], cache: Path) -> None:
    cache.mkdir()
    (cache / "found-faces.sqlite").write_bytes(b"no database" * 1000)
    assert found_faces(portrait) == find_boxes(portrait)
    (cache / "found-faces.sqlite").unlink()
    cache.rmdir()
    cache.write_bytes(b"no folder")
    assert found_faces(portrait) == find_boxes(portrait)


def test_no_photo_is_kept(portrait: NDArray[np.uint8], cache: Path) -> None:
    found_faces(portrait)
    kept = (cache / "found-faces.sqlite").read_bytes()
    assert portrait.tobytes()[:300] not in kept
    assert len(kept) < 50_000
