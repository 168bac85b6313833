"""A search that trains the surrogate and improves the noise in turns (Huang et al., 2021, Algorithm 1).

It corrects three defects of the paper's official code: the noise is added in signed arithmetic; the images are clamped
in the same way when the surrogate is trained and when the noise is improved; and each step transforms the noisy images
at random, as a victim's augmentation will.
"""

from __future__ import annotations

import math
from collections.abc import Generator
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from unlearn_cli.errors import UsageError, WorkError
from unlearn_cli.noise.ensemble import DIVERGED, Ensemble
from unlearn_cli.noise.events import Improving
from unlearn_cli.noise.forms import PLACE_DRAWS, Batch, ClassWise, NoiseForm, SampleWise, place, whole_mean
from unlearn_cli.noise.settings import Alternating, ErrorMax, ErrorMin
from unlearn_cli.noise.solvers import FROZEN_DRAWS, SOLVERS, margin
from unlearn_cli.training.datasets import ImageSet
from unlearn_cli.training.train import as_input, in_batches
from unlearn_cli.training.workers import ALONE, Workers

TOLD = 10
"""The number of parts of a pass over the noise after which its progress is told; the last one has no event."""
LEAST_FOR_BATCH_NORM = 2
"""The least number of images in a batch that batch norm can be trained on."""


class AlternatingSearch:
    """The state of one search: the surrogate, which may be an ensemble of networks, and the noise."""

    def __init__(self, data: ImageSet, settings: Alternating, device: torch.device, workers: Workers = ALONE) -> None:
        """Begin with no noise and fresh networks.

        Raises ``UsageError`` as ``Ensemble`` does, and for a patch whose side is not from 1 pixel to the size of the
        images.
        """
        if settings.patch is not None and not 1 <= settings.patch <= data.size:
            raise UsageError(f"The setting patch must be from 1 to {data.size} pixels, the size of the images.")
        self.settings = settings
        self.ensemble = Ensemble(data, settings, device, workers)
        size = settings.patch or data.size
        self.form: NoiseForm = (
            ClassWise(len(data.classes), size, device, workers)
            if settings.form == "class-wise"
            else SampleWise(len(self.ensemble.data), size, device)
        )
        self.solve = SOLVERS[settings.solver]
        self.skip_below: float | None = None
        if isinstance(settings, ErrorMin) and "skip_below" not in settings.unused:
            self.skip_below = settings.skip_below
        self.batches: list[Tensor] = []
        self.noise_images = self._choose_noise_images(data.labels.cpu())
        self.surrogate_images = (
            self.noise_images if settings.surrogate_on == "noise-images" else torch.arange(len(data))
        )
        if workers.count > 1 and self._fewest_of_a_worker(self.surrogate_images) < LEAST_FOR_BATCH_NORM:
            raise UsageError(
                f"With {workers.count} processes, each needs at least {LEAST_FOR_BATCH_NORM} of the images that train "
                "the surrogate. Start fewer processes, or choose more images."
            )

    def train_surrogate(self, steps: int, *, clean: bool = False) -> Tensor:
        """Train on ``steps`` batches of noisy images (Algorithm 1, lines 3 to 6), or of ``clean`` ones.

        Return how many of this worker's images were classified wrongly. The result is a tensor, so that the program
        does not have to wait for a GPU.
        """
        ensemble = self.ensemble
        ensemble.networks.train()
        wrong = torch.zeros((), device=ensemble.device)
        for _ in range(steps):
            batch = ensemble.batch(self._next_batch())
            ensemble.seed_dropout()
            noise = None if clean else self.form.spread(self.form.part(batch), batch)
            outputs = self.logits(batch, noise, self.draw(batch))
            ensemble.step(torch.stack([whole_mean(F.cross_entropy, logits, batch) for logits in outputs]).sum())
            wrong += _wrong(outputs, batch.labels).sum()
        return wrong

    def train_clean_epoch(self, epoch: int, epochs: int) -> float:
        """Train one epoch on clean images, and return the error rate.

        ``epoch`` of the ``epochs`` are over already. The learning rate follows a cosine to zero over all of them.
        """
        steps = len(in_batches(self.surrogate_images, self.settings.batch_size))
        wrong = torch.zeros((), device=self.ensemble.device)
        for step in range(epoch * steps, (epoch + 1) * steps):
            done = step / (epochs * steps)
            self.ensemble.scale_learning_rate((1 + math.cos(math.pi * done)) / 2)
            wrong += self.train_surrogate(1, clean=True)
        return self.ensemble.workers.sum(wrong).item() / len(self.surrogate_images)

    def improve_noise(self, batches: int | None = None) -> float:
        """Do one pass over the noise as ``improving`` does, in ``batches`` batches at most; return the error rate."""
        passing = self.improving(batches=batches)
        while True:
            try:
                next(passing)
            except StopIteration as end:
                return float(end.value)

    def improving(
        self, iteration: int = 1, most: int = 1, *, batches: int | None = None
    ) -> Generator[Improving, None, float]:
        """Run the solver once on every batch of the noise's images (Algorithm 1, lines 7 to 12); return the error rate.

        The error rate counts how the surrogate classified each image in the solver's last step. ``iteration`` and
        ``most`` are told with each tenth of the pass, and ``batches`` limits it to that many batches. Raises
        ``WorkError`` if the surrogate's training diverged.
        """
        ensemble = self.ensemble
        ensemble.freeze()
        wrong = torch.zeros((), device=ensemble.device)
        order = self.noise_images[ensemble.shuffled(len(self.noise_images))]
        parts = order.split(self.settings.batch_size)[:batches]
        for done, indices in enumerate(parts, 1):
            batch = ensemble.batch(indices)
            inner = _Inner(self, batch)
            self.form.put(self.solve(self.form.part(batch), inner, self.settings), batch)
            wrong += inner.wrong
            if done < len(parts) and TOLD * done // len(parts) > TOLD * (done - 1) // len(parts):
                yield Improving(iteration, most, done / len(parts))
        ensemble.networks.requires_grad_(True)
        if not all(bool(torch.isfinite(p).all()) for p in ensemble.networks.parameters()):
            raise WorkError(DIVERGED)
        return ensemble.workers.sum(wrong).item() / len(order)

    def levels(self) -> NDArray[np.int8]:
        """Return the noise of all workers' images or of all classes, int8, in whole pixel levels."""
        epsilon, ensemble = self.settings.epsilon, self.ensemble
        noise = self.form.noise.round().clamp(-epsilon, epsilon).to(torch.int8)
        whole = noise if self.settings.form == "class-wise" else ensemble.workers.gather(noise, ensemble.total)
        return whole.cpu().numpy()

    def state(self) -> dict[str, Any]:
        """Return everything that a later process needs to continue this search."""
        return {"noise": self.form.noise, "ensemble": self.ensemble.state(), "batches": self.batches}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a result of ``state``."""
        self.form.noise = state["noise"].to(self.ensemble.device)
        self.ensemble.restore(state["ensemble"])
        self.batches = [batch.cpu() for batch in state["batches"]]

    def draw(self, batch: Batch) -> Tensor:
        """Return random numbers for the batch: first for the transformations, then for the places of patches."""
        return self.ensemble.draw(batch, PLACE_DRAWS if self.settings.patch is not None else 0)

    def logits(self, batch: Batch, noise: Tensor | None, draws: Tensor) -> list[Tensor]:
        """Return each network's logits ``[B, K]`` for the batch's images, with noise applied and transformed."""
        data = self.ensemble.data
        images = as_input(data.images[batch.indices])
        if noise is not None:
            if self.settings.patch is not None:
                noise = place(noise, draws[self.ensemble.through.draws :], data.size)
            images = self.form.apply(images, noise)
        return self.ensemble.outputs(images, draws)

    def _choose_noise_images(self, labels: Tensor) -> Tensor:
        """Return the indices of a random share of each class's images."""
        order = self.ensemble.shuffled(len(labels))
        chosen = torch.zeros(len(labels), dtype=torch.bool)
        for label in range(self.ensemble.classes):
            mine = order[labels[order] == label]
            chosen[mine[: math.ceil(len(mine) * self.settings.share)]] = True
        return order[chosen[order]]

    def _next_batch(self) -> Tensor:
        """Return the indices of the surrogate's next batch, over all workers.

        A batch in which some worker has too few images for batch norm is skipped.
        """
        images, count = self.surrogate_images, self.ensemble.workers.count
        while True:
            if not self.batches:
                self.batches = in_batches(images[self.ensemble.shuffled(len(images))], self.settings.batch_size)
            batch = self.batches.pop(0)
            if count == 1 or self._fewest_of_a_worker(batch) >= LEAST_FOR_BATCH_NORM:
                return batch

    def _fewest_of_a_worker(self, images: Tensor) -> int:
        """Return how many of these images the worker with the fewest of them has."""
        count = self.ensemble.workers.count
        return int(torch.bincount(images % count, minlength=count).min())


class _Inner:
    """The inner problem of one batch: a function that a solver calls for the loss and gradient at some noise.

    With ``skip_below``, an image's gradient is zero from the step on in which its loss is low enough, so that a solver
    of signed steps leaves its noise as it is.
    """

    def __init__(self, search: AlternatingSearch, batch: Batch) -> None:
        self.search, self.batch = search, batch
        self.sign = -1.0 if isinstance(search.settings, ErrorMax) else 1.0
        self.uses_margin = search.settings.solver == "cw"
        frozen = search.settings.solver in FROZEN_DRAWS
        self.draws = search.draw(batch) if frozen else None
        self.wrong_by_image = torch.zeros(len(batch.labels), device=batch.labels.device)
        self.skip_below = search.skip_below
        self.active = torch.arange(len(batch.labels), device=batch.labels.device)

    @property
    def wrong(self) -> Tensor:
        """Return how many images were classified wrongly when last looked at, as a mean over an ensemble's networks."""
        return self.wrong_by_image.sum()

    def __call__(self, part: Tensor) -> tuple[Tensor, Tensor]:
        """Return the loss and its gradient at this noise; the loss is a mean over the images and over an ensemble.

        A solver always minimises, so the loss has its sign changed where it is to be maximised.
        """
        search, batch = self.search, self.batch
        draws = search.draw(batch) if self.draws is None else self.draws
        if self.skip_below is None:
            loss, gradient, outputs = self._solve(part, batch, draws)
            self.wrong_by_image = _wrong(outputs, batch.labels)
            return search.form.together(loss), search.form.together(gradient)
        everywhere = torch.zeros_like(part)
        if len(self.active) == 0:
            return everywhere.new_zeros(()), everywhere
        at, some = self.active, batch.at(self.active)
        loss, everywhere[at], outputs = self._solve(part[at], some, draws[:, at])
        self.wrong_by_image[at] = _wrong(outputs, some.labels)
        losses = torch.stack([F.cross_entropy(logits, some.labels, reduction="none") for logits in outputs]).mean(0)
        self.active = at[losses >= self.skip_below]
        return loss, everywhere

    def _solve(self, part: Tensor, batch: Batch, draws: Tensor) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Return the loss of a batch, its gradient, and each network's logits."""
        search = self.search
        part = part.detach().requires_grad_()
        outputs = search.logits(batch, search.form.spread(part, batch), draws)
        loss = torch.stack([search.form.mean(self._loss, logits, batch) for logits in outputs]).mean()
        (gradient,) = torch.autograd.grad(loss, part)
        return loss.detach(), gradient, [logits.detach() for logits in outputs]

    def _loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        if self.uses_margin:
            return margin(logits, labels, self.sign)
        return self.sign * F.cross_entropy(logits, labels)


def _wrong(outputs: list[Tensor], labels: Tensor) -> Tensor:
    """Return for each image whether it is classified wrongly, 0 or 1, as a mean over an ensemble's networks."""
    return torch.stack([logits.detach().argmax(1) != labels for logits in outputs]).float().mean(0)
