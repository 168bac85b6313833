"""Filters without anything to learn: grey, blur, fewer bits.

Grey images: Liu et al., "Going Grayscale", 2021, and image shortcut squeezing (Liu et al., ICML
2023). Gaussian blur and bit depth reduction: the same, its table 3.
"""

from __future__ import annotations

import torch
from torch import Tensor

from unlearn_cli.evaluation.defences.defence import Defence, Filter

LUMA = (0.299, 0.587, 0.114)
AT_ONCE = 1000
BLUR_KERNEL = 3
BLUR_SIGMA = 0.8
"""At 32 pixels; larger images are blurred in proportion."""


def gray() -> Defence:
    """The luma (ITU-R BT.601) in all three channels."""

    def apply(images: Tensor) -> Tensor:
        weights = torch.tensor(LUMA, device=images.device)
        return _in_parts(images, lambda part: torch.einsum("c,bchw->bhw", weights, part)[:, None].expand(part.shape))

    return Defence(name="gray", fit=lambda _: apply)


def blur() -> Defence:
    """A Gaussian of sigma 0.8 at 32 pixels."""
    from torchvision.transforms.functional import gaussian_blur  # takes seconds, so not before it is needed

    def apply(images: Tensor) -> Tensor:
        scale = max(1.0, images.shape[-1] / 32)
        kernel = 2 * round(BLUR_KERNEL * scale / 2 - 0.5) + 1
        return _in_parts(images, lambda part: gaussian_blur(part, [kernel, kernel], [BLUR_SIGMA * scale] * 2))

    return Defence(name="blur", fit=lambda _: apply)


def bit_depth(bits: int) -> Defence:
    """Levels rounded to so many bits."""
    steps = 2**bits - 1

    def apply(images: Tensor) -> Tensor:
        return _in_parts(images, lambda part: (part * steps / 255).round() * 255 / steps)

    return Defence(name=f"bit-depth:{bits}", fit=lambda _: apply)


def _in_parts(images: Tensor, work: Filter) -> Tensor:
    """The work in float32, a part at a time; the result in whole levels."""
    done = torch.empty_like(images, dtype=torch.uint8)
    for start in range(0, len(images), AT_ONCE):
        part = images[start : start + AT_ONCE].float()
        done[start : start + AT_ONCE] = work(part).round().clamp(0, 255).to(torch.uint8)
    return done
