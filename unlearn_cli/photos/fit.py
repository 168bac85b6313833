"""Finding the noise again: which bank's pattern, and how much of it, the difference of two photos fits best."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from unlearn_cli.banks.bank import Bank
from unlearn_cli.photos.decode import Photo
from unlearn_cli.photos.metrics import visible
from unlearn_cli.photos.noise import GREY_MODES, Pattern

CLOSER = 3
"""How many of the patterns that fit best are looked at more closely."""

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Fit:
    """The pattern that a difference fits best."""

    bank: str
    bank_sha256: str
    bank_epsilon: int
    """The bound that the bank was made with."""
    class_name: str
    epsilon: float
    """How much of the pattern is there, as the bound in pixel levels that it would have been laid on with."""
    correlation: float
    """Of the difference with the pattern, both reduced to the pattern's own size; 1 is a perfect fit."""
    residual: float
    """Root mean square of what of the reduced difference is not this pattern, in pixel levels."""


class Patterns:
    """All the patterns that a difference is compared with."""

    def __init__(self, banks: Sequence[Bank]) -> None:
        whole = [bank for bank in banks if bank.provenance.frame == "image"]
        self._banks = [bank for bank in whole if bank.provenance.form == "class-wise"]

    def best(self, before: Photo, after: Photo) -> Fit | None:
        """The pattern that fits the difference of two photos of one size best; None where they do not differ."""
        difference = visible(after) - visible(before)
        if not difference.any():
            return None
        grey = before.mode in GREY_MODES
        if grey:
            difference = difference[..., :1]
        height, width = difference.shape[:2]
        found: list[tuple[float, Bank, int]] = []
        for bank in self._banks:
            size = (min(bank.noise.shape[3], width), min(bank.noise.shape[2], height))
            correlations = _correlations(_reduced(difference, size), self._candidates(bank, size, grey))
            found += [(float(correlations[index]), bank, index) for index in correlations.argsort()[-CLOSER:]]
        found.sort(key=lambda candidate: candidate[0], reverse=True)
        fits = [_laid(before, difference, bank, index) for _, bank, index in found[:CLOSER]]
        return max(fits, key=lambda fit: fit.correlation, default=None)

    def _candidates(self, bank: Bank, size: tuple[int, int], grey: bool) -> Floats:
        """A bank's patterns at a size: ``[K, h, w, bands]``."""
        mode = "L" if grey else "RGB"
        return np.stack([_stretched(bank, index, mode, *size) for index in range(len(bank.noise))])


def _stretched(bank: Bank, index: int, mode: str, width: int, height: int) -> Floats:
    stretched = Pattern(bank.noise[index], bank.provenance.epsilon).stretched(mode, width, height)
    return np.concatenate(list(stretched.strips())).astype(np.float32)


def _laid(before: Photo, difference: Floats, bank: Bank, index: int) -> Fit:
    """How well one pattern fits: it is laid on the original, so that what saturates there saturates here too."""
    of = bank.provenance
    again = replace(before, pixels=before.pixels.copy())
    Pattern(bank.noise[index], of.epsilon).lay(again.pixels, again.mode)
    expected = (visible(again) - visible(before))[..., : difference.shape[2]]
    height, width = difference.shape[:2]
    size = (min(bank.noise.shape[3], width), min(bank.noise.shape[2], height))
    laid, seen = _reduced(expected, size), _reduced(difference, size)
    share = float((_centred(laid) * _centred(seen)).sum() / max(float((_centred(laid) ** 2).sum()), 1e-9))
    return Fit(
        bank.name,
        bank.sha256,
        of.epsilon,
        of.family or bank.classes[index // of.variants],
        share * of.epsilon,
        float(_correlations(seen, laid[None])[0]),
        float(np.sqrt(np.square(seen - share * laid).mean())),
    )


def _reduced(plane: Floats, size: tuple[int, int]) -> Floats:
    """``[H, W, bands]`` averaged over the pixels of a smaller size, ``(width, height)``."""
    bands = [
        np.asarray(Image.fromarray(np.ascontiguousarray(plane[..., band])).resize(size, Image.Resampling.BOX))
        for band in range(plane.shape[2])
    ]
    return np.stack(bands, axis=-1)


def _centred(values: Floats) -> Floats:
    centred: Floats = values - values.mean(axis=(-3, -2), keepdims=True)
    return centred


def _correlations(seen: Floats, candidates: Floats) -> NDArray[np.float64]:
    """Of ``[h, w, bands]`` with each of ``[K, h, w, bands]``, each band without its mean."""
    one = _centred(seen).reshape(-1).astype(np.float64)
    others = _centred(candidates).reshape(len(candidates), -1).astype(np.float64)
    norms = np.linalg.norm(one) * np.linalg.norm(others, axis=1)
    correlations: NDArray[np.float64] = (others @ one) / np.maximum(norms, 1e-9)
    return correlations
