"""How long cells will take, from an epoch of a few batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from unlearn_cli.evaluation.cell import Cell, Library
from unlearn_cli.evaluation.defences import adversarial, ueraser
from unlearn_cli.victims.train import train_victim

BATCHES = 3


def estimate_seconds(cells: Sequence[Cell], library: Library, device: torch.device) -> float:
    """Seconds for training and testing all of them, one after the other; making noise comes on top."""
    speeds: dict[tuple[str, int], float] = {}
    total = 0.0
    for cell in cells:
        train, test = library.train(cell.images), library.test(cell.images)
        key = (cell.training.model, train.size)
        if key not in speeds:
            few = train.first(BATCHES * cell.training.batch_size)
            settings = replace(cell.training, epochs=2)
            for ended in train_victim(few, test.first(1), settings, device):
                speeds[key] = ended.seconds / len(few)
        # A test image costs about a third of a training image, which also goes backward.
        images = len(train) * _passes(cell.defence) + len(test) / 3
        total += cell.training.epochs * speeds[key] * images
    return total


def _passes(defence: str) -> float:
    """How many ordinary passes over an image a training step of this defence takes."""
    name = defence.partition(":")[0]
    return {"adversarial": 1.0 + adversarial.STEPS, "ueraser-like": 1.0 + ueraser.CHOICES / 3}.get(name, 1.0)
