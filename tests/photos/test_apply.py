"""Noise is added exactly, within its bound, in every mode and at any size."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from PIL import Image

from unlearn_cli.errors import UsageError
from unlearn_cli.photos.apply import SUPPORTED_MODES, Pattern, add_noise
from unlearn_cli.photos.one import protect_image
from unlearn_cli.photos.resample import StripCache

DEEP = ("I;16", "I;16L", "I;16B")


@given(data=st.data(), shape=array_shapes(max_dims=3, max_side=40))
def test_adding_is_saturating_and_measured_exactly(data: st.DataObject, shape: tuple[int, ...]) -> None:
    pixels = data.draw(arrays(np.uint8, shape))
    noise = data.draw(arrays(np.int8, shape, elements=st.integers(-127, 127)))
    expected = np.clip(pixels.astype(int) + noise, 0, 255)
    difference = expected - pixels
    largest = add_noise(pixels, noise)
    np.testing.assert_array_equal(pixels, expected)
    assert largest == np.abs(difference).max()


def test_strips_meet_without_a_seam() -> None:
    random = np.random.default_rng(1)
    pixels = random.integers(0, 256, (1500, 1501, 3), dtype=np.uint8)
    noise = random.integers(-8, 9, pixels.shape).astype(np.int8)
    expected = np.clip(pixels.astype(np.int16) + noise, 0, 255)
    assert add_noise(pixels, noise) == 8
    np.testing.assert_array_equal(pixels, expected)


patterns = st.builds(
    lambda noise, epsilon: Pattern(np.clip(noise, -epsilon, epsilon).astype(np.int8), epsilon),
    arrays(np.int8, st.tuples(st.just(3), st.integers(1, 12), st.integers(1, 12))),
    st.integers(1, 127),
)


@given(pattern=patterns, width=st.integers(1, 70), height=st.integers(1, 70))
def test_a_resized_pattern_stays_within_its_bound(pattern: Pattern, width: int, height: int) -> None:
    noise = pattern.at(width, height)
    assert noise.shape == (height, width, 3)
    assert np.abs(noise.astype(int)).max() <= pattern.epsilon


def test_a_pattern_at_its_own_size_is_itself() -> None:
    noise = np.random.default_rng(2).integers(-8, 9, (3, 32, 32)).astype(np.int8)
    np.testing.assert_array_equal(Pattern(noise, 8).at(32, 32), noise.transpose(1, 2, 0))


def test_a_pattern_comes_back_down_from_a_large_photo() -> None:
    """What is laid on a photo is there again when a scraper has shrunk it to the model's size."""
    noise = np.random.default_rng(3).integers(-8, 9, (3, 32, 32)).astype(np.int8)
    large = Pattern(noise, 8).at(1024, 768)
    grey = Image.fromarray((large.astype(np.int16) + 128).astype(np.uint8))
    back = np.asarray(grey.resize((32, 32), Image.Resampling.BICUBIC)).astype(int) - 128
    assert np.corrcoef(back.ravel(), noise.transpose(1, 2, 0).ravel())[0, 1] > 0.9


def random_image(mode: str, size: tuple[int, int] = (23, 17)) -> Image.Image:
    random = np.random.default_rng(4)
    if mode in DEEP:
        levels = random.integers(0, 65536, size[::-1]).astype(">u2" if mode == "I;16B" else "<u2")
        return Image.frombytes(mode, size, levels.tobytes())
    bands = len(Image.new(mode, (1, 1)).getbands())
    pixels = random.integers(0, 256, (*size[::-1], bands), dtype=np.uint8)
    return Image.frombytes(mode, size, pixels.tobytes())


@given(pattern=patterns, width=st.integers(1, 60), height=st.integers(1, 60))
def test_stretching_agrees_with_pillows_bicubic(pattern: Pattern, width: int, height: int) -> None:
    """To a level and the rounding of Pillow's two passes, which are over 8 bits each."""
    ours = pattern.at(width, height).astype(int)
    for band in range(3):
        plane = Image.fromarray(pattern.noise[band].astype(np.float32))
        theirs = np.asarray(plane.resize((width, height), Image.Resampling.BICUBIC))
        assert np.abs(ours[..., band] - np.clip(theirs, -pattern.epsilon, pattern.epsilon)).max() <= 1.2


@given(pattern=patterns, width=st.integers(1, 500), height=st.integers(1, 500))
def test_strips_of_any_height_are_the_same_noise(pattern: Pattern, width: int, height: int) -> None:
    """So that a photo's copy does not depend on how much memory there was."""
    whole = pattern.stretched("RGB", width, height)
    parts = pattern.stretched("RGB", width, height)
    whole.rows, parts.rows = height, 3
    np.testing.assert_array_equal(np.concatenate(list(whole.strips())), np.concatenate(list(parts.strips())))


def test_a_cache_of_any_size_gives_the_same_pixels() -> None:
    pattern = Pattern(np.random.default_rng(6).integers(-8, 9, (3, 32, 32)).astype(np.int8), 8)
    results = []
    for cache in (None, StripCache(), StripCache(limit=10_000), StripCache(limit=3 * 60 * 50 * 3)):
        for size in ((60, 50), (50, 60), (60, 50), (60, 50)):
            pixels = np.full((*size, 3), 100, np.uint8)
            pattern.apply(pixels, "RGB", cache)
            results.append((size, pixels.tobytes()))
    assert len(set(results)) == 2


@pytest.mark.parametrize("mode", [*SUPPORTED_MODES, "I;16L", "I;16B"])
def test_every_mode_keeps_its_nature(mode: str) -> None:
    original = random_image(mode)
    noise = np.random.default_rng(5).integers(-8, 9, (3, 8, 8)).astype(np.int8)
    before = original.tobytes()
    protected = protect_image(original, Pattern(noise, 8))
    assert original.tobytes() == before
    assert (protected.mode, protected.size) == (mode, original.size)
    unit = 257 if mode in DEEP else 1
    difference = np.asarray(protected).astype(int) - np.asarray(original).astype(int)
    assert 0 < np.abs(difference).max() <= 8 * unit


@given(pattern=patterns, wanted=st.integers(1, 127))
def test_a_pattern_is_scaled_down_and_never_up(pattern: Pattern, wanted: int) -> None:
    if wanted > pattern.epsilon:
        with pytest.raises(UsageError, match="can only be scaled down"):
            pattern.scaled(wanted)
        return
    scaled = pattern.scaled(wanted)
    assert scaled.epsilon == wanted
    assert np.abs(scaled.noise.astype(int)).max(initial=0) <= wanted
    assert np.abs(scaled.noise - pattern.noise * (wanted / pattern.epsilon)).max() <= 0.5


def test_noise_that_is_mostly_colour_is_known() -> None:
    random = np.random.default_rng(7)
    grey = np.repeat(random.integers(-8, 9, (1, 8, 8)), 3, axis=0).astype(np.int8)
    blue = grey * np.array([0, 0, 1], np.int8)[:, None, None]
    assert not Pattern(grey, 8).mostly_chroma
    assert Pattern(blue, 8).mostly_chroma


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparency_is_left_alone(mode: str) -> None:
    image = random_image(mode)
    alpha = Image.fromarray(np.where(np.arange(17 * 23).reshape(17, 23) % 2, 0, 200).astype(np.uint8))
    image.putalpha(alpha)
    protected = protect_image(image, Pattern(np.full((3, 4, 4), 8, np.int8), 8))
    before, after = np.asarray(image), np.asarray(protected)
    np.testing.assert_array_equal(after[..., -1], before[..., -1])
    hidden = before[..., -1] == 0
    np.testing.assert_array_equal(after[hidden], before[hidden])
    assert (after[~hidden] != before[~hidden]).any()


def test_cmyk_darkens_where_rgb_would() -> None:
    image = Image.new("CMYK", (4, 4), (100, 100, 100, 50))
    protected = protect_image(image, Pattern(np.full((3, 4, 4), -8, np.int8), 8))
    assert protected.getpixel((0, 0)) == (108, 108, 108, 50)


def test_a_mode_without_pixel_levels_is_refused() -> None:
    with pytest.raises(UsageError, match="mode F"):
        protect_image(Image.new("F", (4, 4)), Pattern(np.zeros((3, 4, 4), np.int8), 8))
