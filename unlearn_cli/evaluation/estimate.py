"""Estimating how long runs will take, from trainings on a few batches."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from unlearn_cli.evaluation.attackers.recognisers import open_recogniser
from unlearn_cli.evaluation.cell import Cell, Library
from unlearn_cli.evaluation.defences.hardening import CHOICES, STEPS
from unlearn_cli.faces import TEMPLATE_SIDE
from unlearn_cli.training.train import EpochEnded, train_victim

BATCHES = 3
FACES = 8
SECONDS_TO_ASK = 1.5
"""How long a run takes that asks a recogniser about photos whose features it remembers."""


def estimate_seconds(cells: Sequence[Cell], library: Library, device: torch.device) -> float:
    """Return the seconds that training and testing all runs one after the other takes, without making their noise."""
    speeds: dict[tuple[str, int], float] = {}
    total, asked = 0.0, set[str]()

    def photos(cell: Cell) -> int:
        return len(library.train(cell.images)) + len(library.test(cell.images))

    for cell in cells:
        if cell.frozen is not None:
            total += SECONDS_TO_ASK
            if cell.frozen.recogniser not in asked:
                asked.add(cell.frozen.recogniser)
                total += _seconds_to_embed(cell.frozen.recogniser) * 2 * photos(cell)
            continue
        train, test = library.train(cell.images), library.test(cell.images)
        key = (cell.training.model, train.size)
        if key not in speeds:
            few = train.first(BATCHES * cell.training.batch_size)
            settings = replace(cell.training, epochs=2)
            for event in train_victim(few, test.first(1), settings, device):
                if isinstance(event, EpochEnded):
                    speeds[key] = event.seconds / len(few)
        # A test image costs about a third of a training image, which also needs a backward pass.
        images = len(train) * passes(cell.defence) + len(test) / 3
        total += cell.training.epochs * speeds[key] * images
    return total


def _seconds_to_embed(recogniser: str) -> float:
    """Return the seconds that a recogniser needs for one photo; it remembers them, and protected copies come on top."""
    faces = np.zeros((FACES, TEMPLATE_SIDE, TEMPLATE_SIDE, 3), np.uint8)
    network = open_recogniser(recogniser)
    network.embed(faces[:1])
    start = time.perf_counter()
    network.embed(faces)
    return (time.perf_counter() - start) / FACES


def passes(defence: str) -> float:
    """Return how many ordinary training passes over an image a training step with this defence costs."""
    name = defence.partition(":")[0]
    return {"adversarial": 1.0 + STEPS, "ueraser-like": 1.0 + CHOICES / 3}.get(name, 1.0)
