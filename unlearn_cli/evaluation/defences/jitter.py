"""Colours that change from step to step, so that a victim should not rely on them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from unlearn_cli.evaluation.defences.defence import Defence
from unlearn_cli.noise.transforms import Through


def color_jitter() -> Defence:
    """Brightness, contrast and saturation by up to 40 %, hue by up to a tenth of the circle, drawn for each image."""
    through = Through("color")

    def harden(_model: nn.Module, images: Tensor, _targets: Tensor, generator: torch.Generator) -> Tensor:
        return through.apply(images, through.draw(len(images), generator).to(images.device))

    return Defence(name="color-jitter", harden=harden)
