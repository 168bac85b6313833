"""Measure the speed of making noise against a reference with the official code's structure, in the same run.

The reference has the structure of the paper's official program (written anew here): images come
from a DataLoader's workers, each image's noise is taken, padded to the image's size and put back
one by one through the host's memory, and the error is measured in a separate pass. Both use the
same surrogate, images, batches and number of rounds, and plain noise (`--through none`), as the
official program does. Also measured: the floating-point operations per second of our search,
beside what a large matrix product reaches on the same device and precision.

usage: python benchmarks/generate_speed.py                                     four minutes on two cores
       python benchmarks/generate_speed.py --device cuda --surrogate resnet18 --images 50000 --batch-size 512 \
           --precision bf16 --rounds 3
"""

from __future__ import annotations

import argparse
import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset, TensorDataset
from torch.utils.flop_counter import FlopCounterMode

from unlearn_cli.noise.alternating import AlternatingSearch
from unlearn_cli.noise.settings import ErrorMin
from unlearn_cli.training.datasets import DatasetSpec, ImageSet, load_dataset
from unlearn_cli.training.devices import describe_hardware, library_versions, wait_for
from unlearn_cli.training.models import build_model
from unlearn_cli.training.train import in_batches


class Reference:
    """Make noise with the official program's structure, in fp32 as there."""

    def __init__(self, data: ImageSet, settings: ErrorMin, device: torch.device, workers: int) -> None:
        self.settings, self.device = settings, device
        self.sample_wise = settings.form == "sample-wise"
        model = build_model(settings.surrogate, len(data.classes), data.size, settings.seed)
        self.model = model.to(memory_format=torch.contiguous_format).to(device)
        self.optimizer = torch.optim.SGD(self.model.parameters(), 0.1, momentum=0.9, weight_decay=5e-4)
        unit = TensorDataset(data.images.float() / 255, data.labels, torch.arange(len(data)))
        chosen = torch.randperm(len(data))[: math.ceil(len(data) * settings.share)].tolist()

        def loader(images: TensorDataset | Subset[tuple[Tensor, ...]]) -> DataLoader[tuple[Tensor, ...]]:
            return DataLoader(
                images, settings.batch_size, shuffle=True, num_workers=workers, pin_memory=device.type == "cuda"
            )

        self.train_loader, self.noise_loader = loader(unit), loader(Subset(unit, chosen))
        self.batches: Iterator[list[Tensor]] = iter(())
        self.noise = torch.zeros((len(data) if self.sample_wise else len(data.classes), 3, data.size, data.size))

    def noise_for(self, images: Tensor, labels: Tensor, indices: Tensor) -> Tensor:
        rows = []
        for i in range(len(images)):
            canvas = np.zeros(tuple(images[i].shape), np.float32)
            canvas[:] = self.noise[int(indices[i]) if self.sample_wise else int(labels[i])].numpy()
            rows.append(torch.from_numpy(canvas).to(self.device))
        return torch.stack(rows)

    def next_batch(self) -> list[Tensor]:
        try:
            return next(self.batches)
        except StopIteration:
            self.batches = iter(self.train_loader)
            return next(self.batches)

    def round(self) -> float:
        bound, step = self.settings.epsilon / 255, self.settings.step / 255
        self.model.train().requires_grad_(True)
        for _ in range(self.settings.surrogate_steps):
            images, labels, indices = self.next_batch()
            noisy = images.to(self.device) + self.noise_for(images, labels, indices)
            loss = F.cross_entropy(self.model(noisy * 255), labels.to(self.device))
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
        self.model.eval().requires_grad_(False)
        for images, labels, indices in self.noise_loader:
            there, wanted = images.to(self.device), labels.to(self.device)
            noise = self.noise_for(images, labels, indices)
            for _ in range(self.settings.steps):
                seen = (there + noise).clamp(0, 1).requires_grad_()
                F.cross_entropy(self.model(seen * 255), wanted).backward()
                assert seen.grad is not None
                noise = (seen.detach() - step * seen.grad.sign() - there).clamp(-bound, bound)
            self.keep(noise, labels, indices)
        wrong = 0.0
        for images, labels, indices in self.noise_loader:
            with torch.no_grad():
                logits = self.model((images.to(self.device) + self.noise_for(images, labels, indices)) * 255)
            wrong += (logits.argmax(1).cpu() != labels).sum().item()
        return wrong

    def keep(self, noise: Tensor, labels: Tensor, indices: Tensor) -> None:
        of_class: dict[int, list[Tensor]] = defaultdict(list)
        for i in range(len(noise)):
            if self.sample_wise:
                self.noise[int(indices[i])] = noise[i].cpu()
            else:
                of_class[int(labels[i])].append(noise[i].cpu())
        for label, rows in of_class.items():
            self.noise[label] = torch.stack(rows).mean(0)


def seconds(work: Callable[[], object], device: torch.device, times: int) -> float:
    """Return the shortest of several runs, after one to warm up."""
    found = []
    for _ in range(times + 1):
        wait_for(device)
        start = time.perf_counter()
        work()
        wait_for(device)
        found.append(time.perf_counter() - start)
    return min(found[1:])


def operations(search: AlternatingSearch, settings: ErrorMin) -> float:
    """Return the floating-point operations of one round, counted by PyTorch on one batch of each kind."""
    counts = []
    network: nn.Module = next(iter(search.ensemble.networks.values()))
    size = search.ensemble.data.size
    images = torch.zeros((settings.batch_size, 3, size, size), device=search.ensemble.device)
    for trains in (True, False):
        network.requires_grad_(trains)
        with FlopCounterMode(display=False) as counter:
            network(images.clone().requires_grad_(not trains)).sum().backward()
        counts.append(counter.get_total_flops())
    network.requires_grad_(True)
    passes = len(in_batches(search.noise_images, settings.batch_size)) * settings.steps
    return float(settings.surrogate_steps * counts[0] + passes * counts[1])


def matrix_peak(device: torch.device, precision: str) -> float:
    """Return the floating-point operations per second of a large matrix product."""
    size = 8192 if device.type == "cuda" else 2048
    one = torch.randn(size, size, device=device, dtype=torch.bfloat16 if precision == "bf16" else torch.float32)
    return 2 * size**3 / seconds(lambda: one @ one, device, 5)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--surrogate", default="resnet10-w16")
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--data-dir", type=Path, default=Path("data"))
    of = parser.parse_args()
    device = torch.device(of.device)
    data = load_dataset(DatasetSpec(source="cifar10", data_dir=of.data_dir), "train").first(of.images)
    peak = matrix_peak(device, of.precision)
    print(f"{describe_hardware(device)}; {library_versions()}; matrix product: {peak / 1e9:.0f} GFLOP/s {of.precision}")
    print(f"The reference is in fp32, ours in {of.precision}.")
    print("| form | reference | ours | ratio | ours, GFLOP/s | of the matrix product |\n|---|---|---|---|---|---|")
    for form in ("class-wise", "sample-wise"):
        settings = ErrorMin(
            form=form,
            surrogate=of.surrogate,
            through="none",
            batch_size=of.batch_size,
            precision=of.precision,
            compile=of.compile,
        )
        search = AlternatingSearch(data, settings, device)
        reference = Reference(data, settings, device, of.workers)

        def ours(search: AlternatingSearch = search, steps: int = settings.surrogate_steps) -> None:
            search.train_surrogate(steps)
            search.improve_noise()

        rounds = of.rounds if form == "class-wise" else 1
        mine, theirs = seconds(ours, device, rounds), seconds(reference.round, device, rounds)
        rate = operations(search, settings) / mine
        print(
            f"| {form} | {theirs:.2f} s | {mine:.2f} s | {theirs / mine:.1f} | {rate / 1e9:.0f} | {rate / peak:.0%} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
