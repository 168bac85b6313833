"""Several processes that work on one thing, as ``torchrun`` starts them; alone without it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor

from unlearn_cli.errors import UsageError


@dataclass(frozen=True)
class Workers:
    """Which process this is of those that share the work. Image i of a dataset belongs to worker i modulo ``count``."""

    rank: int = 0
    count: int = 1

    def sum(self, tensor: Tensor) -> Tensor:
        """The sum over all workers, in place."""
        if self.count > 1:
            dist.all_reduce(tensor)
        return tensor

    def share(self, indices: Tensor) -> Tensor:
        """Which of these indices of a whole dataset belong to this worker: a mask."""
        return indices % self.count == self.rank

    def gather(self, mine: Tensor, total: int) -> Tensor:
        """One tensor of ``total`` rows, in the dataset's order, of every worker's rows; on every worker."""
        if self.count == 1:
            return mine
        whole = mine.new_empty((total, *mine.shape[1:]))
        for rank in range(self.count):
            part = mine.contiguous() if rank == self.rank else torch.empty_like(whole[rank :: self.count])
            dist.broadcast(part, rank)
            whole[rank :: self.count] = part
        return whole


ALONE = Workers()


def join_workers(device: torch.device) -> tuple[Workers, torch.device]:
    """Join the processes that ``torchrun`` started, each with a GPU or with its share of the cores.

    Raises ``UsageError`` where there are fewer GPUs than processes.
    """
    count, local, local_count = (
        int(os.environ.get(name, default))
        for name, default in (("WORLD_SIZE", "1"), ("LOCAL_RANK", "0"), ("LOCAL_WORLD_SIZE", "1"))
    )
    if device.type == "cpu":
        torch.set_num_threads(max(1, usable_cores() // local_count))
    if count == 1:
        return ALONE, device
    if device.type == "cuda":
        if local_count > torch.cuda.device_count():
            raise UsageError(f"There are {local_count} processes and {torch.cuda.device_count()} GPUs: start fewer.")
        device = torch.device("cuda", local)
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    return Workers(dist.get_rank(), count), device


def leave_workers() -> None:
    """Part from the other processes, if there are any."""
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()


def usable_cores() -> int:
    """The cores that this process may keep busy: a container often sees all and may use few."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()
        return cores if quota == "max" else max(1, min(cores, -(-int(quota) // int(period))))
    except (OSError, ValueError):
        return cores
