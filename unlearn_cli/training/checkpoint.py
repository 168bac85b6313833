"""Checkpoint files, with which an interrupted training or search continues."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from unlearn_cli.errors import UnlearnError, WorkError
from unlearn_cli.files import write_atomically


def save_checkpoint(path: Path, content: Mapping[str, Any]) -> None:
    """Write a checkpoint atomically. Raises ``OSError`` if it cannot be written."""
    buffer = io.BytesIO()
    torch.save(dict(content), buffer)
    write_atomically(path, buffer.getvalue())


@contextmanager
def open_checkpoint(path: Path, device: torch.device, work: str) -> Iterator[Any]:
    """Yield the content of a checkpoint, for a block that restores ``work`` from it, such as "the search".

    Raises ``WorkError`` if the file is damaged, which is also what it means when the block cannot restore its content.
    Running out of memory and an unreadable file raise the exceptions that they raise elsewhere.
    """
    try:
        yield torch.load(path, map_location=device, weights_only=True)
    except (UnlearnError, OSError):
        raise
    except Exception as error:  # torch.load raises many kinds of exceptions for damaged files.
        if _is_out_of_memory(error):
            raise
        raise WorkError(f"The checkpoint {path} is damaged. Delete it to begin {work} again.") from error


def peek(path: Path) -> Any:
    """Return the content of a checkpoint without reading its tensors; None if no readable checkpoint is there."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception:  # torch.load raises many kinds of exceptions; whoever continues from the file will be told.
        return None


def _is_out_of_memory(error: Exception) -> bool:
    """Return whether memory ran out, which PyTorch reports on a CPU as a ``RuntimeError``."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(error)
