"""Weights of networks in safetensors files: at half the precision, with a digest that shows damage."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import safe_open
from torch import Tensor, nn


def halved(network: nn.Module) -> dict[str, Tensor]:
    """Return a network's weights in half precision, which halves a file; one-dimensional tensors keep theirs."""
    return {
        name: (value.half() if value.dim() > 1 else value).detach().cpu().contiguous()
        for name, value in network.state_dict().items()
    }


def read_weights(path: Path, key: str) -> tuple[Any, dict[str, Tensor]]:
    """Return what a file's metadata says under a key, as JSON, and the file's tensors.

    Raises ``SafetensorError``, ``OSError``, ``KeyError``, ``TypeError`` or ``ValueError`` if it is damaged.
    """
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no dictionary
        return json.loads(file.metadata()[key]), tensors


def digest(tensors: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 of weights, in the order of their names."""
    sha256 = hashlib.sha256()
    for name, value in sorted(tensors.items()):
        sha256.update(name.encode())
        sha256.update(value.numpy().tobytes())
    return sha256.hexdigest()
