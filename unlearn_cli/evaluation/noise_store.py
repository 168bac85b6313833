"""Making the noise that runs share: each noise is made once and saved as a bank in the evaluation's folder."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from unlearn_cli.banks.bank import Bank, load_bank, save_bank
from unlearn_cli.banks.card import card_path
from unlearn_cli.banks.catalog import open_bank
from unlearn_cli.evaluation.cell import Images, Library, NoisePlan, hash_of, noise_identity
from unlearn_cli.evaluation.protect_set import renamed
from unlearn_cli.files import lock
from unlearn_cli.noise.bank_file import BankWritten, Origin, make_bank
from unlearn_cli.noise.events import Event
from unlearn_cli.noise.mixture import mix
from unlearn_cli.noise.resume import iterations_in
from unlearn_cli.noise.settings import Searched
from unlearn_cli.training.workers import Workers

SECONDS_BETWEEN_LOOKS = 1.0


@dataclass(frozen=True)
class NoiseMaking:
    """Reports progress on making the noise of a run."""

    event: Event


class NoiseStore:
    """The banks of an evaluation, found by the plan that they were made for."""

    def __init__(self, output: Path, device: torch.device, library: Library, command: str, workers: Workers) -> None:
        self.folder, self.device, self.library = output / "noise", device, library
        self.command, self.workers = command, workers

    def make(self, plan: NoisePlan, on: Images) -> Iterator[NoiseMaking]:
        """Make the noise of a plan that does not exist yet; wait for noise that another process is making."""
        for part in plan.parts:
            yield from self.make(part, on)
        if plan.settings is None:
            return
        path, where = self._path(plan, on), plan.made_on or on
        self.folder.mkdir(parents=True, exist_ok=True)
        with path.with_suffix(".lock").open("w") as file:
            while self.workers.rank == 0 and not lock(file):
                time.sleep(SECONDS_BETWEEN_LOOKS)
            # The first worker decides for all, so that all of them do the same.
            if not self.workers.agree(self._is_complete(path), self.device):
                yield from self._search(plan, where, path)

    def bank(self, plan: NoisePlan, on: Images) -> Bank:
        """Return the bank of a plan whose noise has been made, with the patterns' classes renamed as the plan says."""
        if plan.parts:
            return self._mixture(plan, on)
        bank = open_bank(plan.bank) if plan.bank is not None else load_bank(self._path(plan, on))
        return renamed(bank, dict(plan.renamed)) if plan.renamed else bank

    def is_made(self, plan: NoisePlan, on: Images) -> bool:
        """Return whether nothing has to be made before the bank of a plan can be used."""
        if plan.parts:
            return all(self.is_made(part, on) for part in plan.parts)
        return plan.settings is None or self._is_complete(self._path(plan, on))

    def iterations_of(self, plan: NoisePlan, on: Images) -> int:
        """Return after how many iterations an interrupted search for the noise of a plan was saved."""
        return iterations_in(_search_folder(self._path(plan, on))) if plan.settings is not None else 0

    def _is_complete(self, path: Path) -> bool:
        # The card is written last, so its presence says that the bank is complete.
        return path.is_file() and card_path(path).is_file()

    def _mixture(self, plan: NoisePlan, on: Images) -> Bank:
        banks = [self.bank(part, on) for part in plan.parts]
        key = hash_of({"parts": [bank.sha256 for bank in banks], "uniform": plan.uniform, "clipped": plan.clipped})
        path = self.folder / f"{key}.safetensors"
        if self.workers.rank == 0:
            save_bank(path, *mix(banks, plan.uniform, clipped=plan.clipped))
        self.workers.wait()
        return load_bank(path)

    def _search(self, plan: NoisePlan, where: Images, path: Path) -> Iterator[NoiseMaking]:
        assert plan.settings is not None
        data = self.library.train(where)
        # A search may take an hour, so an interrupted one goes on from here.
        kept = _search_folder(path) if isinstance(plan.settings, Searched) else None
        for event in make_bank(
            path,
            data,
            plan.settings,
            self.device,
            Origin(self.command, where.spec.crop, plan.family),
            workers=self.workers,
            checkpoint=kept,
        ):
            if not isinstance(event, BankWritten):
                yield NoiseMaking(event)
        self.workers.wait()
        if kept is not None and self.workers.rank == 0:
            shutil.rmtree(kept, ignore_errors=True)

    def _path(self, plan: NoisePlan, on: Images) -> Path:
        return self.folder / f"{hash_of(noise_identity(plan, on, self.library))}.safetensors"


def _search_folder(path: Path) -> Path:
    """Return the folder of the checkpoints of a search whose bank this file will be."""
    return path.with_suffix(".search")
