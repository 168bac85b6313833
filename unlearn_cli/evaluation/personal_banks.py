"""Personal banks for an evaluation: each person's pattern is fitted to photos that no victim sees."""

from __future__ import annotations

import hashlib
from pathlib import Path

from unlearn_cli.banks.bank import load_bank
from unlearn_cli.banks.catalog import Choice
from unlearn_cli.noise.face_noise import SIDE
from unlearn_cli.noise.personal import STEPS, Start, make_personal_bank
from unlearn_cli.noise.shift import ShiftSettings
from unlearn_cli.photos.apply import Pattern
from unlearn_cli.photos.face_pixels import read_faces
from unlearn_cli.training.devices import pick_device

HASH_LETTERS = 16


def personal_choice(photos: Path, pattern: Pattern, bank: str, output: Path) -> Choice:
    """Return the choice of a bank that ``generate --preset personal`` makes of a folder of photos, made only once.

    ``pattern`` is the person's own from the bank of this name, with which the search begins, and has its bound. Raises
    ``WorkError`` if no photo shows a face.
    """
    faces, _ = read_faces(photos, SIDE)
    what = hashlib.sha256(f"{pattern.fingerprint} {STEPS}".encode() + faces.tobytes()).hexdigest()[:HASH_LETTERS]
    path = output / "personal" / f"{what}.safetensors"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        command = f"unlearn evaluate people --set fit={photos.parent.name}"
        start, settings = Start(pattern.noise, bank), ShiftSettings(epsilon=pattern.epsilon, steps=STEPS)
        for _ in make_personal_bank(path, faces, start, settings, pick_device(), command):
            pass
    return Choice(load_bank(path), 0)
