"""Noise for single faces: sample-wise protection against networks that already know faces.

The search begins with the pattern that a person's key makes from a bank, and moves the features that the student sees
(``training.student``), for each face on its own.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from unlearn_cli.banks.catalog import STUDENT, shipped_folder
from unlearn_cli.files import sha256_of
from unlearn_cli.noise.shift import Features, ShiftSearch, ShiftSettings
from unlearn_cli.noise.together import Together
from unlearn_cli.training.student import Student, load_student

SIDE = 160
"""The side in pixels at which a face's square is optimised: about one pixel for each that a recogniser sees."""
STEPS = 50
AT_ONCE = 16
"""The most faces in one batch; it limits the memory."""


class FaceNoise:
    """A maker of noise for single faces, which works on the faces of several threads at once."""

    size = SIDE

    def __init__(
        self,
        pattern: NDArray[np.int8],
        epsilon: int,
        device: torch.device,
        *,
        student: Path | None = None,
        steps: int = STEPS,
    ) -> None:
        """Load the student, by default the shipped one; ``epsilon`` is in pixel levels.

        ``pattern`` is the person's own ``[3, H, W]``, in levels, with which the noise begins. Each face's decoy is
        drawn from it, because nobody else has it, and from the face. Raises ``BankError`` if the student's file is
        missing or damaged.
        """
        path = student or shipped_folder() / STUDENT
        self.student = load_student(path).to(device)
        self.settings, self.device = ShiftSettings(epsilon=epsilon, steps=steps), device
        self.own = pattern.tobytes()
        self.start = F.interpolate(torch.from_numpy(pattern)[None].float(), (SIDE, SIDE), mode="bilinear")
        own = hashlib.sha256(self.own).hexdigest()
        self.fingerprint = f"feature shift 2 {sha256_of(path)} {own} {self.settings}"
        self._together: Together[NDArray[np.uint8]] = Together(self._batch)

    @property
    def teachers(self) -> dict[str, str]:
        """Return the names and SHA-256 of the recognisers that the student imitates; none of them is a fair judge."""
        return teachers_of(self.student)

    def of(self, pixels: NDArray[np.uint8], label: int = 0) -> NDArray[np.int8]:  # noqa: ARG002 - a face needs no label
        """Return noise int8 ``[3, S, S]``, in levels, for one face, given as the pixels ``[S, S, 3]`` of its square.

        Several threads may call it. Raises ``PhotoError`` if memory runs out or the device fails.
        """
        return self._together(pixels)

    def _batch(self, faces: list[NDArray[np.uint8]]) -> NDArray[np.int8]:
        images = torch.from_numpy(np.stack(faces)).permute(0, 3, 1, 2)
        return np.concatenate([self.make(part) for part in images.split(AT_ONCE)])

    def make(self, faces: Tensor) -> NDArray[np.int8]:
        """Return noise int8 ``[B, 3, S, S]``, in levels, for squares of faces uint8 ``[B, 3, S, S]``."""
        each = torch.arange(len(faces))
        decoys = [decoy_of(self.own + face.numpy().tobytes(), self.student) for face in faces.cpu()]
        decoy = Features(tuple(torch.cat(parts).to(self.device) for parts in zip(*decoys, strict=True)))
        search = ShiftSearch(
            faces.to(self.device).float(),
            each,
            each,
            self.start.expand(len(faces), 3, SIDE, SIDE),
            [self.student],
            decoy,
            self.settings,
        )
        for _ in range(self.settings.steps):
            search.step()
        return search.levels()


def decoy_of(secret: bytes, student: Student) -> tuple[Tensor, ...]:
    """Return a random feature ``[1, D]`` of length 1 for each of the student's heads, which the secret decides."""
    digest = hashlib.sha256(b"unlearn decoy\0" + secret).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:7]))
    lengths = [teacher.features for teacher in student.plan.teachers]
    return tuple(F.normalize(torch.randn((1, length), generator=generator), dim=1) for length in lengths)


def teachers_of(student: Student) -> dict[str, str]:
    """Return the SHA-256 of each recogniser that a student imitates, by name; none of them is a fair judge."""
    return {teacher.name: teacher.sha256 for teacher in student.plan.teachers}
