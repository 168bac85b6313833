"""Noise that goes with a face keeps the bound, and is where the face is."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from unlearn_cli.banks.provenance import EDGE
from unlearn_cli.faces import Box
from unlearn_cli.photos.anchored import Anchored
from unlearn_cli.photos.apply import SUPPORTED_MODES, Pattern
from unlearn_cli.photos.encode import to_image


def pattern(seed: int, size: int = 16, epsilon: int = 8) -> Pattern:
    noise = np.random.default_rng(seed).integers(-epsilon, epsilon + 1, (3, size, size)).astype(np.int8)
    return Pattern(noise, epsilon)


def change(of: Anchored, width: int, height: int) -> np.ndarray:
    pixels = np.full((height, width, 3), 128, np.uint8)
    of.apply(pixels, "RGB")
    return pixels.astype(int) - 128


def test_the_pattern_is_on_the_face_and_the_other_around_it() -> None:
    face, rest = pattern(0), pattern(1)
    laid = change(Anchored(face, (Box(30, 20, 40),), rest), 100, 80)
    edge = round(EDGE * 40) + 1
    inside = np.s_[20 + edge : 60 - edge, 30 + edge : 70 - edge]
    np.testing.assert_array_equal(laid[inside], face.at(40, 40)[edge:-edge, edge:-edge])
    outside = np.ones((80, 100), bool)
    outside[20:60, 30:70] = False
    np.testing.assert_array_equal(laid[outside], rest.at(100, 80)[outside])


def test_nothing_beneath_leaves_the_rest_as_it_was() -> None:
    laid = change(Anchored(pattern(0), (Box(30, 20, 40),), None), 100, 80)
    assert (laid[20:60, 30:70] != 0).any()
    laid[20:60, 30:70] = 0
    assert not laid.any()


def test_without_a_face_the_pattern_is_over_the_whole_photo() -> None:
    face = pattern(0)
    np.testing.assert_array_equal(change(Anchored(face, (), pattern(1)), 50, 40), face.at(50, 40))


def test_the_larger_face_moves_with_its_pattern() -> None:
    """The same pattern, seen in each face's own square."""
    laid = change(Anchored(pattern(0), (Box(0, 0, 32), Box(40, 10, 64)), None), 120, 90)
    small = laid[:32, :32]
    large = np.asarray(Image.fromarray((laid[10:74, 40:104] + 128).astype(np.uint8)).resize((32, 32))).astype(int) - 128
    assert np.corrcoef(small[6:-6, 6:-6].ravel(), large[6:-6, 6:-6].ravel())[0, 1] > 0.9


@given(
    mode=st.sampled_from(SUPPORTED_MODES),
    width=st.integers(1, 90),
    height=st.integers(1, 70),
    boxes=st.lists(st.tuples(st.floats(-40, 90), st.floats(-40, 70), st.floats(0.5, 120)), max_size=3),
    epsilon=st.integers(1, 16),
    beneath=st.booleans(),
    seed=st.integers(0, 99),
)
def test_the_bound_holds_wherever_the_faces_are(
    mode: str,
    width: int,
    height: int,
    boxes: list[tuple[float, float, float]],
    epsilon: int,
    beneath: bool,
    seed: int,
) -> None:
    draw = np.random.default_rng(seed)
    bands = {"RGB": 3, "RGBA": 4, "L": 1, "LA": 2, "CMYK": 4, "I;16": 1}[mode]
    shape = (height, width) if bands == 1 else (height, width, bands)
    depth, unit = (np.uint16, 257) if mode == "I;16" else (np.uint8, 1)
    before = draw.integers(0, 256 * unit, shape).astype(depth)
    of = Anchored(
        pattern(seed, 8, epsilon),
        tuple(Box(*box) for box in boxes),
        pattern(seed + 1, 5, epsilon) if beneath else None,
    )
    after = before.copy()
    told = of.apply(after, mode)
    largest = np.abs(after.astype(int) - before.astype(int)).max()
    assert largest <= epsilon * unit
    assert told == pytest.approx(largest / unit)
    if mode in ("RGBA", "LA"):
        np.testing.assert_array_equal(after[..., -1], before[..., -1])
    if mode != "I;16":
        to_image(after, mode)
