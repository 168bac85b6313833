"""Estimating how long runs will take, from trainings on a few batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from unlearn_cli.evaluation.cell import Cell, Library
from unlearn_cli.evaluation.defences.hardening import CHOICES, STEPS
from unlearn_cli.training.train import EpochEnded, train_victim

BATCHES = 3


def estimate_seconds(cells: Sequence[Cell], library: Library, device: torch.device) -> float:
    """Return the seconds that training and testing all runs one after the other takes, without making their noise."""
    speeds: dict[tuple[str, int], float] = {}
    total = 0.0
    for cell in cells:
        train, test = library.train(cell.images), library.test(cell.images)
        key = (cell.training.model, train.size)
        if key not in speeds:
            few = train.first(BATCHES * cell.training.batch_size)
            settings = replace(cell.training, epochs=2)
            for event in train_victim(few, test.first(1), settings, device):
                if isinstance(event, EpochEnded):
                    speeds[key] = event.seconds / len(few)
        # A test image costs about a third of a training image, which also needs a backward pass.
        images = len(train) * _passes(cell.defence) + len(test) / 3
        total += cell.training.epochs * speeds[key] * images
    return total


def _passes(defence: str) -> float:
    """Return how many ordinary training passes over an image a training step with this defence costs."""
    name = defence.partition(":")[0]
    return {"adversarial": 1.0 + STEPS, "ueraser-like": 1.0 + CHOICES / 3}.get(name, 1.0)
