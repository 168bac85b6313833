"""Training on the worst of several augmentations, after UEraser (Qin et al., "Learning the unlearnable", 2023).

UEraser uses plasma transforms, channel shuffling and TrivialAugment. This defence is only "like" it, since it uses the
transforms of ``noise.transforms`` (crop, brightness, contrast, saturation, hue, blur, grey) and channel shuffling.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unlearn_cli.evaluation.defences.defence import Defence
from unlearn_cli.noise.transforms import Through

CHOICES = 5
SHUFFLE_PROBABILITY = 0.5


def ueraser_like() -> Defence:
    """Return a defence that makes five strong augmentations of each image and trains on that of the largest loss."""
    through = Through("crop+color+color+blur+gray")

    @torch.no_grad()
    def harden(model: nn.Module, images: Tensor, targets: Tensor, generator: torch.Generator) -> Tensor:
        model.eval()
        best, largest = images, torch.full((len(images),), -torch.inf, device=images.device)
        for _ in range(CHOICES):
            tried = through.apply(_shuffled(images, generator), through.draw(len(images), generator).to(images.device))
            loss = F.cross_entropy(model(tried), targets, reduction="none")
            better = loss > largest
            best = torch.where(better[:, None, None, None], tried, best)
            largest = torch.where(better, loss, largest)
        model.train()
        return best

    return Defence(name="ueraser-like", harden=harden)


def _shuffled(images: Tensor, generator: torch.Generator) -> Tensor:
    """Return the images with the channels of each in a random order with probability 1/2."""
    order = torch.rand((len(images), 3), generator=generator).argsort(1)
    kept = torch.rand(len(images), generator=generator) >= SHUFFLE_PROBABILITY
    order[kept] = torch.arange(3)
    return images[torch.arange(len(images))[:, None], order.to(images.device)]
