"""Named sets of settings, and the settings that result from one of them on a kind of device."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from unlearn_cli.noise.settings import NoiseSettings, make_settings

PAPER: dict[str, Any] = {
    "through": "none",
    "surrogate": "resnet18",
    "batch_size": 512,
    "gradient_clip": 5.0,
    "patience": 100,
    "precision": "fp32",
    "surrogate_epochs": 60,
}
"""Noise without transformations, as published; the batch size and the clip are those of the official code."""

PERSON: dict[str, Any] = {
    "joint": True,
    "frame": "face",
    "clean_classes": 0.5,
    "strength": "medium",
    "visibility": 0.058,
    "rounds": 2,
    "max_iterations": 60,
    "batch_size": 64,
    "through": "person",
    "surrogate": "resnet10-w16,vgg11-w16",
}
"""A bank of patterns that protect single people among many; docs/results/person.md lists what else was tried."""

PHOTOS: dict[str, Any] = {
    "joint": True,
    "visibility": 0.07,
    "rounds": 2,
    "max_iterations": 60,
    "batch_size": 64,
    "through": "scale+shift+flip",
}
"""A bank of patterns that cover whole photos, one for each class; docs/results/photos.md lists what else was tried."""

PRESETS: dict[str, dict[str, Any]] = {
    "person": PERSON,
    # With two networks the noise is more visible than its target, at both targets tried (docs/results/person.md).
    "person-low": {**PERSON, "strength": "low", "visibility": 0.02, "surrogate": "resnet10-w16"},
    "person-high": {**PERSON, "strength": "high", "visibility": 0.071},
    # Plainly visible; half of what it may change is grey, because it is also optimised on grey views.
    "person-max": {
        **PERSON,
        "strength": "max",
        "epsilon": 16,
        "visibility": 0.13,
        "through": "face+shift+flip+color+gray",
    },
    "photos": PHOTOS,
    "paper-cifar10": PAPER,
    "paper-svhn": PAPER,
    "paper-cifar100": {**PAPER, "surrogate_steps": 20, "weight_decay": 5e-5},
    "paper-imagenet": {
        **PAPER,
        "surrogate": "torchvision:resnet18",
        "epsilon": 16,
        "surrogate_steps": 100,
        "stop_error": 0.1,
        "weight_decay": 5e-5,
        "batch_size": 32,
    },
    "paper-face": {
        **PAPER,
        "epsilon": 16,
        "surrogate_steps": 30,
        "stop_error": 0.1,
        "noise_share": 1.0,
        "batch_size": 32,
    },
}
"""Named sets of hyper-parameters, where they differ from the defaults. Those named ``paper-`` have the paper's values
for a dataset (appendix B and the official code's ``scripts`` and ``configs``), except that the official ``face``
setting has an Inception-ResNet as its network."""


def settings_for(device: str, preset: str | None, said: Mapping[str, Any], seed: int) -> NoiseSettings:
    """Return the settings of a preset (or the defaults), changed by the user's words and suited to a kind of device.

    ``said`` has the user's words. ``device`` is PyTorch's name of a kind of device: the default networks are smaller on
    ``cpu``, and the default arithmetic is bf16 on ``cuda``.
    Raises ``UsageError`` as ``make_settings`` does.
    """
    fitting = {
        "surrogate": "resnet10-w16" if device == "cpu" else "resnet18",
        "precision": "bf16" if device == "cuda" else "fp32",
        **(PRESETS[preset] if preset else {}),
    }
    if "visibility" in said:
        fitting.pop("strength", None)  # The strength is the name of the preset's own visibility.
    return make_settings({**said, "seed": seed}, fitting=fitting)
