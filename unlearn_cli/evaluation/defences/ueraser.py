"""The worst of several strong augmentations, after UEraser (Qin et al., "Learning the unlearnable", 2023).

Theirs are plasma transforms, channel shuffling and TrivialAugment; ours are those of ``noise.transforms`` (a crop,
brightness, contrast, saturation, hue, blur, grey) and channel shuffling, hence "like".
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
    """Train on that of five strong augmentations of each image whose loss is largest."""
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
    """The channels of half of the images in a random order."""
    order = torch.rand((len(images), 3), generator=generator).argsort(1)
    kept = torch.rand(len(images), generator=generator) >= SHUFFLE_PROBABILITY
    order[kept] = torch.arange(3)
    return images[torch.arange(len(images))[:, None], order.to(images.device)]
