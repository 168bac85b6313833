"""Combining the colours of one bank with the brightness of another in one pattern for each class.

Noise that was searched for in colour may have next to no brightness, and then does nothing to a training on grey
images. A pattern's colours and its brightness can be chosen apart: the brightness from a bank that holds in grey, the
colours from one that holds against more networks (docs/results/cifar10.md).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from unlearn_cli.banks.bank import Bank, save_bank
from unlearn_cli.banks.card import Card, Made, write_card
from unlearn_cli.banks.catalog import surrogate_path
from unlearn_cli.banks.provenance import Provenance
from unlearn_cli.errors import UsageError
from unlearn_cli.noise.mixture import check_alike, dataset_of, part_of
from unlearn_cli.pixels import LUMA

if TYPE_CHECKING:
    from torch import nn

GAIN = 1.5
"""The brightness is amplified by this, because clipping the sum to the bound takes a part of it away."""


def combine(
    banks: Sequence[Bank], gain: float = GAIN, epsilon: int | None = None
) -> tuple[NDArray[np.int8], Provenance]:
    """Return the noise ``[K, 3, H, W]``, clipped to ``epsilon`` pixel levels, and its provenance.

    ``banks`` are that of the colours and that of the brightness, which is multiplied by ``gain``. Without an
    ``epsilon`` the bound is the larger one of both. What the provenance says about the search, such as the
    transformations, is that of the colours' bank; a strength is kept only if both banks and the bound have it. Raises
    ``UsageError`` if the banks are not two, or are ones that ``mixture.check_alike`` refuses, and for an infinite gain
    or one that is no number.
    """
    try:
        colours, brightness = banks
    except ValueError as error:
        raise UsageError("--by-colour needs two banks: the colours' and the brightness'.") from error
    if not math.isfinite(gain):
        raise UsageError(f"--gain {gain} is not a number to multiply with.")
    check_alike(banks, bounds=False)
    of, like = colours.provenance, brightness.provenance
    bound = epsilon or max(of.epsilon, like.epsilon)
    order = [brightness.classes.index(name) for name in colours.classes]
    first, second = colours.noise.astype(np.float64), brightness.noise[order].astype(np.float64)
    levels = first - _luma(first) + gain * _luma(second)
    noise: NDArray[np.int8] = np.rint(levels.clip(-bound, bound)).astype(np.int8)
    kinds = " and ".join(dict.fromkeys(one.method.partition(" (")[0] for one in (of, like)))
    provenance = replace(
        of,
        epsilon=bound,
        strength=of.strength if of.strength == like.strength and bound == of.epsilon else None,
        method=f"{kinds} (the colours of one bank with the brightness of another)",
        dataset=dataset_of(banks),
        surrogate=",".join(dict.fromkeys(f"{of.surrogate},{like.surrogate}".split(","))),
        teachers={**of.teachers, **like.teachers},
        hyperparameters={"colours": part_of(colours), "brightness": part_of(brightness), "gain": gain},
        seed=None,
        date=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    return noise, provenance


def write_combined(
    path: Path, banks: Sequence[Bank], command: str, *, gain: float = GAIN, epsilon: int | None = None
) -> Provenance:
    """Write a bank that ``combine`` makes, its card and the networks of both banks, and return its provenance.

    If one of the banks has no networks beside it, neither has this one, and it makes no noise for single photos. Raises
    ``UsageError`` as ``combine`` does, ``BankError`` for damaged networks, and ``OSError`` if a file cannot be written.
    """
    noise, provenance = combine(banks, gain, epsilon)
    networks = _networks(banks)
    if networks is None:
        provenance = replace(provenance, surrogate="none")
    sha256 = save_bank(path, noise, provenance)
    surrogate_path(path).unlink(missing_ok=True)  # It may belong to a bank that was just replaced.
    if networks is not None:
        from unlearn_cli.noise.surrogate import save_surrogate

        digest = hashlib.sha256(noise.tobytes()).hexdigest()
        save_surrogate(networks, digest, len(provenance.classes), provenance.scale, path)
    write_card(path, Card(bank=path.stem, bank_sha256=sha256, made=Made(command=command)))
    return provenance


def _networks(banks: Sequence[Bank]) -> nn.ModuleDict | None:
    """Return the networks of all banks by name; None if a bank has none beside it.

    Where two banks have networks of the same name, the first bank's is taken.
    """
    if not all(surrogate_path(bank.path).is_file() for bank in banks):
        return None
    import torch

    from unlearn_cli.noise.surrogate import load_surrogate

    found = [load_surrogate(bank, torch.device("cpu")) for bank in reversed(banks)]
    return torch.nn.ModuleDict({name: network for one in found for name, network in one.items()})


def _luma(noise: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the brightness ``[K, 1, H, W]`` of noise ``[K, 3, H, W]``."""
    return np.tensordot(noise, np.array(LUMA), axes=([1], [0]))[:, None]
