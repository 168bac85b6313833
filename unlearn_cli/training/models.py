"""The networks that noise is made on (surrogates) and evaluated on (victims).

Every network takes float images ``[B, 3, H, W]`` with pixel values 0..255 and normalises them
itself, so that no caller can normalise twice or not at all.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from unlearn_cli.errors import UsageError
from unlearn_cli.training.fast import WIDTHS, FastNetwork
from unlearn_cli.training.inception_resnet import INCEPTION_RESNET, InceptionResNet

PHOTO_STEM_FROM = 64
"""From this image size in pixels on, ResNets and DenseNets have a stem with stride 2, which limits the work."""


@dataclass(frozen=True)
class ResNetPlan:
    """A CIFAR-style residual network with four stages, each twice as wide as the one before."""

    blocks: tuple[int, int, int, int]
    width: int


@dataclass(frozen=True)
class VggPlan:
    """A VGG network: the widths of its convolutions, each with batch norm, and ``M`` for a halving of the size."""

    layers: tuple[int | str, ...]


MODELS: dict[str, ResNetPlan | VggPlan] = {
    "resnet18": ResNetPlan((2, 2, 2, 2), 64),
    "vgg11": VggPlan((64, "M", 128, "M", 256, 256, "M", 512, 512, "M", 512, 512, "M")),
    "resnet10-w16": ResNetPlan((1, 1, 1, 1), 16),
    "vgg11-w16": VggPlan((16, "M", 32, "M", 64, 64, "M", 128, 128, "M", 128, 128, "M")),
}
"""The networks that are defined here: full-width ones as in the paper, and some a quarter as wide for CPUs."""


TORCHVISION = "torchvision:"
"""The prefix of the names of torchvision's own networks where one defined here has the same name."""
TIMM = "timm:"
"""The prefix of the names of networks from the library timm, an optional dependency."""


class Network(nn.Module):
    """A network of features, their mean over the image, and a linear layer."""

    def __init__(self, features: nn.Module, width: int, classes: int) -> None:
        super().__init__()
        self.features = features
        self.head = nn.Linear(width, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, levels: Tensor) -> Tensor:
        """Return logits ``[B, classes]`` for float images ``[B, 3, H, W]`` with pixel values 0..255."""
        features: Tensor = self.features(levels / 127.5 - 1.0)
        logits: Tensor = self.head(features.mean(dim=(2, 3)))
        return logits


class Normalised(nn.Module):
    """A classifier from torchvision or timm, which expects inputs of about -1..1, with that normalisation."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, levels: Tensor) -> Tensor:
        """Return logits ``[B, classes]`` for float images ``[B, 3, H, W]`` with pixel values 0..255."""
        logits: Tensor = self.network(levels / 127.5 - 1.0)
        return logits


def build_model(name: str, classes: int, image_size: int, seed: int) -> nn.Module:
    """Return a freshly initialised network, in channels-last format; the same seed gives the same network.

    ``name`` is one of ``MODELS``, ``fast``, ``fast-w32``, ``inception-resnet-v1``, any classifier of torchvision's, or
    ``timm:NAME``. Raises ``UsageError`` for any other name, for ``timm:`` without timm installed, and for a network
    that does not take images of this size.
    """
    with torch.random.fork_rng(devices=[]):  # Networks are built on the CPU, so no GPU's state changes.
        torch.default_generator.manual_seed(seed)
        plan = MODELS.get(name)
        if isinstance(plan, ResNetPlan):
            model: nn.Module = _resnet(plan, classes, image_size)
        elif isinstance(plan, VggPlan):
            model = _vgg(plan, classes, image_size)
        elif name in WIDTHS:
            model = checked(FastNetwork(classes, WIDTHS[name]), name, image_size)
        elif name == INCEPTION_RESNET:
            model = checked(InceptionResNet(classes), name, image_size)
        elif name.startswith(TIMM):
            model = _from_timm(name.removeprefix(TIMM), classes, image_size)
        else:
            model = _from_torchvision(name.removeprefix(TORCHVISION), classes, image_size)
    return model.to(memory_format=torch.channels_last)


def split_names(names: str) -> list[str]:
    """Return the networks' names in a list such as ``resnet18,vgg11``. Raises ``UsageError`` if empty or repetitive."""
    members = [name.strip() for name in names.split(",") if name.strip()]
    if not members or len(set(members)) < len(members):
        raise UsageError("--surrogate needs the names of networks, each named once, such as resnet18,vgg11.")
    return members


def _resnet(plan: ResNetPlan, classes: int, image_size: int) -> Network:
    """Return a ResNet (He et al., 2016) with the CIFAR stem (3x3, no pooling) and torchvision's basic block.

    ``resnet18`` is the network of Huang et al. (2021), section 4; ``resnet10-w16`` is the same with one block in each
    stage and a quarter of the width.
    """
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
    return Network(nn.Sequential(*layers), channels, classes)


def _basic_block(channels: int, planes: int, stride: int) -> nn.Module:
    from torchvision.models.resnet import BasicBlock  # Importing it takes seconds.

    downsample = None
    if stride != 1 or channels != planes:
        downsample = nn.Sequential(nn.Conv2d(channels, planes, 1, stride, bias=False), nn.BatchNorm2d(planes))
    return BasicBlock(channels, planes, stride, downsample)


def _vgg(plan: VggPlan, classes: int, image_size: int) -> Network:
    """Return a VGG (Simonyan and Zisserman, 2015, configuration A) with batch norm and only one linear layer.

    Raises ``UsageError`` for images of less than 32 pixels.
    """
    if image_size < 32:
        raise UsageError(
            "A VGG network needs images of at least 32 pixels. Use a larger image-size, or another network."
        )
    layers: list[nn.Module] = []
    channels = 3
    for width in plan.layers:
        if isinstance(width, str):
            layers.append(nn.MaxPool2d(2))
            continue
        convolution = nn.Conv2d(channels, width, 3, padding=1, bias=False)
        layers += [convolution, nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
        channels = width
    return Network(nn.Sequential(*layers), channels, classes)


def _from_torchvision(name: str, classes: int, image_size: int) -> nn.Module:
    from torchvision import models
    from torchvision.models import _api as registry

    if name not in registry.list_models(module=models):
        raise UsageError(
            f"There is no model '{name}'. Choose one of {', '.join((*MODELS, *WIDTHS))}, {INCEPTION_RESNET}, a "
            "classifier of torchvision's, such as resnet50, densenet121 or mobilenet_v3_small, or timm:NAME."
        )
    # Inception and GoogLeNet would otherwise return auxiliary outputs, and warn about how they initialise weights.
    extra: dict[str, Any] = {"aux_logits": False, "init_weights": True} if name in ("googlenet", "inception_v3") else {}
    network = registry.get_model(name, weights=None, num_classes=classes, **extra)
    if image_size < PHOTO_STEM_FROM:
        _widen_stem(network)
    return checked(Normalised(network), name, image_size)


def _from_timm(name: str, classes: int, image_size: int) -> nn.Module:
    """Return a classifier of timm's, such as ``inception_resnet_v2``."""
    network = timm_network(name, num_classes=classes)
    return checked(Normalised(network), f"{TIMM}{name}", image_size)


def timm_network(name: str, **options: Any) -> nn.Module:
    """Return a network of timm's with random weights. Raises ``UsageError`` without timm or such a network."""
    try:
        import timm
    except ModuleNotFoundError as error:
        raise UsageError(
            f"{TIMM}{name} needs the extra 'timm'. In unlearn's source folder, run: pip install '.[timm]'"
        ) from error
    if not timm.is_model(name):
        raise UsageError(f"timm has no model '{name}'. In Python, timm.list_models() lists all models.")
    network: nn.Module = timm.create_model(name, pretrained=False, **options)
    return network


def checked(model: nn.Module, name: str, image_size: int) -> nn.Module:
    """Return the network; raise ``UsageError`` if it cannot be trained on images of this size."""
    # In small images, a kernel may exceed its input, or too few pixels be left for batch norm in training mode.
    try:
        with torch.no_grad():
            copy.deepcopy(model).train()(torch.zeros(2, 3, image_size, image_size))
    except (RuntimeError, ValueError, AssertionError) as error:
        raise UsageError(
            f"{name} does not take images of {image_size} pixels. Use another image-size, or another network."
        ) from error
    return model


def _widen_stem(network: nn.Module) -> None:
    """Give torchvision's ResNets and DenseNets the stem that small images need: 3x3, stride 1 and no pooling."""
    stem: Callable[[int], nn.Conv2d] = lambda width: nn.Conv2d(3, width, 3, 1, 1, bias=False)  # noqa: E731
    parts: Any = network
    if hasattr(network, "conv1") and hasattr(network, "maxpool"):
        parts.conv1, parts.maxpool = stem(parts.conv1.out_channels), nn.Identity()
    elif hasattr(getattr(network, "features", None), "conv0"):
        parts.features.conv0, parts.features.pool0 = stem(parts.features.conv0.out_channels), nn.Identity()
