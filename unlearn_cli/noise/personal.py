"""One pattern for all photos of a person, fitted to some of them: between the bank's pattern and noise for each face.

A pattern from a bank was made on strangers. One that is fitted to a person's own photos moves what recognisers see in
their other photos too, and is applied as fast as a bank's. The search is the same as for single faces (``shift``), but
all faces share one pattern, which begins as the one that the person's key makes from a bank.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from unlearn_cli.banks.catalog import STUDENT, shipped_folder
from unlearn_cli.banks.provenance import PERSONAL, SPAN, Provenance
from unlearn_cli.files import sha256_of
from unlearn_cli.noise.bank_file import BankWritten, write_bank
from unlearn_cli.noise.events import Finished
from unlearn_cli.noise.face_noise import SIDE, decoy_of, teachers_of
from unlearn_cli.noise.shift import Features, ShiftSearch, ShiftSettings
from unlearn_cli.training.devices import library_versions
from unlearn_cli.training.student import load_student

CLASS = "person"
STEPS = 100
AT_ONCE = 16
"""The most faces that one step looks at; it limits the time of a step."""


@dataclass(frozen=True)
class Fitting:
    """Reports one step of the search."""

    step: int
    steps: int
    cosine: float
    """The mean cosine between what the student sees in a face with and without the pattern, relative to the mean face:
    1 where nothing changed, and about 0 between two strangers."""
    seconds: float
    """Seconds since the search began."""


@dataclass(frozen=True, eq=False)
class Start:
    """The pattern with which a search begins."""

    pattern: NDArray[np.int8]
    """The person's own ``[3, H, W]``, in pixel levels."""
    bank: str
    """The name of the bank that it was made from."""


def make_personal_bank(
    path: Path, faces: NDArray[np.uint8], start: Start, settings: ShiftSettings, device: torch.device, command: str
) -> Iterator[Fitting | BankWritten]:
    """Fit one pattern to the squares of a person's faces uint8 ``[N, S, S, 3]``, write it as a bank, and yield events.

    ``command`` is what the bank's card says of how it was made. The last event is ``BankWritten``. On a CPU the same
    arguments give the same noise. Raises ``BankError`` if the student's file is missing or damaged, and ``OSError`` if
    a file cannot be written.
    """
    source = shipped_folder() / STUDENT
    network = load_student(source).to(device)
    images = torch.from_numpy(faces).permute(0, 3, 1, 2).to(device).float()
    one = torch.zeros(len(images), dtype=torch.int64)
    decoy = Features(
        tuple(part.expand(len(images), -1).to(device) for part in decoy_of(start.pattern.tobytes(), network))
    )
    first = F.interpolate(torch.from_numpy(start.pattern)[None].float(), (SIDE, SIDE), mode="bilinear")
    search = ShiftSearch(images, one, one, first, [network], decoy, settings)
    generator = torch.Generator().manual_seed(settings.seed)
    began = time.perf_counter()
    for step in range(1, settings.steps + 1):
        search.step(torch.randperm(len(images), generator=generator)[:AT_ONCE])
        yield Fitting(step, settings.steps, search.last_cosine, time.perf_counter() - began)
    provenance = Provenance(
        classes=(CLASS,),
        epsilon=settings.epsilon,
        scale=SIDE,
        frame="face",
        span=SPAN,
        anchor="landmarks",
        method=PERSONAL,
        through="alignment+blur+jpeg:60-95+resize:60-100",
        # Nothing that says whose faces these are: their number is all that others need to know.
        dataset={"name": "the user's own photos", "licence": "", "images": len(faces)},
        surrogate=f"face-student {sha256_of(source)}",
        teachers=teachers_of(network),
        hyperparameters={
            "start": start.bank,
            "steps": settings.steps,
            "batch_size": AT_ONCE,
            "learning_rate": settings.rate,
        },
        seed=settings.seed,
        versions=library_versions(),
        date=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    seconds = time.perf_counter() - began
    made = Finished(search.levels(), settings.steps, search.last_cosine, "max_iterations reached", seconds, None)
    yield write_bank(path, made, provenance, device, command)
