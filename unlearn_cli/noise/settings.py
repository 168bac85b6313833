"""The settings that decide which noise is made: a dataclass for each method."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

from unlearn_cli.banks.provenance import Form, Strength
from unlearn_cli.errors import UsageError

Solver = Literal["pgd", "fgsm", "adam", "lbfgs", "cw"]

PENALTY_SOLVERS = ("adam", "lbfgs")
"""The solvers of the penalty form, which only error-minimizing noise has."""


@dataclass(frozen=True, kw_only=True)
class Common:
    """The settings that all noise has."""

    form: Form = "class-wise"
    epsilon: int = 8
    """The L-infinity bound of the noise, in pixel levels."""
    frame: Literal["image", "face"] = "image"
    """Where ``protect`` will apply the noise: over the whole photo, or to a square around each face."""
    seed: int = 0

    def __post_init__(self) -> None:
        """Raise ``UsageError`` if a setting is NaN or infinite."""
        for item in fields(self):
            value = getattr(self, item.name)
            if isinstance(value, float) and not math.isfinite(value):
                raise UsageError(f"The setting {_shown(item.name)} must be a finite number, not {value}.")

    @property
    def unused(self) -> frozenset[str]:
        """Return the names of the settings that have no effect, given the values of the others."""
        return frozenset()

    def hyperparameters(self) -> dict[str, object]:
        """Return the hyper-parameters for the noise's provenance: those with an effect, with their actual values."""
        return {name: value for name, value in self._values().items() if name not in self.unused}

    def _values(self) -> dict[str, object]:
        """Return the actual values of all hyper-parameters, including unused ones."""
        return {}


@dataclass(frozen=True, kw_only=True)
class Baseline(Common):
    """Noise that needs no search (see ``baselines``)."""

    method: Literal["random", "lsp", "ar"]


@dataclass(frozen=True, kw_only=True)
class Searched(Common):
    """The settings of every search.

    The defaults are the paper's for CIFAR-10 (appendix B), except ``through``. The learning rate (the paper has 0.025)
    and the weight decay are those of its code, and the paper does not state a batch size.
    """

    through: str = "augment"
    """The transformations to optimise through, as a chain or a preset: see ``transforms.Through``."""
    surrogate: str = "resnet18"
    """A network of ``training.models``, or several, separated by commas, which form an ensemble."""
    batch_size: int = 128
    learning_rate: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    gradient_clip: float | None = None
    """The largest Euclidean norm of the surrogates' gradient in a step; None means no limit."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """The precision of the networks' arithmetic; the noise is always float32."""
    compile: bool = False
    max_iterations: int = 100
    """The search ends after this many iterations in any case, and reports that."""

    def _values(self) -> dict[str, object]:
        names = ["max_iterations", "batch_size", "learning_rate", "momentum", "weight_decay", "precision"]
        names += ["compile"] if self.compile else []
        names += ["gradient_clip"] if self.gradient_clip is not None else []
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True, kw_only=True)
class Alternating(Searched):
    """The settings of a search that trains the surrogate and improves the noise in turns, and not in the same step.

    Where ``step_size``, ``noise_steps`` or ``stop_error`` is None, its value depends on other settings: see the
    properties ``step``, ``steps`` and ``goal``.
    """

    patch: int | None = None
    """The side in pixels of a square patch that the noise is confined to, at a random place each time (appendix F)."""
    solver: Solver = "pgd"
    """The solver of the inner problem: see ``solvers``."""
    step_size: float | None = None
    """The step size of the noise, in pixel levels."""
    noise_steps: int | None = None
    """T: the number of steps of the noise on each batch."""
    noise_share: float = 0.2
    """Class-wise: the share of the training images that the noise is optimised on."""
    surrogate_on: Literal["all", "noise-images"] = "all"
    """The images that the surrogate is trained on. In the paper's text, noise and surrogate use the same subset; its
    official code trains the surrogate on all images, and so does the default."""
    stop_error: float | None = None
    """Lambda: the search ends when the surrogate's error rate on noisy images is below it (error-max: above it)."""
    patience: int = 20
    """The search counts as stalled, and ends, after this many iterations without a better error rate."""

    @property
    def step(self) -> float:
        """Return the actual step size, in pixel levels; for ``lbfgs``, the learning rate that scales its steps."""
        if self.step_size is not None:
            return self.step_size
        return {"fgsm": float(self.epsilon), "adam": 0.5, "lbfgs": 1.0}.get(self.solver, self.epsilon / 10)

    @property
    def steps(self) -> int:
        """Return the actual T, by default 1 class-wise, 20 sample-wise, 200 in the penalty form and 1 for ``fgsm``."""
        if self.noise_steps is not None:
            return self.noise_steps
        if self.solver == "fgsm":
            return 1
        if self.solver in PENALTY_SOLVERS:
            return 200
        return 20 if self.form == "sample-wise" else 1

    @property
    def goal(self) -> float:
        """Return the actual lambda: by default 0.1 class-wise and 0.01 sample-wise."""
        if self.stop_error is not None:
            return self.stop_error
        return 0.1 if self.form == "class-wise" else 0.01

    @property
    def share(self) -> float:
        """Return the share of the images to optimise the noise on: ``noise_share`` class-wise, all sample-wise."""
        return self.noise_share if self.form == "class-wise" else 1.0

    @property
    def unused(self) -> frozenset[str]:
        """Return ``noise_share`` for sample-wise noise, which every image gets."""
        return frozenset({"noise_share"} if self.form == "sample-wise" else ())

    def _values(self) -> dict[str, object]:
        values = super()._values() | {
            "step_size": self.step,
            "noise_steps": self.steps,
            "solver": self.solver,
            "stop_error": self.goal,
            "noise_share": self.share,
            "patience": self.patience,
            "surrogate_on": self.surrogate_on,
        }
        return values | ({"patch": self.patch} if self.patch is not None else {})


@dataclass(frozen=True, kw_only=True)
class ErrorMin(Alternating):
    """Error-minimizing noise by Algorithm 1: surrogate and noise are optimised in turns (Huang et al., 2021)."""

    method: Literal["error-min"] = "error-min"
    penalty: float = 1.0
    """The weight c of the noise's length in the penalty form (appendix I, equation 5)."""
    surrogate_steps: int = 10
    """M: the number of batches that the surrogate is trained on before each pass over the noise."""
    skip_below: float | None = None
    """Sample-wise, with solvers of signed steps: an image whose loss is below this takes no more steps in the pass. So
    passes become shorter as the surrogate learns the noise. None, which is the paper's way, means that every image
    takes all T steps."""

    @property
    def unused(self) -> frozenset[str]:
        """Return what the form of noise or the solver does not use."""
        by_solver = {"skip_below"} if self.solver in PENALTY_SOLVERS else {"penalty"}
        return super().unused | by_solver | ({"skip_below"} if self.form == "class-wise" else set())

    def _values(self) -> dict[str, object]:
        own = {"surrogate_steps": self.surrogate_steps, "penalty": self.penalty}
        return super()._values() | own | ({} if self.skip_below is None else {"skip_below": self.skip_below})


@dataclass(frozen=True, kw_only=True)
class ErrorMax(Alternating):
    """Error-maximizing noise: the surrogate is trained on clean images first, and does not change after that."""

    method: Literal["error-max"] = "error-max"
    surrogate_epochs: int = 20
    """The number of epochs of clean training, in which the surrogate is to converge."""

    def __post_init__(self) -> None:
        """Raise ``UsageError`` if a setting is NaN or infinite, and for a solver of the penalty form."""
        super().__post_init__()
        if self.solver in PENALTY_SOLVERS:
            raise UsageError(
                "The solvers adam and lbfgs use a penalty form, which only error-min has. "
                "For error-max, choose the solver pgd, fgsm or cw."
            )

    @property
    def goal(self) -> float:
        """Return the actual lambda: by default 0.8, as in the official code."""
        return 0.8 if self.stop_error is None else self.stop_error

    @property
    def unused(self) -> frozenset[str]:
        """Return what sample-wise noise does not use: it is made in one pass, whatever its error rate."""
        one_pass = {"stop_error", "max_iterations", "patience"} if self.form == "sample-wise" else frozenset()
        return super().unused | one_pass

    def _values(self) -> dict[str, object]:
        return super()._values() | {"surrogate_epochs": self.surrogate_epochs}


@dataclass(frozen=True, kw_only=True)
class Joint(Searched):
    """Class-wise error-minimizing noise that is optimised together with the surrogate (see ``joint``).

    An iteration is an epoch.
    """

    method: Literal["joint"] = "joint"
    form: Literal["class-wise"] = "class-wise"
    rounds: int = 4
    """The number of surrogates, each of which is trained from scratch after the one before."""
    clean_classes: float = 0.0
    """The share of the classes that get no noise; they are the last ones."""
    strength: Strength | None = None
    """How visible the bank's noise is, among banks of the same classes."""
    visibility: float | None = None
    """How visible each pattern may be, as ``noise.visibility`` measures it; None means that only epsilon limits it."""

    def __post_init__(self) -> None:
        """Raise ``UsageError`` if a setting is NaN or infinite, and for another form."""
        super().__post_init__()
        if self.form != "class-wise":
            raise UsageError(JOINT_ONLY)

    def _values(self) -> dict[str, object]:
        own = {name: getattr(self, name) for name in ("rounds", "clean_classes", "visibility")}
        return {"joint": True} | own | super()._values()


NoiseSettings = Baseline | ErrorMin | ErrorMax | Joint
"""The settings of any noise."""

Kind = type[Baseline] | type[ErrorMin] | type[ErrorMax] | type[Joint]

KINDS: dict[str, Kind] = {
    "error-min": ErrorMin,
    "error-max": ErrorMax,
    "random": Baseline,
    "lsp": Baseline,
    "ar": Baseline,
}

JOINT_ONLY = (
    "A joint search makes only class-wise error-min noise. Leave out --method and --form, or add --set joint=no."
)

OWNERS: tuple[tuple[Kind, str], ...] = (
    (ErrorMin, "error-min noise without a joint search: use --method error-min and --set joint=no"),
    (ErrorMax, "error-max noise: use --method error-max"),
    (Joint, "a joint search: add --set joint=yes"),
)
"""The searches, and how to choose each of them on the command line."""


def make_settings(said: Mapping[str, Any], *, fitting: Mapping[str, Any] = {}) -> NoiseSettings:
    """Return the settings of the method that the words ``method`` and ``joint`` choose; by default it is error-min.

    ``said`` has the user's own words, which take precedence. ``fitting`` has suggestions, such as a preset's values,
    which are ignored where the method has no such setting. Raises ``UsageError`` for one of the user's words that the
    method does not have, for settings that cannot be combined, and for a number that is not finite.
    """
    words = {**fitting, **said}
    kind = _kind(words)
    for name in said:
        if name not in _names(kind):
            raise UsageError(_refusal(name, kind, words))
    if kind is Joint:
        words["method"] = "joint"
    own = {item.name for item in fields(kind)}
    return kind(**{name: value for name, value in words.items() if name in own})


def without_use(said: Mapping[str, Any], *, fitting: Mapping[str, Any] = {}) -> list[str]:
    """Return the names of the user's words that the chosen method does not have and that may be ignored.

    These only say how to search. A patch is not among them, because noise without it would not be what was asked for.
    """
    names = _names(_kind({**fitting, **said}))
    return [name for name in said if name not in names and name != "patch"]


def _kind(words: Mapping[str, Any]) -> Kind:
    """Return the class that the words choose. Raises ``UsageError`` for an unknown method, and a joint error-max."""
    method = words.get("method", "error-min")
    if method not in KINDS:
        raise UsageError(f"There is no method '{method}'. The methods are: {', '.join(KINDS)}.")
    kind = KINDS[method]
    if kind is Baseline or not words.get("joint"):
        return kind
    if kind is not ErrorMin:
        raise UsageError(JOINT_ONLY)
    return Joint


def _names(kind: Kind) -> set[str]:
    """Return the words that a class accepts: its fields and, if it is a search, also ``joint``."""
    return {item.name for item in fields(kind)} | (set() if kind is Baseline else {"joint"})


def _refusal(name: str, kind: Kind, words: Mapping[str, Any]) -> str:
    """Return the sentence for a setting that a class does not have."""
    owners = [advice for owner, advice in OWNERS if name in _names(owner)]
    if not owners:
        return f"There is no setting '{_shown(name)}' for noise."
    if kind is Baseline:
        return f"--method {words['method']} works without a search: leave out the setting {_shown(name)}."
    return f"The setting {_shown(name)} works only for {owners[0]}."


def _shown(name: str) -> str:
    """Return the name of a setting as it is written on the command line."""
    return name.replace("_", "-")
