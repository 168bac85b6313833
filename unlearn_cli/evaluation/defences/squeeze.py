"""Filters that need no fitting: grey images, Gaussian blur and bit depth reduction.

Grey images come from Liu et al., "Going Grayscale", 2021, and from image shortcut squeezing (Liu et
al., ICML 2023). Gaussian blur and bit depth reduction come from table 3 of the latter.
"""

from __future__ import annotations

import torch
from torch import Tensor

from unlearn_cli.evaluation.defences.defence import Defence, Filter

LUMA = (0.299, 0.587, 0.114)
AT_ONCE = 1000
BLUR_KERNEL = 3
BLUR_SIGMA = 0.8
"""The sigma in pixels for images of 32 pixels; for larger images it grows in proportion."""


def gray() -> Defence:
    """Return a defence that puts the luma (ITU-R BT.601) into all three channels."""

    def apply(images: Tensor) -> Tensor:
        weights = torch.tensor(LUMA, device=images.device)
        return _in_parts(images, lambda part: torch.einsum("c,bchw->bhw", weights, part)[:, None].expand(part.shape))

    return Defence(name="gray", fit=lambda _: apply)


def blur() -> Defence:
    """Return a defence that blurs with a Gaussian of sigma 0.8 at 32 pixels, in proportion at larger sizes."""
    from torchvision.transforms.functional import gaussian_blur  # imported late: it takes seconds

    def apply(images: Tensor) -> Tensor:
        scale = max(1.0, images.shape[-1] / 32)
        kernel = 2 * round(BLUR_KERNEL * scale / 2 - 0.5) + 1
        return _in_parts(images, lambda part: gaussian_blur(part, [kernel, kernel], [BLUR_SIGMA * scale] * 2))

    return Defence(name="blur", fit=lambda _: apply)


def bit_depth(bits: int) -> Defence:
    """Return a defence that rounds pixel values to ``bits`` bits."""
    steps = 2**bits - 1

    def apply(images: Tensor) -> Tensor:
        return _in_parts(images, lambda part: (part * steps / 255).round() * 255 / steps)

    return Defence(name=f"bit-depth:{bits}", fit=lambda _: apply)


def _in_parts(images: Tensor, work: Filter) -> Tensor:
    """Return the images after ``work``, which gets them as float32 in parts, rounded to uint8."""
    done = torch.empty_like(images, dtype=torch.uint8)
    for start in range(0, len(images), AT_ONCE):
        part = images[start : start + AT_ONCE].float()
        done[start : start + AT_ONCE] = work(part).round().clamp(0, 255).to(torch.uint8)
    return done
