"""Faces are found in real photos, in every mode, and where they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from unlearn_cli.faces import Box, find_faces


@pytest.fixture(scope="module")
def people(shared: Path) -> list[Image.Image]:
    """Twelve people, whose faces fill about the middle 100 pixels of 250."""
    folders = sorted((shared / "datasets" / "faces" / "identities").iterdir())[::14]
    return [Image.open(sorted(folder.iterdir())[0]).convert("RGB") for folder in folders]


def test_nearly_all_are_found_in_the_middle(people: list[Image.Image]) -> None:
    boxes = [find_faces(np.asarray(photo)) for photo in people]
    near = [box for box in boxes if box and np.hypot(*np.subtract(box[0].centre, 125)) < 25 and 80 < box[0].side < 150]
    assert len(near) >= len(people) - 1


def test_a_large_photo_gives_the_same_box_at_its_own_size(people: list[Image.Image]) -> None:
    photo = people[0]
    canvas = Image.new("RGB", (4000, 3000), (90, 120, 150))
    canvas.paste(photo.resize((1500, 1500), Image.Resampling.BICUBIC), (2000, 1000))
    (small,), found = find_faces(np.asarray(photo)), find_faces(np.asarray(canvas))
    assert found[0].side == pytest.approx(6 * small.side, rel=0.15)
    assert found[0].centre == pytest.approx((2000 + 6 * small.centre[0], 1000 + 6 * small.centre[1]), abs=90)


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "CMYK", "I;16"])
def test_every_mode_is_looked_at(people: list[Image.Image], mode: str) -> None:
    photo = people[1]
    if mode == "I;16":
        pixels = np.asarray(photo.convert("L")).astype(np.uint16) * 257
    else:
        pixels = np.asarray(photo.convert(mode))
    (box,), (other,) = find_faces(np.asarray(photo)), find_faces(pixels, mode)
    assert other.centre == pytest.approx(box.centre, abs=8)


def test_the_largest_comes_first(people: list[Image.Image]) -> None:
    canvas = Image.new("RGB", (600, 300))
    canvas.paste(people[2].resize((150, 150)), (20, 20))
    canvas.paste(people[3].resize((300, 300)), (300, 0))
    boxes = find_faces(np.asarray(canvas))
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
