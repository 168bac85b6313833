"""The two forms of noise, and where a batch's noise comes from and goes to.

A form keeps the whole noise. For a batch it hands out the part that a solver moves, spreads it
over the batch's images, and takes it back.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from unlearn_cli.victims.workers import Workers

Loss = Callable[[Tensor, Tensor], Tensor]
"""Of logits and labels: a mean over the images."""


@dataclass(frozen=True)
class Batch:
    """Some of this worker's images, and this worker's part of the random numbers of the whole batch."""

    indices: Tensor
    """int64 ``[B]``, into this worker's images."""
    labels: Tensor
    """int64 ``[B]``."""
    whole: int
    """How many images the batch has over all workers."""
    mine: Tensor | None = None
    """Which of those are this worker's, a mask on the CPU; None where all are."""


class NoiseForm(Protocol):
    """Class-wise or sample-wise noise, float32, pixel levels."""

    noise: Tensor

    def part(self, batch: Batch) -> Tensor:
        """What a solver moves for this batch, detached."""

    def spread(self, part: Tensor, batch: Batch) -> Tensor:
        """The noise of each of the batch's images: ``[B, 3, h, w]``."""

    def lay(self, images: Tensor, noise: Tensor) -> Tensor:
        """Noisy images, in 0..255, with the gradient that the noise is to follow."""

    def put(self, part: Tensor, batch: Batch) -> None:
        """Keep what a solver has found."""

    def mean(self, loss: Loss, logits: Tensor, batch: Batch) -> Tensor:
        """The mean of a loss that the noise follows, or this worker's part of it."""

    def together(self, gradient: Tensor) -> Tensor:
        """The gradient over the whole batch, of this worker's part of it."""


def whole_mean(loss: Loss, logits: Tensor, batch: Batch) -> Tensor:
    """What this worker adds to a loss's mean over the whole batch."""
    if batch.mine is None:
        return loss(logits, batch.labels)
    if len(batch.labels) == 0:
        return logits.sum()
    return loss(logits, batch.labels) * (len(batch.labels) / batch.whole)


class ClassWise:
    """One pattern for each class, ``[K, 3, h, w]``; the same on every worker."""

    def __init__(self, classes: int, size: int, device: torch.device, workers: Workers) -> None:
        self.noise = torch.zeros((classes, 3, size, size), device=device)
        self.workers = workers

    def part(self, batch: Batch) -> Tensor:  # noqa: ARG002
        """All patterns: a batch has images of most classes."""
        return self.noise

    def spread(self, part: Tensor, batch: Batch) -> Tensor:
        """Each image's pattern is that of its class."""
        return part[batch.labels]

    def lay(self, images: Tensor, noise: Tensor) -> Tensor:
        """With the exact gradient: an image that is saturated at a pixel has no say in the pattern there."""
        return (images + noise).clamp(0, 255)

    def put(self, part: Tensor, batch: Batch) -> None:  # noqa: ARG002
        """Keep all patterns."""
        self.noise = part

    def mean(self, loss: Loss, logits: Tensor, batch: Batch) -> Tensor:
        """Over the whole batch: a pattern has images everywhere."""
        return whole_mean(loss, logits, batch)

    def together(self, gradient: Tensor) -> Tensor:
        """Summed over the workers: every one of them takes the same step."""
        return self.workers.sum(gradient)


class SampleWise:
    """A pattern for each of this worker's images, ``[N, 3, h, w]``."""

    def __init__(self, images: int, size: int, device: torch.device) -> None:
        self.noise = torch.zeros((images, 3, size, size), device=device)

    def part(self, batch: Batch) -> Tensor:
        """The patterns of the batch's images."""
        return self.noise[batch.indices]

    def spread(self, part: Tensor, batch: Batch) -> Tensor:  # noqa: ARG002
        """Each image has its own."""
        return part

    def lay(self, images: Tensor, noise: Tensor) -> Tensor:
        """With the gradient at the clamped image, as in equation 3."""
        return lay_through(images, noise)

    def put(self, part: Tensor, batch: Batch) -> None:
        """Keep the batch's patterns."""
        self.noise[batch.indices] = part

    def mean(self, loss: Loss, logits: Tensor, batch: Batch) -> Tensor:
        """Over this worker's images, whose noise nobody else has."""
        return loss(logits, batch.labels) if len(batch.labels) else logits.sum()

    def together(self, gradient: Tensor) -> Tensor:
        """As it is: no other worker has these images."""
        return gradient


def lay_through(images: Tensor, noise: Tensor) -> Tensor:
    """Noise on images, clamped to 0..255, with the gradient of the clamped image passed to the noise.

    Clamping's own gradient is zero at a white or black pixel, whose noise would never begin to move.
    """
    noisy = images + noise
    return noisy + (noisy.clamp(0, 255) - noisy).detach()


PLACE_DRAWS = 2


def place(patches: Tensor, draws: Tensor, size: int) -> Tensor:
    """Noise ``[B, 3, p, p]`` somewhere on images of ``size`` pixels, by draws ``[2, B]`` in [0, 1); zero elsewhere."""
    side = patches.shape[-1]
    top, left = (draws * (size - side + 1)).long()
    at = torch.arange(size, device=patches.device)

    def where(start: Tensor) -> Tensor:
        return F.one_hot(start[:, None] + at[:side], size).to(patches.dtype)

    rows, columns = where(top), where(left)
    placed: Tensor = torch.matmul(torch.matmul(rows.transpose(1, 2)[:, None], patches), columns[:, None])
    return placed
