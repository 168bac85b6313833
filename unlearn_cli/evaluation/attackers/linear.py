"""The linear classifier that several attackers fit: ridge regression, in closed form."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

RIDGE = 0.01
"""The weight of the squared weights in ridge regression, beside a mean squared error over classes of equal weight, for
features of length 1. It was not tuned. In the banks' cards it names at most 4 of 100 clean photos fewer than the best
of the three heads, for each of six recognisers."""


def named_by_ridge(
    known: NDArray[np.float32], labels: NDArray[np.int64], asked: NDArray[np.float32]
) -> NDArray[np.int64]:
    """Return the class of each asked feature, int64 ``[M]``, by ridge regression on known ones.

    The features are ``[N, D]`` and ``[M, D]``; the targets are one-hot, and each class has the same weight.
    """
    classes = np.unique(labels)
    wanted = (labels[:, None] == classes).astype(np.float64)
    weights = 1 / wanted.sum(axis=0)[wanted.argmax(axis=1)] / len(classes)
    middle, target = weights @ known.astype(np.float64), weights @ wanted
    roots = np.sqrt(weights)[:, None]
    centred, goal = roots * (known - middle), roots * (wanted - target)
    # Both forms have the same solution; the smaller matrix is cheaper.
    least = RIDGE / len(classes)
    if known.shape[1] <= len(known):
        solution = np.linalg.solve(centred.T @ centred + least * np.eye(known.shape[1]), centred.T @ goal)
    else:
        solution = centred.T @ np.linalg.solve(centred @ centred.T + least * np.eye(len(known)), goal)
    named: NDArray[np.int64] = classes[((asked - middle) @ solution + target).argmax(axis=1)]
    return named


def of_length_one(features: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return features ``[N, D]``, each divided by its length."""
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    normalised: NDArray[np.float32] = (features / np.maximum(lengths, 1e-12)).astype(np.float32)
    return normalised
