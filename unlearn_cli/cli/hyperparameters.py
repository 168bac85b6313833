"""The hyper-parameters of ``generate``, which ``--set NAME=VALUE`` sets and ``--list-settings`` lists."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

from unlearn_cli.cli.set_option import setting


@dataclass(frozen=True)
class Hyperparameters:
    """The hyper-parameters that the user has set; all others are ``None``."""

    solver: Literal["pgd", "fgsm", "adam", "lbfgs", "cw"] | None = setting(
        "method that improves the noise; adam and lbfgs add a penalty for strong noise, cw uses a margin loss", "pgd"
    )
    step_size: float | None = setting(
        "size of each noise step, in pixel levels", "epsilon / 10; fgsm, adam and lbfgs have their own", least=0.01
    )
    noise_steps: int | None = setting(
        "noise steps on each batch (T in the paper)", "1; sample-wise 20; adam and lbfgs 200", least=1
    )
    penalty: float | None = setting("adam and lbfgs: weight of the noise's length (c in the paper)", "1", least=0)
    skip_below: float | None = setting(
        "sample-wise: an image whose loss is below this takes no more noise steps in the pass, which saves time",
        "no limit",
        least=0,
    )
    surrogate_steps: int | None = setting(
        "batches that train the surrogate before each pass over the noise (M in the paper)", "10", least=1
    )
    surrogate_on: Literal["all", "noise-images"] | None = setting(
        "images that train the surrogate: all, or only those chosen by noise-share", "all"
    )
    surrogate_epochs: int | None = setting("error-max: epochs of training on clean images first", "20", least=1)
    noise_share: float | None = setting("share of the images that class-wise noise is made on", "0.2", 0.001, 1)
    stop_error: float | None = setting(
        "stop when the surrogate's error rate is below this (error-max: above; lambda in the paper)",
        "0.1; sample-wise 0.01; error-max 0.8",
        least=0,
        most=1,
    )
    max_iterations: int | None = setting("stop after this many iterations in any case", "100", least=1)
    patience: int | None = setting("stop after this many iterations without a better error rate", "20", least=1)
    batch_size: int | None = setting("images in each step", "128", least=2)
    learning_rate: float | None = setting("learning rate of the surrogate's SGD, at the start", "0.1", least=0)
    momentum: float | None = setting("momentum of the surrogate's SGD", "0.9", least=0)
    weight_decay: float | None = setting("weight decay of the surrogate's SGD", "0.0005", least=0)
    gradient_clip: float | None = setting("largest norm of the surrogate's gradient", "no limit", least=0)
    precision: Literal["fp32", "bf16"] | None = setting("arithmetic of the networks", "bf16 on CUDA, else fp32")
    compile: bool | None = setting("compile the networks, which takes a minute and makes long searches faster", "no")
    patch: int | None = setting("confine the noise to a square of 8, 16, 24 or 32 pixels", "the whole image")
    frame: Literal["image", "face"] | None = setting("face: make the noise for faces and apply it to them", "image")
    joint: bool | None = setting("optimise noise and surrogate in one step; an iteration is then an epoch", "no")
    rounds: int | None = setting("joint: number of surrogates, one after another", "4", least=1)
    clean_classes: float | None = setting("joint: share of the classes that get no noise (the last)", "0", 0, 0.99)
    visibility: float | None = setting("joint: how visible the noise may be, 0 to 1", "any, within epsilon", least=0)
    family: str | None = setting("category that all classes belong to, such as person", "person if frame=face")
    dataset_name: str | None = setting("name of a folder's images, recorded in the bank", "the folder's name")
    licence: str | None = setting("licence of a folder's images, recorded in the bank", "none")

    def of_noise(self) -> dict[str, Any]:
        """Return the values that were set and that change the noise, by name."""
        values = dataclasses.asdict(self).items()
        return {name: value for name, value in values if value is not None and name not in OF_PROVENANCE}


OF_PROVENANCE = ("family", "dataset_name", "licence")
"""The hyper-parameters that only go into the provenance and do not change the noise."""
