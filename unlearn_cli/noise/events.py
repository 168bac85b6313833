"""The events that a search yields; the last one is ``Finished``."""

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
    """An estimate of how long the search will take, from a few timed steps of a separate one."""

    seconds: float
    """The seconds of all iterations, which is the longest that it can take."""
    likely: float
    """The seconds until its error is below the goal, by the number of iterations that such searches have needed."""


@dataclass(frozen=True)
class Resumed:
    """The search continues from a checkpoint that was saved after this iteration."""

    path: Path
    iteration: int
    epoch: int
    """Finished epochs of the surrogate's clean training, for error-maximizing noise."""


@dataclass(frozen=True)
class SurrogateEpoch:
    """One epoch of the surrogate's clean training, before error-maximizing noise is made."""

    epoch: int
    """The number of the epoch, counted from 1."""
    epochs: int
    error: float
    """The surrogate's error rate on its training images, as they were transformed for it."""
    seconds: float
    """Seconds since the search began."""


@dataclass(frozen=True)
class Improving:
    """A share of one pass over the noise is over; nine of these events come in a pass of ten or more batches."""

    iteration: int
    """The number of the iteration, counted from 1."""
    max_iterations: int
    share: float
    """Which share of the images have their new noise, between 0 and 1."""


@dataclass(frozen=True)
class Iterated:
    """One iteration of the outer problem: M surrogate steps and one pass over the noise.

    For error-maximizing noise it is only the pass over the noise, and for a joint search one epoch.
    """

    iteration: int
    """The number of the iteration, counted from 1."""
    max_iterations: int
    error: float
    """The surrogate's error rate on transformed noisy images during this iteration."""
    seconds: float
    """Seconds since the search began."""
    visibility: float | None = None
    """For a joint search only: the mean visibility of the noise (see ``noise.visibility``)."""


@dataclass(frozen=True, eq=False)
class Finished:
    """The finished noise, and why the search ended."""

    noise: NDArray[np.int8]
    """The noise in pixel levels, within epsilon: class-wise ``[K, 3, H, W]``, sample-wise ``[N, 3, H, W]`` in the order
    of the images. ``H`` and ``W`` are the size of the patch where there is one."""
    iterations: int
    error: float
    stop: Stop
    seconds: float
    surrogate: nn.ModuleDict | None
    """The surrogate networks by name, as the search left them; None for a baseline and for a joint search."""


Event = Estimated | Resumed | SurrogateEpoch | Improving | Iterated | Finished
