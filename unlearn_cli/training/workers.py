"""Sharing one task among several processes that ``torchrun`` started; without it, a process works alone."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor

from unlearn_cli.errors import UsageError
from unlearn_cli.training.devices import keep_freed_memory, pick_device


@dataclass(frozen=True)
class Workers:
    """The number of processes that share the work, and this one's rank.

    Image i of a dataset belongs to worker i modulo ``count``.
    """

    rank: int = 0
    count: int = 1

    def sum(self, tensor: Tensor) -> Tensor:
        """Replace the tensor by its sum over all workers, and return it."""
        if self.count > 1:
            dist.all_reduce(tensor)
        return tensor

    def average(self, tensors: Iterable[Tensor]) -> None:
        """Replace each tensor of floating-point numbers by its mean over all workers."""
        for tensor in tensors if self.count > 1 else ():
            if tensor.is_floating_point():
                self.sum(tensor).div_(self.count)

    def share(self, indices: Tensor) -> Tensor:
        """Return a mask of those indices, into the whole dataset, that belong to this worker."""
        return indices % self.count == self.rank

    def wait(self) -> None:
        """Wait until all workers have called this."""
        if self.count > 1:
            dist.barrier()

    def agree(self, said: bool, device: torch.device) -> bool:
        """Return the first worker's ``said`` on every worker."""
        return self.sum(torch.tensor(float(said and self.rank == 0), device=device)).item() > 0

    def gather(self, mine: Tensor, total: int) -> Tensor:
        """Return, on every worker, one tensor with the ``total`` rows of all workers in the dataset's order."""
        if self.count == 1:
            return mine
        whole = mine.new_empty((total, *mine.shape[1:]))
        for rank in range(self.count):
            part = mine.contiguous() if rank == self.rank else torch.empty_like(whole[rank :: self.count])
            dist.broadcast(part, rank)
            whole[rank :: self.count] = part
        return whole


ALONE = Workers()


def join_workers(name: str | None = None) -> tuple[Workers, torch.device]:
    """Join the processes that ``torchrun`` started; return this worker and its device.

    Each process gets a GPU of its own, or its share of the CPU's cores. ``name`` is that of a device, or None for the
    best there is. Raises ``UsageError`` if there is no such device, if there are fewer GPUs than processes, or for
    several processes on MPS.
    """
    count, local, local_count = (
        int(os.environ.get(name, default))
        for name, default in (("WORLD_SIZE", "1"), ("LOCAL_RANK", "0"), ("LOCAL_WORLD_SIZE", "1"))
    )
    if count > 1 and torch.cuda.is_available() and local < torch.cuda.device_count():
        torch.cuda.set_device(local)  # This comes first, or every process would use memory on the first GPU.
    device = pick_device(name)
    if device.type == "cpu":
        keep_freed_memory()
    # torchrun limits each process to one thread. A single process keeps a number that its user has set.
    if device.type == "cpu" and (count > 1 or "OMP_NUM_THREADS" not in os.environ):
        torch.set_num_threads(max(1, usable_cores() // local_count))
    if count == 1:
        return ALONE, device
    if device.type == "mps":
        raise UsageError("Several processes can share work only on CUDA or on CPUs. Choose the device cpu.")
    if device.type == "cuda":
        if local_count > torch.cuda.device_count():
            raise UsageError(
                f"There are {local_count} processes but only {torch.cuda.device_count()} GPUs. Start fewer processes."
            )
        device = torch.device("cuda", local)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    return Workers(dist.get_rank(), count), device


def leave_workers() -> None:
    """Wait until all processes are done, then leave their group: one that leaves early would make the others fail."""
    if dist.is_available() and dist.is_initialized():
        dist.barrier()
        dist.destroy_process_group()


def usable_cores() -> int:
    """Return how many cores this process may use, which in a container may be fewer than it sees."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()
        return cores if quota == "max" else max(1, min(cores, -(-int(quota) // int(period))))
    except (OSError, ValueError):
        return cores
