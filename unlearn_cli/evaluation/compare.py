"""The evaluation that counts: train one victim on clean and one on protected images, test both on clean."""

from __future__ import annotations

import json
from collections.abc import Generator
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import torch

from unlearn_cli.banks.bank import Bank
from unlearn_cli.banks.catalog import surrogate_path
from unlearn_cli.errors import WorkError
from unlearn_cli.evaluation.protection import Form, protect_set
from unlearn_cli.files import sha256_of, write_atomically
from unlearn_cli.victims.datasets import ImageSet, digest
from unlearn_cli.victims.devices import describe_hardware, library_versions
from unlearn_cli.victims.train import EpochEnded, TrainingSettings, train_victim

REPORT_SCHEMA = 1

Arm = Literal["clean", "protected"]


@dataclass(frozen=True)
class ArmEpoch:
    """One epoch of the training on clean or on protected images."""

    arm: Arm
    ended: EpochEnded


@dataclass(frozen=True)
class ArmResult:
    """What a victim learned. Accuracies are shares of the clean test set, 0 to 1."""

    final: float
    peak: float
    """The best of all epochs, which a scraper with a clean test set could have kept."""
    train_final: float
    per_epoch: tuple[float, ...]
    seconds: float


@dataclass(frozen=True)
class Compared:
    """Both trainings are over and ``report.json`` is written."""

    clean: ArmResult
    protected: ArmResult
    report: dict[str, Any]
    path: Path

    @property
    def sentence(self) -> str:
        """The figures in one sentence, for a card."""
        training, data = self.report["training"], self.report["dataset"]
        how = " (noise made for each image)" if self.report["form"] == "sample-wise" else ""
        return (
            f"Measured: {training['model']} trained {training['epochs']} epochs on {data['train_images']} "
            f"protected images{how} of {data['name']} ends at {self.protected.final:.1%} clean accuracy "
            f"(peak {self.protected.peak:.1%}); on the same images unprotected at {self.clean.final:.1%}. "
            f"One seed, {data['classes']} classes, all images protected."
        )


def compare(
    bank: Bank,
    train: ImageSet,
    test: ImageSet,
    settings: TrainingSettings,
    output: Path,
    device: torch.device,
    command: str = "",
    form: Form | None = None,
) -> Generator[ArmEpoch | Compared, None, None]:
    """Train on clean and on protected images with one seed; the last event is ``Compared``.

    Checkpoints go to ``output``; a comparison that was interrupted goes on at its last finished
    epoch, whatever its ``output`` holds of the same bank, data and settings. ``form`` sample-wise
    makes noise for each image with a class-wise bank's surrogate, as ``protect`` does. Raises
    ``WorkError`` if ``output`` is of another comparison, and what the dataset, bank and training raise.
    """
    identity = _identity(bank, train, test, settings)
    if form == "sample-wise" and bank.provenance.form == "class-wise":
        identity |= {"form": form, "surrogate_sha256": sha256_of(surrogate_path(bank.path))}
    _claim(output, identity)
    sets: dict[Arm, ImageSet] = {"clean": train, "protected": protect_set(train, bank, form, device)}
    results: dict[str, ArmResult] = {}
    for arm, data in sets.items():
        epochs: list[EpochEnded] = []
        for ended in train_victim(data, test, settings, device, output / f"{arm}.pt"):
            epochs.append(ended)
            yield ArmEpoch(arm, ended)
        results[arm] = _summarise(epochs)
    report = {
        **identity,
        "form": form or bank.provenance.form,
        "clean": asdict(results["clean"]),
        "protected": asdict(results["protected"]),
        "command": command,
        "hardware": describe_hardware(device),
        "versions": library_versions(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    path = output / "report.json"
    write_atomically(path, json.dumps(report, indent=2).encode() + b"\n")
    yield Compared(results["clean"], results["protected"], report, path)


def estimate_seconds(train: ImageSet, test: ImageSet, settings: TrainingSettings, device: torch.device) -> float:
    """How long ``compare`` will take, from an epoch on a few batches after one to warm up."""
    few = train.first(3 * settings.batch_size)
    epochs = list(train_victim(few, test.first(1), replace(settings, epochs=2), device))
    per_image = epochs[-1].seconds / len(few)
    # A test image costs about a third of a training image, which also goes backward.
    return 2 * settings.epochs * per_image * (len(train) + len(test) / 3)


def _identity(bank: Bank, train: ImageSet, test: ImageSet, settings: TrainingSettings) -> dict[str, Any]:
    return {
        "schema": REPORT_SCHEMA,
        "bank": {"name": bank.name, "sha256": bank.sha256, "epsilon": bank.provenance.epsilon},
        "dataset": {
            "name": train.name,
            "train_images": len(train),
            "test_images": len(test),
            "classes": len(train.classes),
            "image_size": train.size,
            "sha256": digest(train, test),
        },
        "training": asdict(settings),
        "poison_rate": 1.0,
    }


def _claim(output: Path, identity: dict[str, Any]) -> None:
    """Tie a folder to one comparison, so that no checkpoint serves another's."""
    path = output / "comparison.json"
    text = json.dumps(identity, indent=2).encode() + b"\n"
    try:
        if path.exists() and path.read_bytes() != text:
            raise WorkError(f"{output} holds another evaluation. Name another --output, or delete it.")
        write_atomically(path, text)
    except OSError as error:
        raise WorkError(f"{output} cannot be written: {error.strerror or error}.") from error


def _summarise(epochs: list[EpochEnded]) -> ArmResult:
    curve = tuple(round(epoch.clean_accuracy, 4) for epoch in epochs)
    return ArmResult(
        final=curve[-1],
        peak=max(curve),
        train_final=round(epochs[-1].train_accuracy, 4),
        per_epoch=curve,
        seconds=round(sum(epoch.seconds for epoch in epochs), 1),
    )
