"""A joint search, which optimises noise and surrogate together, in rounds that each begin with untrained networks.

Algorithm 1 (Huang et al., 2021) trains the surrogate and improves the noise in turns. Both minimise the same loss, so
one backward pass can serve both, which halves the cost of a step. Three more differences make the noise work for one
person among many:

- Some classes get no noise, like most people in a victim's training set. So a network must learn the noise faster than
  it learns a face; it is not enough that the noise is easy to learn.
- Each round begins with untrained networks, because a victim does so too: noise is useless if it only works on a
  surrogate that is already half trained.
- The visibility of each pattern is held at a target by a multiplier of its own, which rises while the pattern is too
  visible (dual ascent). If only the average were held, some patterns would grow strong and others too weak to protect.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from unlearn_cli.banks.provenance import EDGE
from unlearn_cli.errors import UsageError, WorkError
from unlearn_cli.noise.ensemble import DIVERGED, Ensemble
from unlearn_cli.noise.forms import Batch
from unlearn_cli.noise.settings import Joint
from unlearn_cli.noise.visibility import visibility
from unlearn_cli.pixels import fade
from unlearn_cli.training.datasets import ImageSet
from unlearn_cli.training.train import as_input
from unlearn_cli.training.workers import ALONE

NOISE_RATE = 0.04
"""Adam's learning rate for theta, the noise before tanh."""
BETAS = (0.9, 0.99)
WARM_UP = 0.15
"""The share of a round in which the surrogate's learning rate rises; after that it follows a cosine to zero."""
MULTIPLIER_RATE = 1.0
"""Each image adds to its pattern's multiplier this number times the amount by which its visibility is above target."""


class JointSearch:
    """One joint search; its noise is ``epsilon * tanh(theta)``, so that no step can leave the bound."""

    def __init__(self, data: ImageSet, settings: Joint, device: torch.device) -> None:
        """Begin with no noise and fresh networks.

        Raises ``UsageError`` as ``Ensemble`` does, and if fewer than two classes would get noise.
        """
        self.settings = settings
        self.ensemble = Ensemble(data, settings, device, ALONE)
        # Nothing needs this order, but without drawing it a seed would make other noise than in earlier versions.
        self.ensemble.shuffled(len(data))
        self.noisy = noisy_classes(len(data.classes), settings.clean_classes)
        self.theta = torch.zeros((self.noisy, 3, data.size, data.size), device=device, requires_grad=True)
        self.noise_optimizer = torch.optim.Adam([self.theta], lr=NOISE_RATE, betas=BETAS)
        # ``protect`` fades in the noise on a face in the same way.
        ramp = torch.from_numpy(fade(data.size, EDGE if settings.frame == "face" else 0.0))
        self.ramp = torch.outer(ramp, ramp).to(device)
        self.multipliers = torch.zeros(self.noisy, device=device)
        self.epochs_done = 0

    def epoch(self) -> tuple[float, float]:
        """Train one epoch, and return the error rate on noisy images and the mean visibility of their noise.

        An incomplete last batch is left out. Raises ``WorkError`` if the training diverged.
        """
        ensemble, size = self.ensemble, min(self.settings.batch_size, self.ensemble.total)
        number, in_round, length = self._round()
        if in_round == 0:
            # The noise stays as it is.
            ensemble.begin_again(self.settings.seed + 1000 * number)
        batches = [batch for batch in ensemble.shuffled(ensemble.total).split(size) if len(batch) == size]
        totals = torch.zeros(3, device=ensemble.device)
        ensemble.networks.train()
        for step, indices in enumerate(batches):
            done = (in_round + step / len(batches)) / length
            ensemble.scale_learning_rate(_schedule(done))
            totals += self._step(ensemble.batch(indices))
        if not bool(torch.isfinite(self.theta).all()):
            raise WorkError(DIVERGED)
        self.epochs_done += 1
        wrong, noisy, seen = totals.tolist()
        return wrong / max(noisy, 1), seen / max(noisy, 1)

    def _round(self) -> tuple[int, int, int]:
        """Return the number of the present round, counted from 0, its finished epochs, and how many it has in all.

        Each round trains a fresh surrogate. The rounds differ by at most one epoch.
        """
        most, rounds = self.settings.max_iterations, self.settings.rounds
        starts = [number * most // rounds for number in range(rounds + 1)]
        number = bisect_right(starts, self.epochs_done) - 1
        return number, self.epochs_done - starts[number], starts[number + 1] - starts[number]

    def levels(self) -> NDArray[np.int8]:
        """Return the noise of the K classes that get noise, in whole pixel levels: int8 ``[K, 3, H, W]``."""
        return self._noise().detach().round().to(torch.int8).cpu().numpy()

    def state(self) -> dict[str, Any]:
        """Return everything that a later process needs to continue this search."""
        return {
            "ensemble": self.ensemble.state(),
            "theta": self.theta.detach(),
            "adam": self.noise_optimizer.state_dict(),
            "multipliers": self.multipliers,
            "epochs_done": self.epochs_done,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a result of ``state``."""
        self.ensemble.restore(state["ensemble"])
        with torch.no_grad():
            self.theta.copy_(state["theta"])
        self.noise_optimizer.load_state_dict(state["adam"])
        self.multipliers, self.epochs_done = state["multipliers"].to(self.theta.device), state["epochs_done"]

    def _noise(self) -> Tensor:
        return self.settings.epsilon * torch.tanh(self.theta)

    def _step(self, batch: Batch) -> Tensor:
        """Update networks, noise and multipliers once.

        Return a tensor of three sums over the noisy images: those classified wrongly (the mean over the networks),
        their number, and their visibility.
        """
        images = as_input(self.ensemble.data.images[batch.indices])
        carries = batch.labels < self.noisy
        noise = self._noise() * self.ramp
        noisy_images, patterns = images.clone(), batch.labels[carries]
        # Indexing with [] would sum the gradient in an order that depends on the threads.
        noisy_images[carries] = (images[carries] + noise.index_select(0, patterns)).clamp(0, 255)
        seen = visibility(images[carries], noisy_images[carries])
        outputs = self.ensemble.outputs(noisy_images, self.ensemble.draw(batch))
        loss = torch.stack([F.cross_entropy(logits, batch.labels) for logits in outputs]).mean()
        self.noise_optimizer.zero_grad()
        self.ensemble.step(loss * len(outputs) + (self.multipliers[patterns] * seen).sum() / max(len(seen), 1))
        self.noise_optimizer.step()
        if self.settings.visibility is not None:
            excess = MULTIPLIER_RATE * (seen.detach() - self.settings.visibility)
            self.multipliers.index_add_(0, patterns, excess).clamp_(min=0)
        named = torch.stack([logits.detach().argmax(1) != batch.labels for logits in outputs]).float().mean(0)
        return torch.stack([named[carries].sum(), carries.sum().float(), seen.detach().sum()])


def noisy_classes(classes: int, clean_share: float) -> int:
    """Return how many classes, from the first on, get noise. Raises ``UsageError`` if it is fewer than two."""
    noisy = classes - round(classes * clean_share)
    if noisy < 2:
        raise UsageError(
            f"With this value of clean-classes, only {noisy} of {classes} classes would get noise, but at least two "
            "are needed. Use a smaller value."
        )
    return noisy


def _schedule(done: float) -> float:
    """Return the factor of the learning rate when the share ``done`` of a round is over."""
    if done < WARM_UP:
        return 0.04 + 0.96 * done / WARM_UP
    return (1 + math.cos(math.pi * (done - WARM_UP) / (1 - WARM_UP))) / 2
