"""Executing runs: each is trained once, and its result is saved as one JSON file."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from unlearn_cli.banks.bank import Bank
from unlearn_cli.banks.card import read_card
from unlearn_cli.errors import WorkError
from unlearn_cli.evaluation.attackers.frozen import Frozen, answers, verify_features
from unlearn_cli.evaluation.attackers.recognisers import Features, Remembered
from unlearn_cli.evaluation.attackers.reweight import refit, with_refit
from unlearn_cli.evaluation.attackers.separable import separability
from unlearn_cli.evaluation.cell import Cell, Library, hash_of, identity
from unlearn_cli.evaluation.defences.table import parse_defence
from unlearn_cli.evaluation.examples import example_sheet
from unlearn_cli.evaluation.face_pairs import verify_groups, verify_people
from unlearn_cli.evaluation.metrics import confusion
from unlearn_cli.evaluation.noise_store import NoiseMaking, NoiseStore
from unlearn_cli.evaluation.protect_set import assign, protect_set
from unlearn_cli.evaluation.result import (
    Epoch,
    GroupPairs,
    Images,
    NoiseUsed,
    RunResult,
    epoch_of,
    read_result,
    write_result,
)
from unlearn_cli.evaluation.scenario import Scenario, build, library_test, start
from unlearn_cli.files import lock, write_atomically
from unlearn_cli.training.datasets import ImageSet, digest
from unlearn_cli.training.devices import describe_hardware, library_versions
from unlearn_cli.training.train import EpochEnded, Trained, predict, train_network
from unlearn_cli.training.workers import ALONE, Workers


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
    result: RunResult
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
        self.recognisers: dict[str, Remembered] = {}
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
                if self.workers.agree(is_done(path, cell), self.device):
                    yield CellEnded(name, index, _seen(read_result(path), cell), True)
                    continue
                if not self.workers.agree(self.workers.rank == 0 and lock(file), self.device):
                    continue
                if self.workers.agree(is_done(path, cell), self.device):  # Another process finished it since.
                    yield CellEnded(name, index, _seen(read_result(path), cell), True)
                    continue
                yield CellBegan(name, index)
                result = yield from self._run_one(cell, what, name)
                if self.workers.rank == 0:
                    write_result(path, result)
                    path.with_suffix(".pt").unlink(missing_ok=True)
                self.workers.wait()
            yield CellEnded(name, index, _seen(result, cell), False)

    def _make_folders(self) -> None:
        try:
            for name in ("cells", "locks"):
                (self.output / name).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise WorkError(
                f"The output folder {self.output} cannot be written: {error.strerror or error}. Name another --output."
            ) from error

    def _run_one(self, cell: Cell, what: dict[str, Any], name: str) -> Generator[Event, None, RunResult]:
        if cell.noise is not None and cell.keep != "clean":
            yield from self.store.make(cell.noise, cell.images)
        scenario = build(cell, self.library, self.store.bank, self.device)
        if cell.frozen is not None:
            return self._ask(cell, cell.frozen, what, scenario)
        checkpoint = self.output / "cells" / f"{name}.pt"
        harden = parse_defence(cell.defence).harden
        trained: Trained | None = None
        network = start(cell, len(scenario.train.classes), scenario.train.size).to(self.device)
        for event in train_network(
            network, scenario.train, scenario.test, cell.training, checkpoint, harden=harden, workers=self.workers
        ):
            if isinstance(event, EpochEnded):
                yield event
            else:
                trained = event
        assert trained is not None
        network = trained.network
        if self.workers.rank == 0 and bool(scenario.protected.any()):
            write_atomically(self.output / "cells" / f"{name}.png", example_sheet(scenario))
        test, views, seed = scenario.test, cell.images.spec.views, cell.training.seed
        predicted = predict(network, test.images.to(self.device), cell.training.precision).cpu()
        counts = confusion(predicted.numpy(), test.labels.numpy(), len(test.classes))
        result = self._result(cell, what, scenario, tuple(_epoch(ended) for ended in trained.epochs), counts)
        pairs = cell.pairs
        return replace(
            result,
            trigger=self._trigger(cell, scenario, network) if cell.trigger and scenario.bank is not None else None,
            verification=verify_people(network, pairs, cell.images.spec, test.size, self.device, scenario.filter)
            if pairs is not None
            else None,
            groups=self._groups(cell, scenario, network),
            refits=refit(network, scenario, views, seed),
            separability=separability(scenario, views, seed),
            seconds=round(sum(epoch.seconds for epoch in trained.epochs), 3),
        )

    def _groups(self, cell: Cell, scenario: Scenario, network: nn.Module) -> GroupPairs | None:
        """Return how well the people of the clean test photos are verified, where some of them are protected."""
        some = scenario.protected_classes
        if cell.pairs is None or not some or len(some) == len(scenario.test.classes):
            return None
        return verify_groups(network, scenario.test, some, self.device, cell.training.seed)

    def _ask(self, cell: Cell, frozen: Frozen, what: dict[str, Any], scenario: Scenario) -> RunResult:
        """Return the result of the attack with a recogniser as it is, which needs no training."""
        start = time.perf_counter()
        if frozen.recogniser not in self.recognisers:
            self.recognisers[frozen.recogniser] = Remembered(self.library.recogniser(frozen.recogniser))
        embed = self.recognisers[frozen.recogniser].embed

        def features(data: ImageSet) -> Features:
            return embed(data.images.permute(0, 2, 3, 1).contiguous().cpu().numpy())

        known, asked = features(scenario.train), features(scenario.test)
        labels, right = scenario.train.labels.cpu().numpy(), scenario.test.labels.cpu().numpy()
        counts = confusion(answers(known, labels, asked, frozen.head), right, len(scenario.test.classes))
        epoch = epoch_of(counts, float((answers(known, labels, known, frozen.head) == labels).mean()))
        people = scenario.protected_classes or tuple(range(len(counts)))
        verification, unprotected = verify_features(known, labels, asked, right, people), None
        if scenario.protected_classes:
            clean, clean_asked = features(scenario.original), features(library_test(self.library, cell))
            clean_labels = scenario.original.labels.cpu().numpy()
            unprotected = verify_features(clean, clean_labels, clean_asked, right, people)
        result = self._result(cell, what, scenario, (epoch,), counts)
        return replace(
            result,
            verification=verification,
            verification_unprotected=unprotected,
            seconds=round(time.perf_counter() - start, 3),
        )

    def _result(
        self, cell: Cell, what: dict[str, Any], scenario: Scenario, epochs: tuple[Epoch, ...], counts: NDArray[np.int64]
    ) -> RunResult:
        test = scenario.test
        return RunResult(
            hash=hash_of(what),
            cell=what,
            dataset=Images(
                name=scenario.train.name,
                train_images=len(scenario.train),
                test_images=len(test),
                classes=test.classes,
                test_images_by_class=tuple(torch.bincount(test.labels, minlength=len(test.classes)).tolist()),
                image_size=test.size,
                sha256=digest(scenario.original, library_test(self.library, cell)),
            ),
            noise=_noise_used(scenario.bank) if scenario.bank is not None else None,
            protected_images=int(scenario.protected.sum()),
            protected_classes=scenario.protected_classes,
            epochs=epochs,
            confusion=tuple(map(tuple, counts.tolist())),
            seconds=0.0,
            command=self.command,
            hardware=describe_hardware(self.device),
            versions=library_versions(),
            date=datetime.now(UTC).isoformat(timespec="seconds"),
        )

    def _trigger(self, cell: Cell, scenario: Scenario, model: nn.Module) -> tuple[float | None, ...]:
        """Return the share of the other classes' clean test images that are classified as a class with its noise on.

        It has an entry for each class, which is None where the class has no pattern.
        """
        assert scenario.bank is not None
        test = library_test(self.library, cell)
        labels = torch.tensor(scenario.protected_classes)
        patterns = assign(scenario.original.at(torch.isin(scenario.original.labels, labels)), scenario.bank)
        shares: list[float | None] = [None] * len(test.classes)
        for label in scenario.protected_classes:
            others = test.at((test.labels != label).nonzero()[:, 0])
            asked = replace(others, labels=torch.full_like(others.labels, label))
            noisy = protect_set(asked, scenario.bank, patterns=patterns).images
            seen = scenario.filter(noisy) if scenario.filter is not None else noisy
            predicted = predict(model, seen.to(self.device), cell.training.precision)
            shares[label] = round((predicted == label).float().mean().item(), 4)
        return tuple(shares)


def is_done(path: Path, cell: Cell) -> bool:
    """Return whether a file holds the result of a run. Raises ``WorkError`` if it is damaged.

    Results of earlier versions have no refits, so such a training is repeated when they are wanted.
    """
    return path.is_file() and (cell.refit is None or read_result(path).refits is not None)


def _seen(result: RunResult, cell: Cell) -> RunResult:
    return result if cell.refit is None else with_refit(result, cell.refit)


def _noise_used(bank: Bank) -> NoiseUsed:
    of, made = bank.provenance, read_card(bank.path, bank.sha256).made
    return NoiseUsed(
        name=bank.name,
        sha256=bank.sha256,
        method=of.method,
        form=of.form,
        epsilon=of.epsilon,
        through=of.through,
        surrogate=of.surrogate,
        seconds=made.seconds,
        iterations=made.iterations,
        stop=made.stop,
        hardware=made.hardware,
    )


def _epoch(ended: EpochEnded) -> Epoch:
    by_class = tuple(None if share is None else round(share, 4) for share in ended.by_class)
    return Epoch(train=round(ended.train_accuracy, 4), clean=round(ended.clean_accuracy, 4), by_class=by_class)
