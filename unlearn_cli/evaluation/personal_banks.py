"""Personal banks for an evaluation: each person's pattern is fitted to photos that no victim sees."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch

from unlearn_cli.banks.bank import load_bank
from unlearn_cli.banks.catalog import STUDENT, Choice, shipped_folder
from unlearn_cli.files import sha256_of
from unlearn_cli.noise.face_noise import SIDE
from unlearn_cli.noise.personal import STEPS, Start, make_personal_bank
from unlearn_cli.noise.shift import ShiftSettings
from unlearn_cli.photos.apply import Pattern
from unlearn_cli.photos.face_pixels import read_faces

HASH_LETTERS = 16


def personal_choice(photos: Path, pattern: Pattern, bank: str, output: Path, device: torch.device) -> Choice:
    """Return the choice of a bank that ``generate --preset personal`` makes of a folder of photos, made only once.

    ``pattern`` is the person's own from the bank of this name, with which the search begins, and has its bound. Raises
    ``WorkError`` if no photo shows a face, and ``BankError`` if the student's file is missing or damaged.
    """
    faces, _ = read_faces(photos, SIDE)
    settings = ShiftSettings(epsilon=pattern.epsilon, steps=STEPS)
    made_of = f"{pattern.fingerprint} {settings} {sha256_of(shipped_folder() / STUDENT)}"
    what = hashlib.sha256(made_of.encode() + faces.tobytes()).hexdigest()[:HASH_LETTERS]
    path = output / "personal" / f"{what}.safetensors"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        command = f"unlearn evaluate people --set fit={photos.parent.name}"
        for _ in make_personal_bank(path, faces, Start(pattern.noise, bank), settings, device, command):
            pass
    return Choice(load_bank(path), 0)
