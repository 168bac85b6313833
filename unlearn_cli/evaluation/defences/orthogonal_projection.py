"""Orthogonal projection (Sandoval-Segura et al., "What can we learn from unlearnable datasets?", NeurIPS 2023).

A linear classifier finds one direction for each class along which the training images are easy to
tell apart. Class-wise noise lies along these directions, so they are projected out of every image.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from unlearn_cli.evaluation.defences.defence import Defence, Filter
from unlearn_cli.victims.datasets import ImageSet

EPOCHS = 20
BATCH_SIZE = 128
LEARNING_RATE = 0.01
AT_ONCE = 1000


def orthogonal_projection() -> Defence:
    """Return a defence that removes the span of a logistic regression's weights from every image."""
    return Defence(name="orthogonal-projection", fit=_fit)


def _fit(train: ImageSet) -> Filter:
    basis, _ = torch.linalg.qr(_directions(train).T)

    def apply(images: Tensor) -> Tensor:
        span = basis.to(images.device)
        # The result stays in fractions and may be below 0, because rounding would put noise back.
        done = torch.empty(images.shape, dtype=torch.float32, device=images.device)
        for start in range(0, len(images), AT_ONCE):
            flat = images[start : start + AT_ONCE].float().flatten(1)
            done[start : start + AT_ONCE] = (flat - flat @ span @ span.T).view(-1, *images.shape[1:])
        return done

    return apply


def _directions(train: ImageSet) -> Tensor:
    """Return the weights ``[K, D]`` of a logistic regression on the pixel values."""
    generator = torch.Generator().manual_seed(0)
    device = train.images.device
    weight = torch.zeros((len(train.classes), train.images[0].numel()), device=device, requires_grad=True)
    bias = torch.zeros(len(train.classes), device=device, requires_grad=True)
    optimizer = torch.optim.SGD([weight, bias], LEARNING_RATE, momentum=0.9)
    for _ in range(EPOCHS):
        for batch in torch.randperm(len(train), generator=generator).to(device).split(BATCH_SIZE):
            flat = train.images[batch].float().flatten(1) / 255
            loss = F.cross_entropy(F.linear(flat, weight, bias), train.labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return weight.detach()
