"""The type of a defence."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from unlearn_cli.training.datasets import ImageSet
from unlearn_cli.training.train import Harden

Filter = Callable[[Tensor], Tensor]
"""A function from images ``[N, 3, H, W]`` with pixel values 0 to 255, uint8 or float32, to images of that shape."""


@dataclass(frozen=True, kw_only=True)
class Defence:
    """A defence: a filter of all images (``fit``), a change of the training step (``harden``), or neither.

    A filter is the scraper's own preprocessing: it is fitted to the training images and applied to
    them and to every image that the victim is tested on.
    """

    name: str
    fit: Callable[[ImageSet], Filter] | None = None
    harden: Harden | None = None
