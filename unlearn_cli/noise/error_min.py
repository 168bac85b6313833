"""Class-wise error-minimizing noise: Huang et al. (ICLR 2021), section 3.2 and Algorithm 1.

One pattern for each class is moved down the surrogate's loss, while the surrogate is trained on
what the patterns leave to learn, until there is nothing left. Three things differ from the
paper's official code, each a defect of it: noise is added in signed arithmetic, the inputs of
the surrogate's step and of the noise's step are clamped alike, and each step sees the noisy
images through a fresh random augmentation, as a victim will.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from unlearn_cli.errors import UsageError, WorkError
from unlearn_cli.noise.transforms import THROUGH, Transform
from unlearn_cli.victims.datasets import ImageSet
from unlearn_cli.victims.devices import wait_for
from unlearn_cli.victims.models import build_model
from unlearn_cli.victims.train import TrainingSettings, as_input, in_batches, make_optimizer


@dataclass(frozen=True, kw_only=True)
class ErrorMinSettings:
    """Hyper-parameters; the defaults are the paper's for CIFAR-10, class-wise (section 4.1)."""

    epsilon: int = 8
    """L-infinity bound, pixel levels."""
    step_size: float | None = None
    """Of the noise, pixel levels; epsilon / 10 when None."""
    surrogate_steps: int = 10
    """M: batches that the surrogate is trained on before each pass of the noise."""
    noise_share: float = 0.2
    """The part of the training images that the noise is optimised on."""
    stop_error: float = 0.1
    """Lambda: the search ends when the surrogate's error on noisy images is below it."""
    max_iterations: int = 100
    """The search ends here in any case, and says so."""
    through: str = "augment"
    """A key of ``THROUGH``: the transformations inside every step."""
    surrogate: str = "resnet18"
    batch_size: int = 128
    learning_rate: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    seed: int = 0

    @property
    def step(self) -> float:
        """The step size in force, in pixel levels."""
        return self.epsilon / 10 if self.step_size is None else self.step_size


@dataclass(frozen=True)
class Estimated:
    """How long all iterations would take, from a few timed steps of a throwaway search."""

    seconds: float


@dataclass(frozen=True)
class Iterated:
    """One outer iteration: M surrogate steps and one pass of the noise."""

    iteration: int
    """Counted from 1."""
    max_iterations: int
    error: float
    """The surrogate's error over the noise pass, on transformed noisy images."""
    seconds: float
    """Since the search began."""


@dataclass(frozen=True, eq=False)
class Finished:
    """The noise, and why the search ended."""

    noise: NDArray[np.int8]
    """``[K, 3, H, W]``, pixel levels, within epsilon."""
    iterations: int
    error: float
    stop: Literal["error below stop_error", "max_iterations reached"]
    seconds: float


def error_min(
    data: ImageSet, settings: ErrorMinSettings, device: torch.device
) -> Iterator[Estimated | Iterated | Finished]:
    """Search for one pattern for each class of ``data``; the last event is ``Finished``.

    On a CPU, the same seed gives the same bits with the same number of threads and the same
    library versions. Raises ``UsageError`` for an unknown surrogate or a class without images,
    and ``WorkError`` if the search diverges.
    """
    if len(data.labels.unique()) < len(data.classes):
        raise UsageError("Some classes have no image among those chosen. Use a larger --train-size.")
    search = _Search(data.to(device), settings, device)
    yield Estimated(_estimate(data, settings, device))
    start = time.perf_counter()
    error = 1.0
    for iteration in range(1, settings.max_iterations + 1):
        search.train_surrogate()
        error = search.improve_noise()
        yield Iterated(iteration, settings.max_iterations, error, time.perf_counter() - start)
        if error < settings.stop_error:
            break
    noise = search.noise.round().clamp(-settings.epsilon, settings.epsilon).to(torch.int8)
    yield Finished(
        noise.cpu().numpy(),
        iteration,
        error,
        "error below stop_error" if error < settings.stop_error else "max_iterations reached",
        time.perf_counter() - start,
    )


class _Search:
    """The state of one search: a surrogate and the noise that is fitted to it."""

    def __init__(self, data: ImageSet, settings: ErrorMinSettings, device: torch.device) -> None:
        self.data, self.settings = data, settings
        self.transform: Transform = THROUGH[settings.through]
        self.generator = torch.Generator().manual_seed(settings.seed)
        self.surrogate = build_model(settings.surrogate, len(data.classes), data.size, settings.seed).to(device)
        self.optimizer = make_optimizer(
            self.surrogate,
            TrainingSettings(
                learning_rate=settings.learning_rate,
                momentum=settings.momentum,
                weight_decay=settings.weight_decay,
            ),
        )
        self.noise = torch.zeros((len(data.classes), 3, data.size, data.size), device=device)
        self.batches: Iterator[Tensor] = iter(())
        self.noise_images = self._choose_noise_images()

    def train_surrogate(self, steps: int | None = None) -> None:
        """Train the surrogate on M batches of noisy images (Algorithm 1, lines 3 to 6)."""
        self.surrogate.train()
        for _ in range(self.settings.surrogate_steps if steps is None else steps):
            batch = self._next_batch()
            loss = F.cross_entropy(self._logits(batch, self.noise), self.data.labels[batch])
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()

    def improve_noise(self, steps: int | None = None) -> float:
        """One pass of signed gradient steps over the noise images (Algorithm 1, lines 7 to 12).

        The gradient of a class's pattern is summed over the class's images in the batch, which
        is the class-wise form of equation 3. Returns the error rate met on the way.
        """
        self.surrogate.eval()
        self.surrogate.requires_grad_(False)
        wrong = torch.zeros((), dtype=torch.int64, device=self.noise.device)
        order = self.noise_images[self._shuffled(len(self.noise_images))]
        for batch in order.split(self.settings.batch_size)[:steps]:
            labels = self.data.labels[batch]
            noise = self.noise.detach().requires_grad_()
            logits = self._logits(batch, noise)
            (gradient,) = torch.autograd.grad(F.cross_entropy(logits, labels), noise)
            self.noise = (self.noise - self.settings.step * gradient.sign()).clamp(
                -self.settings.epsilon, self.settings.epsilon
            )
            wrong += (logits.detach().argmax(1) != labels).sum()
        self.surrogate.requires_grad_(True)
        _refuse_divergence(self.surrogate)
        return wrong.item() / len(order)

    def _choose_noise_images(self) -> Tensor:
        """A random share of the images, with as large a share of every class that chance left out."""
        labels, share = self.data.labels, self.settings.noise_share
        chosen = self._shuffled(len(labels))[: math.ceil(len(labels) * share)]
        parts = [chosen]
        for label in set(range(len(self.data.classes))) - set(labels[chosen].tolist()):
            mine = (labels == label).nonzero()[:, 0]
            parts.append(mine[: math.ceil(len(mine) * share)])
        return torch.cat(parts)

    def _logits(self, batch: Tensor, noise: Tensor) -> Tensor:
        noisy = (as_input(self.data.images[batch]) + noise[self.data.labels[batch]]).clamp(0, 255)
        logits: Tensor = self.surrogate(as_input(self.transform(noisy, self.generator)))
        return logits

    def _next_batch(self) -> Tensor:
        batch = next(self.batches, None)
        if batch is None:
            self.batches = iter(in_batches(self._shuffled(len(self.data)), self.settings.batch_size))
            batch = next(self.batches)
        return batch

    def _shuffled(self, count: int) -> Tensor:
        return torch.randperm(count, generator=self.generator).to(self.noise.device)


def _estimate(data: ImageSet, settings: ErrorMinSettings, device: torch.device) -> float:
    """Seconds for all iterations, from a throwaway search of a few steps."""
    trial = _Search(data.first(4 * settings.batch_size).to(device), replace(settings, noise_share=1.0), device)
    trial.train_surrogate(1)
    trial.improve_noise(1)
    wait_for(device)
    start = time.perf_counter()
    trial.train_surrogate(2)
    wait_for(device)
    trained = time.perf_counter()
    trial.improve_noise(2)
    passed = time.perf_counter()
    surrogate_step, noise_step = (trained - start) / 2, (passed - trained) / 2
    noise_steps = math.ceil(math.ceil(len(data) * settings.noise_share) / settings.batch_size)
    return settings.max_iterations * (settings.surrogate_steps * surrogate_step + noise_steps * noise_step)


def _refuse_divergence(surrogate: nn.Module) -> None:
    if not all(bool(torch.isfinite(p).all()) for p in surrogate.parameters()):
        raise WorkError("The surrogate's training diverged. Try a smaller --learning-rate or more images.")
