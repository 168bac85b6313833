"""Executes runs: each is trained once, and its result is kept as one JSON file."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from torch import nn

from unlearn_cli.banks.bank import Bank
from unlearn_cli.banks.card import read_card
from unlearn_cli.errors import WorkError
from unlearn_cli.evaluation.cell import Cell, Library, hash_of, identity
from unlearn_cli.evaluation.defences.table import parse_defence
from unlearn_cli.evaluation.examples import example_sheet
from unlearn_cli.evaluation.face_pairs import verify_people
from unlearn_cli.evaluation.metrics import confusion
from unlearn_cli.evaluation.noise_store import NoiseMaking, NoiseStore
from unlearn_cli.evaluation.protect_set import assign, protect_set
from unlearn_cli.evaluation.scenario import Scenario, build, library_test
from unlearn_cli.files import lock, write_atomically
from unlearn_cli.training.datasets import digest
from unlearn_cli.training.devices import describe_hardware, library_versions
from unlearn_cli.training.train import EpochEnded, predict, train_victim
from unlearn_cli.training.workers import ALONE, Workers

Result = dict[str, Any]


@dataclass(frozen=True)
class CellBegan:
    """Reports that the training of a run is about to begin."""

    name: str
    index: int
    """The position among the runs that were asked for, from 0."""


@dataclass(frozen=True)
class CellEnded:
    """Reports that the result of a run is on the disk."""

    name: str
    index: int
    result: Result
    kept: bool
    """Whether the result was there before, so that nothing was trained."""


Event = CellBegan | NoiseMaking | EpochEnded | CellEnded


class Runner:
    """Executes runs in one folder: results in ``cells/HASH.json``, shared noise, checkpoints of unfinished runs."""

    def __init__(
        self,
        output: Path,
        device: torch.device,
        library: Library | None = None,
        *,
        command: str = "",
        workers: Workers = ALONE,
    ) -> None:
        self.output, self.device, self.library = output, device, library or Library()
        self.command, self.workers = command, workers
        self.store = NoiseStore(output, device, self.library, command, workers)

    def run(self, cells: Sequence[Cell]) -> Iterator[Event]:
        """Execute the runs that have no result yet, in order, and yield events.

        A run that another process is working on is skipped without waiting, so its result is missing from these
        events. Raises ``WorkError`` if the folder cannot be written, and what datasets, banks, noise and training
        raise.
        """
        self._make_folders()
        for index, cell in enumerate(cells):
            what = identity(cell, self.library)
            name = hash_of(what)
            path = self.output / "cells" / f"{name}.json"
            # The first of several workers looks and locks for all. The lock's file is never deleted: if a process
            # deleted it while another has it open, a third process could lock a new file of the same name.
            with (self.output / "locks" / name).open("w") as file:
                if self.workers.agree(path.is_file(), self.device):
                    yield CellEnded(name, index, read_result(path), True)
                    continue
                if not self.workers.agree(self.workers.rank == 0 and lock(file), self.device):
                    continue
                if self.workers.agree(path.is_file(), self.device):  # Another process finished it since.
                    yield CellEnded(name, index, read_result(path), True)
                    continue
                yield CellBegan(name, index)
                result = yield from self._run_one(cell, what, name)
                if self.workers.rank == 0:
                    write_atomically(path, json.dumps(result, allow_nan=False).encode() + b"\n")
                    path.with_suffix(".pt").unlink(missing_ok=True)
                self.workers.wait()
            yield CellEnded(name, index, result, False)

    def _make_folders(self) -> None:
        try:
            for name in ("cells", "locks"):
                (self.output / name).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise WorkError(f"{self.output} cannot be written: {error.strerror or error}.") from error

    def _run_one(self, cell: Cell, what: dict[str, Any], name: str) -> Generator[Event, None, Result]:
        if cell.noise is not None and cell.keep == "all":
            yield from self.store.make(cell.noise, cell.images)
        scenario = build(cell, self.library, self.store.bank, self.device)
        checkpoint = self.output / "cells" / f"{name}.pt"
        harden = parse_defence(cell.defence).harden
        epochs: list[EpochEnded] = []
        training = train_victim(
            scenario.train, scenario.test, cell.training, self.device, checkpoint, harden=harden, workers=self.workers
        )
        while True:
            try:
                ended = next(training)
            except StopIteration as end:
                model: nn.Module = end.value
                break
            epochs.append(ended)
            yield ended
        if self.workers.rank == 0 and bool(scenario.protected.any()):
            write_atomically(self.output / "cells" / f"{name}.png", example_sheet(scenario))
        return {"schema": 1, "hash": name, "cell": what, **self._told(cell, scenario, epochs, model)}

    def _told(self, cell: Cell, scenario: Scenario, epochs: list[EpochEnded], model: nn.Module) -> Result:
        test = scenario.test
        predicted = predict(model, test.images.to(self.device)).cpu()
        counts = confusion(predicted.numpy(), test.labels.numpy(), len(test.classes))
        verification = None
        if cell.pairs is not None:
            verification = verify_people(model, cell.pairs, cell.images.spec, test.size, self.device, scenario.filter)
        return {
            "dataset": {
                "name": scenario.train.name,
                "train_images": len(scenario.train),
                "test_images": len(test),
                "classes": list(test.classes),
                "test_images_by_class": torch.bincount(test.labels, minlength=len(test.classes)).tolist(),
                "image_size": test.size,
                "sha256": digest(scenario.original, library_test(self.library, cell)),
            },
            "noise": self._noise_told(scenario.bank),
            "protected_images": int(scenario.protected.sum()),
            "protected_classes": list(scenario.protected_classes),
            "epochs": [
                {
                    "train": round(e.train_accuracy, 4),
                    "clean": round(e.clean_accuracy, 4),
                    "by_class": _rounded(e.by_class),
                }
                for e in epochs
            ],
            "confusion": counts.tolist(),
            "trigger": self._trigger(cell, scenario, model) if cell.trigger and scenario.bank is not None else None,
            "verification": verification,
            "seconds": round(sum(epoch.seconds for epoch in epochs), 3),
            "command": self.command,
            "hardware": describe_hardware(self.device),
            "versions": library_versions(),
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
        }

    def _trigger(self, cell: Cell, scenario: Scenario, model: nn.Module) -> list[float | None]:
        """Return the share of the other classes' clean test images that are classified as a class with its noise on.

        The list has an entry for each class, which is None where the class has no pattern.
        """
        assert scenario.bank is not None
        test = library_test(self.library, cell)
        patterns = assign(scenario.original.at(scenario.protected), scenario.bank)
        shares: list[float | None] = [None] * len(test.classes)
        for label in scenario.original.labels[scenario.protected].unique().tolist():
            others = test.at((test.labels != label).nonzero()[:, 0])
            asked = replace(others, labels=torch.full_like(others.labels, label))
            laid = protect_set(asked, scenario.bank, patterns=patterns).images
            seen = scenario.filter(laid) if scenario.filter is not None else laid
            shares[label] = round((predict(model, seen.to(self.device)) == label).float().mean().item(), 4)
        return shares

    def _noise_told(self, bank: Bank | None) -> dict[str, Any] | None:
        if bank is None:
            return None
        of, made = bank.provenance, read_card(bank.path, bank.sha256).get("made", {})
        return {
            "name": bank.name,
            "sha256": bank.sha256,
            "method": of.method,
            "form": of.form,
            "epsilon": of.epsilon,
            "through": of.through,
            "surrogate": of.surrogate,
            "seconds": made.get("seconds"),
            "iterations": made.get("iterations"),
            "stop": made.get("stop"),
            "hardware": made.get("hardware"),
        }


def read_result(path: Path) -> Result:
    """Return the result in a file. Raises ``WorkError`` if it is damaged or has another schema."""
    try:
        result: Result = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise WorkError(f"The result {path} is damaged. Delete it to train that cell again.") from error
    if not isinstance(result, dict) or result.get("schema") != 1:
        raise WorkError(f"The result {path} is not one that this version wrote. Name another --output.")
    return result


def _rounded(shares: Sequence[float | None]) -> list[float | None]:
    return [None if share is None else round(share, 4) for share in shares]
