"""Colour jitter: random colour changes in each training step, so that a victim does not rely on colours."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from unlearn_cli.evaluation.defences.defence import Defence
from unlearn_cli.noise.transforms import Through


def color_jitter() -> Defence:
    """Return a defence that changes the colours of each image at random in every training step.

    Brightness, contrast and saturation change by up to 40 %, hue by up to a tenth of the colour circle.
    """
    through = Through("color")

    def harden(_model: nn.Module, images: Tensor, _targets: Tensor, generator: torch.Generator) -> Tensor:
        return through.apply(images, through.draw(len(images), generator).to(images.device))

    return Defence(name="color-jitter", harden=harden)
