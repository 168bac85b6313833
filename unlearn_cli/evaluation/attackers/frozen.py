"""The attacker that does not train: a recogniser as it is, known photos of everybody, and test photos to name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from unlearn_cli.evaluation.attackers.linear import named_by_ridge
from unlearn_cli.evaluation.attackers.recognisers import Features
from unlearn_cli.evaluation.metrics import roc
from unlearn_cli.evaluation.result import FacePairs, thinned

Head = Literal["centroid", "neighbour", "ridge"]
"""How a photo is named: by the nearest mean feature of a person, the nearest photo, or a linear classifier."""
Gallery = Literal["known", "asked", "both"]
"""Which photos of the protected people carry noise: the known ones, as a scraper has them, the asked ones, or both."""

HEADS: tuple[Head, ...] = get_args(Head)
GALLERIES: tuple[Gallery, ...] = get_args(Gallery)


@dataclass(frozen=True)
class Frozen:
    """One attack with a frozen recogniser."""

    recogniser: str
    """The network, as ``recognisers.open_recogniser`` names it."""
    head: Head
    gallery: Gallery = "known"


def answers(known: Features, labels: NDArray[np.int64], asked: Features, head: Head) -> NDArray[np.int64]:
    """Return the person that each asked photo is named as: int64 ``[M]``, for features ``[N, D]`` and ``[M, D]``."""
    if head == "neighbour":
        nearest: NDArray[np.int64] = labels[(asked @ known.T).argmax(axis=1)]
        return nearest
    if head == "centroid":
        people = np.unique(labels)
        means = np.stack([known[labels == person].mean(axis=0) for person in people])
        scores = asked @ (means / np.linalg.norm(means, axis=1, keepdims=True)).T
        named: NDArray[np.int64] = people[scores.argmax(axis=1)]
        return named
    return named_by_ridge(known, labels, asked)


def verify_features(
    known: Features, labels: NDArray[np.int64], asked: Features, right: NDArray[np.int64], people: Sequence[int]
) -> FacePairs | None:
    """Return how well features tell whether a known and an asked photo show one person, among these people.

    Every pair of a known and an asked photo counts. None for fewer than two people.
    """
    ours, theirs = np.isin(labels, people), np.isin(right, people)
    same = labels[ours][:, None] == right[theirs]
    if same.all() or not same.any():
        return None
    curve = roc((known[ours] @ asked[theirs].T).astype(np.float64).ravel(), same.ravel())
    return thinned(curve, same.size)
