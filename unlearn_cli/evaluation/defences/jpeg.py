"""JPEG compression, from image shortcut squeezing (Liu et al., ICML 2023, section 4, which uses quality 10)."""

from __future__ import annotations

import io
import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from unlearn_cli.evaluation.defences.defence import Defence, Filter
from unlearn_cli.victims.datasets import ImageSet


def jpeg(quality: int) -> Defence:
    """Return a defence that compresses every image with Pillow at this quality, with 4:2:0 subsampling."""

    def compress(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "jpeg", quality=quality, subsampling="4:2:0")
        return np.asarray(Image.open(buffer))

    def apply(images: Tensor) -> Tensor:
        # Threads help, because Pillow encodes and decodes without holding the interpreter's lock.
        rows = images.cpu().permute(0, 2, 3, 1).contiguous().numpy()
        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            done = np.stack(list(pool.map(compress, rows)))
        return torch.from_numpy(done).permute(0, 3, 1, 2).contiguous().to(images.device)

    def fit(train: ImageSet) -> Filter:  # noqa: ARG001
        return apply

    return Defence(name=f"jpeg:{quality}", fit=fit)
