"""Finding noise in a copy: which bank's pattern, at which strength, best fits the difference from its original."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from unlearn_cli.banks.bank import APPLICABLE, Bank
from unlearn_cli.banks.keys import Key, identity_pattern
from unlearn_cli.banks.provenance import Anchor
from unlearn_cli.photos.anchored import Anchored, Square, under
from unlearn_cli.photos.apply import GREY_MODES, Noise, Pattern
from unlearn_cli.photos.decode import Photo
from unlearn_cli.photos.protection import face_squares
from unlearn_cli.photos.quality import visible

CLOSER = 3
"""How many of the best fitting patterns are examined more closely."""

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Fit:
    """The pattern that fits a difference best."""

    bank: str
    bank_sha256: str
    bank_epsilon: int
    """The bound that the bank was made with."""
    class_name: str
    epsilon: float
    """The strength of the pattern, as the bound in pixel levels at which it would have been applied."""
    correlation: float
    """The correlation of the difference with the pattern, both reduced to the pattern's own size; 1 is a perfect
    fit."""
    residual: float
    """The root mean square, in pixel levels, of what the pattern leaves unexplained in the reduced difference."""


class Patterns:
    """All the patterns that a difference is compared with."""

    def __init__(self, banks: Sequence[Bank], key: Key | None = None) -> None:
        """Collect the class-wise patterns of the banks; with a ``key``, also those of its owner."""
        usable = [bank for bank in banks if bank.provenance.frame in APPLICABLE]
        self._banks = [_with_own(bank, key) for bank in usable if bank.provenance.form == "class-wise"]

    def best(self, before: Photo, after: Photo) -> Fit | None:
        """Return the pattern that best fits the difference of two photos of the same size; None if they are equal."""
        difference = visible(after) - visible(before)
        if not difference.any():
            return None
        if before.mode in GREY_MODES:
            difference = difference[..., :1]
        pair = _Compared(before, difference)
        found = [candidate for bank in self._banks for candidate in _candidates(pair, bank)]
        found.sort(key=lambda candidate: candidate[0], reverse=True)
        fits = [_fit(pair, bank, index) for _, bank, index in found[:CLOSER]]
        return max(fits, key=lambda fit: fit.correlation, default=None)


class _Compared:
    """A photo and what its copy differs by; its faces are found once for all banks."""

    def __init__(self, before: Photo, difference: Floats) -> None:
        self.before, self.difference = before, difference
        self._squares: dict[tuple[float, Anchor], tuple[Square, ...]] = {}

    def squares(self, bank: Bank) -> tuple[Square, ...]:
        """Return the square that a bank's pattern covers on the largest face; none if there is no face."""
        of = bank.provenance
        if of.span is None:
            return ()
        key = (of.span, of.anchor or "box")
        if key not in self._squares:
            self._squares[key] = face_squares(self.before, *key)
        return self._squares[key]

    def part(self, plane: Floats, bank: Bank) -> Floats:
        """Return the part of a plane ``[H, W, bands]`` under a bank's pattern: all, or the square on the face."""
        squares = self.squares(bank)
        return under(squares[-1], plane) if squares else plane


def _with_own(bank: Bank, key: Key | None) -> Bank:
    """Return a family's bank with the key's own pattern added at the end; any other bank unchanged."""
    if key is None or bank.provenance.family is None:
        return bank
    return replace(bank, noise=np.concatenate([bank.noise, identity_pattern(bank.noise, key)[None]]))


def _candidates(pair: _Compared, bank: Bank) -> list[tuple[float, Bank, int]]:
    """Return the patterns of a bank that fit best, each with its correlation."""
    part = pair.part(pair.difference, bank)
    size = (min(bank.noise.shape[3], part.shape[1]), min(bank.noise.shape[2], part.shape[0]))
    mode = "L" if pair.before.mode in GREY_MODES else "RGB"
    patterns = np.stack([_stretched(bank, index, mode, *size) for index in range(len(bank.noise))])
    correlations = _correlations(_reduced(part, size), patterns)
    return [(float(correlations[index]), bank, int(index)) for index in correlations.argsort()[-CLOSER:]]


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
    expected = (visible(again) - visible(before))[..., : pair.difference.shape[2]]
    expected, difference = pair.part(expected, bank), pair.part(pair.difference, bank)
    height, width = difference.shape[:2]
    size = (min(bank.noise.shape[3], width), min(bank.noise.shape[2], height))
    applied, seen = _reduced(expected, size), _reduced(difference, size)
    share = float((_centred(applied) * _centred(seen)).sum() / max(float((_centred(applied) ** 2).sum()), 1e-9))
    return Fit(
        bank.name,
        bank.sha256,
        of.epsilon,
        of.family or bank.classes[index // of.variants],
        share * of.epsilon,
        float(_correlations(seen, applied[None])[0]),
        float(np.sqrt(np.square(seen - share * applied).mean())),
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


def _correlations(seen: Floats, candidates: Floats) -> NDArray[np.float64]:
    """Return the correlations of ``[h, w, bands]`` with each of ``[K, h, w, bands]``, each band without its mean."""
    one = _centred(seen).reshape(-1).astype(np.float64)
    others = _centred(candidates).reshape(len(candidates), -1).astype(np.float64)
    norms = np.linalg.norm(one) * np.linalg.norm(others, axis=1)
    correlations: NDArray[np.float64] = (others @ one) / np.maximum(norms, 1e-9)
    return correlations
