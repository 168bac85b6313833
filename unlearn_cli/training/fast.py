"""Small networks for 32-pixel images that learn in few epochs, for computers without a GPU.

The code is our own. Its ideas are those of Keller Jordan's *94% on CIFAR-10 in 3.29 Seconds* (2024, arXiv:2404.00498)
and of the works that it builds on: a first convolution that whitens patches and is not trained (Page, *How to Train
Your ResNet*, 2018; Coates and Ng, 2012), three groups of two convolutions with max pooling before the normalisation,
GELU, batch norm without a learned scale, an identity as the initial weights of each convolution (Zagoruyko and
Komodakis, *DiracNets*, 2017), a small constant factor on the logits, label smoothing, Nesterov's momentum with a
learning rate that rises and then falls linearly, flips that alternate from epoch to epoch, and a moving average of the
weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unlearn_cli.training.workers import ALONE, Workers

FAST, FAST_SMALL = "fast", "fast-w32"

WIDTHS = {FAST: (64, 256, 256), FAST_SMALL: (32, 128, 128)}
"""How many channels each group of two convolutions has, by the network's name; the first are the published ones."""
PATCH = 2
"""The side, in pixels, of the patches that the first convolution whitens."""
LEAST_VARIANCE = 5e-4
"""What is added to the variance of each direction of the patches, so that rare ones are not blown up to noise."""
PATCHES_FROM = 1_000
"""From how many images, evenly spread over the set, patches are taken."""
LOGIT_SCALE = 1 / 9
STATISTICS_MOMENTUM = 0.4
"""How fast batch norm's statistics follow the batches: fast, as there are few of these."""

FAST_TRAINING: dict[str, Any] = {
    "batch_size": 512,
    "learning_rate": 0.75,
    "momentum": 0.85,
    "nesterov": True,
    "schedule": "triangle",
    "weight_decay": 1.3e-3,
    "label_smoothing": 0.2,
    "precision": "bf16",
}
"""The fields of ``TrainingSettings`` that ``fast`` is trained with as a victim."""
FAST_SMALL_TRAINING: dict[str, Any] = FAST_TRAINING | {
    "batch_size": 256,
    "learning_rate": 0.5,
    "weight_average": 0.98,
    "alternate_flips": True,
}
"""The same for ``fast-w32``: more and smaller steps, which keep an average of the weights over some fifty steps.

What each of them brings is in docs/results/paper.md.
"""


class Whitening(nn.Module):
    """A convolution whose filters are the whitened directions of a dataset's patches, and their negatives."""

    weight: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.channels = 2 * 3 * PATCH**2
        # A buffer and not a parameter: nothing may train it, also not a search that switches all gradients on.
        self.register_buffer("weight", torch.zeros(self.channels, 3, PATCH, PATCH))

    @torch.no_grad()
    def fit(self, levels: Tensor, workers: Workers = ALONE) -> None:
        """Take the filters from images ``[N, 3, H, W]`` with pixel values 0..255, of which each worker has its own."""
        few = levels[:: max(1, len(levels) // PATCHES_FROM)].float() / 127.5 - 1.0
        patches = F.unfold(few, PATCH).transpose(1, 2).reshape(-1, 3 * PATCH**2)
        products = workers.sum(patches.T @ patches / len(patches)) / workers.count
        variances, directions = torch.linalg.eigh(products)
        filters = (directions / (variances + LEAST_VARIANCE).sqrt()).T.reshape(-1, 3, PATCH, PATCH)
        self.weight.copy_(torch.cat([filters, -filters]))

    def forward(self, images: Tensor) -> Tensor:
        """Return each patch's share of each direction: ``[B, 24, H - 1, W - 1]``."""
        return F.conv2d(images, self.weight)


class ShiftOnlyNorm(nn.BatchNorm2d):
    """Batch norm with a learned shift for each channel and no learned scale."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, momentum=STATISTICS_MOMENTUM)
        del self.weight
        self.register_buffer("weight", torch.ones(channels))


def _group(channels: int, width: int) -> nn.Sequential:
    """Return two convolutions, of which the first halves the image."""
    one, two = (nn.Conv2d(wide, width, 3, padding=1, bias=False) for wide in (channels, width))
    for convolution in (one, two):
        nn.init.dirac_(convolution.weight[: convolution.in_channels])
    return nn.Sequential(one, nn.MaxPool2d(2), ShiftOnlyNorm(width), nn.GELU(), two, ShiftOnlyNorm(width), nn.GELU())


class FastNetwork(nn.Module):
    """The network; ``whitening`` must be fitted to the training images before it is trained."""

    def __init__(self, classes: int, widths: Sequence[int] = WIDTHS[FAST]) -> None:
        super().__init__()
        self.whitening = Whitening()
        channels = (self.whitening.channels, *widths)
        groups = [_group(wide, width) for wide, width in zip(channels, widths, strict=False)]
        self.features = nn.Sequential(self.whitening, nn.GELU(), *groups)
        self.head = nn.Linear(widths[-1], classes, bias=False)

    def forward(self, levels: Tensor) -> Tensor:
        """Return logits ``[B, classes]`` for float images ``[B, 3, H, W]`` with pixel values 0..255."""
        features: Tensor = self.features(levels / 127.5 - 1.0)
        logits: Tensor = self.head(features.amax(dim=(2, 3)))
        return logits * LOGIT_SCALE


def fit_to_images(network: nn.Module, levels: Tensor, workers: Workers = ALONE) -> None:
    """Fit the parts of a new network that come from its training images and not from training; most have none.

    A part that has been fitted stays as it is.
    """
    for part in network.modules():
        if isinstance(part, Whitening) and not bool(part.weight.any()):
            part.fit(levels, workers)
