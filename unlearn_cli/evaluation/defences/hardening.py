"""Changes of the training step that make a victim depend less on noise.

- Adversarial training (Madry et al., ICLR 2018), which breaks error-minimizing noise: Huang et al., 2021, figure 6.
- Colour jitter: random colour changes in each training step, so that a victim does not rely on colours;
  ``pipeline`` also makes some images grey.
- Training on the worst of several augmentations, after UEraser (Qin et al., "Learning the unlearnable", 2023), which
  uses plasma transforms, channel shuffling and TrivialAugment. Ours is only "like" it, since it uses the transforms of
  ``noise.transforms`` (crop, brightness, contrast, saturation, hue, blur, grey) and channel shuffling.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unlearn_cli.evaluation.defences.defence import Defence
from unlearn_cli.noise.transforms import Through

STEPS = 10


def adversarial(epsilon: int) -> Defence:
    """Return a defence that trains on PGD-10 adversarial examples within ``epsilon`` levels of 255.

    The attack starts at random and takes steps of epsilon / 4.
    """

    def harden(model: nn.Module, images: Tensor, targets: Tensor, generator: torch.Generator) -> Tensor:
        # The attack runs in evaluation mode, so that its ten passes do not change the statistics of batch norm.
        model.eval()
        start = (2 * torch.rand(images.shape, generator=generator) - 1) * epsilon
        noise = start.to(images.device)
        for _ in range(STEPS):
            noise.requires_grad_()
            loss = F.cross_entropy(model((images + noise).clamp(0, 255)), targets)
            (gradient,) = torch.autograd.grad(loss, noise)
            noise = (noise.detach() + epsilon / 4 * gradient.sign()).clamp(-epsilon, epsilon)
        model.train()
        return (images + noise).clamp(0, 255)

    return Defence(name=f"adversarial:{epsilon}", harden=harden)


def color_jitter() -> Defence:
    """Return a defence that changes the colours of each image at random in every training step.

    Brightness, contrast and saturation change by up to 40 %, hue by up to a tenth of the colour circle.
    """
    return _transforming("color-jitter", "color")


CHOICES = 5
SHUFFLE_PROBABILITY = 0.5


def pipeline() -> Defence:
    """Return a defence that changes colours as ``color_jitter`` does, and makes one image of five grey.

    Together with flips and crops, these are the augmentations that face recognisers and self-supervised networks are
    usually trained with (RandomGrayscale 0.2 and ColorJitter 0.4, 0.4, 0.4, 0.1 of torchvision).
    """
    return _transforming("pipeline", "color+gray")


def _transforming(name: str, chain: str) -> Defence:
    """Return a defence that changes each image at random, in every training step, by a chain of transformations."""
    through = Through(chain)

    def harden(_model: nn.Module, images: Tensor, _targets: Tensor, generator: torch.Generator) -> Tensor:
        return through.apply(images, through.draw(len(images), generator).to(images.device))

    return Defence(name=name, harden=harden)


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
