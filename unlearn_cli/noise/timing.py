"""Estimating how long a search for noise takes, from a few timed steps and the number that it is likely to need."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace

import torch

from unlearn_cli.noise.alternating import AlternatingSearch
from unlearn_cli.noise.settings import ErrorMax, ErrorMin
from unlearn_cli.training.datasets import ImageSet
from unlearn_cli.training.devices import wait_for
from unlearn_cli.training.workers import ALONE, Workers

TIMED = 2
"""How many batches are timed, after one that is not."""
MOST_STEPS = 2
"""How many steps of the noise on a batch are taken for that."""
LIKELY, LIKELY_OF = 15, {"fast-w32": 2}
"""How many iterations a search through transformations is likely to need, and those of some networks.

Measured on CIFAR-10, class-wise: resnet10-w16 on 10,000 images took 14; fast-w32 on 50,000 took 2, and 3 to an error
rate of 0.01. Sample-wise fast-w32 on 50,000 took 2.
"""
PLAIN_STEPS, PLAIN_STEPS_OF = 30, {"resnet18": 120, "resnet50": 120, "densenet121": 120, "vgg11": 120}
"""How many steps of the surrogate a search on images as they are is likely to need in all, and those of large networks.

Measured on CIFAR-10, iterations of M steps: resnet10-w16 3 of 10; fast-w32 class-wise 2 of 10 and 2 of 80, sample-wise
1 of 80 on 50,000 images and 2 of 20 on 5,000; resnet18 12 of 10 for both forms. The other large networks were not
timed; they are taken to be like resnet18.
"""
LEAST_ITERATIONS = {"class-wise": 2, "sample-wise": 1}
LIKELY_PASSES = 3
"""How many passes class-wise error-maximizing noise is taken to need; it trains no surrogate between them."""

SHORTER_PASS = 0.25
"""How long a pass with ``skip_below`` is, relative to one with all steps, once the surrogate has seen the noise.

From fast-w32 and a limit of 0.1 on 5,000 images of CIFAR-10: two rounds of 329 and 108 s, of which the surrogate's
steps are some 40 s each by its speed (docs/results/paper.md).
"""


@dataclass(frozen=True)
class Speed:
    """The seconds that a search takes for one image."""

    surrogate: float
    """In a step of the surrogate."""
    noise: float
    """In one pass over the noise, with all T steps of the solver."""

    def seconds(self, images: int, settings: ErrorMin | ErrorMax, iterations: int) -> float:
        """Return how long a search on so many images takes with so many iterations."""
        one_pass = self.noise * math.ceil(images * settings.share)
        if isinstance(settings, ErrorMin):
            steps = settings.surrogate_steps * min(settings.batch_size, images)
            skips = settings.skip_below is not None and "skip_below" not in settings.unused
            passes = 1 + (iterations - 1) * SHORTER_PASS if skips else iterations
            return iterations * steps * self.surrogate + passes * one_pass
        share = settings.share if settings.surrogate_on == "noise-images" else 1.0
        return settings.surrogate_epochs * images * share * self.surrogate + one_pass * iterations


def measure_speed(
    data: ImageSet, settings: ErrorMin | ErrorMax, device: torch.device, workers: Workers = ALONE
) -> Speed:
    """Return the speed of a search, from a few steps of a separate one. Raises ``UsageError`` as the search does."""
    tried = min(settings.steps, MOST_STEPS)
    few = data.first(max((TIMED + 1) * settings.batch_size, len(data.classes)))
    trial = AlternatingSearch(few, replace(settings, noise_share=1.0, noise_steps=tried), device, workers)
    clean = isinstance(settings, ErrorMax)
    trial.train_surrogate(1, clean=clean)
    trial.improve_noise(1)
    wait_for(device)
    start = time.perf_counter()
    trial.train_surrogate(TIMED, clean=clean)
    wait_for(device)
    trained = time.perf_counter()
    trial.improve_noise(TIMED)
    passed = time.perf_counter()
    images = min(TIMED * settings.batch_size, len(few))
    steps = TIMED * min(settings.batch_size, len(few))
    return Speed((trained - start) / steps, (passed - trained) / images * settings.steps / tried)


def likely_iterations(settings: ErrorMin | ErrorMax) -> int:
    """Return how many iterations a search is likely to need."""
    if isinstance(settings, ErrorMax) and settings.form == "sample-wise":
        return 1
    if settings.through != "none":
        likely = LIKELY_OF.get(settings.surrogate, LIKELY)
    elif isinstance(settings, ErrorMax):
        likely = LIKELY_PASSES
    else:
        steps = PLAIN_STEPS_OF.get(settings.surrogate, PLAIN_STEPS)
        likely = max(LEAST_ITERATIONS[settings.form], math.ceil(steps / settings.surrogate_steps))
    return min(settings.max_iterations, likely)
