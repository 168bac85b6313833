"""Writing finished noise to disk: the bank, its surrogate and its card."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import torch

from unlearn_cli.banks.bank import MAX_BYTES, save_bank
from unlearn_cli.banks.card import Card, Made, write_card
from unlearn_cli.banks.catalog import surrogate_path
from unlearn_cli.banks.provenance import SPAN, Provenance
from unlearn_cli.errors import UsageError
from unlearn_cli.noise.events import Event, Finished
from unlearn_cli.noise.joint import noisy_classes
from unlearn_cli.noise.make import make_noise
from unlearn_cli.noise.settings import Alternating, Joint, NoiseSettings, Searched
from unlearn_cli.noise.surrogate import save_surrogate
from unlearn_cli.training.datasets import ImageSet, digest
from unlearn_cli.training.devices import describe_hardware, library_versions
from unlearn_cli.training.workers import ALONE, Workers

METHODS = {
    "joint": "error-min (after Huang et al., ICLR 2021; noise and surrogate descend together)",
    "error-min": "error-min (Huang et al., ICLR 2021, section 3.2, Algorithm 1)",
    "error-max": "error-max (PGD on a converged surrogate, Madry et al., ICLR 2018)",
    "random": "random (uniform)",
    "lsp": "lsp (linearly separable perturbations, Yu et al., KDD 2022)",
    "ar": "ar (autoregressive perturbations, Sandoval-Segura et al., NeurIPS 2022)",
}


def provenance_of(data: ImageSet, settings: NoiseSettings, crop: int | None, family: str | None) -> Provenance:
    """Return the provenance of noise that was made on these images with these settings."""
    joint = settings if isinstance(settings, Joint) else None
    searched = settings if isinstance(settings, Searched) else None
    return Provenance(
        classes=data.classes[: noisy_classes(len(data.classes), joint.clean_classes)] if joint else data.classes,
        epsilon=settings.epsilon,
        scale=data.size,
        form=settings.form,
        frame="patch" if patch_of(settings) is not None else settings.frame,
        span=SPAN if settings.frame == "face" else None,
        strength=joint.strength if joint else None,
        family=family,
        method=METHODS[settings.method],
        through=searched.through if searched else "none",
        dataset={
            "name": data.name,
            "licence": data.licence,
            "images": len(data),
            "crop": crop,
            "image_size": data.size,
            "sha256": digest(data),
        },
        surrogate=searched.surrogate if searched else "none",
        hyperparameters=settings.hyperparameters(),
        seed=settings.seed,
        versions=library_versions(),
        date=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def patch_of(settings: NoiseSettings) -> int | None:
    """Return the side in pixels of the patch that the noise is confined to, or None."""
    return settings.patch if isinstance(settings, Alternating) else None


@dataclass(frozen=True)
class Origin:
    """The parts of a bank's provenance and card that are not settings of its noise."""

    command: str
    """The command that makes it."""
    crop: int | None = None
    """The pixels of the square that was cut out of each image."""
    family: str | None = None
    """The category that all of its classes are instances of."""


@dataclass(frozen=True)
class BankWritten:
    """The bank, its card and its surrogate are on the disk: the last event of ``make_bank``."""

    path: Path
    patterns: int
    sha256: str
    provenance: Provenance
    made: Made


def make_bank(
    path: Path,
    data: ImageSet,
    settings: NoiseSettings,
    device: torch.device,
    origin: Origin,
    *,
    workers: Workers = ALONE,
    checkpoint: Path | None = None,
) -> Iterator[Event | BankWritten]:
    """Make noise for a dataset and write it as a bank; yield the events, of which the last is ``BankWritten``.

    Of several workers only the first writes the bank and yields that event. Raises as ``make_noise`` does,
    ``UsageError`` for noise that is too large for a bank, and ``OSError`` if a file cannot be written.
    """
    size = len(data) * 3 * (patch_of(settings) or data.size) ** 2
    if settings.form == "sample-wise" and size > MAX_BYTES:
        raise UsageError(
            f"Noise for each of {len(data)} images would take {size / 2**30:.1f} GiB, but a bank can have at most "
            f"{MAX_BYTES >> 30} GiB. Use fewer images with --train-size, or use --form class-wise."
        )
    for event in make_noise(data, settings, device, workers=workers, checkpoint=checkpoint):
        if not isinstance(event, Finished):
            yield event
        elif workers.rank == 0:
            provenance = provenance_of(data, settings, origin.crop, origin.family)
            yield write_bank(path, event, provenance, device, origin.command)


def write_bank(
    path: Path, finished: Finished, provenance: Provenance, device: torch.device, command: str
) -> BankWritten:
    """Write the bank, its surrogate (if any) and its card. Raises ``OSError`` if a file cannot be written."""
    sha256 = save_bank(path, finished.noise, provenance)
    surrogate_path(path).unlink(missing_ok=True)  # It may belong to a bank that was just replaced.
    if finished.surrogate is not None:
        noise = hashlib.sha256(finished.noise.tobytes()).hexdigest()
        save_surrogate(finished.surrogate, noise, len(provenance.classes), provenance.scale, path)
    made = Made(
        command=command,
        seconds=round(finished.seconds, 1),
        iterations=finished.iterations,
        error=round(finished.error, 4) if finished.surrogate is not None else None,
        stop=finished.stop,
        hardware=describe_hardware(device),
    )
    write_card(path, Card(bank=path.stem, bank_sha256=sha256, made=made))
    return BankWritten(path, len(finished.noise), sha256, provenance, made)
