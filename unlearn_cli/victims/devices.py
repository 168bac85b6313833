"""Where trainings run, and what the machine is, for the reports."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version

import torch

from unlearn_cli import __version__
from unlearn_cli.errors import UsageError


def pick_device(name: str | None = None) -> torch.device:
    """The device of this name, or the best there is: CUDA, then Apple's MPS, then the CPU.

    Raises ``UsageError`` if the named one is not there.
    """
    if name is None:
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(f"There is no device '{name}' here. Leave the device out to use the best there is.") from error
    return device


def wait_for(device: torch.device) -> None:
    """Wait until a GPU has done what was asked of it, so that a clock tells the truth."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def describe_hardware(device: torch.device) -> str:
    """One line on the machine that a number was measured on."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{platform.machine()} {device.type}, {os.cpu_count()} cores, {torch.get_num_threads()} threads"


def library_versions() -> dict[str, str]:
    """The versions that a number depends on."""
    return {
        "unlearn": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": version("torchvision"),
    }
