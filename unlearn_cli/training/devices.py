"""Choosing the device that trainings run on, and describing the machine for reports."""

from __future__ import annotations

import ctypes
import os
import platform
from importlib.metadata import version
from typing import Literal

import torch

from unlearn_cli import __version__
from unlearn_cli.errors import UsageError

KINDS = ("cuda", "mps", "cpu")
"""The kinds of devices on which trainings run."""


def pick_device(name: str | None = None) -> torch.device:
    """Return the device of this name, or without a name the fastest available: CUDA, then Apple's MPS, then the CPU.

    Raises ``UsageError`` if there is no device of this name.
    """
    if name is None:
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
        if device.type not in KINDS:
            raise RuntimeError
    except (RuntimeError, AssertionError) as error:
        raise UsageError(
            f"There is no device '{name}' here. Leave out the device to use the fastest one available."
        ) from error
    return device


def has_fast_bf16(device: torch.device) -> bool:
    """Return whether the device computes bf16 faster than fp32: a GPU, or a CPU with instructions for it.

    On other CPUs, PyTorch imitates bf16, which is much slower.
    """
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type != "cpu":
        return True
    return bool(torch.cpu.get_capabilities().get("avx512_bf16", False))


def precision_on(device: torch.device) -> Literal["bf16"] | None:
    """Return the precision of victims that only the device decides: bf16 on fast GPUs; None for what the scale says."""
    return "bf16" if device.type == "cuda" and has_fast_bf16(device) else None


MALLOPT_TRIM_THRESHOLD, MALLOPT_MMAP_MAX = -1, -4
"""The numbers of two of glibc's settings of memory, from its ``malloc.h``."""


def keep_freed_memory() -> None:
    """Let this process keep the memory that it frees, for its next tensors; this works with glibc alone.

    Otherwise glibc gives each large tensor's memory back to the system and asks for it anew, and the system fills it
    with zeros: a seventh of a training's time on a CPU (docs/results/paper.md).
    """
    if platform.system() == "Linux" and platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(MALLOPT_MMAP_MAX, 0)
        libc.mallopt(MALLOPT_TRIM_THRESHOLD, 2**31 - 1)


def wait_for(device: torch.device) -> None:
    """Wait until a GPU has finished all queued work, so that time is measured correctly."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def describe_hardware(device: torch.device) -> str:
    """Return one line that describes the machine that a result was measured on."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{platform.machine()} {device.type}, {os.cpu_count()} cores, {torch.get_num_threads()} threads"


def library_versions() -> dict[str, str]:
    """Return the versions of unlearn, Python and the libraries that a result depends on."""
    return {
        "unlearn": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": version("torchvision"),
    }
