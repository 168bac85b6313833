"""The settings that decide which noise is made: the method, its hyper-parameters, and presets of them."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any, Literal

from unlearn_cli.banks.provenance import Form, Strength
from unlearn_cli.errors import UsageError

Method = Literal["error-min", "error-max", "random", "lsp", "ar"]
Solver = Literal["pgd", "fgsm", "adam", "lbfgs", "cw"]

SEARCHED = ("error-min", "error-max")
"""The methods that need a surrogate."""

NOT_JOINT = (
    "solver", "step_size", "noise_steps", "penalty", "surrogate_steps", "noise_share", "surrogate_on", "stop_error",
    "patience", "surrogate_epochs", "patch",
)  # fmt: skip
"""Hyper-parameters that a joint search does not have."""

PENALTY_SOLVERS = ("adam", "lbfgs")
"""The solvers of the penalty form."""


@dataclass(frozen=True, kw_only=True)
class NoiseSettings:
    """The method and its hyper-parameters; the defaults are the paper's for CIFAR-10 (section 4.1), except ``through``.

    Where ``step_size``, ``noise_steps`` or ``stop_error`` is None, its value depends on other settings: see the
    properties ``step``, ``steps`` and ``goal``.
    """

    method: Method = "error-min"
    form: Form = "class-wise"
    patch: int | None = None
    """The side in pixels of a square patch that the noise is confined to, at a random place each time (appendix F)."""
    epsilon: int = 8
    """The L-infinity bound of the noise, in pixel levels."""
    solver: Solver = "pgd"
    """The solver of the inner problem: see ``solvers``."""
    step_size: float | None = None
    """The step size of the noise, in pixel levels."""
    noise_steps: int | None = None
    """T: the number of steps of the noise on each batch."""
    penalty: float = 1.0
    """The weight c of the penalty form (appendix I, equation 5)."""
    surrogate_steps: int = 10
    """M: the number of batches that the surrogate is trained on before each pass over the noise."""
    noise_share: float = 0.2
    """Class-wise: the share of the training images that the noise is optimised on."""
    surrogate_on: Literal["all", "noise-images"] = "all"
    """The images that the surrogate is trained on. In the paper's text it is one subset for noise and surrogate; its
    official code trains on all, and so does the default, as all images are at hand anyway."""
    stop_error: float | None = None
    """Lambda: the search ends when the surrogate's error rate on noisy images is below it (error-max: above it)."""
    max_iterations: int = 100
    """The search ends after this many iterations in any case, and reports that."""
    patience: int = 20
    """The search counts as stalled, and ends, after this many iterations without a better error rate."""
    frame: Literal["image", "face"] = "image"
    """Where ``protect`` will apply the noise: over the whole photo, or to a square around each face."""
    joint: bool = False
    """error-min, class-wise: optimise noise and surrogate together (see ``noise.joint``); an iteration is an epoch."""
    rounds: int = 4
    """joint: the number of fresh surrogates, one after another."""
    clean_classes: float = 0.0
    """joint: the share of the classes, the last ones, that carry no noise."""
    strength: Strength | None = None
    """joint: the bank's name among others of the same classes, by how visible its noise is."""
    visibility: float | None = None
    """joint: how visible each pattern may be, as ``noise.visibility`` measures it; None means that only epsilon limits
    it."""
    surrogate_epochs: int = 20
    """error-max: the number of epochs of clean training, in which the surrogate is to converge."""
    through: str = "augment"
    """The transformations to optimise through, as a chain or a preset: see ``transforms.Through``."""
    surrogate: str = "resnet18"
    """A network of ``training.models``, or several, separated by commas, which form an ensemble."""
    batch_size: int = 128
    learning_rate: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    precision: Literal["fp32", "bf16"] = "fp32"
    """The precision of the networks' arithmetic; the noise is always float32."""
    compile: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        """Raise ``UsageError`` if a setting is NaN or infinite."""
        for item in fields(self):
            value = getattr(self, item.name)
            if isinstance(value, float) and not math.isfinite(value):
                raise UsageError(f"The setting {item.name.replace('_', '-')} is {value}, and has to be a number.")

    @property
    def step(self) -> float:
        """The step size in force, in pixel levels; for ``lbfgs``, the learning rate that scales its steps."""
        if self.step_size is not None:
            return self.step_size
        return {"fgsm": float(self.epsilon), "adam": 0.5, "lbfgs": 1.0}.get(self.solver, self.epsilon / 10)

    @property
    def steps(self) -> int:
        """T in force: by default 1 class-wise and 20 sample-wise, 200 in the penalty form and 1 for ``fgsm``."""
        if self.noise_steps is not None:
            return self.noise_steps
        if self.solver == "fgsm":
            return 1
        if self.solver in PENALTY_SOLVERS:
            return 200
        return 20 if self.form == "sample-wise" else 1

    @property
    def goal(self) -> float:
        """Lambda in force: by default 0.1 class-wise and 0.01 sample-wise; for error-max 0.8, as in the official code.

        Error-max noise that is sample-wise has no use for it.
        """
        if self.stop_error is not None:
            return self.stop_error
        if self.method == "error-max":
            return 0.8
        return 0.1 if self.form == "class-wise" else 0.01

    @property
    def share(self) -> float:
        """The share of the images that the noise is optimised on: ``noise_share`` class-wise, all sample-wise."""
        return self.noise_share if self.form == "class-wise" else 1.0

    def idle(self, name: str) -> bool:
        """Return whether the setting of this name has no effect, given the other settings."""
        if self.method not in SEARCHED:
            return name not in ("method", "form", "epsilon", "patch", "seed")
        of_joint = name in ("rounds", "clean_classes", "visibility")
        if of_joint or (self.joint and name in NOT_JOINT):
            return not (of_joint and self.joint)
        whole_pass = self.method == "error-max" and self.form == "sample-wise"
        return {
            "penalty": self.solver not in PENALTY_SOLVERS,
            "noise_share": self.form == "sample-wise",
            "surrogate_steps": self.method == "error-max",
            "surrogate_epochs": self.method == "error-min",
            "stop_error": whole_pass,
            "max_iterations": whole_pass,
            "patience": whole_pass,
        }.get(name, False)

    def in_force(self) -> dict[str, Any]:
        """Return the hyper-parameters that have an effect on the noise, for its provenance."""
        if self.method not in SEARCHED:
            return {"patch": self.patch} if self.patch is not None else {}
        if self.joint:
            names = ["joint", "rounds", "clean_classes", "visibility", "max_iterations", "batch_size"]
            names += ["learning_rate", "momentum", "weight_decay", "precision"]
            return {name: getattr(self, name) for name in names}
        values: dict[str, Any] = {
            "step_size": self.step,
            "noise_steps": self.steps,
            "solver": self.solver,
            "stop_error": self.goal,
            "noise_share": self.share,
        }
        names = ["max_iterations", "patience", "batch_size", "learning_rate", "momentum", "weight_decay", "precision"]
        names += ["surrogate_epochs"] if self.method == "error-max" else ["surrogate_steps", "surrogate_on"]
        names += ["penalty"] if self.solver in PENALTY_SOLVERS else []
        names += ["surrogate_on"] if self.method == "error-max" else []
        names += ["patch"] if self.patch is not None else []
        names += ["compile"] if self.compile else []
        return values | {name: getattr(self, name) for name in names}


def settings_for(device: str, preset: str | None, said: dict[str, Any], seed: int) -> NoiseSettings:
    """Return the settings of a preset (or the defaults) with what was ``said`` besides, fit for a kind of device.

    ``device`` is PyTorch's name of its kind: networks are smaller on a ``cpu``, and their arithmetic bf16 on ``cuda``.
    Raises ``UsageError`` for a number that is not finite.
    """
    fitting: dict[str, Any] = {
        "surrogate": "resnet10-w16" if device == "cpu" else "resnet18",
        "precision": "bf16" if device == "cuda" else "fp32",
    }
    own = dict(PRESETS[preset]) if preset else {}
    if "visibility" in said:
        own.pop("strength", None)  # The strength is the name of the preset's own visibility.
    return NoiseSettings(**(fitting | own | said), seed=seed)


PAPER = {"through": "none", "surrogate": "resnet18", "batch_size": 512, "patience": 100, "precision": "fp32"}
"""Noise without transformations, as published; the batch size is that of the official ``perturbation.py``."""

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
"""A bank of patterns that protect single people among many; docs/results/person.md tells what else was tried."""

PHOTOS: dict[str, Any] = {
    "joint": True,
    "visibility": 0.07,
    "rounds": 2,
    "max_iterations": 60,
    "batch_size": 64,
    "through": "scale+shift+flip",
}
"""A bank of patterns over whole photos, one for each class of what they show; docs/results/photos.md tells what else
was tried."""

PRESETS: dict[str, dict[str, Any]] = {
    "person": PERSON,
    # With two networks the noise is more visible than its target, at both targets tried (docs/results/person.md).
    "person-low": {**PERSON, "strength": "low", "visibility": 0.02, "surrogate": "resnet10-w16"},
    "person-high": {**PERSON, "strength": "high", "visibility": 0.071},
    "photos": PHOTOS,
    "paper-cifar10": PAPER,
    "paper-svhn": PAPER,
    "paper-cifar100": {**PAPER, "surrogate_steps": 20},
    "paper-imagenet": {
        **PAPER,
        "epsilon": 16,
        "surrogate_steps": 100,
        "stop_error": 0.1,
        "weight_decay": 5e-5,
        "batch_size": 32,
    },
    "paper-face": {**PAPER, "epsilon": 16, "surrogate_steps": 30, "stop_error": 0.1, "noise_share": 1.0},
}
"""Named sets of hyper-parameters, where they differ from the defaults. Those named ``paper-`` have the paper's values
for a dataset (section 4.1 and the official code's ``scripts`` and ``configs``), except that the official ``face``
setting has an Inception-ResNet as its network."""
