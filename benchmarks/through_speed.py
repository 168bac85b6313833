"""Measure the transformations inside the noise step against kornia's, forward and backward, in the same run.

usage: pip install kornia; python benchmarks/through_speed.py [--device cuda] [--size 32] [--batch 128]
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from unlearn_cli.noise.transforms import Through
from unlearn_cli.training.devices import wait_for


def theirs() -> dict[str, Callable[[Tensor], Tensor]]:
    """Return kornia's transformations, which take values from 0 to 1 and draw for each image."""
    import kornia.augmentation as augmentation  # type: ignore[import-not-found, unused-ignore]
    from kornia.enhance import JPEGCodecDifferentiable  # type: ignore[import-not-found, unused-ignore]

    codec = JPEGCodecDifferentiable()
    flip, shift = augmentation.RandomHorizontalFlip(), augmentation.RandomAffine(0, translate=(0.125, 0.125), p=1.0)
    scale = augmentation.RandomAffine(0, scale=(0.8, 1.25), p=1.0)
    color = augmentation.ColorJiggle(0.4, 0.4, 0.4, 0.1, p=1.0)
    blur = augmentation.RandomGaussianBlur((5, 5), (0.1, 1.0), p=1.0)
    gray = augmentation.RandomGrayscale(p=0.2)
    crop = augmentation.RandomResizedCrop((32, 32), scale=(0.36, 1.0), ratio=(1.0, 1.0))
    chained: list[Any] = [scale, shift, flip, color, gray]

    def jpeg(images: Tensor) -> Tensor:
        quality = 50 + 45 * torch.rand(len(images), device=images.device)
        found: Tensor = codec(images, jpeg_quality=quality)
        return found

    def chain(images: Tensor) -> Tensor:
        for step in chained:
            images = step(images)
        return images

    return {
        "flip+shift": lambda images: shift(flip(images)),
        "scale": scale,
        "crop": crop,
        "blur": blur,
        "gray": gray,
        "color": color,
        "jpeg:50-95": jpeg,
        "scale+shift+flip+color+gray": chain,
    }


def milliseconds(work: Callable[[], object], device: torch.device) -> float:
    times = []
    for _ in range(22):
        start = time.perf_counter()
        work()
        wait_for(device)
        times.append(1000 * (time.perf_counter() - start))
    return statistics.median(times[2:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--batch", type=int, default=128)
    of = parser.parse_args()
    warnings.simplefilter("ignore")
    device, generator = torch.device(of.device), torch.Generator().manual_seed(0)
    levels = (255 * torch.rand((of.batch, 3, of.size, of.size))).to(device).requires_grad_()
    unit = torch.rand((of.batch, 3, of.size, of.size)).to(device).requires_grad_()
    print("| transformation | kornia | ours | ratio |\n|---|---|---|---|")
    for name, other in theirs().items():
        through = Through(name)

        def mine(through: Through = through) -> None:
            through.apply(levels, through.draw(of.batch, generator).to(device)).sum().backward()

        def their(other: Callable[[Tensor], Tensor] = other) -> None:
            other(unit).sum().backward()

        ours, kornias = milliseconds(mine, device), milliseconds(their, device)
        print(f"| `{name}` | {kornias:.1f} ms | {ours:.1f} ms | {kornias / ours:.1f} |", flush=True)


if __name__ == "__main__":
    main()
