"""Mixtures of banks: each image gets one of several patterns, and uniform noise (Huang et al., appendix F, table 5).

A mixture is a bank whose provenance says so. The random choices are made for each image when the noise is applied.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from unlearn_cli.banks.bank import Bank, save_bank
from unlearn_cli.banks.card import Card, Made, write_card
from unlearn_cli.banks.catalog import surrogate_path
from unlearn_cli.banks.provenance import Provenance
from unlearn_cli.errors import UsageError

ALIKE = ("frame", "span", "anchor", "scale", "epsilon")
"""The parts of their provenances in which banks must be equal to be mixed, besides their classes."""
MOST_EPSILON = 127
"""The largest bound that int8 noise can have."""


def write_mixture(path: Path, banks: Sequence[Bank], uniform: int, command: str) -> Provenance:
    """Write a mixture of banks and its card, and return its provenance.

    Raises ``UsageError`` for banks that cannot be mixed, and ``OSError`` if a file cannot be written.
    """
    noise, provenance = mix(banks, uniform)
    sha256 = save_bank(path, noise, provenance)
    surrogate_path(path).unlink(missing_ok=True)  # It may belong to a bank that was just replaced.
    write_card(path, Card(bank=path.stem, bank_sha256=sha256, made=Made(command=command)))
    return provenance


def mix(banks: Sequence[Bank], uniform: int = 0, *, clipped: bool = True) -> tuple[NDArray[np.int8], Provenance]:
    """Return the noise and the provenance of a mixture, in which each image gets one bank's pattern of its class.

    The noise ``[K * V, 3, H, W]`` holds the V banks' patterns of each class one after another. Uniform noise of up to
    ``uniform`` levels will be added when it is applied; the sum stays within epsilon. If it is not ``clipped``, as in
    the paper, epsilon becomes the largest sum instead. Raises ``UsageError`` for banks
    that do not have the same classes, frame, size and epsilon, or that are sample-wise or mixtures themselves; and for
    a ``uniform`` outside 0..127, or of 0 with fewer than two banks.
    """
    if not 0 <= uniform <= MOST_EPSILON or (len(banks) < 2 and uniform == 0):
        raise UsageError("A mixture needs at least two banks, or one bank and --add-uniform LEVELS (1 to 127).")
    check_alike(banks)
    first = banks[0]
    order = [[bank.classes.index(name) for name in first.classes] for bank in banks]
    stacked = np.stack([bank.noise[indices] for bank, indices in zip(banks, order, strict=True)], axis=1)
    provenance = replace(
        first.provenance,
        variants=len(banks),
        epsilon=first.provenance.epsilon if clipped else min(MOST_EPSILON, first.provenance.epsilon + uniform),
        uniform=uniform,
        method="a mixture (Huang et al., ICLR 2021, appendix F)",
        through=" or ".join(dict.fromkeys(bank.provenance.through for bank in banks)),
        surrogate=" or ".join(dict.fromkeys(bank.provenance.surrogate for bank in banks)),
        teachers={name: sha256 for bank in banks for name, sha256 in bank.provenance.teachers.items()},
        dataset=dataset_of(banks),
        hyperparameters={"of": [part_of(bank) for bank in banks]},
        seed=None,
        date=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    return stacked.reshape(-1, *first.noise.shape[1:]), provenance


def check_alike(banks: Sequence[Bank], *, bounds: bool = True) -> None:
    """Raise ``UsageError`` for banks that differ in their classes or in ``ALIKE``, or hold no single patterns.

    Without ``bounds``, their epsilons may differ.
    """
    first = banks[0]
    names = [name for name in ALIKE if bounds or name != "epsilon"]
    for bank in banks:
        of, like = bank.provenance, first.provenance
        if of.form != "class-wise" or of.variants > 1 or of.uniform:
            what = "sample-wise" if of.form != "class-wise" else "already a mixture"
            raise UsageError(f"The bank '{bank.name}' is {what}: only class-wise patterns can be mixed.")
        same = all(getattr(of, name) == getattr(like, name) for name in names) and bank.noise.shape == first.noise.shape
        if not same or set(of.classes) != set(like.classes):
            raise UsageError(
                f"The banks '{first.name}' and '{bank.name}' cannot be mixed, "
                f"because their classes, frames{', sizes or bounds' if bounds else ' or sizes'} differ."
            )


def part_of(bank: Bank) -> dict[str, str | int | None]:
    """Return what the provenance of noise that was made from banks says of one of them."""
    of = bank.provenance
    return {"name": bank.name, "sha256": bank.sha256, "method": of.method, "seed": of.seed}


def dataset_of(banks: Sequence[Bank]) -> dict[str, str | int]:
    """Return what the provenance of noise that was made from banks says of the images behind it.

    The number of images is the largest, because the banks' images may be the same ones. What no bank says is left out.
    """
    found = [bank.provenance.dataset for bank in banks]
    told: dict[str, str | int] = {}
    for name in ("name", "licence"):
        if texts := dict.fromkeys(str(of[name]) for of in found if of.get(name)):
            told[name] = " and ".join(texts)
    if counts := [of["images"] for of in found if isinstance(of.get("images"), int)]:
        told["images"] = max(counts)
    return told
