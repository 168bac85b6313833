"""Estimating how long each run will take, from a few timed batches and a few questions to each recogniser."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from unlearn_cli.evaluation.attackers.reweight import SHARES
from unlearn_cli.evaluation.attackers.separable import MOST_IMAGES
from unlearn_cli.evaluation.cell import (
    Cell,
    Images,
    Library,
    NoisePlan,
    hash_of,
    identity,
    noise_identity,
    protected_labels,
)
from unlearn_cli.evaluation.defences.hardening import CHOICES, STEPS
from unlearn_cli.evaluation.forecast import Expected
from unlearn_cli.evaluation.noise_store import NoiseStore
from unlearn_cli.evaluation.scenario import start
from unlearn_cli.faces import TEMPLATE_SIDE
from unlearn_cli.noise.settings import ErrorMax, ErrorMin, NoiseSettings
from unlearn_cli.noise.timing import Speed, likely_iterations, measure_speed
from unlearn_cli.training.datasets import ImageSet
from unlearn_cli.training.train import EpochEnded, epochs_in, train_network

BATCHES = 3
FACES = 8
SECONDS_TO_ASK = 0.5
"""How long a run takes that asks a recogniser about photos whose features it remembers."""


SECONDS_OF_A_RUN = 0.6
"""How long a run takes besides its training and its noise: building the network, drawing examples, writing files."""
SECONDS_TO_SEPARATE = 1.1
"""How long ``attackers.separable`` takes with ``MOST_IMAGES`` images."""
TIMED_BATCH = 64
"""The size of the batches with which a search for noise is timed on a CPU, where a larger one is no faster."""


def estimate_each(cells: Sequence[Cell], library: Library, store: NoiseStore, output: Path) -> list[Expected]:
    """Return the seconds that each run takes if all are done one after the other.

    What runs share counts at the first of them: making noise that is not there yet, reading protected photos, and
    their features. Checkpoints of an interrupted evaluation in ``output`` say how much of a run is done.
    """
    estimate = _Estimate(library, store)
    return [replace(estimate.expected(cell), training_done=_share_trained(cell, library, output)) for cell in cells]


def _share_trained(cell: Cell, library: Library, output: Path) -> float:
    """Return the share of a run's epochs that an interrupted evaluation has trained."""
    if cell.frozen is not None:
        return 0.0
    return epochs_in(output / "cells" / f"{hash_of(identity(cell, library))}.pt") / cell.training.epochs


class _Estimate:
    """Estimates runs in order; what an earlier run has read, computed or made costs a later one nothing."""

    def __init__(self, library: Library, store: NoiseStore) -> None:
        self.library, self.store, self.device = library, store, store.device
        self.speeds: dict[tuple[object, ...], float] = {}
        self.searches: dict[tuple[NoiseSettings, int], Speed] = {}
        self.done: set[tuple[object, ...]] = set()

    def expected(self, cell: Cell) -> Expected:
        """Return the seconds that a run takes."""
        plan, training = cell.noise, self.reading(cell) + self.running(cell)
        if plan is None or cell.keep == "clean":
            return Expected(training=training)
        noise, iterations = self._noise(plan, cell.images)
        made = min(1.0, self.store.iterations_of(plan, cell.images) / iterations) if iterations else 0.0
        return Expected(noise=noise, iterations=iterations, training=training, noise_done=made)

    def _noise(self, plan: NoisePlan, on: Images) -> tuple[float, int]:
        """Return how long making a plan's noise takes, and its iterations; 0 where it is there or was counted."""
        parts = [self._noise(part, on) for part in plan.parts]
        seconds, iterations = sum(part[0] for part in parts), sum(part[1] for part in parts)
        settings, where = plan.settings, plan.made_on or on
        if not isinstance(settings, ErrorMin | ErrorMax) or self.store.is_made(plan, on):
            return seconds, iterations
        if not self._new(1, "noise", hash_of(noise_identity(plan, on, self.library))):
            return seconds, iterations
        likely, data = likely_iterations(settings), self.library.train(where)
        return self._speed_of_search(settings, data).seconds(len(data), settings, likely), likely

    def _speed_of_search(self, settings: ErrorMin | ErrorMax, data: ImageSet) -> Speed:
        """Return the speed of a search; those that differ only in how long they go on share one."""
        small = settings.batch_size if self.device.type == "cuda" else min(TIMED_BATCH, settings.batch_size)
        alike = replace(settings, batch_size=small, epsilon=8, seed=0, patch=None, max_iterations=100, stop_error=None)
        if (alike, data.size) not in self.searches:
            self.searches[alike, data.size] = measure_speed(data, alike, self.device)
        return self.searches[alike, data.size]

    def reading(self, cell: Cell) -> float:
        """Return the seconds that reading a run's protected photos takes; the clean ones have been read already."""
        if cell.protected_tree is None:
            return 0.0
        spec, train = cell.images.spec, self._protected(cell, "train")
        photos = self._new(train, "read", spec, cell.protected_tree, cell.protect_classes)
        if cell.frozen is not None and cell.frozen.gallery != "known":
            photos += self._new(
                self._protected(cell, "test"), "read asked", spec, cell.protected_tree, cell.protect_classes
            )
        return photos * self.library.seconds_to_read(spec)

    def running(self, cell: Cell) -> float:
        """Return the seconds that a run takes once its photos are read."""
        return self._asking(cell) if cell.frozen is not None else self._training(cell)

    def _asking(self, cell: Cell) -> float:
        frozen = cell.frozen
        assert frozen is not None
        train, test = self.library.train(cell.images), self.library.test(cell.images)
        photos = self._new(len(train) + len(test), "ask", frozen.recogniser, cell.images)
        if cell.protected_tree is not None:
            key = (frozen.recogniser, cell.images, cell.protected_tree, cell.protect_classes)
            photos += self._new(self._protected(cell, "train"), "ask known", *key)
            if frozen.gallery != "known":
                photos += self._new(self._protected(cell, "test"), "ask asked", *key)
        return SECONDS_TO_ASK + photos * self._speed_of_recogniser(frozen.recogniser)

    def _training(self, cell: Cell) -> float:
        train, test = self.library.train(cell.images), self.library.test(cell.images)
        # A test image costs about a third of a training image, which also needs a backward pass.
        each_epoch = len(train) * passes(cell.defence) + len(test) / 3
        afterwards = (len(test) + SHARES[-1] * len(train)) / 3
        protected = len(train) if cell.noise is not None or cell.protected_tree is not None else 0
        separating = SECONDS_TO_SEPARATE * (min(protected, MOST_IMAGES) / MOST_IMAGES) ** 2
        if cell.trigger:
            afterwards += (len(test.classes) - 1) * len(test) / 3
        images = cell.training.epochs * each_epoch + afterwards
        return SECONDS_OF_A_RUN + separating + self._speed_of_training(cell) * images

    def _protected(self, cell: Cell, split: str) -> int:
        data = self.library.train(cell.images) if split == "train" else self.library.test(cell.images)
        wanted = torch.tensor(protected_labels(data.classes, cell.protect_classes))
        views = cell.images.spec.views if split == "train" else 1
        return int(torch.isin(data.labels, wanted).sum()) // views

    def _new(self, photos: int, *what: object) -> int:
        """Return so many photos when this is asked for the first time, and 0 later."""
        if what in self.done:
            return 0
        self.done.add(what)
        return photos

    def _speed_of_training(self, cell: Cell) -> float:
        """Return the seconds that an epoch takes for one training image."""
        train, test = self.library.train(cell.images), self.library.test(cell.images)
        key = (cell.training.model, train.size, cell.training.augment, cell.training.precision)
        if key not in self.speeds:
            few = train.first(BATCHES * cell.training.batch_size)
            settings = replace(cell.training, epochs=2)
            network = start(cell, len(train.classes), train.size).to(self.device)
            for event in train_network(network, few, test.first(1), settings):
                if isinstance(event, EpochEnded):
                    self.speeds[key] = event.seconds / len(few)
        return self.speeds[key]

    def _speed_of_recogniser(self, name: str) -> float:
        """Return the seconds that a recogniser needs for one photo; it remembers the features."""
        key = (name, TEMPLATE_SIDE)
        if key not in self.speeds:
            faces = np.zeros((FACES, TEMPLATE_SIDE, TEMPLATE_SIDE, 3), np.uint8)
            network = self.library.recogniser(name)
            network.embed(faces[:1])
            start_time = time.perf_counter()
            network.embed(faces)
            self.speeds[key] = (time.perf_counter() - start_time) / FACES
        return self.speeds[key]


def passes(defence: str) -> float:
    """Return how many ordinary training passes over an image a training step with this defence costs."""
    name = defence.partition(":")[0]
    return {"adversarial": 1.0 + STEPS, "ueraser-like": 1.0 + CHOICES / 3}.get(name, 1.0)
