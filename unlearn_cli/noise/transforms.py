"""The transformations that noise is optimised through (expectation over transformation).

Each takes noisy images ``[B, 3, H, W]`` in float pixel levels and a CPU generator, draws afresh
for every image, and lets gradients pass. Noise made without any (the paper's plain form) is
found by an augmenting victim only when it has learned half of what there is; see docs/results.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from unlearn_cli.victims.augment import flip_and_shift

Transform = Callable[[Tensor, torch.Generator], Tensor]


def _unchanged(images: Tensor, generator: torch.Generator) -> Tensor:  # noqa: ARG001
    return images


THROUGH: dict[str, Transform] = {"augment": flip_and_shift, "none": _unchanged}
