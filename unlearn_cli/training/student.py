"""The student: a small face recogniser of our own, which imitates several larger ones.

Noise that is to move what face recognisers see needs one to be optimised on, on the user's machine. The large ones are
slow there, and their licences differ. So the student is trained once, before shipping, to return what several teachers
return for the same face (knowledge distillation; Hinton et al., 2015). It has a head for each teacher.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import save
from torch import Tensor, nn

from unlearn_cli.errors import BankError
from unlearn_cli.faces import TEMPLATE_SIDE
from unlearn_cli.files import write_atomically
from unlearn_cli.training.weights import digest, halved, read_weights

METADATA_KEY = "unlearn-student"
SCHEMA = 1


@dataclass(frozen=True)
class Teacher:
    """A face recogniser that the student imitates."""

    name: str
    sha256: str
    """The digest of its file."""
    features: int
    """The length of its features."""


@dataclass(frozen=True)
class StudentPlan:
    """The shape of a student: the width and the number of blocks of each of its four stages, and its teachers."""

    teachers: tuple[Teacher, ...]
    widths: tuple[int, int, int, int] = (32, 48, 96, 192)
    blocks: tuple[int, int, int, int] = (1, 2, 2, 2)
    features: int = 256


class Student(nn.Module):
    """A residual network on aligned faces of 112 pixels, with a linear head for each teacher."""

    def __init__(self, plan: StudentPlan) -> None:
        super().__init__()
        self.plan = plan
        width = plan.widths[0]
        layers: list[nn.Module] = [nn.Conv2d(3, width, 3, 2, 1, bias=False), nn.BatchNorm2d(width), nn.PReLU(width)]
        for stage, (wider, count) in enumerate(zip(plan.widths, plan.blocks, strict=True)):
            for block in range(count):
                layers.append(_Block(width, wider, 2 if block == 0 and stage > 0 else 1))
                width = wider
        self.features = nn.Sequential(*layers, nn.BatchNorm2d(width))
        # As in MobileFaceNet (Chen et al., 2018), each place of the last 7 x 7 has a weight of its own: where an eye is
        # matters, so that a mean over the image loses too much.
        self.gather = nn.Conv2d(width, width, TEMPLATE_SIDE // 16, groups=width, bias=False)
        self.join = nn.Linear(width, plan.features, bias=False)
        self.normalise = nn.BatchNorm1d(plan.features)
        self.heads = nn.ModuleList(nn.Linear(plan.features, teacher.features) for teacher in plan.teachers)

    def forward(self, levels: Tensor) -> tuple[Tensor, ...]:
        """Return the features ``[B, D]`` that each teacher would return, of length 1.

        ``levels`` are aligned faces ``[B, 3, 112, 112]`` with pixel values 0..255.
        """
        seen = (levels / 127.5 - 1).contiguous(memory_format=torch.channels_last)
        joined = self.normalise(self.join(self.gather(self.features(seen)).flatten(1)))
        return tuple(F.normalize(head(joined).float(), dim=1) for head in self.heads)


class _Block(nn.Module):
    """The residual block of ArcFace's networks (Deng et al., 2019, IR): normalisation first, and PReLU between."""

    def __init__(self, width: int, wider: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.BatchNorm2d(width),
            nn.Conv2d(width, wider, 3, 1, 1, bias=False),
            nn.BatchNorm2d(wider),
            nn.PReLU(wider),
            nn.Conv2d(wider, wider, 3, stride, 1, bias=False),
            nn.BatchNorm2d(wider),
        )
        self.beside: nn.Module = nn.Identity()
        if width != wider or stride != 1:
            smaller = [nn.AvgPool2d(stride)] if stride > 1 else []
            self.beside = nn.Sequential(*smaller, nn.Conv2d(width, wider, 1, bias=False), nn.BatchNorm2d(wider))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.beside(x) + self.body(x)
        return y


def imitation_loss(made: Sequence[Tensor], wanted: Sequence[Tensor], relations: float = 5.0) -> Tensor:
    """Return how far features ``[B, D]`` are from the teachers', the mean over the teachers.

    One minus the cosine to the teacher's own feature, and ``relations`` times the mean squared difference of the
    cosines between the images of the batch (relational distillation; Park et al., 2019), which is what tells people
    apart.
    """
    losses = []
    for mine, theirs in zip(made, wanted, strict=True):
        own = (1 - (mine * theirs).sum(1)).mean()
        losses.append(own + relations * ((mine @ mine.T - theirs @ theirs.T) ** 2).mean())
    return torch.stack(losses).mean()


def save_student(path: Path, student: Student, about: Mapping[str, Any]) -> None:
    """Write a student atomically, in half precision; ``about`` says how it was made."""
    tensors = halved(student)
    metadata = {"schema": SCHEMA, "plan": asdict(student.plan), "weights_sha256": digest(tensors), **about}
    write_atomically(path, save(tensors, {METADATA_KEY: json.dumps(metadata)}))


def load_student(path: Path) -> Student:
    """Return a student in evaluation mode and without gradients of its weights.

    Raises ``BankError`` if its file is missing, damaged, or needs a newer version of unlearn.
    """
    try:
        about, tensors = read_weights(path, METADATA_KEY)
        if about["schema"] > SCHEMA:
            raise BankError(f"The face network {path} has a newer schema ({about['schema']}): update unlearn.")
        plan = about["plan"]
        teachers = tuple(Teacher(**teacher) for teacher in plan["teachers"])
        student = Student(StudentPlan(teachers, tuple(plan["widths"]), tuple(plan["blocks"]), plan["features"]))
        student.load_state_dict(tensors)
        if digest(tensors) != about["weights_sha256"]:
            raise ValueError("not the weights that were written")
    except (SafetensorError, OSError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise BankError(f"The face network {path} is missing or damaged. Install unlearn again.") from error
    return student.eval().requires_grad_(False).to(memory_format=torch.channels_last)
