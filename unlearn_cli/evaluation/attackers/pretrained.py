"""Networks with pretrained weights, which an attacker fine-tunes: the last layer alone, or all of it.

Such a network is named ``NETWORK=FILE``: torchvision's name, or ``timm:`` and timm's, and a file of weights. Nothing is
ever downloaded.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from unlearn_cli.errors import UsageError
from unlearn_cli.evaluation.attackers.linear import of_length_one
from unlearn_cli.evaluation.face_pairs import embed, last_layer
from unlearn_cli.files import sha256_of
from unlearn_cli.training.models import TIMM, timm_network
from unlearn_cli.training.train import TrainingSettings

Part = Literal["last", "whole"]
"""What is fine-tuned: the last layer alone, or the whole network."""

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""The mean and the standard deviation of ImageNet's images, with which torchvision's networks were trained."""

EPOCHS, LEARNING_RATE, BATCH_SIZE, SIDE = 8, 0.001, 16, 64
"""The schedule of fine-tuning a whole network, and the side of its images in pixels.

Tried with MobileNetV2 on 40 people, eight of them protected by ``person-high``: with a larger learning rate it follows
the noise more, from 0.02 on it loses what it knew, and flips and shifts of aligned faces cost more than they help.
"""

NOT_HERE = (
    "There are no weights of {network} here. Name a file, as in fine-tune:{network}=FILE.pth, or download "
    "torchvision's own weights once: python -c \"from torchvision.models import get_model; get_model('{network}', "
    "weights='DEFAULT')\"."
)
NO_NETWORK = (
    "There is no network '{network}' that ends in a linear layer. Use another one of torchvision's, such as "
    "mobilenet_v2, or of timm's, such as timm:efficientnet_lite0."
)
NAME_A_FILE = "Name a file with weights of {network}, as in fine-tune:{network}=FILE.pth."


class ImageNetInput(nn.Module):
    """A network that was trained on ImageNet, with the normalisation that it was trained with."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        # timm's networks say what they were trained with; it is not the same for all of them.
        own: Mapping[str, Any] = getattr(network, "pretrained_cfg", {})
        for name, values in (("mean", own.get("mean", MEAN)), ("deviation", own.get("std", DEVIATION))):
            self.register_buffer(name, 255 * torch.tensor(values)[:, None, None])

    def forward(self, levels: Tensor) -> Tensor:
        """Return logits ``[B, classes]`` for float images ``[B, 3, H, W]`` with pixel values 0..255."""
        logits: Tensor = self.network((levels - self.mean) / self.deviation)
        return logits


class Backbone:
    """A pretrained network up to its last layer, used like a face recogniser: its features are that layer's inputs."""

    normalises = False

    def __init__(self, name: str) -> None:
        self.name, _, file = name.partition("=")
        self.fingerprint = fingerprint_of(Path(file))
        self._model = load_pretrained(name)

    def embed(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the features ``[N, D]``, each of length 1, of images uint8 ``[N, H, W, 3]`` (RGB)."""
        planes = torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))
        return of_length_one(embed(self._model, planes, most=64).numpy())


def fingerprint_of(path: Path) -> str:
    """Return the SHA-256 of a file of weights. Raises ``UsageError`` if it cannot be read."""
    found = sha256_of(path)
    if found is None:
        raise UsageError(f"The network {path} cannot be read. Check its path.")
    return found


def find_weights(network: str) -> Path | None:
    """Return the file of torchvision's own weights for a network, if torch has downloaded it before; else None.

    Raises ``UsageError`` if there is no network of this name, and for one of timm's, whose files have no fixed place.
    """
    _plain(network)
    if network.startswith(TIMM):
        raise UsageError(NAME_A_FILE.format(network=network))
    from torchvision.models import _api as registry

    folder = Path(torch.hub.get_dir()) / "checkpoints"
    files = [folder / Path(str(weights.url)).name for weights in registry.get_model_weights(network)]
    return next((file for file in reversed(files) if file.is_file()), None)


def load_pretrained(name: str, classes: int | None = None, seed: int = 0) -> nn.Module:
    """Return the network ``NETWORK=FILE`` with its weights, in channels-last format.

    With ``classes``, its last layer is a new one for so many classes, which ``seed`` decides. Raises ``UsageError`` if
    there is no such network, or the file does not hold weights of it.
    """
    network, _, file = name.partition("=")
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        model, state = _plain(network), _state(network, Path(file))
        try:
            _replace_head(model, len(state[f"{_head(model)}.weight"]))
            model.load_state_dict(state)
        except (KeyError, RuntimeError, TypeError) as error:
            raise UsageError(f"{file} does not hold weights of {network}. Name another file.") from error
        if classes is not None:  # A new one, also where the file has one for as many.
            _replace_head(model, classes, anew=True)
        _without_auxiliary(model)
    return ImageNetInput(model).to(memory_format=torch.channels_last)


def settings_to_fine_tune(name: str, part: Part, epochs: int, seed: int) -> TrainingSettings:
    """Return how a part of a network ``NETWORK=FILE`` is fine-tuned, in at most so many epochs."""
    network = name.partition("=")[0]
    if part == "last":
        return TrainingSettings(model=f"fine-tune:{network}:last", epochs=1, augment="none", seed=seed)
    return TrainingSettings(
        model=f"fine-tune:{network}:whole",
        epochs=min(epochs, EPOCHS),
        augment="none",
        batch_size=BATCH_SIZE,
        learning_rate=LEARNING_RATE,
        seed=seed,
    )


def _plain(network: str) -> nn.Module:
    """Return a network with random weights. Raises ``UsageError`` if it cannot be used."""
    model = timm_network(network.removeprefix(TIMM)) if network.startswith(TIMM) else _torchvisions(network)
    try:
        last_layer(model)
    except UsageError as error:
        raise UsageError(NO_NETWORK.format(network=network)) from error
    return model


def _torchvisions(network: str) -> nn.Module:
    from torchvision import models  # It takes seconds.
    from torchvision.models import _api as registry

    if network not in registry.list_models(module=models):
        raise UsageError(NO_NETWORK.format(network=network))
    extra: dict[str, Any] = {"init_weights": False} if network in ("googlenet", "inception_v3") else {}
    model: nn.Module = registry.get_model(network, weights=None, **extra)
    return model


def _without_auxiliary(model: nn.Module) -> None:
    """Remove the classifiers that Inception and GoogLeNet have in their middle, which add outputs while training."""
    for name in ("aux1", "aux2", "AuxLogits"):
        if hasattr(model, name):
            setattr(model, name, None)
            model.aux_logits = False  # type: ignore[assignment]


def _head(model: nn.Module) -> str:
    last = last_layer(model)
    (name,) = [name for name, module in model.named_modules() if module is last]
    return str(name)


def _replace_head(model: nn.Module, classes: int, *, anew: bool = False) -> None:
    last = last_layer(model)
    if anew or last.out_features != classes:
        model.set_submodule(_head(model), nn.Linear(last.in_features, classes))


def _state(network: str, path: Path) -> dict[str, Tensor]:
    """Return the tensors of a file of weights, in safetensors' format or in that of ``torch.save``."""
    fingerprint_of(path)
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except MemoryError:
        raise
    except Exception as error:  # torch.load raises many kinds of exceptions for other files.
        raise UsageError(f"{path} does not hold weights of {network}. Name another file.") from error
    if not isinstance(state, dict):
        raise UsageError(f"{path} does not hold weights of {network}. Name another file.")
    return state
