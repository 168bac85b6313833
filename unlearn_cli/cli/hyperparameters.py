"""The hyper-parameters of ``generate``, which ``--set NAME=VALUE`` sets and ``--list-settings`` lists."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

from unlearn_cli.cli.set_option import setting


@dataclass(frozen=True)
class Hyperparameters:
    """The hyper-parameters that the user set; the others are ``None``."""

    solver: Literal["pgd", "fgsm", "adam", "lbfgs", "cw"] | None = setting(
        "solves the inner problem: adam and lbfgs on the penalty form, cw by the margin loss", "pgd"
    )
    step_size: float | None = setting("step of the noise, in levels of 255", "epsilon / 10; the solver's", least=0.01)
    noise_steps: int | None = setting(
        "steps of the noise on each batch (the paper's T)", "1; sample-wise 20; penalty form 200", least=1
    )
    penalty: float | None = setting("weight of the loss in the penalty form (c)", "1", least=0)
    surrogate_steps: int | None = setting(
        "batches that the surrogate is trained on before each pass of the noise (M)", "10", least=1
    )
    surrogate_on: Literal["all", "noise-images"] | None = setting(
        "the images that the surrogate is trained on: all, or those of noise-share only", "all"
    )
    surrogate_epochs: int | None = setting("error-max: epochs of clean training first", "20", least=1)
    noise_share: float | None = setting("share of the images that class-wise noise is made on", "0.2", 0.001, 1)
    stop_error: float | None = setting(
        "stop below this error rate (lambda)", "0.1; sample-wise 0.01; error-max 0.8", least=0, most=1
    )
    max_iterations: int | None = setting("stop after so many iterations in any case", "100", least=1)
    patience: int | None = setting("stop after so many iterations without a better error", "20", least=1)
    batch_size: int | None = setting("images of a step", "128", least=2)
    learning_rate: float | None = setting("of the surrogate's SGD, at the start", "0.1", least=0)
    momentum: float | None = setting("of the surrogate's SGD", "0.9", least=0)
    weight_decay: float | None = setting("of the surrogate's SGD", "0.0005", least=0)
    precision: Literal["fp32", "bf16"] | None = setting("the networks' arithmetic", "bf16 on CUDA, else fp32")
    compile: bool | None = setting("compile the networks first: a minute that pays in long searches", "no")
    patch: int | None = setting("confine the noise to a square of 8, 16, 24 or 32 pixels", "the whole image")
    frame: Literal["image", "face"] | None = setting("face: make the noise on faces, and put it on them", "image")
    joint: bool | None = setting("noise and surrogate descend together; an iteration is then an epoch", "no")
    rounds: int | None = setting("joint: fresh surrogates, one after another", "4", least=1)
    clean_classes: float | None = setting("joint: share of the classes, the last ones, without noise", "0", 0, 0.99)
    visibility: float | None = setting("joint: how visible the noise may be, 0 to 1", "as the bound allows", least=0)
    family: str | None = setting("one category that all classes are instances of", "person where frame=face")
    dataset_name: str | None = setting("what a folder's images are called in the provenance", "its folder's name")
    licence: str | None = setting("the terms of a folder's images, for the provenance", "none")

    def of_noise(self) -> dict[str, Any]:
        """Return what was set of the noise, by name; what only its provenance tells is left out."""
        values = dataclasses.asdict(self).items()
        return {name: value for name, value in values if value is not None and name not in OF_PROVENANCE}


OF_PROVENANCE = ("family", "dataset_name", "licence")
"""The hyper-parameters that only go into the provenance and do not change the noise."""
