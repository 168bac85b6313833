"""What a search reports on its way; the last event is ``Finished``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from torch import nn

Stop = Literal["goal reached", "stalled", "max_iterations reached", "nothing to search"]


@dataclass(frozen=True)
class Estimated:
    """How long all iterations would take, from a few timed steps of a throwaway search."""

    seconds: float


@dataclass(frozen=True)
class Resumed:
    """The search goes on from a checkpoint, kept after this iteration."""

    path: Path
    iteration: int
    epoch: int
    """Of the surrogate's clean training, for error-maximizing noise."""


@dataclass(frozen=True)
class SurrogateEpoch:
    """An epoch of the surrogate's clean training, before error-maximizing noise."""

    epoch: int
    """Counted from 1."""
    epochs: int
    error: float
    """On its training images, as it saw them."""
    seconds: float
    """Since the search began."""


@dataclass(frozen=True)
class Iterated:
    """One outer iteration: M surrogate steps and one pass of the noise."""

    iteration: int
    """Counted from 1."""
    max_iterations: int
    error: float
    """The surrogate's error over the noise pass, on transformed noisy images."""
    seconds: float
    """Since the search began."""
    visibility: float | None = None
    """Of a joint search: how visible the noise was."""


@dataclass(frozen=True, eq=False)
class Finished:
    """The noise, and why the search ended."""

    noise: NDArray[np.int8]
    """Class-wise ``[K, 3, H, W]``, sample-wise ``[N, 3, H, W]`` in the order of the images; pixel levels, within
    epsilon. ``H`` and ``W`` are the patch's where there is one."""
    iterations: int
    error: float
    stop: Stop
    seconds: float
    surrogate: nn.ModuleDict | None
    """The networks by their names, as they were in the end; None if the method needs none."""


Event = Estimated | Resumed | SurrogateEpoch | Iterated | Finished
