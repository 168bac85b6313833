"""The networks that noise is made on (surrogates) and judged on (victims).

Every network takes float pixel levels (0..255), shape ``[B, 3, H, W]``, and normalises them
itself, so that no caller can normalise twice or not at all.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from unlearn_cli.errors import UsageError

PHOTO_STEM_FROM = 64
"""Images at least this many pixels wide meet a stem of stride 2, as wide as the work allows."""


@dataclass(frozen=True)
class ResNetPlan:
    """A CIFAR-style residual network: four stages, each twice as wide as the one before."""

    blocks: tuple[int, int, int, int]
    width: int


MODELS = {
    "resnet18": ResNetPlan((2, 2, 2, 2), 64),
    "resnet10-w16": ResNetPlan((1, 1, 1, 1), 16),
}


class ResNet(nn.Module):
    """He et al. (2016) with the CIFAR stem (3x3, no pooling) and torchvision's own basic block.

    ``resnet18`` is the network of Huang et al. (2021), section 4; ``resnet10-w16`` is the same
    shape with one block a stage and a quarter of the width, for CPUs.
    """

    def __init__(self, plan: ResNetPlan, classes: int, image_size: int) -> None:
        super().__init__()
        stem_stride = 2 if image_size >= PHOTO_STEM_FROM else 1
        layers: list[nn.Module] = [
            nn.Conv2d(3, plan.width, 3, stem_stride, 1, bias=False),
            nn.BatchNorm2d(plan.width),
            nn.ReLU(inplace=True),
        ]
        channels = plan.width
        for stage, blocks in enumerate(plan.blocks):
            planes = plan.width << stage
            for block in range(blocks):
                stride = 2 if stage > 0 and block == 0 else 1
                layers.append(_basic_block(channels, planes, stride))
                channels = planes
        self.features = nn.Sequential(*layers)
        self.head = nn.Linear(channels, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, levels: Tensor) -> Tensor:
        """Logits ``[B, classes]`` of float pixel levels ``[B, 3, H, W]``."""
        features: Tensor = self.features(levels / 127.5 - 1.0)
        logits: Tensor = self.head(features.mean(dim=(2, 3)))
        return logits


def _basic_block(channels: int, planes: int, stride: int) -> nn.Module:
    from torchvision.models.resnet import BasicBlock  # takes seconds, so not before it is needed

    downsample = None
    if stride != 1 or channels != planes:
        downsample = nn.Sequential(nn.Conv2d(channels, planes, 1, stride, bias=False), nn.BatchNorm2d(planes))
    return BasicBlock(channels, planes, stride, downsample)


def build_model(name: str, classes: int, image_size: int, seed: int) -> ResNet:
    """A freshly initialised network, channels-last, the same for the same seed.

    Raises ``UsageError`` for a name that is not in ``MODELS``.
    """
    if name not in MODELS:
        raise UsageError(f"There is no model '{name}'. Choose one of: {', '.join(MODELS)}.")
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = ResNet(MODELS[name], classes, image_size)
    return model.to(memory_format=torch.channels_last)
