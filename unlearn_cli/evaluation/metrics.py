"""The metrics of a victim: confusion matrix, accuracy with a confidence interval, and ROC of face verification."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Figure:
    """A share of the test images, from 0 to 1, for each of several seeds, with a confidence interval of the mean."""

    mean: float
    low: float
    high: float
    per_seed: tuple[float, ...]

    def rounded(self) -> Figure:
        """Return the figure with four digits after the point."""
        per_seed = tuple(round(value, 4) for value in self.per_seed)
        return Figure(round(self.mean, 4), round(self.low, 4), round(self.high, 4), per_seed)


def confusion(predicted: NDArray[np.int64], labels: NDArray[np.int64], classes: int) -> NDArray[np.int64]:
    """Return the confusion matrix, ``[K, K]``: a row for each true class, a column for each predicted class."""
    counts = np.bincount(labels * classes + predicted, minlength=classes * classes)
    return counts.reshape(classes, classes).astype(np.int64)


def figure(per_seed: Sequence[float], test_images: int) -> Figure:
    """Return the shares of several seeds with a 95 % confidence interval of their mean.

    Two half-widths are added in quadrature: one because the test set is a sample (Wilson, 1927, for the
    mean as one share of ``test_images``, since all seeds share one test set) and, with two seeds or more,
    one because the seeds are a sample (Student's t). With one seed the interval says nothing about other
    seeds.
    """
    from scipy.special import ndtri, stdtrit

    mean, count = sum(per_seed) / len(per_seed), len(per_seed)
    z = float(ndtri((1 + CONFIDENCE) / 2))
    centre = (mean + z**2 / (2 * test_images)) / (1 + z**2 / test_images)
    half = z / (1 + z**2 / test_images) * math.sqrt(mean * (1 - mean) / test_images + (z / (2 * test_images)) ** 2)
    below, above = mean - (centre - half), centre + half - mean
    seeds = 0.0
    if count > 1:
        spread = math.sqrt(sum((value - mean) ** 2 for value in per_seed) / (count - 1))
        seeds = float(stdtrit(count - 1, (1 + CONFIDENCE) / 2)) * spread / math.sqrt(count)
    low, high = mean - math.hypot(below, seeds), mean + math.hypot(above, seeds)
    return Figure(mean, max(0.0, low), min(1.0, high), tuple(per_seed))


@dataclass(frozen=True)
class Roc:
    """A receiver operating characteristic: the rates at every threshold, the strictest first."""

    false_positive_rate: tuple[float, ...]
    true_positive_rate: tuple[float, ...]
    auc: float


def roc(scores: NDArray[np.float64], same: NDArray[np.bool_]) -> Roc:
    """Return how well scores separate pairs of photos of one person (``same``) from other pairs.

    Equal scores share one threshold. Raises ``ValueError`` if all pairs are of the same kind.
    """
    if same.all() or not same.any():
        raise ValueError("pairs of one person and of two are needed")
    order = np.argsort(-scores, kind="stable")
    ordered, hits = scores[order], same[order]
    ends = np.append(np.flatnonzero(np.diff(ordered)), len(ordered) - 1)
    true = np.concatenate([[0], np.cumsum(hits)[ends]]) / hits.sum()
    false = np.concatenate([[0], np.cumsum(~hits)[ends]]) / (~hits).sum()
    area = float(np.sum(np.diff(false) * (true[1:] + true[:-1]) / 2))
    return Roc(tuple(false.tolist()), tuple(true.tolist()), area)
