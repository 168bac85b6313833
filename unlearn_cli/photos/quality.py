"""Measuring the difference between a protected photo and its original, in numbers and as an eye sees it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unlearn_cli.errors import PhotoError
from unlearn_cli.photos.apply import ALPHA_MODES, DEEP, UNIT
from unlearn_cli.photos.decode import Photo
from unlearn_cli.photos.encode import to_image
from unlearn_cli.pixels import LUMA

ROWS = 64
"""How many rows are compared at a time, so that they stay in the cache."""

WHOLE = 1 << 20
"""The number of pixels up to which the perceptual metrics cover the whole photo."""

TILE = 512
"""The side in pixels of the four squares, around the centres of the quarters, that they cover in a larger photo."""

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Quality:
    """The difference between two photos. Colours are taken as sRGB, whatever the profile says."""

    linf: float
    """The largest change of any value, in pixel levels. Colour beneath full transparency does not count."""
    psnr: float
    """The peak signal-to-noise ratio of all values in dB; infinite if nothing changed."""
    ssim: float | None
    """The mean structural similarity of the luma (Wang et al., 2004); None below 11 pixels a side."""
    ciede2000: float
    """The mean colour difference (Sharma, Wu and Dalal, 2005); 1 is about what an eye can just see side by side."""
    ciede2000_p95: float
    """The 95th percentile of the colour difference over the pixels."""
    flip: float | None
    """The mean FLIP error, 0 to 1, at 67 pixels per degree (Andersson et al., 2020); None without the extra
    ``measure``."""


def largest_change(before: Photo, after: Photo) -> float:
    """Return the L-infinity distance in pixel levels. Raises ``PhotoError`` if the sizes or modes differ."""
    _refuse_other_shapes(before, after)
    largest = 0
    for one, other in _strips(before, after):
        largest = max(largest, int((np.maximum(one, other) - np.minimum(one, other)).max()))
    return largest / (UNIT if before.mode == DEEP else 1)


def compare(before: Photo, after: Photo) -> Quality:
    """Return how much a photo differs from its original. Raises ``PhotoError`` as ``largest_change`` does."""
    linf = largest_change(before, after)
    ssim, colour, flip = [], [], []
    for one, other in zip(_tiles(before), _tiles(after), strict=True):
        ssim.append(structural_similarity(one @ np.array(LUMA, np.float32), other @ np.array(LUMA, np.float32)))
        colour.append(ciede2000(to_lab(one), to_lab(other)).ravel())
        flip.append(_flip(one, other))
    differences = np.concatenate(colour)
    return Quality(
        linf,
        _psnr(before, after),
        _mean(ssim),
        float(differences.mean()),
        float(np.percentile(differences, 95)),
        _mean(flip),
    )


def _refuse_other_shapes(before: Photo, after: Photo) -> None:
    if before.pixels.shape != after.pixels.shape or before.mode != after.mode:
        one, other = (f"{photo.pixels.shape[1]} x {photo.pixels.shape[0]} {photo.mode}" for photo in (before, after))
        raise PhotoError(f"its size or mode is {other}, but that of its original is {one}", "altered")


def _strips(before: Photo, after: Photo) -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
    for top in range(0, len(before.pixels), ROWS):
        one, other = before.pixels[top : top + ROWS], after.pixels[top : top + ROWS]
        if before.mode in ALPHA_MODES:
            other = np.where(one[..., -1:] == 0, one, other)
        yield one, other


def _psnr(before: Photo, after: Photo) -> float:
    total = 0.0
    for one, other in _strips(before, after):
        total += float(np.square(one.astype(np.float32) - other).sum(dtype=np.float64))
    peak = 255 * UNIT if before.mode == DEEP else 255
    bands = 1 if before.pixels.ndim == 2 else before.pixels.shape[2] - (before.mode in ALPHA_MODES)
    values = before.pixels.shape[0] * before.pixels.shape[1] * bands
    return math.inf if total == 0 else 10 * math.log10(peak**2 * values / total)


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _tiles(photo: Photo) -> Iterator[Floats]:
    """Yield the parts of a photo to compare, as colours: float32 ``[h, w, 3]`` in pixel levels."""
    height, width = photo.pixels.shape[:2]
    if height * width <= WHOLE:
        yield visible(photo)
        return
    for y in (height // 4, 3 * height // 4):
        for x in (width // 4, 3 * width // 4):
            top, left = max(0, min(y - TILE // 2, height - TILE)), max(0, min(x - TILE // 2, width - TILE))
            part = photo.pixels[top : top + TILE, left : left + TILE]
            yield visible(Photo(part, photo.mode, photo.format))


def visible(photo: Photo) -> Floats:
    """Return a photo as an eye sees it: float32 ``[H, W, 3]`` in pixel levels, grey where fully transparent."""
    pixels = photo.pixels
    if photo.mode == "CMYK":
        pixels = np.asarray(to_image(pixels, "CMYK").convert("RGB"))
    if photo.mode in ALPHA_MODES:
        pixels = np.where(pixels[..., -1:] == 0, np.uint8(128), pixels[..., :-1])
    levels = pixels.astype(np.float32) / (UNIT if photo.mode == DEEP else 1)
    if levels.ndim == 2:
        levels = levels[..., None]
    return np.ascontiguousarray(np.broadcast_to(levels, (*levels.shape[:2], 3)))


def _flip(before: Floats, after: Floats) -> float | None:
    try:
        import flip_evaluator
    except ModuleNotFoundError:
        return None
    return float(flip_evaluator.evaluate(before / 255, after / 255, "LDR", applyMagma=False)[1])


def structural_similarity(before: Floats, after: Floats) -> float | None:
    """Return the mean structural similarity (SSIM) of two planes in pixel levels.

    The window is 11 x 11, Gaussian, of sigma 1.5, at all positions where it fits; the result is None if it fits
    nowhere. Source: Wang et al., 2004, with K1 = 0.01 and K2 = 0.03.
    """
    if min(before.shape) < 11:
        return None
    one, other = before.astype(np.float64), after.astype(np.float64)
    mean_one, mean_other = _blurred(one), _blurred(other)
    variance_one = _blurred(one * one) - mean_one**2
    variance_other = _blurred(other * other) - mean_other**2
    covariance = _blurred(one * other) - mean_one * mean_other
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    similarity = ((2 * mean_one * mean_other + c1) * (2 * covariance + c2)) / (
        (mean_one**2 + mean_other**2 + c1) * (variance_one + variance_other + c2)
    )
    return float(similarity.mean())


def _blurred(plane: NDArray[np.float64]) -> NDArray[np.float64]:
    window = np.exp(-0.5 * (np.arange(-5, 6) / 1.5) ** 2)
    window /= window.sum()
    height, width = plane.shape
    across, down = np.zeros((height, width - 10)), np.zeros((height - 10, width - 10))
    for i, weight in enumerate(window):
        across += weight * plane[:, i : width - 10 + i]
    for i, weight in enumerate(window):
        down += weight * across[i : height - 10 + i]
    return down


def to_lab(levels: Floats) -> Floats:
    """Return sRGB pixel values ``[..., 3]``, in levels of 255, as CIE L*a*b* for D65 (IEC 61966-2-1)."""
    unit = levels / 255
    linear = np.where(unit <= 0.04045, unit / 12.92, ((unit + 0.055) / 1.055) ** 2.4)
    to_xyz = np.array(
        [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
    )
    ratio = linear @ (to_xyz / np.array([[0.95047], [1.0], [1.08883]])).T
    root = np.where(ratio > (6 / 29) ** 3, np.cbrt(ratio), ratio / (3 * (6 / 29) ** 2) + 4 / 29)
    x, y, z = root[..., 0], root[..., 1], root[..., 2]
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1).astype(np.float32)


def ciede2000(one: NDArray[Any], other: NDArray[Any]) -> NDArray[np.float64]:
    """Return the colour difference of L*a*b* values ``[..., 3]``, with kL = kC = kH = 1.

    Source: Sharma, Wu and Dalal, "The CIEDE2000 color-difference formula", 2005, equations 2 to 22.
    """
    l1, a1, b1 = np.moveaxis(one.astype(np.float64), -1, 0)
    l2, a2, b2 = np.moveaxis(other.astype(np.float64), -1, 0)
    chroma = (np.hypot(a1, b1) + np.hypot(a2, b2)) / 2
    stretch = 1 + 0.5 * (1 - _saturation(chroma))
    c1, c2 = np.hypot(stretch * a1, b1), np.hypot(stretch * a2, b2)
    h1, h2 = (np.degrees(np.arctan2(b, stretch * a)) % 360 for a, b in ((a1, b1), (a2, b2)))
    grey = c1 * c2 == 0
    turn = np.where(grey, 0, (h2 - h1 + 180) % 360 - 180)
    # For exactly opposite hues, equation 10 takes the positive turn when h2 is larger.
    turn = np.where(~grey & (np.abs(h2 - h1) == 180), h2 - h1, turn)
    lightness, colour = (l1 + l2) / 2, (c1 + c2) / 2
    hue = np.where(
        grey, h1 + h2, (h1 + h2) / 2 + np.where(np.abs(h1 - h2) <= 180, 0, np.where(h1 + h2 < 360, 180, -180))
    )
    weight = (
        1
        - 0.17 * np.cos(np.radians(hue - 30))
        + 0.24 * np.cos(np.radians(2 * hue))
        + 0.32 * np.cos(np.radians(3 * hue + 6))
        - 0.20 * np.cos(np.radians(4 * hue - 63))
    )
    rotation = -2 * _saturation(colour) * np.sin(np.radians(60 * np.exp(-(((hue - 275) / 25) ** 2))))
    delta_l = (l2 - l1) / (1 + 0.015 * (lightness - 50) ** 2 / np.sqrt(20 + (lightness - 50) ** 2))
    delta_c = (c2 - c1) / (1 + 0.045 * colour)
    delta_h = 2 * np.sqrt(c1 * c2) * np.sin(np.radians(turn / 2)) / (1 + 0.015 * colour * weight)
    squared = delta_l**2 + delta_c**2 + delta_h**2 + rotation * delta_c * delta_h
    difference: NDArray[np.float64] = np.sqrt(np.maximum(squared, 0))
    return difference


def _saturation(chroma: NDArray[np.float64]) -> NDArray[np.float64]:
    seventh: NDArray[np.float64] = chroma**7
    share: NDArray[np.float64] = np.sqrt(seventh / (seventh + 25.0**7))
    return share
