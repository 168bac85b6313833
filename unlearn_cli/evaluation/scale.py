"""Scales: the size of an evaluation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from unlearn_cli.training.devices import has_fast_bf16
from unlearn_cli.training.fast import FAST, FAST_SMALL, FAST_SMALL_TRAINING, FAST_TRAINING

SHORT_TRAINING: dict[str, Any] = {"learning_rate": 0.1, "gradient_clip": None}
"""The settings of victims that are trained for a few epochs only, which need larger steps."""


@dataclass(frozen=True, kw_only=True)
class Scale:
    """The size of an evaluation: the paper's, one for two CPU cores, or one that only tests that everything runs."""

    name: str
    train_size: int | None = None
    test_size: int | None = None
    epochs: int | None = None
    """The epochs of a training, in place of the recipe's."""
    image_size: int | None = None
    """The largest size, in pixels, that images are resized to."""
    faces: int = 20
    """The epochs of a victim that classifies people, each of which has three crops of every photo."""
    face_size: int = 112
    """The size of face images, in pixels."""
    face_model: str | None = None
    """The network for the photos of a few people, if it is another one than for all other images."""
    models: Mapping[str, str | None] = field(default_factory=dict)
    """Smaller networks in place of the paper's; None leaves out the runs of a network."""
    as_published: bool = False
    """Whether the paper's search keeps all of the paper's values, however long it takes."""
    training: Mapping[str, Any] = field(default_factory=dict)
    """Fields of ``TrainingSettings`` in place of the paper's."""
    training_of: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """By network, fields of ``TrainingSettings`` in place of all others."""
    noise: Mapping[str, Any] = field(default_factory=dict)
    sample_wise: Mapping[str, Any] = field(default_factory=dict)
    most_surrogate_steps: int | None = None
    """The largest M, where a recipe has a larger one."""

    def model(self, name: str) -> str | None:
        """Return the network that replaces one of the paper's; None if its runs are left out."""
        return self.models.get(name, name)

    def on(self, device: torch.device) -> Scale:
        """Return this scale with fp32 in place of bf16, if the device is slower with bf16."""
        if has_fast_bf16(device):
            return self
        return replace(
            self,
            training_of={name: _in_fp32(fields) for name, fields in self.training_of.items()},
            noise=_in_fp32(self.noise),
            sample_wise=_in_fp32(self.sample_wise),
        )


def _in_fp32(fields: Mapping[str, Any]) -> Mapping[str, Any]:
    return {**fields, "precision": "fp32"} if "precision" in fields else fields


SMALL: dict[str, str | None] = {
    "resnet18": "resnet10-w16",
    "inception-resnet-v1": "resnet10-w16",
    "vgg11": "vgg11-w16",
    "resnet50": None,
    "densenet121": None,
}
SCALES = {
    # On a GPU, bf16 and large batches make sample-wise noise several times faster.
    "paper": Scale(
        name="paper",
        as_published=True,
        noise={"surrogate": "resnet18", "precision": "bf16"},
        sample_wise={"batch_size": 512, "max_iterations": 20},
    ),
    # All images, with a network that learns them on two CPU cores, also on those without bf16.
    "laptop": Scale(
        name="laptop",
        epochs=13,
        image_size=64,
        face_size=40,
        face_model=SMALL["resnet18"],
        models={**SMALL, "resnet18": FAST_SMALL},
        training=SHORT_TRAINING,
        training_of={FAST: FAST_TRAINING, FAST_SMALL: FAST_SMALL_TRAINING},
        noise={"surrogate": FAST_SMALL, "precision": "bf16", "surrogate_epochs": 10},
        sample_wise={"batch_size": 512, "surrogate_steps": 80, "max_iterations": 4},
    ),
    "cpu": Scale(
        name="cpu",
        train_size=10_000,
        epochs=12,
        image_size=64,
        face_size=40,
        models=SMALL,
        training=SHORT_TRAINING,
        noise={"surrogate": "resnet10-w16", "surrogate_epochs": 20},
        # Few iterations with many surrogate steps, because nearly all time goes into the pass over all images, which
        # takes 20 noise steps.
        sample_wise={"surrogate_steps": 80, "max_iterations": 4, "precision": "bf16"},
    ),
    "tiny": Scale(
        name="tiny",
        train_size=200,
        test_size=200,
        epochs=1,
        image_size=32,
        faces=1,
        face_size=16,
        models={**SMALL, "resnet50": "resnet10-w16", "densenet121": "resnet10-w16"},
        training=SHORT_TRAINING,
        noise={"surrogate": "resnet10-w16", "max_iterations": 1, "surrogate_epochs": 1},
        sample_wise={"noise_steps": 2},
        most_surrogate_steps=10,
    ),
}
