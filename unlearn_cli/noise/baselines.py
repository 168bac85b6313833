"""Baselines that need no surrogate: random, linearly separable and autoregressive noise.

Each function returns one pattern for each class, or for each image: int8 ``[N, 3, H, W]``, in whole pixel levels,
within epsilon.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unlearn_cli.errors import UsageError, WorkError
from unlearn_cli.noise.settings import Baseline
from unlearn_cli.training.datasets import ImageSet

Levels = NDArray[np.int8]

LSP_PATCH = 8
"""The side of a block of one colour, in pixels."""
LSP_SEPARATION = 10.0
"""The absolute value of a class centre's coordinates, in standard deviations of the normal samples."""

AR_WINDOW = 3
"""The side of the window whose last pixel is computed from the others."""
AR_MARGIN = 4
"""How many rows and columns are generated first and discarded, because they still depend on the random start."""
AR_NORM = 1.0
"""The Euclidean norm of an image's noise in the unit interval, at 32 pixels (the paper's epsilon)."""
AR_TRIES = 10_000
AT_ONCE = 2000
"""How many images are generated at once; a limit, because each value takes 8 bytes."""


def random(data: ImageSet, settings: Baseline) -> Levels:
    """Return independent values, uniform between minus and plus epsilon (Huang et al., 2021, section 4)."""
    shape = (len(_labels(data, settings)), 3, data.size, data.size)
    return _generator(settings).integers(-settings.epsilon, settings.epsilon + 1, shape, np.int8)


def lsp(data: ImageSet, settings: Baseline) -> Levels:
    """Return linearly separable perturbations: blocks of colour around a class centre (Yu et al., KDD 2022, section 4).

    A pattern has one value for each channel of each 8 x 8 pixel block. A class centre is a corner of a hypercube, whose
    coordinates are plus or minus 10. A sample is the centre plus the product of a standard normal vector and
    a random matrix of its class. The noise is scaled so that the corner lies at epsilon, and clipped to epsilon; the
    paper scales to a Euclidean norm instead. Class-wise, the pattern is the corner itself. Raises ``UsageError`` if
    there are more classes than corners.
    """
    draw, labels = _generator(settings), _labels(data, settings)
    blocks = -(-data.size // LSP_PATCH)
    features = 3 * blocks * blocks
    corners = _distinct_signs(draw, len(data.classes), features) * LSP_SEPARATION
    values = corners[labels]
    if settings.form == "sample-wise":
        for label in range(len(data.classes)):
            mine = labels == label
            spread = draw.uniform(-1, 1, (features, features))
            values[mine] += draw.standard_normal((int(mine.sum()), features)) @ spread
    grid = _in_levels(values.reshape(-1, 3, blocks, blocks) / LSP_SEPARATION * settings.epsilon, settings.epsilon)
    return grid.repeat(LSP_PATCH, axis=2).repeat(LSP_PATCH, axis=3)[..., : data.size, : data.size].copy()


def ar(data: ImageSet, settings: Baseline) -> Levels:
    """Return autoregressive perturbations: each pixel is a weighted sum of earlier ones (Sandoval-Segura et al., 2022).

    A class has eight coefficients for each channel, which sum to 1; each image's process starts from its own normal
    numbers (section 3.2). The noise is scaled to the published Euclidean norm and then clipped to epsilon; the
    published noise is not clipped. Raises ``WorkError`` where no stable process is found.
    """
    draw, labels = _generator(settings), _labels(data, settings)
    coefficients = np.stack([ar_coefficients(draw, data.size) for _ in data.classes])
    side = data.size + AR_MARGIN
    root_mean_square = AR_NORM * 255 / np.sqrt(3 * 32 * 32)
    noise = np.empty((len(labels), 3, data.size, data.size), np.int8)
    for first in range(0, len(labels), AT_ONCE):
        part = coefficients[labels[first : first + AT_ONCE]]
        made = _run(draw.standard_normal((len(part), 3, side, side)), part)[..., AR_MARGIN:, AR_MARGIN:]
        own = np.sqrt(np.square(made).mean(axis=(1, 2, 3), keepdims=True))
        noise[first : first + AT_ONCE] = _in_levels(made * (root_mean_square / own), settings.epsilon)
    return noise


BASELINES: dict[str, Callable[[ImageSet, Baseline], Levels]] = {"random": random, "lsp": lsp, "ar": ar}


def ar_coefficients(draw: np.random.Generator, size: int) -> NDArray[np.float64]:
    """Return coefficients ``[3, 8]`` of processes that stay stable over an image of ``size`` pixels.

    Raises ``WorkError`` if three such processes are not found in ``AR_TRIES`` tries.
    """
    side, found = size + AR_MARGIN, []
    for _ in range(AR_TRIES):
        tried = draw.standard_normal((1, 1, AR_WINDOW**2 - 1))
        tried /= tried.sum()
        if np.abs(tried).max() > 2:
            continue
        made = _run(draw.standard_normal((1, 1, side, side)), tried)[0, 0]
        end = np.sqrt(np.square(np.diff(made[side // 2 :, side // 2 :], axis=1)).mean())
        if 0.3 < end < 3:
            found.append(tried[0, 0])
        if len(found) == 3:
            return np.stack(found)
    raise WorkError("No stable autoregressive process was found for images of this size. Try another --seed.")


def _run(field: NDArray[np.float64], coefficients: NDArray[np.float64]) -> NDArray[np.float64]:
    """Run the processes over fields ``[N, C, side, side]``, whose first two rows and columns are the start values.

    ``coefficients`` is ``[N, C, 8]``: the weights of the eight earlier pixels of the 3 x 3 window that ends at a
    pixel, row by row. All images are computed together, pixel by pixel.
    """
    field = field.copy()
    reach, side = AR_WINDOW - 1, field.shape[-1]
    with np.errstate(over="ignore", invalid="ignore"):  # The caller discards processes that explode.
        for y in range(reach, side):
            for x in range(reach, side):
                window = field[..., y - reach : y + 1, x - reach : x + 1].reshape(*field.shape[:2], -1)
                field[..., y, x] = (window[..., :-1] * coefficients).sum(-1)
    return field


def _distinct_signs(draw: np.random.Generator, count: int, features: int) -> NDArray[np.float64]:
    """Return ``count`` different corners of a hypercube: ``[count, features]``, plus or minus 1.

    Raises ``UsageError`` if the hypercube has fewer corners.
    """
    if count > 2**features:
        raise UsageError(
            f"The method lsp allows only {2**features} classes for images of this size. Use a larger image-size."
        )
    corners: dict[bytes, NDArray[np.floating[Any]]] = {}
    while len(corners) < count:
        corner = draw.integers(0, 2, features) * 2.0 - 1
        corners.setdefault(corner.tobytes(), corner)
    return np.stack(list(corners.values()))


def _labels(data: ImageSet, settings: Baseline) -> NDArray[np.int64]:
    """Return the class of each pattern."""
    if settings.form == "class-wise":
        return np.arange(len(data.classes))
    labels: NDArray[np.int64] = data.labels.cpu().numpy()
    return labels


def _generator(settings: Baseline) -> np.random.Generator:
    return np.random.default_rng(settings.seed)


def _in_levels(noise: NDArray[np.float64], epsilon: int) -> Levels:
    return np.rint(noise).clip(-epsilon, epsilon).astype(np.int8)
