"""Inception-ResNet v1, after its published description (Szegedy et al., 2016, figures 7 and 10 to 14).

The paper trains it to recognise faces (Huang et al., 2021, section 4.5).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

INCEPTION_RESNET = "inception-resnet-v1"

KEEP = 0.8
"""The share of features that dropout keeps."""
RESIDUAL_SCALE = 0.17
"""The factor of each block's residual; the description recommends 0.1 to 0.3."""

Conv = tuple[int, int | tuple[int, int], int]
"""A convolution: how many filters it has, their size, and its stride."""


def _chain(channels: int, convolutions: Sequence[Conv], *, padded: bool = True) -> nn.Sequential:
    """Return convolutions one after another, each with batch norm; without padding they are "valid"."""
    layers: list[nn.Module] = []
    for filters, size, stride in convolutions:
        height, width = (size, size) if isinstance(size, int) else size
        around = (height // 2, width // 2) if padded else (0, 0)
        layers += [
            nn.Conv2d(channels, filters, (height, width), stride, around, bias=False),
            nn.BatchNorm2d(filters),
            nn.ReLU(inplace=True),
        ]
        channels = filters
    return nn.Sequential(*layers)


class Residual(nn.Module):
    """A block whose branches are joined by a 1 x 1 convolution, scaled, and added to its input."""

    def __init__(self, channels: int, branches: Sequence[Sequence[Conv]]) -> None:
        super().__init__()
        self.branches = nn.ModuleList(_chain(channels, branch) for branch in branches)
        self.join = nn.Conv2d(sum(branch[-1][0] for branch in branches), channels, 1)

    def forward(self, features: Tensor) -> Tensor:
        """Return features of the same shape."""
        residual = self.join(torch.cat([branch(features) for branch in self.branches], 1))
        return torch.relu(features + RESIDUAL_SCALE * residual)


class Reduction(nn.Module):
    """A block that halves the size: branches that end in a convolution of stride 2, and a pooling."""

    def __init__(self, channels: int, branches: Sequence[Sequence[Conv]]) -> None:
        super().__init__()
        self.pool = nn.MaxPool2d(3, 2)
        self.branches = nn.ModuleList(
            nn.Sequential(*_chain(channels, branch[:-1]), *_chain(_width(channels, branch), branch[-1:], padded=False))
            for branch in branches
        )

    def forward(self, features: Tensor) -> Tensor:
        """Return features of half the size."""
        return torch.cat([self.pool(features), *(branch(features) for branch in self.branches)], 1)


def _width(channels: int, branch: Sequence[Conv]) -> int:
    """Return how many channels the last convolution of a branch gets."""
    return branch[-2][0] if len(branch) > 1 else channels


STEM: tuple[Conv, ...] = ((32, 3, 2), (32, 3, 1))
A: tuple[tuple[Conv, ...], ...] = (((32, 1, 1),), ((32, 1, 1), (32, 3, 1)), ((32, 1, 1), (32, 3, 1), (32, 3, 1)))
REDUCTION_A: tuple[tuple[Conv, ...], ...] = (((384, 3, 2),), ((192, 1, 1), (192, 3, 1), (256, 3, 2)))
B: tuple[tuple[Conv, ...], ...] = (((128, 1, 1),), ((128, 1, 1), (128, (1, 7), 1), (128, (7, 1), 1)))
REDUCTION_B: tuple[tuple[Conv, ...], ...] = (
    ((256, 1, 1), (384, 3, 2)),
    ((256, 1, 1), (256, 3, 2)),
    ((256, 1, 1), (256, 3, 1), (256, 3, 2)),
)
C: tuple[tuple[Conv, ...], ...] = (((192, 1, 1),), ((192, 1, 1), (192, (1, 3), 1), (192, (3, 1), 1)))


class InceptionResNet(nn.Module):
    """Inception-ResNet v1: a stem, 5, 10 and 5 residual blocks with reductions between them, and a linear layer."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.features = nn.Sequential(
            _chain(3, STEM, padded=False),
            _chain(32, [(64, 3, 1)]),
            nn.MaxPool2d(3, 2),
            _chain(64, [(80, 1, 1), (192, 3, 1), (256, 3, 2)], padded=False),
            *(Residual(256, A) for _ in range(5)),
            Reduction(256, REDUCTION_A),
            *(Residual(896, B) for _ in range(10)),
            Reduction(896, REDUCTION_B),
            *(Residual(1792, C) for _ in range(5)),
        )
        self.dropout = nn.Dropout(1 - KEEP)
        self.head = nn.Linear(1792, classes)

    def forward(self, levels: Tensor) -> Tensor:
        """Return logits ``[B, classes]`` for float images ``[B, 3, H, W]`` with pixel values 0..255."""
        features: Tensor = self.features(levels / 127.5 - 1.0).mean(dim=(2, 3))
        logits: Tensor = self.head(self.dropout(features))
        return logits
