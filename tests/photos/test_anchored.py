"""Noise that goes with a face keeps the bound, and is where the face is."""

from __future__ import annotations

import cmath

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from unlearn_cli.banks.provenance import EDGE
from unlearn_cli.photos.anchored import Anchored, Square, under
from unlearn_cli.photos.apply import SUPPORTED_MODES, Pattern
from unlearn_cli.photos.encode import to_image


def pattern(seed: int, size: int = 16, epsilon: int = 8) -> Pattern:
    noise = np.random.default_rng(seed).integers(-epsilon, epsilon + 1, (3, size, size)).astype(np.int8)
    return Pattern(noise, epsilon)


SQUARES = st.tuples(st.floats(-40, 90), st.floats(-40, 70), st.floats(0.5, 120), st.floats(-4, 4) | st.just(0.0))
"""Column, row, side and angle."""


def upright(left: float, top: float, side: float) -> Square:
    return Square(complex(left + side / 2, top + side / 2), side)


def change(of: Anchored, width: int, height: int) -> np.ndarray:
    pixels = np.full((height, width, 3), 128, np.uint8)
    of.apply(pixels, "RGB")
    return pixels.astype(int) - 128


def test_the_pattern_is_on_the_face_and_the_other_around_it() -> None:
    face, rest = pattern(0), pattern(1)
    laid = change(Anchored(face, (upright(30, 20, 40),), rest), 100, 80)
    edge = round(EDGE * 40) + 1
    inside = np.s_[20 + edge : 60 - edge, 30 + edge : 70 - edge]
    np.testing.assert_array_equal(laid[inside], face.at(40, 40)[edge:-edge, edge:-edge])
    outside = np.ones((80, 100), bool)
    outside[20:60, 30:70] = False
    np.testing.assert_array_equal(laid[outside], rest.at(100, 80)[outside])


def test_nothing_beneath_leaves_the_rest_as_it_was() -> None:
    laid = change(Anchored(pattern(0), (upright(30, 20, 40),), None), 100, 80)
    assert (laid[20:60, 30:70] != 0).any()
    laid[20:60, 30:70] = 0
    assert not laid.any()


def test_without_a_face_the_pattern_is_over_the_whole_photo() -> None:
    face = pattern(0)
    np.testing.assert_array_equal(change(Anchored(face, (), pattern(1)), 50, 40), face.at(50, 40))


def test_the_larger_face_moves_with_its_pattern() -> None:
    """The same pattern, seen in each face's own square."""
    laid = change(Anchored(pattern(0), (upright(0, 0, 32), upright(40, 10, 64)), None), 120, 90)
    small = laid[:32, :32]
    large = np.asarray(Image.fromarray((laid[10:74, 40:104] + 128).astype(np.uint8)).resize((32, 32))).astype(int) - 128
    assert np.corrcoef(small[6:-6, 6:-6].ravel(), large[6:-6, 6:-6].ravel())[0, 1] > 0.9


@given(
    mode=st.sampled_from(SUPPORTED_MODES),
    width=st.integers(1, 90),
    height=st.integers(1, 70),
    squares=st.lists(SQUARES, max_size=3),
    epsilon=st.integers(1, 16),
    beneath=st.booleans(),
    seed=st.integers(0, 99),
)
def test_the_bound_holds_wherever_the_faces_are(
    mode: str,
    width: int,
    height: int,
    squares: list[tuple[float, float, float, float]],
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
        tuple(Square(complex(x, y), side, cmath.rect(1, angle)) for x, y, side, angle in squares),
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


@pytest.mark.parametrize("degrees", [0.0, 20.0, 45.0, 90.0, -135.0, 180.0])
def test_a_turned_square_carries_the_pattern_turned(degrees: float) -> None:
    """What lies under the square, turned upright, is the pattern, whatever the angle."""
    face = Pattern(np.kron(pattern(3, 8).noise, np.ones((1, 3, 3), np.int8)), 8)
    square = Square(100.5 + 90.2j, 96, cmath.rect(1, np.radians(degrees)))
    seen = under(square, change(Anchored(face, (square,), None), 220, 200).astype(np.float32))
    inner = np.s_[12:-12, 12:-12]
    expected = face.at(96, 96)
    assert np.corrcoef(seen[inner].ravel(), expected[inner].ravel())[0, 1] > 0.93
    shifted = np.roll(expected, 8, axis=1)
    assert np.corrcoef(seen[inner].ravel(), shifted[inner].ravel())[0, 1] < 0.7


def test_a_small_turned_face_gets_the_mean_of_the_pattern() -> None:
    face = pattern(4, 64)
    square = Square(30 + 30j, 16, cmath.rect(1, 0.3))
    seen = under(square, change(Anchored(face, (square,), None), 60, 60).astype(np.float32))
    assert np.corrcoef(seen[3:-3, 3:-3].ravel(), face.at(16, 16)[3:-3, 3:-3].ravel())[0, 1] > 0.7
