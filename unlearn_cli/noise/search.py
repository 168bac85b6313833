"""One search: a surrogate and the noise that is fitted to it (Huang et al., 2021, Algorithm 1).

It corrects three defects of the paper's official code: noise is added in signed arithmetic, the images are clamped
alike for the surrogate's step and for the noise's step, and each step transforms the noisy images at random, as a
victim will.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from unlearn_cli.errors import UsageError, WorkError
from unlearn_cli.noise.forms import PLACE_DRAWS, Batch, ClassWise, NoiseForm, SampleWise, place, whole_mean
from unlearn_cli.noise.settings import NoiseSettings
from unlearn_cli.noise.solvers import FROZEN_DRAWS, SOLVERS, margin
from unlearn_cli.noise.transforms import Through
from unlearn_cli.training.datasets import ImageSet
from unlearn_cli.training.models import build_model, split_names
from unlearn_cli.training.train import TrainingSettings, as_input, in_batches, make_optimizer
from unlearn_cli.training.workers import ALONE, Workers

LEAST_FOR_BATCH_NORM = 2
"""The least number of images in a batch that batch norm can be trained on."""


class Search:
    """The state of one search: the surrogate, which may be an ensemble of networks, and the noise."""

    def __init__(self, data: ImageSet, settings: NoiseSettings, device: torch.device, workers: Workers = ALONE) -> None:
        """Begin with no noise and fresh networks.

        With several workers, each keeps its own part of the images on its device. Raises ``UsageError`` for an unknown
        network or transformation, and for a patch whose side is not from 1 pixel to the size of the images.
        """
        if settings.patch is not None and not 1 <= settings.patch <= data.size:
            raise UsageError(f"The setting patch is a side of 1 to {data.size} pixels, as the images have.")
        self.settings, self.device, self.workers = settings, device, workers
        self.through = Through(settings.through)
        self.generator = torch.Generator().manual_seed(settings.seed)
        self.total, self.all_labels = len(data), data.labels.cpu()
        self.classes = len(data.classes)
        self.data = data.at(slice(workers.rank, None, workers.count)).to(device)
        self.networks = nn.ModuleDict(
            {
                name: build_model(name, self.classes, data.size, settings.seed + member)
                for member, name in enumerate(split_names(settings.surrogate))
            }
        ).to(device)
        self.training = _training(settings)
        self.optimizer = make_optimizer(self.networks, self.training)
        self.run: list[Callable[[Tensor], Tensor]] = list(self.networks.values())
        if settings.compile:
            self.run = [torch.compile(network, dynamic=False) for network in self.networks.values()]
        # Dropout layers draw from PyTorch's global generator, which has to be seeded for a search to be repeatable.
        self.has_dropout = any(
            "Drop" in type(m).__name__ or "Stochastic" in type(m).__name__ for m in self.networks.modules()
        )
        size = settings.patch or data.size
        self.form: NoiseForm = (
            ClassWise(self.classes, size, device, workers)
            if settings.form == "class-wise"
            else SampleWise(len(self.data), size, device)
        )
        self.solve = SOLVERS[settings.solver]
        self.batches: list[Tensor] = []
        self.noise_images = self._choose_noise_images()

    def train_surrogate(self, steps: int | None = None, *, clean: bool = False) -> Tensor:
        """Train on M batches of noisy images (Algorithm 1, lines 3 to 6); return how many were classified wrongly.

        ``steps`` replaces M, and ``clean`` leaves the noise out. The count is that of this worker's images. It is a
        tensor, so that nothing waits for a GPU.
        """
        self.networks.train()
        wrong = torch.zeros((), device=self.device)
        for _ in range(self.settings.surrogate_steps if steps is None else steps):
            batch = self._batch(self._next_batch())
            if self.has_dropout:
                torch.manual_seed(int(torch.randint(2**31, (), generator=self.generator)))
            noise = None if clean else self.form.spread(self.form.part(batch), batch)
            outputs = self._logits(batch, noise, self._draw(batch))
            self.optimizer.zero_grad()
            torch.stack([whole_mean(F.cross_entropy, logits, batch) for logits in outputs]).sum().backward()
            self._share_gradients()
            self.optimizer.step()
            wrong += _wrong(outputs, batch)
        return wrong

    def improve_noise(self, batches: int | None = None) -> float:
        """Run the solver once on every batch of the noise's images (Algorithm 1, lines 7 to 12); return the error rate.

        An image counts as the surrogate classified it in the solver's last step. ``batches`` limits the pass to the
        first few. Raises ``WorkError`` if the surrogate's training diverged.
        """
        self.networks.eval()
        self.networks.requires_grad_(False)
        self._share_statistics()
        wrong = torch.zeros((), device=self.device)
        order = self.noise_images[self._shuffled(len(self.noise_images))]
        for indices in order.split(self.settings.batch_size)[:batches]:
            batch = self._batch(indices)
            inner = _Inner(self, batch)
            self.form.put(self.solve(self.form.part(batch), inner, self.settings), batch)
            wrong += inner.wrong
        self.networks.requires_grad_(True)
        if not all(bool(torch.isfinite(p).all()) for p in self.networks.parameters()):
            raise WorkError("The surrogate's training diverged. Try --set learning-rate=0.01 or more images.")
        return self.workers.sum(wrong).item() / len(order)

    def epoch_steps(self) -> int:
        """Return how many batches an epoch of the surrogate has."""
        return len(in_batches(self.surrogate_images(), self.settings.batch_size))

    def levels(self) -> NDArray[np.int8]:
        """Return the noise of all workers' images or of all classes, int8, in whole pixel levels."""
        epsilon = self.settings.epsilon
        noise = self.form.noise.round().clamp(-epsilon, epsilon).to(torch.int8)
        whole = noise if self.settings.form == "class-wise" else self.workers.gather(noise, self.total)
        return whole.cpu().numpy()

    def state(self) -> dict[str, Any]:
        """Return all that a later process needs to continue this search."""
        return {
            "noise": self.form.noise,
            "networks": self.networks.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "generator": self.generator.get_state(),
            "batches": self.batches,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a result of ``state``."""
        self.form.noise = state["noise"].to(self.device)
        self.networks.load_state_dict(state["networks"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.generator.set_state(state["generator"].cpu())
        self.batches = [batch.cpu() for batch in state["batches"]]

    def _choose_noise_images(self) -> Tensor:
        """Return the indices of a random share of the images, and of the same share of each class that it missed."""
        labels, share = self.all_labels, self.settings.share
        chosen = self._shuffled(len(labels))[: math.ceil(len(labels) * share)]
        parts = [chosen]
        for label in sorted(set(range(self.classes)) - set(labels[chosen].tolist())):
            mine = (labels == label).nonzero()[:, 0]
            parts.append(mine[: math.ceil(len(mine) * share)])
        return torch.cat(parts)

    def surrogate_images(self) -> Tensor:
        """Return the indices of the images, over all workers, that the surrogate is trained on."""
        return self.noise_images if self.settings.surrogate_on == "noise-images" else torch.arange(self.total)

    def _next_batch(self) -> Tensor:
        """Return the indices of the surrogate's next batch, over all workers.

        A batch that has too few images of one worker for batch norm is skipped.
        """
        while True:
            if not self.batches:
                images = self.surrogate_images()
                self.batches = in_batches(images[self._shuffled(len(images))], self.settings.batch_size)
            batch = self.batches.pop(0)
            fewest = int(torch.bincount(batch % self.workers.count, minlength=self.workers.count).min())
            if self.workers.count == 1 or fewest >= LEAST_FOR_BATCH_NORM:
                return batch

    def _batch(self, whole: Tensor) -> Batch:
        """Return this worker's part of a batch, which is given as indices over all workers."""
        if self.workers.count == 1:
            indices = self._sent(whole)
            return Batch(indices, self.data.labels[indices], len(whole), None)
        mine = self.workers.share(whole)
        indices = self._sent(whole[mine] // self.workers.count)
        return Batch(indices, self.data.labels[indices], len(whole), mine)

    def _draw(self, batch: Batch) -> Tensor:
        """Return random numbers for the batch: first for the transformations, then for the places of patches.

        Every worker draws for the whole batch, so that the numbers do not depend on how many workers there are.
        """
        draws = self.through.draw(batch.whole, self.generator)
        if self.settings.patch is not None:
            draws = torch.cat([draws, torch.rand((PLACE_DRAWS, batch.whole), generator=self.generator)])
        if batch.mine is not None:
            draws = draws[:, batch.mine]
        return self._sent(draws)

    def _sent(self, tensor: Tensor) -> Tensor:
        """Return the tensor on the device, without waiting for a GPU."""
        if self.device.type == "cuda":
            tensor = tensor.pin_memory()
        return tensor.to(self.device, non_blocking=True)

    def _logits(self, batch: Batch, noise: Tensor | None, draws: Tensor) -> list[Tensor]:
        """Return each network's logits ``[B, K]`` for the batch's images, with noise applied and transformed."""
        images = as_input(self.data.images[batch.indices])
        if noise is not None:
            if self.settings.patch is not None:
                noise = place(noise, draws[self.through.draws :], self.data.size)
            images = self.form.apply(images, noise)
        return self._outputs(images, draws)

    def _outputs(self, images: Tensor, draws: Tensor) -> list[Tensor]:
        """Return each network's logits ``[B, K]`` for the images, after transforming them."""
        images = as_input(self.through.apply(images, draws[: self.through.draws]))
        half = self.settings.precision == "bf16"
        with torch.autocast(self.device.type, torch.bfloat16) if half else nullcontext():
            outputs = [run(images) for run in self.run]
        return [logits.float() for logits in outputs]

    def _share_gradients(self) -> None:
        """Sum the networks' gradients over the workers, in a single message."""
        if self.workers.count == 1:
            return
        gradients = [p.grad for p in self.networks.parameters() if p.grad is not None]
        flat = self.workers.sum(torch.cat([gradient.reshape(-1) for gradient in gradients]))
        for gradient, part in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(part.view_as(gradient))

    def _share_statistics(self) -> None:
        """Give every worker the mean of all workers' batch norm statistics."""
        if self.workers.count > 1:
            for buffer in self.networks.buffers():
                if buffer.is_floating_point():
                    self.workers.sum(buffer).div_(self.workers.count)

    def _shuffled(self, count: int) -> Tensor:
        return torch.randperm(count, generator=self.generator)


class _Inner:
    """The inner problem of one batch: a function that a solver calls for the loss and gradient at some noise."""

    def __init__(self, search: Search, batch: Batch) -> None:
        self.search, self.batch = search, batch
        self.sign = -1.0 if search.settings.method == "error-max" else 1.0
        self.uses_margin = search.settings.solver == "cw"
        frozen = search.settings.solver in FROZEN_DRAWS
        self.draws = search._draw(batch) if frozen else None
        self.wrong = torch.zeros((), device=search.device)

    def __call__(self, part: Tensor) -> tuple[Tensor, Tensor]:
        """Return the loss and its gradient at this noise; the loss is a mean over the images and over an ensemble.

        A solver always minimises, so the loss has its sign changed where it is to be maximised.
        """
        search, batch = self.search, self.batch
        part = part.detach().requires_grad_()
        draws = search._draw(batch) if self.draws is None else self.draws
        outputs = search._logits(batch, search.form.spread(part, batch), draws)
        loss = torch.stack([search.form.mean(self._loss, logits, batch) for logits in outputs]).mean()
        (gradient,) = torch.autograd.grad(loss, part)
        self.wrong = _wrong(outputs, batch)
        return search.form.together(loss.detach()), search.form.together(gradient)

    def _loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        if self.uses_margin:
            return margin(logits, labels, self.sign)
        return self.sign * F.cross_entropy(logits, labels)


def _wrong(outputs: list[Tensor], batch: Batch) -> Tensor:
    """Return how many images are classified wrongly, as a mean over an ensemble's networks."""
    counts = [(logits.detach().argmax(1) != batch.labels).sum() for logits in outputs]
    return torch.stack(counts).float().mean()


def _training(settings: NoiseSettings) -> TrainingSettings:
    return TrainingSettings(
        learning_rate=settings.learning_rate, momentum=settings.momentum, weight_decay=settings.weight_decay
    )
