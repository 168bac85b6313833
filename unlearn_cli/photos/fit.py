"""Finding noise in a copy: which bank's pattern, at which strength, best fits the difference from its original."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from unlearn_cli.banks.bank import APPLICABLE, Bank
from unlearn_cli.banks.keys import Key, identity_pattern
from unlearn_cli.photos.anchored import Anchored, Square, under
from unlearn_cli.photos.apply import ALPHA_MODES, GREY_MODES, Noise, Pattern
from unlearn_cli.photos.decode import Photo
from unlearn_cli.photos.outcome import doubts_about
from unlearn_cli.photos.protection import face_squares
from unlearn_cli.photos.quality import visible

CLOSER = 3
"""How many of the best fitting patterns are examined more closely, at most."""

FAR_BEHIND = 0.1
"""A pattern whose correlation is lower than the best one's by more than this is not examined more closely."""

ENOUGH, CELLS = 1024, 2
"""An opaque photo with a longer side than ``ENOUGH`` pixels is averaged in blocks of pixels first, which is faster, but
never so far that a value of a pattern covers fewer than ``CELLS`` pixels a side."""

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Found:
    """The noise in a copy."""

    bank: str
    bank_sha256: str
    bank_epsilon: int
    """The bound that the bank was made with."""
    class_name: str
    epsilon: float
    """The strength of the pattern, as the bound in pixel levels at which it would have been applied."""


@dataclass(frozen=True)
class Fit(Found):
    """The pattern that fits a difference best."""

    correlation: float
    """The correlation of the difference with the pattern, both reduced to the pattern's own size; 1 is a perfect
    fit."""
    residual: float
    """The root mean square, in pixel levels, of what the pattern leaves unexplained in the reduced difference."""
    doubts: tuple[str, ...] = ()
    """The reasons why a photo with this pattern is protected less, as in ``outcome.DOUBTS``."""


class Patterns:
    """All the patterns that a difference is compared with."""

    def __init__(self, banks: Sequence[Bank], key: Key | None = None) -> None:
        """Collect the class-wise patterns of the banks; with a ``key``, also those of its owner."""
        usable = [bank for bank in banks if bank.provenance.frame in APPLICABLE]
        self._banks = [_with_own(bank, key) for bank in usable if bank.provenance.form == "class-wise"]
        self._directions = lru_cache(maxsize=4 * len(self._banks))(self._new_directions)
        """Most photos need the same few."""

    def best(self, before: Photo, after: Photo) -> Fit | None:
        """Return the pattern that best fits the difference of two photos of the same size; None if they are equal."""
        if np.array_equal(before.pixels, after.pixels):
            return None
        pair = _Compared(before, after, self._banks)
        if not pair.difference.any():
            return None
        found = [candidate for index in range(len(self._banks)) for candidate in self._candidates(pair, index)]
        found.sort(key=lambda candidate: candidate[0], reverse=True)
        close = [candidate for candidate in found[:CLOSER] if candidate[0] >= found[0][0] - FAR_BEHIND]
        fits = [_fit(pair, bank, index) for _, bank, index in close]
        return max(fits, key=lambda fit: fit.correlation, default=None)

    def epsilon_of(self, sha256: str) -> int | None:
        """Return the bound that a bank was made with; None if it is not among these."""
        return next((bank.provenance.epsilon for bank in self._banks if bank.sha256 == sha256), None)

    def _candidates(self, pair: _Compared, number: int) -> list[tuple[float, Bank, int]]:
        """Return the patterns of a bank that fit best, each with its correlation."""
        bank = self._banks[number]
        seen = pair.reduced(bank)
        mode = "L" if pair.before.mode in GREY_MODES else "RGB"
        correlations = self._directions(number, mode, seen.shape[1], seen.shape[0]) @ _direction(seen)
        return [(float(correlations[index]), bank, int(index)) for index in correlations.argsort()[-CLOSER:]]

    def _new_directions(self, number: int, mode: str, width: int, height: int) -> Floats:
        """Return the directions of a bank's patterns at a size, ``[K, height * width * bands]``."""
        bank = self._banks[number]
        return np.stack([_direction(_stretched(bank, index, mode, width, height)) for index in range(len(bank.noise))])


class _Compared:
    """A photo and what its copy differs by; its faces are found once for all banks."""

    def __init__(self, before: Photo, after: Photo, banks: Sequence[Bank]) -> None:
        spans = {(of.span, of.anchor or "box") for of in (bank.provenance for bank in banks) if of.span is not None}
        squares = {(span, anchor): face_squares(before, span, anchor) for span, anchor in spans}
        values = max((max(bank.noise.shape[2:]) for bank in banks), default=1)
        sides = [min(before.pixels.shape[:2]), *(on[-1].side for on in squares.values() if on)]
        block = int(max(1, min(max(before.pixels.shape[:2]) / ENOUGH, min(sides) / (CELLS * values))))
        block = 1 if before.mode in ALPHA_MODES else block  # What full transparency hides would show.
        self.before, after = _averaged(before, block), _averaged(after, block)
        self.seen_before = visible(self.before)
        self.difference = visible(after) - self.seen_before
        if before.mode in GREY_MODES:
            self.difference = self.difference[..., :1]
        self._squares = {
            key: tuple(replace(square, centre=square.centre / block, side=square.side / block) for square in on)
            for key, on in squares.items()
        }
        self._reduced: dict[tuple[object, ...], Floats] = {}

    def squares(self, bank: Bank) -> tuple[Square, ...]:
        """Return the square that a bank's pattern covers on the largest face; none if there is no face."""
        of = bank.provenance
        return self._squares.get((of.span, of.anchor or "box"), ()) if of.span is not None else ()

    def part(self, plane: Floats, bank: Bank) -> Floats:
        """Return the part of a plane ``[H, W, bands]`` under a bank's pattern: all, or the square on the face."""
        squares = self.squares(bank)
        return under(squares[-1], plane) if squares else plane

    def reduced(self, bank: Bank) -> Floats:
        """Return the part of the difference under a bank's pattern at the pattern's size, if it is not smaller."""
        key = (self.squares(bank), bank.noise.shape[2:])
        if key not in self._reduced:
            self._reduced[key] = self.at_size(self.part(self.difference, bank), bank)
        return self._reduced[key]

    def at_size(self, part: Floats, bank: Bank) -> Floats:
        """Return a part of a plane averaged to the size of a bank's pattern, if it is not smaller."""
        return _reduced(part, (min(bank.noise.shape[3], part.shape[1]), min(bank.noise.shape[2], part.shape[0])))


def _averaged(photo: Photo, block: int) -> Photo:
    """Return a photo with each block of so many pixels a side averaged to one; what is left at two edges is cut off."""
    if block == 1:
        return photo
    import cv2  # OpenCV takes a moment to load.

    height, width = (size // block for size in photo.pixels.shape[:2])
    whole = photo.pixels[: height * block, : width * block]
    return replace(photo, pixels=np.asarray(cv2.resize(whole, (width, height), interpolation=cv2.INTER_AREA)))


def _with_own(bank: Bank, key: Key | None) -> Bank:
    """Return a family's bank with the key's own pattern added at the end; any other bank unchanged."""
    if key is None or bank.provenance.family is None:
        return bank
    return replace(bank, noise=np.concatenate([bank.noise, identity_pattern(bank.noise, key)[None]]))


def _stretched(bank: Bank, index: int, mode: str, width: int, height: int) -> Floats:
    stretched = Pattern(bank.noise[index], bank.provenance.epsilon).stretched(mode, width, height)
    return np.concatenate(list(stretched.strips())).astype(np.float32)


def _fit(pair: _Compared, bank: Bank, index: int) -> Fit:
    """Return how well one pattern fits.

    It is applied to the original, so that it saturates at the same pixel values as in the copy.
    """
    of, before = bank.provenance, pair.before
    again = replace(before, pixels=before.pixels.copy())
    pattern = Pattern(bank.noise[index], of.epsilon)
    noise: Noise = pattern if of.span is None else Anchored(pattern, pair.squares(bank), pattern)
    noise.apply(again.pixels, again.mode)
    expected = (visible(again) - pair.seen_before)[..., : pair.difference.shape[2]]
    applied, seen = pair.at_size(pair.part(expected, bank), bank), pair.reduced(bank)
    share = float((_centred(applied) * _centred(seen)).sum() / max(float((_centred(applied) ** 2).sum()), 1e-9))
    return Fit(
        bank.name,
        bank.sha256,
        of.epsilon,
        of.family or bank.classes[index // of.variants],
        share * of.epsilon,
        float(_direction(seen) @ _direction(applied)),
        float(np.sqrt(np.square(seen - share * applied).mean())),
        tuple(doubts_about(noise, grey=before.mode in GREY_MODES)),
    )


def _reduced(plane: Floats, size: tuple[int, int]) -> Floats:
    """Return ``[H, W, bands]`` averaged over the pixels of a smaller size, ``(width, height)``."""
    bands = [
        np.asarray(Image.fromarray(np.ascontiguousarray(plane[..., band])).resize(size, Image.Resampling.BOX))
        for band in range(plane.shape[2])
    ]
    return np.stack(bands, axis=-1)


def _centred(values: Floats) -> Floats:
    centred: Floats = values - values.mean(axis=(-3, -2), keepdims=True)
    return centred


def _direction(values: Floats) -> Floats:
    """Return ``[h, w, bands]`` without the mean of each band, as a vector of length 1."""
    flat = _centred(values).reshape(-1)
    return flat / np.float32(max(float(np.linalg.norm(flat)), 1e-9))
