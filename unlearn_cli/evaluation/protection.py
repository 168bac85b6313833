"""Protecting a training set as a user's photos are protected: the same integer arithmetic."""

from __future__ import annotations

import numpy as np
import torch

from unlearn_cli.banks.bank import Bank
from unlearn_cli.errors import UsageError
from unlearn_cli.photos.noise import Pattern, add_noise
from unlearn_cli.victims.datasets import ImageSet


def protect_set(data: ImageSet, bank: Bank) -> ImageSet:
    """A copy of the images with each class's pattern laid on.

    A class gets the bank's pattern of its name; of a family, whose patterns are interchangeable,
    the k-th class gets the k-th pattern, none twice. Raises ``UsageError`` where there is none,
    and ``BankError`` for a bank that cannot be laid on whole images.
    """
    bank.check_layable()
    patterns = _assign(data, bank)
    noise = np.zeros((len(data.classes), 3, data.size, data.size), np.int8)
    for label, index in enumerate(patterns):
        pattern = Pattern(bank.noise[index], bank.provenance.epsilon)
        noise[label] = pattern.at(data.size, data.size).transpose(2, 0, 1)
    pixels = data.images.numpy().copy()
    add_noise(pixels, noise[data.labels.numpy()])
    return ImageSet(torch.from_numpy(pixels), data.labels, data.classes, data.name, data.licence)


def _assign(data: ImageSet, bank: Bank) -> list[int]:
    missing = [name for name in data.classes if name not in bank.classes]
    if not missing:
        return [bank.classes.index(name) for name in data.classes]
    if bank.provenance.family and len(data.classes) <= len(bank.classes):
        return list(range(len(data.classes)))
    raise UsageError(
        f"The bank '{bank.name}' has no pattern for {', '.join(missing[:5])}. "
        f"Make one with 'unlearn generate' on this dataset, or use a bank of its classes."
    )
