"""What decides the noise that is made: the method and its hyper-parameters, and the paper's values of them."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any, Literal

from unlearn_cli.errors import UsageError

Method = Literal["error-min", "error-max", "random", "lsp", "ar"]
Form = Literal["class-wise", "sample-wise"]
Solver = Literal["pgd", "fgsm", "adam", "lbfgs", "cw"]

SEARCHED = ("error-min", "error-max")
"""The methods that need a surrogate."""

NOT_JOINT = (
    "solver", "step_size", "noise_steps", "penalty", "surrogate_steps", "noise_share", "surrogate_on", "stop_error",
    "patience", "surrogate_epochs", "patch",
)  # fmt: skip
"""Hyper-parameters that a joint search does not have."""

PENALTY_SOLVERS = ("adam", "lbfgs")


@dataclass(frozen=True, kw_only=True)
class NoiseSettings:
    """Hyper-parameters; the defaults are the paper's for CIFAR-10 (section 4.1), but for ``through``.

    What is None has a value that depends on others, which the property beside it tells.
    """

    method: Method = "error-min"
    form: Form = "class-wise"
    patch: int | None = None
    """Side of a square in pixels that the noise is confined to, at a random place each time (appendix F)."""
    epsilon: int = 8
    """L-infinity bound, pixel levels."""
    solver: Solver = "pgd"
    """Of the inner problem; see ``solvers``."""
    step_size: float | None = None
    """Of the noise, pixel levels."""
    noise_steps: int | None = None
    """T: steps of the noise on each batch."""
    penalty: float = 1.0
    """c of the penalty form (appendix I, equation 5)."""
    surrogate_steps: int = 10
    """M: batches that the surrogate is trained on before each pass of the noise."""
    noise_share: float = 0.2
    """Class-wise: the part of the training images that the noise is optimised on."""
    surrogate_on: Literal["all", "noise-images"] = "all"
    """The images that the surrogate is trained on. The paper's text has one subset for both; its official code
    trains on all, and so does the default, since all images are there anyway."""
    stop_error: float | None = None
    """Lambda: the search ends when the surrogate's error on noisy images is below it (error-max: above)."""
    max_iterations: int = 100
    """The search ends here in any case, and says so."""
    patience: int = 20
    """The search has stalled when so many iterations brought no better error."""
    frame: Literal["image", "face"] = "image"
    """How ``protect`` will lay the noise: over the whole photo, or with each face."""
    joint: bool = False
    """error-min, class-wise: noise and surrogate descend together (see ``joint``); an iteration is then an epoch."""
    rounds: int = 4
    """joint: so many fresh surrogates, one after another."""
    clean_classes: float = 0.0
    """joint: the share of the classes, the last ones, that carry no noise."""
    strength: Literal["low", "medium", "high"] | None = None
    """joint: what the bank will be called among others of the same classes, by how visible its noise is."""
    visibility: float | None = None
    """joint: how visible the noise may be, as ``visibility.visibility`` counts it; None lets the bound alone decide."""
    surrogate_epochs: int = 20
    """error-max: epochs of clean training, until the surrogate has converged."""
    through: str = "augment"
    """A chain of transformations or a preset: see ``transforms.Through``."""
    surrogate: str = "resnet18"
    """A network of ``victims.models``, or several, separated by commas: an ensemble."""
    batch_size: int = 128
    learning_rate: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    precision: Literal["fp32", "bf16"] = "fp32"
    """Of the networks' arithmetic; the noise is always float32."""
    compile: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse numbers that are none."""
        for item in fields(self):
            value = getattr(self, item.name)
            if isinstance(value, float) and not math.isfinite(value):
                raise UsageError(f"The setting {item.name.replace('_', '-')} is {value}, and has to be a number.")

    @property
    def step(self) -> float:
        """The step size in force, in pixel levels."""
        if self.step_size is not None:
            return self.step_size
        return {"fgsm": float(self.epsilon), "adam": 0.5, "lbfgs": 1.0}.get(self.solver, self.epsilon / 10)

    @property
    def steps(self) -> int:
        """T in force: 1 for each batch of a pass class-wise and 20 sample-wise, 200 in the penalty form."""
        if self.noise_steps is not None:
            return self.noise_steps
        if self.solver == "fgsm":
            return 1
        if self.solver in PENALTY_SOLVERS:
            return 200
        return 20 if self.form == "sample-wise" else 1

    @property
    def goal(self) -> float:
        """Lambda in force. For error-max class-wise, 0.8 as in the official code."""
        if self.stop_error is not None:
            return self.stop_error
        if self.method == "error-max":
            return 0.8
        return 0.1 if self.form == "class-wise" else 0.01

    @property
    def share(self) -> float:
        """The part of the images that get noise: all of them, sample-wise."""
        return self.noise_share if self.form == "class-wise" else 1.0

    def idle(self, name: str) -> bool:
        """Whether a setting of this name decides nothing here."""
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
        """The hyper-parameters that decided the noise, for its provenance."""
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
"""Plain noise, as published; the batch is that of the official ``perturbation.py``."""

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
"""A bank of patterns for people among many; docs/results/person.md has what was tried beside it."""

PHOTOS: dict[str, Any] = {
    "joint": True,
    "visibility": 0.07,
    "rounds": 2,
    "max_iterations": 60,
    "batch_size": 64,
    "through": "scale+shift+flip",
}
"""A bank of patterns for what photos show, over the whole of them; docs/results/photos.md has what was tried."""

PRESETS: dict[str, dict[str, Any]] = {
    "person": PERSON,
    # With two networks it is seen more than was asked of it, at either visibility tried (docs/results/person.md).
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
"""The paper's values for each dataset (section 4.1 and the official code's ``scripts`` and ``configs``), where they
differ from the defaults. The official ``face`` setting has an Inception-ResNet, which is not here."""
