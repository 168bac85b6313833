"""Writing finished noise to disk: the bank, its surrogate and its card."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from unlearn_cli.banks.bank import save_bank
from unlearn_cli.banks.card import new_card, write_card
from unlearn_cli.banks.catalog import surrogate_path
from unlearn_cli.banks.provenance import SPAN, Provenance
from unlearn_cli.noise.events import Finished
from unlearn_cli.noise.joint import noisy_classes
from unlearn_cli.noise.settings import SEARCHED, NoiseSettings
from unlearn_cli.noise.surrogate import save_surrogate
from unlearn_cli.victims.datasets import ImageSet, digest
from unlearn_cli.victims.devices import describe_hardware, library_versions

METHODS = {
    "joint": "error-min (after Huang et al., ICLR 2021; noise and surrogate descend together)",
    "error-min": "error-min (Huang et al., ICLR 2021, section 3.2, Algorithm 1)",
    "error-max": "error-max (PGD on a converged surrogate, Madry et al., ICLR 2018)",
    "random": "random (uniform)",
    "lsp": "lsp (linearly separable perturbations, Yu et al., KDD 2022)",
    "ar": "ar (autoregressive perturbations, Sandoval-Segura et al., NeurIPS 2022)",
}
NOT_REACHED = (
    "The search did not reach its goal ({stop}, error {error:.3f}, goal {goal:g}); the noise may protect less."
)
TO_COMPARE = "Noise by the method {method} is there to compare with; it is not meant to protect."


def provenance_of(data: ImageSet, settings: NoiseSettings, crop: int | None, family: str | None) -> Provenance:
    """Return the provenance of noise that was made on these images with these settings."""
    searched = settings.method in SEARCHED
    return Provenance(
        classes=data.classes[: noisy_classes(len(data.classes), settings.clean_classes)],
        epsilon=settings.epsilon,
        scale=data.size,
        form=settings.form,
        frame="patch" if settings.patch is not None else settings.frame,
        span=SPAN if settings.frame == "face" else None,
        strength=settings.strength,
        family=family,
        method=METHODS["joint" if settings.joint else settings.method],
        through=settings.through if searched else "none",
        dataset={
            "name": data.name,
            "licence": data.licence,
            "images": len(data),
            "crop": crop,
            "image_size": data.size,
            "sha256": digest(data),
        },
        surrogate=settings.surrogate if searched else "none",
        hyperparameters=settings.in_force(),
        seed=settings.seed,
        versions=library_versions(),
        date=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def warnings_of(finished: Finished, settings: NoiseSettings) -> list[str]:
    """Return the warnings that the bank's card gives to users of this noise."""
    warnings = []
    if settings.method != "error-min":
        warnings.append(TO_COMPARE.format(method=settings.method))
    if finished.surrogate is not None and finished.stop != "goal reached":
        warnings.append(NOT_REACHED.format(stop=finished.stop, error=finished.error, goal=settings.goal))
    return warnings


def write_bank(
    path: Path,
    finished: Finished,
    provenance: Provenance,
    settings: NoiseSettings,
    device: torch.device,
    command: str,
) -> dict[str, Any]:
    """Write the bank, its surrogate (if any) and its card; return the bank's ``sha256`` and how it was made.

    Raises ``OSError`` if a file cannot be written.
    """
    sha256 = save_bank(path, finished.noise, provenance)
    surrogate_path(path).unlink(missing_ok=True)  # It may belong to a bank that was just replaced.
    if finished.surrogate is not None:
        noise = hashlib.sha256(finished.noise.tobytes()).hexdigest()
        save_surrogate(finished.surrogate, noise, len(provenance.classes), provenance.scale, path)
    made = {
        "command": command,
        "seconds": round(finished.seconds, 1),
        "iterations": finished.iterations,
        "error": round(finished.error, 4) if finished.surrogate is not None else None,
        "stop": finished.stop,
        "hardware": describe_hardware(device),
    }
    write_card(path, new_card(path.stem, sha256, provenance, made, warnings_of(finished, settings)))
    return {"sha256": sha256, **made}
