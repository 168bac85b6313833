"""The two forms of noise: class-wise and sample-wise.

A form stores all of the noise. For each batch it returns the part of the noise that a solver changes, expands that part
to the batch's images, and stores the solver's result.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from unlearn_cli.training.workers import Workers

Loss = Callable[[Tensor, Tensor], Tensor]
"""A function of logits and labels that returns the mean loss over the images."""


@dataclass(frozen=True)
class Batch:
    """One worker's images of a batch."""

    indices: Tensor
    """int64 ``[B]``: indices into this worker's images."""
    labels: Tensor
    """int64 ``[B]``."""
    whole: int
    """The number of images in the batch over all workers."""
    mine: Tensor | None = None
    """A mask on the CPU over the whole batch that selects this worker's images; None if all are this worker's."""

    def at(self, which: Tensor) -> Batch:
        """Return the batch with only some of this worker's images, which are given by their places in it."""
        return replace(self, indices=self.indices[which], labels=self.labels[which])


class NoiseForm(Protocol):
    """The interface of both forms of noise; the noise is float32 in pixel levels."""

    noise: Tensor

    def part(self, batch: Batch) -> Tensor:
        """Return the part of the noise that a solver changes for this batch, detached."""

    def spread(self, part: Tensor, batch: Batch) -> Tensor:
        """Return the noise of each image in the batch: ``[B, 3, h, w]``."""

    def apply(self, images: Tensor, noise: Tensor) -> Tensor:
        """Return the noisy images, clamped to 0..255, with the gradient that this form of noise needs."""

    def put(self, part: Tensor, batch: Batch) -> None:
        """Store the part of the noise that a solver returned."""

    def mean(self, loss: Loss, logits: Tensor, batch: Batch) -> Tensor:
        """Return the mean loss that the noise is optimised for, or this worker's share of it."""

    def together(self, gradient: Tensor) -> Tensor:
        """Return the gradient that the noise follows, given this worker's gradient."""


def whole_mean(loss: Loss, logits: Tensor, batch: Batch) -> Tensor:
    """Return this worker's share of a loss's mean over the whole batch; the shares of all workers add up to it."""
    if batch.mine is None:
        return loss(logits, batch.labels)
    if len(batch.labels) == 0:
        return logits.sum()
    return loss(logits, batch.labels) * (len(batch.labels) / batch.whole)


class ClassWise:
    """Noise with one pattern for each class, ``[K, 3, h, w]``, which is the same on every worker."""

    def __init__(self, classes: int, size: int, device: torch.device, workers: Workers) -> None:
        self.noise = torch.zeros((classes, 3, size, size), device=device)
        self.workers = workers

    def part(self, batch: Batch) -> Tensor:  # noqa: ARG002
        """Return all patterns, because a batch has images of most classes."""
        return self.noise

    def spread(self, part: Tensor, batch: Batch) -> Tensor:
        """Return for each image the pattern of its class."""
        return part[batch.labels]

    def apply(self, images: Tensor, noise: Tensor) -> Tensor:
        """Return the noisy images, with the exact gradient: where the clamp cuts a pixel, its gradient is zero."""
        return (images + noise).clamp(0, 255)

    def put(self, part: Tensor, batch: Batch) -> None:  # noqa: ARG002
        """Store all patterns."""
        self.noise = part

    def mean(self, loss: Loss, logits: Tensor, batch: Batch) -> Tensor:
        """Return this worker's share of the mean over the whole batch, as a class has images on every worker."""
        return whole_mean(loss, logits, batch)

    def together(self, gradient: Tensor) -> Tensor:
        """Return the sum over all workers, so that each of them takes the same step."""
        return self.workers.sum(gradient)


class SampleWise:
    """Noise with one pattern for each of this worker's images, ``[N, 3, h, w]``."""

    def __init__(self, images: int, size: int, device: torch.device) -> None:
        self.noise = torch.zeros((images, 3, size, size), device=device)

    def part(self, batch: Batch) -> Tensor:
        """Return the patterns of the batch's images."""
        return self.noise[batch.indices]

    def spread(self, part: Tensor, batch: Batch) -> Tensor:  # noqa: ARG002
        """Return the patterns as they are, because each image has its own."""
        return part

    def apply(self, images: Tensor, noise: Tensor) -> Tensor:
        """Return the noisy images, with the gradient at the clamped image, as in equation 3 of Huang et al. (2021)."""
        return apply_through(images, noise)

    def put(self, part: Tensor, batch: Batch) -> None:
        """Store the patterns of the batch's images."""
        self.noise[batch.indices] = part

    def mean(self, loss: Loss, logits: Tensor, batch: Batch) -> Tensor:
        """Return the mean over this worker's images, because no other worker has their noise."""
        return loss(logits, batch.labels) if len(batch.labels) else logits.sum()

    def together(self, gradient: Tensor) -> Tensor:
        """Return the gradient as it is, because no other worker has these images."""
        return gradient


def apply_through(images: Tensor, noise: Tensor) -> Tensor:
    """Return noisy images, clamped to 0..255, whose gradient passes to the noise as if they were not clamped.

    The clamp's own gradient is zero outside 0..255, so noise that was cut off at a white or black pixel could never
    change again.
    """
    noisy = images + noise
    return noisy + (noisy.clamp(0, 255) - noisy).detach()


PLACE_DRAWS = 2
"""How many random numbers ``place`` takes for each image."""


def place(patches: Tensor, draws: Tensor, size: int) -> Tensor:
    """Return noise ``[B, 3, size, size]`` that is zero but for the patches ``[B, 3, p, p]`` at random places.

    ``draws`` are random numbers ``[2, B]`` in [0, 1), which choose each patch's row and column.
    """
    side = patches.shape[-1]
    top, left = (draws * (size - side + 1)).long()
    at = torch.arange(size, device=patches.device)

    def where(start: Tensor) -> Tensor:
        return F.one_hot(start[:, None] + at[:side], size).to(patches.dtype)

    rows, columns = where(top), where(left)
    placed: Tensor = torch.matmul(torch.matmul(rows.transpose(1, 2)[:, None], patches), columns[:, None])
    return placed
