"""The result of a run as one JSON file: how a victim was trained, and how it classifies clean images."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from unlearn_cli.banks import card
from unlearn_cli.errors import WorkError
from unlearn_cli.evaluation.metrics import Roc
from unlearn_cli.files import write_atomically
from unlearn_cli.training.train import TrainingSettings

RESULT_SCHEMA = 1

Confusion = tuple[tuple[int, ...], ...]
"""How many test images of each true class (rows) were classified as each class (columns)."""


@dataclass(frozen=True, kw_only=True)
class Images(card.Images):
    """The images that a victim was trained and tested on, with the test images of each class counted."""

    test_images_by_class: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class NoiseUsed:
    """The noise that was applied, from its bank's provenance and card."""

    name: str
    sha256: str
    method: str
    form: str
    epsilon: int
    through: str
    surrogate: str
    seconds: float | None = None
    """How long it took to make it."""
    iterations: int | None = None
    stop: str | None = None
    hardware: str | None = None


@dataclass(frozen=True, kw_only=True)
class Epoch:
    """The accuracies after one epoch, from 0 to 1."""

    train: float
    """On the training images as they were augmented, during the epoch."""
    clean: float
    by_class: tuple[float | None, ...]
    """On the clean test images of each class; None for a class without any."""


def epoch_of(counts: NDArray[np.int64], train: float) -> Epoch:
    """Return the accuracies in a confusion matrix, beside the accuracy ``train`` on the training images."""
    among = counts.sum(axis=1)
    by_class = tuple(round(of / all_, 4) if all_ else None for of, all_ in zip(counts.diagonal(), among, strict=True))
    return Epoch(train=round(train, 4), clean=round(float(counts.trace() / among.sum()), 4), by_class=by_class)


@dataclass(frozen=True, kw_only=True)
class Refit:
    """A victim whose last layer was fitted again on few clean photos (``attackers.reweight``)."""

    share: float
    """The share of each class's training photos that were clean."""
    images: int
    """The clean training images, over all classes and views."""
    epoch: Epoch
    """Its accuracies, where ``train`` is on these clean images."""
    confusion: Confusion


@dataclass(frozen=True, kw_only=True)
class Separability:
    """How often a linear classifier names the class of the noise alone (``attackers.separable``), from 0 to 1."""

    train: float
    """On the noise that it was fitted to."""
    held_out: float
    images: int
    """The pieces of noise in all."""


@dataclass(frozen=True, kw_only=True)
class FacePairs:
    """Face verification by a victim's features: the ROC over pairs of photos (figure 7 of Huang et al., 2021)."""

    pairs: int
    auc: float
    false_positive_rate: tuple[float, ...]
    true_positive_rate: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class GroupPairs:
    """Face verification over pairs of clean test photos, apart for those of whom the first shows a protected person."""

    protected: FacePairs
    others: FacePairs


ROC_POINTS = 200


def thinned(curve: Roc, pairs: int) -> FacePairs:
    """Return a curve over so many pairs with at most ``ROC_POINTS`` points."""
    points = np.unique(np.linspace(0, len(curve.false_positive_rate) - 1, ROC_POINTS).round().astype(int))
    return FacePairs(
        pairs=pairs,
        auc=round(curve.auc, 4),
        false_positive_rate=tuple(round(curve.false_positive_rate[i], 4) for i in points),
        true_positive_rate=tuple(round(curve.true_positive_rate[i], 4) for i in points),
    )


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """The result of one run."""

    hash: str
    """The name of the run, which is the hash of ``cell``."""
    cell: dict[str, Any]
    """Everything but the machine that decides the result, as ``cell.identity`` writes it."""
    dataset: Images
    noise: NoiseUsed | None = None
    """The noise of a bank; None for a clean baseline and for photos that ``protect`` wrote."""
    protected_images: int
    protected_classes: tuple[int, ...]
    epochs: tuple[Epoch, ...]
    confusion: Confusion
    trigger: tuple[float | None, ...] | None = None
    """For each class, the share of the other classes' clean test images that are classified as this class when its
    noise is applied to them; None for a class without a pattern."""
    verification: FacePairs | None = None
    verification_unprotected: FacePairs | None = None
    """Of a recogniser, for the same people, where none of the photos is protected; None where all of them are clean,
    where a victim is trained, and in results of earlier versions."""
    groups: GroupPairs | None = None
    """None unless some people are protected, and face verification was asked for."""
    refits: tuple[Refit, ...] | None = None
    """The victim after ``attackers.reweight``; None where nothing was trained, where its last layer is not linear, and
    in results of earlier versions."""
    separability: Separability | None = None
    """Of the noise; None without noise, and where fewer than two classes carry it."""
    seconds: float
    command: str = ""
    hardware: str
    versions: dict[str, str]
    date: str = ""
    schema: int = RESULT_SCHEMA

    @property
    def training(self) -> TrainingSettings:
        """Return how the victim was trained."""
        return TrainingSettings(**self.cell["training"])

    @property
    def defence(self) -> str:
        """Return what the scraper did against protection."""
        return str(self.cell["defence"])


def write_result(path: Path, result: RunResult) -> None:
    """Write a result atomically. Raises ``OSError`` if it cannot be written."""
    write_atomically(path, json.dumps(asdict(result), allow_nan=False).encode() + b"\n")


def read_result(path: Path) -> RunResult:
    """Return the result in a file. Raises ``WorkError`` if it is damaged or has another schema."""
    try:
        result = TypeAdapter(RunResult).validate_python(json.loads(path.read_bytes()))
    except (OSError, json.JSONDecodeError, UnicodeDecodeError) as error:
        raise WorkError(f"The result {path} is damaged. Delete it, and that run will be trained again.") from error
    except ValidationError as error:
        raise WorkError(f"The result {path} was not written by this version. Name another --output.") from error
    if result.schema != RESULT_SCHEMA:
        raise WorkError(f"The result {path} was not written by this version. Name another --output.")
    return result
