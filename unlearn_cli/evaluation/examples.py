"""A sheet of example images that shows the original, the noise and the protected image of each."""

from __future__ import annotations

import io

import numpy as np
import torch
from PIL import Image

from unlearn_cli.evaluation.scenario import Scenario

EXAMPLES = 8
NOISE_GAIN = 10
SHOWN_SIZE = 96
GAP = 4


def example_sheet(scenario: Scenario) -> bytes:
    """Return a PNG of up to eight protected images, of different classes where there are enough.

    The top row shows the originals, the middle row the noise times ten around grey, the bottom row the protected
    images.
    """
    chosen = _different(scenario.train.labels[scenario.protected], scenario.protected.nonzero()[:, 0])
    before = scenario.original.images[chosen].numpy().astype(np.int16)
    after = scenario.noisy.images[chosen].numpy().astype(np.int16)
    noise = (NOISE_GAIN * (after - before) + 128).clip(0, 255)
    times = max(1, SHOWN_SIZE // before.shape[-1])
    rows = [np.kron(part, np.ones((1, 1, times, times))).astype(np.uint8) for part in (before, noise, after)]
    side = rows[0].shape[-1]
    sheet = np.full((3 * (side + GAP) - GAP, len(chosen) * (side + GAP) - GAP, 3), 255, np.uint8)
    for y, row in enumerate(rows):
        for x, image in enumerate(row):
            top, left = y * (side + GAP), x * (side + GAP)
            sheet[top : top + side, left : left + side] = image.transpose(1, 2, 0)
    buffer = io.BytesIO()
    Image.fromarray(sheet).save(buffer, "png", optimize=True)
    return buffer.getvalue()


def _different(labels: torch.Tensor, indices: torch.Tensor) -> list[int]:
    """Return the indices of up to ``EXAMPLES`` images: the first of each class, and then further ones."""
    first: dict[int, int] = {}
    for label, index in zip(labels.tolist(), indices.tolist(), strict=True):
        first.setdefault(label, index)
    chosen = [first[label] for label in sorted(first)]
    return (chosen + [index for index in indices.tolist()[:EXAMPLES] if index not in chosen])[:EXAMPLES]
