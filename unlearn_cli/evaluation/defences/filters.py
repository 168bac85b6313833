"""Filters that a scraper applies to every image, of the training set and of the test set.

- JPEG compression, grey images and bit depth reduction: image shortcut squeezing (Liu et al., ICML 2023; section 4 uses
  JPEG quality 10, table 3 the others). Grey images are also from Liu et al., "Going Grayscale", 2021.
- Gaussian blur, from table 3 of the same.
- Orthogonal projection (Sandoval-Segura et al., "What can we learn from unlearnable datasets?", NeurIPS 2023): a linear
  classifier finds one direction for each class along which the training images are easy to tell apart. Class-wise noise
  lies along these directions, so they are projected out of every image.
"""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from unlearn_cli.evaluation.defences.defence import Defence, Filter
from unlearn_cli.pixels import LUMA
from unlearn_cli.training.datasets import ImageSet
from unlearn_cli.training.workers import usable_cores


def jpeg(quality: int) -> Defence:
    """Return a defence that compresses every image with Pillow at this quality, with 4:2:0 subsampling."""

    def compress(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "jpeg", quality=quality, subsampling="4:2:0")
        return np.asarray(Image.open(buffer))

    def apply(images: Tensor) -> Tensor:
        # Threads help, because Pillow encodes and decodes without holding the interpreter's lock.
        rows = images.cpu().permute(0, 2, 3, 1).contiguous().numpy()
        with ThreadPoolExecutor(usable_cores()) as pool:
            done = np.stack(list(pool.map(compress, rows)))
        return torch.from_numpy(done).permute(0, 3, 1, 2).contiguous().to(images.device)

    def fit(train: ImageSet) -> Filter:  # noqa: ARG001
        return apply

    return Defence(name=f"jpeg:{quality}", fit=fit)


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


EPOCHS = 20
BATCH_SIZE = 128
LEARNING_RATE = 0.01


def orthogonal_projection() -> Defence:
    """Return a defence that removes the span of a logistic regression's weights from every image."""
    return Defence(name="orthogonal-projection", fit=_fit)


def _fit(train: ImageSet) -> Filter:
    # Weights that begin at zero add up to zero over the classes, so that the last depends on the others.
    basis, _ = torch.linalg.qr(_directions(train)[:-1].T)

    def apply(images: Tensor) -> Tensor:
        span = basis.to(images.device)
        # The result stays in fractions and may be below 0, because rounding would put noise back.
        done = torch.empty(images.shape, dtype=torch.float32, device=images.device)
        for start in range(0, len(images), AT_ONCE):
            flat = images[start : start + AT_ONCE].float().flatten(1)
            done[start : start + AT_ONCE] = (flat - flat @ span @ span.T).view(-1, *images.shape[1:])
        return done

    return apply


def _directions(train: ImageSet) -> Tensor:
    """Return the weights ``[K, D]`` of a logistic regression on the pixel values."""
    generator = torch.Generator().manual_seed(0)
    device = train.images.device
    weight = torch.zeros((len(train.classes), train.images[0].numel()), device=device, requires_grad=True)
    bias = torch.zeros(len(train.classes), device=device, requires_grad=True)
    optimizer = torch.optim.SGD([weight, bias], LEARNING_RATE, momentum=0.9)
    for _ in range(EPOCHS):
        for batch in torch.randperm(len(train), generator=generator).to(device).split(BATCH_SIZE):
            flat = train.images[batch].float().flatten(1) / 255
            loss = F.cross_entropy(F.linear(flat, weight, bias), train.labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return weight.detach()
