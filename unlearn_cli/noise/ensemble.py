"""An ensemble of surrogate networks, on which every search makes its noise."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from unlearn_cli.noise.forms import Batch
from unlearn_cli.noise.settings import Searched
from unlearn_cli.noise.transforms import Through
from unlearn_cli.training.datasets import ImageSet
from unlearn_cli.training.fast import fit_to_images
from unlearn_cli.training.models import build_model, split_names
from unlearn_cli.training.train import TrainingSettings, as_input, clip_gradient, make_optimizer
from unlearn_cli.training.workers import Workers

DIVERGED = "The training of the surrogate diverged. Try --set learning-rate=0.01, or use more images."


class Ensemble:
    """Surrogate networks with their optimizer, this worker's images, and the transformations of these images.

    All random numbers of a search come from one generator, ``generator``.
    """

    def __init__(self, data: ImageSet, settings: Searched, device: torch.device, workers: Workers) -> None:
        """Begin with fresh networks.

        With several workers, each keeps its own part of the images on its device. Raises ``UsageError`` for an unknown
        network or transformation.
        """
        self.settings, self.device, self.workers = settings, device, workers
        self.total, self.classes = len(data), len(data.classes)
        self.through = Through(settings.through)
        self.generator = torch.Generator().manual_seed(settings.seed)
        self.data = data.at(slice(workers.rank, None, workers.count)).to(device)
        self.networks = self._build(settings.seed)
        self.optimizer = self._make_optimizer()
        self.run: list[Callable[[Tensor], Tensor]] = list(self.networks.values())
        if settings.compile:
            self.run = [torch.compile(network, dynamic=False) for network in self.networks.values()]
        self.has_dropout = any(
            "Drop" in type(m).__name__ or "Stochastic" in type(m).__name__ for m in self.networks.modules()
        )

    def begin_again(self, seed: int) -> None:
        """Reset the networks to freshly initialised weights, and the optimizer to its initial state."""
        self.networks.load_state_dict(self._build(seed).state_dict())
        self.optimizer = self._make_optimizer()

    def shuffled(self, count: int) -> Tensor:
        """Return the indices from 0 to ``count`` - 1 in random order."""
        return torch.randperm(count, generator=self.generator)

    def batch(self, whole: Tensor) -> Batch:
        """Return this worker's part of a batch, which is given as indices over all workers."""
        if self.workers.count == 1:
            indices = self._sent(whole)
            return Batch(indices, self.data.labels[indices], len(whole), None)
        mine = self.workers.share(whole)
        indices = self._sent(whole[mine] // self.workers.count)
        return Batch(indices, self.data.labels[indices], len(whole), mine)

    def draw(self, batch: Batch, more: int = 0) -> Tensor:
        """Return random numbers for the batch: for the transformations, and ``more`` rows of numbers in [0, 1).

        Every worker draws for the whole batch, so that the numbers do not depend on how many workers there are.
        """
        draws = self.through.draw(batch.whole, self.generator)
        if more:
            draws = torch.cat([draws, torch.rand((more, batch.whole), generator=self.generator)])
        if batch.mine is not None:
            draws = draws[:, batch.mine]
        return self._sent(draws)

    def seed_dropout(self) -> None:
        """Seed the generator that dropout layers draw from, which is PyTorch's own, to make a search repeatable."""
        if self.has_dropout:
            torch.manual_seed(int(torch.randint(2**31, (), generator=self.generator)))

    def outputs(self, images: Tensor, draws: Tensor) -> list[Tensor]:
        """Return each network's logits ``[B, K]`` for the images, after transforming them."""
        images = as_input(self.through.apply(images, draws[: self.through.draws]))
        half = self.settings.precision == "bf16"
        with torch.autocast(self.device.type, torch.bfloat16) if half else nullcontext():
            outputs = [run(images) for run in self.run]
        return [logits.float() for logits in outputs]

    def scale_learning_rate(self, factor: float) -> None:
        """Set the learning rate to this factor of that in the settings."""
        self.optimizer.param_groups[0]["lr"] = self.settings.learning_rate * factor

    def step(self, loss: Tensor) -> None:
        """Take a step down the loss, of which every worker has its share."""
        self.optimizer.zero_grad()
        loss.backward()
        self._share_gradients()
        for network in self.networks.values():
            clip_gradient(network, self.settings.gradient_clip)
        self.optimizer.step()

    def freeze(self) -> None:
        """Hold the networks fixed, with the mean of all workers' batch norm statistics."""
        self.networks.eval()
        self.networks.requires_grad_(False)
        self.workers.average(self.networks.buffers())

    def state(self) -> dict[str, Any]:
        """Return everything that a later process needs to continue with these networks."""
        return {
            "networks": self.networks.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "generator": self.generator.get_state(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a result of ``state``."""
        self.networks.load_state_dict(state["networks"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.generator.set_state(state["generator"].cpu())

    def _build(self, seed: int) -> nn.ModuleDict:
        names = split_names(self.settings.surrogate)
        networks = nn.ModuleDict(
            {name: build_model(name, self.classes, self.data.size, seed + i) for i, name in enumerate(names)}
        ).to(self.device)
        fit_to_images(networks, self.data.images, self.workers)
        return networks

    def _make_optimizer(self) -> torch.optim.SGD:
        of = self.settings
        sgd = TrainingSettings(learning_rate=of.learning_rate, momentum=of.momentum, weight_decay=of.weight_decay)
        return make_optimizer(self.networks, sgd)

    def _sent(self, tensor: Tensor) -> Tensor:
        """Return the tensor on the device, without waiting for a GPU."""
        if self.device.type == "cuda":
            tensor = tensor.pin_memory()
        return tensor.to(self.device, non_blocking=True)

    def _share_gradients(self) -> None:
        """Sum the networks' gradients over the workers, in a single message."""
        if self.workers.count == 1:
            return
        gradients = [p.grad for p in self.networks.parameters() if p.grad is not None]
        flat = self.workers.sum(torch.cat([gradient.reshape(-1) for gradient in gradients]))
        for gradient, part in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(part.view_as(gradient))
