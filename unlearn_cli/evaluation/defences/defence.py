"""What a defence is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from unlearn_cli.victims.datasets import ImageSet
from unlearn_cli.victims.train import Harden

Filter = Callable[[Tensor], Tensor]
"""Of images ``[N, 3, H, W]`` in pixel levels, uint8 or float32, to images of the same shape."""


@dataclass(frozen=True, kw_only=True)
class Defence:
    """Either a filter of all images, or a part of the training step, or neither.

    A filter is the scraper's own preprocessing: it is fitted to the training images and applied to
    them, and to every image that the victim is shown later.
    """

    name: str
    fit: Callable[[ImageSet], Filter] | None = None
    harden: Harden | None = None
