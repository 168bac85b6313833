"""Noise is added exactly, within its bound, in every mode and at any size."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from PIL import Image

from unlearn_cli.errors import UsageError
from unlearn_cli.photos.noise import DEEP, SUPPORTED_MODES, Pattern, add_noise, resize_noise


@given(data=st.data(), shape=array_shapes(max_dims=3, max_side=40))
def test_adding_is_saturating_and_measured_exactly(data: st.DataObject, shape: tuple[int, ...]) -> None:
    pixels = data.draw(arrays(np.uint8, shape))
    noise = data.draw(arrays(np.int8, shape, elements=st.integers(-127, 127)))
    expected = np.clip(pixels.astype(int) + noise, 0, 255)
    difference = expected - pixels
    change = add_noise(pixels, noise)
    np.testing.assert_array_equal(pixels, expected)
    assert change.linf == np.abs(difference).max()
    assert change.squared_error == pytest.approx((difference**2).sum())


def test_strips_meet_without_a_seam() -> None:
    random = np.random.default_rng(1)
    pixels = random.integers(0, 256, (1500, 1501, 3), dtype=np.uint8)
    noise = random.integers(-8, 9, pixels.shape).astype(np.int8)
    expected = np.clip(pixels.astype(np.int16) + noise, 0, 255)
    change = add_noise(pixels, noise)
    np.testing.assert_array_equal(pixels, expected)
    assert change.values == pixels.size


patterns = st.builds(
    lambda noise, epsilon: Pattern(np.clip(noise, -epsilon, epsilon).astype(np.int8), epsilon),
    arrays(np.int8, st.tuples(st.just(3), st.integers(1, 12), st.integers(1, 12))),
    st.integers(1, 127),
)


@given(pattern=patterns, width=st.integers(1, 70), height=st.integers(1, 70))
def test_a_resized_pattern_stays_within_its_bound(pattern: Pattern, width: int, height: int) -> None:
    noise = resize_noise(pattern, width, height)
    assert noise.shape == (height, width, 3)
    assert np.abs(noise.astype(int)).max() <= pattern.epsilon


def test_a_pattern_at_its_own_size_is_itself() -> None:
    noise = np.random.default_rng(2).integers(-8, 9, (3, 32, 32)).astype(np.int8)
    np.testing.assert_array_equal(resize_noise(Pattern(noise, 8), 32, 32), noise.transpose(1, 2, 0))


def test_a_pattern_comes_back_down_from_a_large_photo() -> None:
    """What is laid on a photo is there again when a scraper has shrunk it to the model's size."""
    noise = np.random.default_rng(3).integers(-8, 9, (3, 32, 32)).astype(np.int8)
    large = resize_noise(Pattern(noise, 8), 1024, 768)
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


@pytest.mark.parametrize("mode", SUPPORTED_MODES)
def test_every_mode_keeps_its_nature(mode: str) -> None:
    original = random_image(mode)
    noise = np.random.default_rng(5).integers(-8, 9, (3, 8, 8)).astype(np.int8)
    before = original.tobytes()
    protected, change = Pattern(noise, 8).protect(original)
    assert original.tobytes() == before
    assert (protected.mode, protected.size) == (mode, original.size)
    unit = 257 if mode in DEEP else 1
    difference = np.asarray(protected).astype(int) - np.asarray(original).astype(int)
    assert 0 < np.abs(difference).max() <= 8 * unit
    assert change.linf == np.abs(difference).max() / unit
    mean = (difference.astype(float) ** 2).sum() / change.values / unit**2
    assert change.psnr == pytest.approx(10 * math.log10(255**2 / mean), rel=1e-5)


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparency_is_left_alone(mode: str) -> None:
    image = random_image(mode)
    alpha = Image.fromarray(np.where(np.arange(17 * 23).reshape(17, 23) % 2, 0, 200).astype(np.uint8))
    image.putalpha(alpha)
    protected, _ = Pattern(np.full((3, 4, 4), 8, np.int8), 8).protect(image)
    before, after = np.asarray(image), np.asarray(protected)
    np.testing.assert_array_equal(after[..., -1], before[..., -1])
    hidden = before[..., -1] == 0
    np.testing.assert_array_equal(after[hidden], before[hidden])
    assert (after[~hidden] != before[~hidden]).any()


def test_cmyk_darkens_where_rgb_would() -> None:
    image = Image.new("CMYK", (4, 4), (100, 100, 100, 50))
    protected, _ = Pattern(np.full((3, 4, 4), -8, np.int8), 8).protect(image)
    assert protected.getpixel((0, 0)) == (108, 108, 108, 50)


def test_a_mode_without_pixel_levels_is_refused() -> None:
    with pytest.raises(UsageError, match="mode F"):
        Pattern(np.zeros((3, 4, 4), np.int8), 8).protect(Image.new("F", (4, 4)))
