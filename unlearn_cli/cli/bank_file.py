"""What ``generate`` writes: a bank, its card, and its surrogate."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from unlearn_cli.cli.console import command_line, duration, err, out, plain

if TYPE_CHECKING:
    import torch

    from unlearn_cli.banks.provenance import Provenance
    from unlearn_cli.noise.events import Finished
    from unlearn_cli.noise.settings import NoiseSettings
    from unlearn_cli.victims.datasets import ImageSet

METHODS = {
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


def path(output: Path | None, name: str, overwrite: bool) -> Path:
    """The bank to write, where it can be written. Raises ``UsageError`` for what is there, or is no bank's name."""
    import tempfile

    from unlearn_cli.banks.card import card_path
    from unlearn_cli.banks.catalog import SURROGATE_SUFFIX, surrogate_path
    from unlearn_cli.errors import UsageError

    path = output or Path(f"{name}.safetensors")
    if path.suffix != ".safetensors" or path.name.endswith(SURROGATE_SUFFIX):
        raise UsageError(f"A bank is a .safetensors file: name it {path.name.split('.')[0]}.safetensors.")
    if path.is_dir():
        raise UsageError(f"{path} is a folder. Name another --output.")
    for there in (path, card_path(path), surrogate_path(path)):
        if there.exists() and not overwrite:
            raise UsageError(f"{there} is already there. Name another --output, or add --overwrite.")
    # Now, since it would be sad to find out at the end.
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=path.parent):
        return path


def provenance(data: ImageSet, settings: NoiseSettings, crop: int | None, family: str | None) -> Provenance:
    """Where the noise comes from."""
    from unlearn_cli.banks.provenance import Provenance
    from unlearn_cli.noise.settings import SEARCHED
    from unlearn_cli.victims.datasets import digest
    from unlearn_cli.victims.devices import library_versions

    searched = settings.method in SEARCHED
    return Provenance(
        classes=data.classes,
        epsilon=settings.epsilon,
        scale=data.size,
        form=settings.form,
        frame="patch" if settings.patch is not None else "image",
        family=family,
        method=METHODS[settings.method],
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


def save(
    path: Path,
    finished: Finished,
    provenance: Provenance,
    settings: NoiseSettings,
    device: torch.device,
    *,
    as_json: bool,
) -> None:
    """Write the bank and what lies beside it, and tell."""
    import hashlib

    from unlearn_cli.banks.bank import save_bank
    from unlearn_cli.banks.card import new_card, write_card
    from unlearn_cli.banks.catalog import surrogate_path
    from unlearn_cli.noise.surrogate import save_surrogate
    from unlearn_cli.victims.devices import describe_hardware

    sha256 = save_bank(path, finished.noise, provenance)
    surrogate_path(path).unlink(missing_ok=True)  # Of a bank that was replaced.
    if finished.surrogate is not None:
        noise = hashlib.sha256(finished.noise.tobytes()).hexdigest()
        save_surrogate(finished.surrogate, noise, len(provenance.classes), provenance.scale, path)
    searched = finished.surrogate is not None
    made = {
        "command": command_line(),
        "seconds": round(finished.seconds, 1),
        "iterations": finished.iterations,
        "error": round(finished.error, 4) if searched else None,
        "stop": finished.stop,
        "hardware": describe_hardware(device),
    }
    warnings = []
    if settings.method != "error-min":
        warnings.append(TO_COMPARE.format(method=settings.method))
    if searched and finished.stop != "goal reached":
        warnings.append(NOT_REACHED.format(stop=finished.stop, error=finished.error, goal=settings.goal))
    write_card(path, new_card(path.stem, sha256, provenance, made, warnings))
    if as_json:
        typer.echo(json.dumps({"event": "finished", "bank": str(path), "sha256": sha256, **made}))
    else:
        how = f", error rate {finished.error:.3f} ({finished.stop})" if searched else ""
        after = f" after {finished.iterations} iterations" if searched else ""
        out().print(f"{plain(str(path))}: {len(finished.noise)} patterns{after} in {duration(finished.seconds)}{how}.")
    for warning in warnings:
        err().print(f"{warning} Measure it with 'unlearn evaluate'.")


def mix(path: Path, names: str, uniform: int) -> None:
    """Write a mixture of banks. Raises ``UsageError`` for what cannot be mixed."""
    from unlearn_cli.banks.bank import save_bank
    from unlearn_cli.banks.card import new_card, write_card
    from unlearn_cli.banks.catalog import open_bank, surrogate_path
    from unlearn_cli.noise.mixture import mix

    surrogate_path(path).unlink(missing_ok=True)  # Of a bank that was replaced.
    noise, provenance = mix([open_bank(name.strip()) for name in names.split(",")], uniform)
    sha256 = save_bank(path, noise, provenance)
    write_card(path, new_card(path.stem, sha256, provenance, {"command": command_line()}))
    out().print(f"{plain(str(path))}: {len(noise)} patterns, {provenance.variants} for each class.")
