"""Several processes that work on one thing, as ``torchrun`` starts them; alone without it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor

from unlearn_cli.errors import UsageError
from unlearn_cli.victims.devices import pick_device


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

    def wait(self) -> None:
        """Until all workers are here."""
        if self.count > 1:
            dist.barrier()

    def agree(self, said: bool, device: torch.device) -> bool:
        """What the first worker says, for all."""
        return self.sum(torch.tensor(float(said and self.rank == 0), device=device)).item() > 0

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


def join_workers(name: str | None = None) -> tuple[Workers, torch.device]:
    """Join the processes that ``torchrun`` started, each with a GPU or with its share of the cores.

    ``name`` is that of a device, or None for the best. Raises ``UsageError`` where it is not there, or there are
    fewer GPUs than processes.
    """
    count, local, local_count = (
        int(os.environ.get(name, default))
        for name, default in (("WORLD_SIZE", "1"), ("LOCAL_RANK", "0"), ("LOCAL_WORLD_SIZE", "1"))
    )
    if count > 1 and torch.cuda.is_available() and local < torch.cuda.device_count():
        torch.cuda.set_device(local)  # Before anything is put on the first one, by all.
    device = pick_device(name)
    # torchrun sets one thread for each process; a user who has set a number means it.
    if device.type == "cpu" and (count > 1 or "OMP_NUM_THREADS" not in os.environ):
        torch.set_num_threads(max(1, usable_cores() // local_count))
    if count == 1:
        return ALONE, device
    if device.type == "mps":
        raise UsageError("Several processes work on CUDA or on CPUs: name the device cpu.")
    if device.type == "cuda":
        if local_count > torch.cuda.device_count():
            raise UsageError(f"There are {local_count} processes and {torch.cuda.device_count()} GPUs: start fewer.")
        device = torch.device("cuda", local)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    return Workers(dist.get_rank(), count), device


def leave_workers() -> None:
    """Part from the other processes, if there are any, when all are done: who leaves early takes the others down."""
    if dist.is_available() and dist.is_initialized():
        dist.barrier()
        dist.destroy_process_group()


def usable_cores() -> int:
    """The cores that this process may keep busy: a container often sees all and may use few."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()
        return cores if quota == "max" else max(1, min(cores, -(-int(quota) // int(period))))
    except (OSError, ValueError):
        return cores
