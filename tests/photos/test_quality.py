"""The figures are those of their definitions, and of the libraries that others use."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from unlearn_cli.errors import PhotoError
from unlearn_cli.photos.decode import Photo
from unlearn_cli.photos.quality import ciede2000, compare, largest_change, structural_similarity, to_lab

# The test data of Sharma, Wu and Dalal, 2005, table 1: the pairs that tell a wrong implementation.
SHARMA = [
    ((50.0000, 2.6772, -79.7751), (50.0000, 0.0000, -82.7485), 2.0425),
    ((50.0000, 3.1571, -77.2803), (50.0000, 0.0000, -82.7485), 2.8615),
    ((50.0000, 2.8361, -74.0200), (50.0000, 0.0000, -82.7485), 3.4412),
    ((50.0000, -1.3802, -84.2814), (50.0000, 0.0000, -82.7485), 1.0000),
    ((50.0000, -1.1848, -84.8006), (50.0000, 0.0000, -82.7485), 1.0000),
    ((50.0000, -0.9009, -85.5211), (50.0000, 0.0000, -82.7485), 1.0000),
    ((50.0000, 0.0000, 0.0000), (50.0000, -1.0000, 2.0000), 2.3669),
    ((50.0000, -1.0000, 2.0000), (50.0000, 0.0000, 0.0000), 2.3669),
    ((50.0000, 2.4900, -0.0010), (50.0000, -2.4900, 0.0009), 7.1792),
    ((50.0000, 2.4900, -0.0010), (50.0000, -2.4900, 0.0010), 7.1792),
    ((50.0000, 2.4900, -0.0010), (50.0000, -2.4900, 0.0011), 7.2195),
    ((50.0000, 2.4900, -0.0010), (50.0000, -2.4900, 0.0012), 7.2195),
    ((50.0000, -0.0010, 2.4900), (50.0000, 0.0009, -2.4900), 4.8045),
    ((50.0000, -0.0010, 2.4900), (50.0000, 0.0011, -2.4900), 4.7461),
    ((50.0000, 2.5000, 0.0000), (50.0000, 0.0000, -2.5000), 4.3065),
    ((50.0000, 2.5000, 0.0000), (73.0000, 25.0000, -18.0000), 27.1492),
    ((50.0000, 2.5000, 0.0000), (61.0000, -5.0000, 29.0000), 22.8977),
    ((60.2574, -34.0099, 36.2677), (60.4626, -34.1751, 39.4387), 1.2644),
    ((22.7233, 20.0904, -46.6940), (23.0331, 14.9730, -42.5619), 2.0373),
    ((90.9257, -0.5406, -0.9208), (88.6381, -0.8985, -0.7239), 1.5381),
    ((6.7747, -0.2908, -2.4247), (5.8714, -0.0985, -2.2286), 0.6377),
    ((2.0776, 0.0795, -1.1350), (0.9033, -0.0636, -0.5514), 0.9082),
]


@pytest.mark.parametrize(("one", "other", "difference"), SHARMA)
def test_ciede2000_is_that_of_its_paper(one: Any, other: Any, difference: float) -> None:
    assert ciede2000(np.array(one), np.array(other)) == pytest.approx(difference, abs=5e-5)


@given(
    arrays(np.float64, (5, 3), elements=st.floats(-100, 100)), arrays(np.float64, (5, 3), elements=st.floats(-100, 100))
)
def test_ciede2000_is_a_distance(one: Any, other: Any) -> None:
    one[:, 0], other[:, 0] = np.abs(one[:, 0]), np.abs(other[:, 0])
    there, back = ciede2000(one, other), ciede2000(other, one)
    np.testing.assert_allclose(there, back, atol=1e-6)
    assert (there >= 0).all()
    np.testing.assert_allclose(ciede2000(one, one), 0, atol=1e-9)


def test_lab_has_its_known_points() -> None:
    levels = np.array([[255, 255, 255], [0, 0, 0], [255, 0, 0], [0, 0, 255]], np.float32)
    expected = np.array([[100, 0, 0], [0, 0, 0], [53.24, 80.09, 67.20], [32.30, 79.19, -107.86]])
    np.testing.assert_allclose(to_lab(levels), expected, atol=0.02)


def test_ssim_is_that_of_its_definition_written_out() -> None:
    """Window by window, as the paper has it."""
    random = np.random.default_rng(0)
    one = random.integers(0, 256, (14, 16)).astype(np.float32)
    other = np.clip(one + random.integers(-20, 21, one.shape), 0, 255).astype(np.float32)
    line = np.exp(-0.5 * (np.arange(-5, 6) / 1.5) ** 2)
    window = np.outer(line, line) / line.sum() ** 2
    found = []
    for top in range(4):
        for left in range(6):
            x, y = (plane[top : top + 11, left : left + 11].astype(float) for plane in (one, other))
            mx, my = (window * x).sum(), (window * y).sum()
            vx, vy = (window * (x - mx) ** 2).sum(), (window * (y - my) ** 2).sum()
            cov = (window * (x - mx) * (y - my)).sum()
            c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
            found.append((2 * mx * my + c1) * (2 * cov + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2)))
    assert structural_similarity(one, other) == pytest.approx(np.mean(found), abs=1e-9)
    assert structural_similarity(one, one) == pytest.approx(1)
    assert structural_similarity(one[:10], other[:10]) is None


@pytest.mark.parametrize("size", [(40, 30), (1500, 1200)])
def test_a_change_of_known_size_is_measured(size: tuple[int, int]) -> None:
    pixels = np.random.default_rng(1).integers(20, 200, (*size, 3), dtype=np.uint8)
    changed = pixels + np.random.default_rng(2).choice([-4, 4], pixels.shape).astype(np.int8).astype(np.uint8)
    quality = compare(Photo(pixels, "RGB", "PNG"), Photo(changed, "RGB", "PNG"))
    assert quality.linf == 4
    assert quality.psnr == pytest.approx(10 * math.log10(255**2 / 16))
    assert 0 < quality.ciede2000 < quality.ciede2000_p95 < 20
    same = compare(Photo(pixels, "RGB", "PNG"), Photo(pixels, "RGB", "PNG"))
    assert (same.linf, same.psnr, same.ciede2000) == (0, math.inf, 0)
    assert same.ssim == pytest.approx(1)


def test_what_full_transparency_hides_does_not_count() -> None:
    pixels = np.full((20, 20, 4), 100, np.uint8)
    pixels[:10, :, 3] = 0
    changed = pixels.copy()
    changed[:10, :, :3] = 250
    assert largest_change(Photo(pixels, "RGBA", "PNG"), Photo(changed, "RGBA", "PNG")) == 0
    changed[10:, :, :3] += 3
    assert largest_change(Photo(pixels, "RGBA", "PNG"), Photo(changed, "RGBA", "PNG")) == 3


def test_sixteen_bits_are_measured_in_levels() -> None:
    pixels = np.full((20, 20), 1000, np.uint16)
    changed = pixels + np.uint16(2 * 257)
    quality = compare(Photo(pixels, "I;16", "PNG"), Photo(changed, "I;16", "PNG"))
    assert quality.linf == 2
    assert quality.psnr == pytest.approx(10 * math.log10(255**2 / 4), abs=1e-3)


def test_two_sizes_cannot_be_compared() -> None:
    one, other = Photo(np.zeros((4, 5, 3), np.uint8), "RGB", "PNG"), Photo(np.zeros((5, 4, 3), np.uint8), "RGB", "PNG")
    with pytest.raises(PhotoError, match="4 x 5 RGB, but that of its original is 5 x 4 RGB"):
        compare(one, other)
