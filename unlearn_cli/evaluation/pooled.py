"""Figures over several runs of one configuration, which differ in their seed or in the classes that they protect."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from unlearn_cli.banks.card import Worst
from unlearn_cli.evaluation.metrics import Figure, figure
from unlearn_cli.evaluation.result import RunResult

Labels = set[int] | None
"""Some classes by their labels; None means all classes."""


@dataclass(frozen=True, kw_only=True)
class Accuracies:
    """A victim's accuracy on the clean test images of some classes, from 0 to 1."""

    final: Figure
    """After the last epoch."""
    peak: Figure
    """At each seed's best epoch."""
    curve: tuple[float, ...]
    """After each epoch, as a mean over the seeds."""
    test_images: int


def accuracies_of(results: Sequence[RunResult], labels: Sequence[Labels]) -> Accuracies | None:
    """Return the final and the peak accuracy on the test images of each result's classes, and the mean curve.

    The results of one seed are pooled, weighted by their test images. Return None if there are no such images.
    """
    counts = results[0].dataset.test_images_by_class
    named: set[int] = set().union(*(range(len(counts)) if of is None else of for of in labels))
    among = sum(counts[label] for label in named)
    if among == 0:
        return None
    seeds: dict[int, list[tuple[RunResult, Labels]]] = {}
    for result, of in zip(results, labels, strict=True):
        seeds.setdefault(result.training.seed, []).append((result, of))
    curves = [_curve(pooled) for pooled in seeds.values()]
    return Accuracies(
        final=figure([curve[-1] for curve in curves], among).rounded(),
        peak=figure([max(curve) for curve in curves], among).rounded(),
        curve=tuple(round(statistics.mean(values), 4) for values in zip(*curves, strict=True)),
        test_images=among,
    )


def _curve(pooled: list[tuple[RunResult, Labels]]) -> list[float]:
    """Return the accuracy after each epoch on the test images of all results' classes together."""
    counts = pooled[0][0].dataset.test_images_by_class
    right, among = [0.0] * len(pooled[0][0].epochs), 0
    for result, labels in pooled:
        images = sum(counts) if labels is None else sum(counts[label] for label in labels)
        among += images
        for index, epoch in enumerate(result.epochs):
            if labels is None:
                right[index] += epoch.clean * images
            else:
                right[index] += sum((epoch.by_class[label] or 0.0) * counts[label] for label in labels)
    return [share / among for share in right]


def worst_class(results: Sequence[RunResult]) -> Worst | None:
    """Return the protected class whose clean test images were classified correctly most often, after the last epoch.

    Each class counts in the runs that protect it, as a mean over them; of equals the one with most test images is
    returned. None if no run protects a class that has test images.
    """
    found: dict[int, list[float]] = {}
    for result in results:
        for label in result.protected_classes:
            if (share := result.epochs[-1].by_class[label]) is not None:
                found.setdefault(label, []).append(share)
    if not found:
        return None
    first = results[0].dataset
    label = max(found, key=lambda of: (statistics.mean(found[of]), first.test_images_by_class[of]))
    return Worst(
        name=first.classes[label],
        final=round(statistics.mean(found[label]), 4),
        test_images=first.test_images_by_class[label],
    )


def means(columns: Sequence[tuple[float | None, ...]]) -> tuple[float | None, ...] | None:
    """Return the mean over the results, for each column; None where a result has no value, and without results."""
    if not columns:
        return None
    return tuple(
        None
        if any(value is None for value in values)
        else round(statistics.mean(v for v in values if v is not None), 4)
        for values in zip(*columns, strict=True)
    )
