"""Saving and loading a bank's surrogate, and making noise for single photos with it.

The surrogate was trained on images with the bank's noise, so it classifies an image by its noise. Noise that makes it
assign a photo to a class of the bank therefore acts like that class's pattern, but is fitted to the photo. This is the
sample-wise form of Huang et al. (2021), section 3.2, with a fixed surrogate.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import save
from torch import Tensor, nn

from unlearn_cli.banks.bank import Bank
from unlearn_cli.banks.catalog import surrogate_path
from unlearn_cli.errors import BankError, UsageError
from unlearn_cli.files import sha256_of, write_atomically
from unlearn_cli.noise.forms import apply_through
from unlearn_cli.noise.together import Together
from unlearn_cli.noise.transforms import Through
from unlearn_cli.training.models import build_model
from unlearn_cli.training.train import as_input
from unlearn_cli.training.weights import digest, halved, read_weights

METADATA_KEY = "unlearn-surrogate"
SCHEMA = 1

STEPS = 20
"""T of sample-wise noise (Huang et al., 2021, appendix B)."""
VIEWS = 4
"""How many random transformations of a photo each step averages over."""
MOST_PIXELS = 64 * 32 * 32
"""The most pixels, at the networks' image size, of the photos in one batch; it limits the memory."""


def save_surrogate(networks: nn.ModuleDict, noise_sha256: str, classes: int, size: int, bank: Path) -> Path:
    """Write a bank's surrogate beside it, atomically, and return its path.

    ``size`` is the image size in pixels.
    """
    tensors = halved(networks)
    about = {
        "schema": SCHEMA,
        "networks": list(networks.keys()),
        "classes": classes,
        "image_size": size,
        "noise_sha256": noise_sha256,
        "weights_sha256": digest(tensors),
    }
    path = surrogate_path(bank)
    write_atomically(path, save(tensors, {METADATA_KEY: json.dumps(about)}))
    return path


def load_surrogate(bank: Bank, device: torch.device) -> nn.ModuleDict:
    """Return the networks that a bank's noise was made on, in evaluation mode and without gradients.

    Raises ``BankError`` if the bank was made without a surrogate or has none beside it, or if the surrogate's file is
    damaged, needs a newer version of unlearn, or belongs to another bank.
    """
    path = surrogate_path(bank.path)
    if bank.provenance.surrogate == "none":
        raise BankError(
            f"The noise bank {bank.path} was made without a network, which sample-wise noise needs. "
            "Use a bank of error-min noise, or leave out --form."
        )
    if not path.is_file():
        raise BankError(
            f"The noise bank {bank.path} has no network beside it ({path.name}), which sample-wise noise needs. "
            "Make the bank again with 'unlearn generate', or leave out --form."
        )
    try:
        about, tensors = read_weights(path, METADATA_KEY)
        if about["schema"] > SCHEMA:
            raise BankError(f"The bank's network {path} has a newer schema ({about['schema']}): update unlearn.")
        if (about["classes"], about["image_size"]) != (len(bank.classes), bank.provenance.scale):
            raise ValueError("of another shape")
        networks = nn.ModuleDict(
            {name: build_model(name, about["classes"], about["image_size"], 0) for name in about["networks"]}
        )
        networks.load_state_dict(tensors)
        if digest(tensors) != about["weights_sha256"]:
            raise ValueError("not the weights that were written")
    except (SafetensorError, OSError, KeyError, TypeError, ValueError, RuntimeError, UsageError) as error:
        raise BankError(
            f"The bank's network {path} is damaged. "
            "Install unlearn again, or make the bank again with 'unlearn generate'."
        ) from error
    if about["noise_sha256"] != bank.noise_sha256:
        raise BankError(f"The network {path} belongs to another bank. Make the bank again with 'unlearn generate'.")
    return networks.to(device).eval().requires_grad_(False)


class PhotoNoise:
    """A maker of noise for single photos with a bank's surrogate; it works on the photos of several threads at once."""

    def __init__(self, bank: Bank, epsilon: int, device: torch.device) -> None:
        """Load the bank's surrogate; ``epsilon`` is in pixel levels.

        Raises ``BankError`` as ``load_surrogate`` does, and if a transformation that the bank names is unknown.
        """
        self.networks = load_surrogate(bank, device)
        self.size, self.epsilon, self.device = bank.provenance.scale, epsilon, device
        try:
            self.through = Through(bank.provenance.through)
        except UsageError as error:
            raise BankError(
                f"The noise bank {bank.path} was made with transformations that this version does not know: "
                "update unlearn."
            ) from error
        # All photos share their draws, so that a photo's noise does not depend on the others in its batch (except by
        # the rounding of another batch size, which may flip the sign of a gradient close to zero).
        generator = torch.Generator().manual_seed(0)
        self.draws = [self.through.draw(VIEWS, generator).to(device) for _ in range(STEPS)]
        self.fingerprint = f"sample-wise {sha256_of(surrogate_path(bank.path))} {epsilon} {STEPS} {VIEWS}"
        self._together: Together[tuple[NDArray[np.uint8], int]] = Together(self._batch)

    def make(self, images: Tensor, labels: Tensor) -> Tensor:
        """Return noise for any number of images, as ``_make`` does."""
        most = max(1, MOST_PIXELS // self.size**2)
        return torch.cat([self._make(*part) for part in zip(images.split(most), labels.split(most), strict=True)])

    def _make(self, images: Tensor, labels: Tensor) -> Tensor:
        """Return noise with which the surrogate classifies the images as ``labels``: int8 ``[B, 3, S, S]``, in levels.

        The images are uint8 ``[B, 3, S, S]``. The noise takes T signed steps of epsilon / 10 from zero, each on the
        loss over several random transformations of each photo and over the ensemble.
        """
        levels, labels = as_input(images.to(self.device)), labels.to(self.device).repeat_interleave(VIEWS)
        noise = torch.zeros_like(levels)
        for draws in self.draws:
            noise.requires_grad_()
            seen = apply_through(levels, noise).repeat_interleave(VIEWS, 0)
            seen = as_input(self.through.apply(seen, draws.repeat(1, len(levels))))
            losses = [F.cross_entropy(network(seen), labels) for network in self.networks.values()]
            (gradient,) = torch.autograd.grad(torch.stack(losses).sum(), noise)
            noise = (noise.detach() - self.epsilon / 10 * gradient.sign()).clamp(-self.epsilon, self.epsilon)
        return noise.round().to(torch.int8).cpu()

    def of(self, pixels: NDArray[np.uint8], label: int) -> NDArray[np.int8]:
        """Return noise int8 ``[3, S, S]``, in levels, for one photo, given as its pixels ``[S, S, 3]`` at size S.

        Several threads may call it. Raises ``PhotoError`` if memory runs out or the device fails.
        """
        return self._together((pixels, label))

    def _batch(self, photos: list[tuple[NDArray[np.uint8], int]]) -> NDArray[np.int8]:
        images = torch.from_numpy(np.stack([pixels for pixels, _ in photos])).permute(0, 3, 1, 2)
        made: NDArray[np.int8] = self.make(images, torch.tensor([label for _, label in photos])).numpy()
        return made
