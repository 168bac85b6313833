"""Each method has its own settings, and says in a sentence which ones it does not have."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pytest

from unlearn_cli.errors import UsageError
from unlearn_cli.noise.presets import PRESETS, settings_for
from unlearn_cli.noise.settings import Baseline, ErrorMax, ErrorMin, Joint, NoiseSettings, make_settings, without_use

COMMON = {"method", "form", "epsilon", "frame", "seed"}
SEARCHED = COMMON | {
    "through", "surrogate", "batch_size", "learning_rate", "momentum", "weight_decay", "gradient_clip", "precision",
    "compile", "max_iterations",
}  # fmt: skip
ALTERNATING = SEARCHED | {
    "patch", "solver", "step_size", "noise_steps", "noise_share", "surrogate_on", "stop_error", "patience",
}  # fmt: skip


@pytest.mark.parametrize(
    ("said", "kind", "names"),
    [
        ({"method": "random"}, Baseline, COMMON),
        ({"method": "lsp"}, Baseline, COMMON),
        ({"method": "ar"}, Baseline, COMMON),
        ({}, ErrorMin, ALTERNATING | {"penalty", "surrogate_steps", "skip_below"}),
        ({"method": "error-max"}, ErrorMax, ALTERNATING | {"surrogate_epochs"}),
        ({"joint": True}, Joint, SEARCHED | {"rounds", "clean_classes", "strength", "visibility"}),
    ],
)
def test_each_method_has_its_own_fields(said: dict[str, Any], kind: type[NoiseSettings], names: set[str]) -> None:
    settings = make_settings(said)
    assert type(settings) is kind
    # What noise will be made is hashed from this, so it tells the methods apart.
    assert asdict(settings).keys() == names
    assert settings.method == ("joint" if "joint" in said else said.get("method", "error-min"))


@pytest.mark.parametrize("device", ["cpu", "cuda", "mps"])
@pytest.mark.parametrize("preset", [None, *PRESETS])
def test_every_preset_builds(preset: str | None, device: str) -> None:
    settings = settings_for(device, preset, {"epsilon": 3}, seed=5)
    assert isinstance(settings, ErrorMin | Joint)
    assert (settings.epsilon, settings.seed) == (3, 5)
    for name, value in (PRESETS[preset] if preset else {}).items():
        if name not in ("epsilon", "joint", "surrogate_epochs"):  # The last is for error-max.
            assert getattr(settings, name) == value
    assert isinstance(settings, Joint) == (preset is not None and not preset.startswith("paper-"))


def test_error_max_trains_its_surrogate_as_long_as_the_paper() -> None:
    settings = settings_for("cpu", "paper-cifar10", {"method": "error-max"}, seed=0)
    assert isinstance(settings, ErrorMax)
    assert (settings.surrogate_epochs, settings.gradient_clip, settings.through) == (60, 5.0, "none")
    assert settings.hyperparameters()["gradient_clip"] == 5.0


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ({"rounds": 3}, "The setting rounds works only for a joint search: add --set joint=yes."),
        ({"clean_classes": 0.5}, "The setting clean-classes works only for a joint search: add --set joint=yes."),
        (
            {"surrogate_epochs": 3},
            "The setting surrogate-epochs works only for error-max noise: use --method error-max.",
        ),
        (
            {"method": "error-max", "penalty": 2.0},
            "The setting penalty works only for error-min noise without a joint search: use --method error-min and "
            "--set joint=no.",
        ),
        (
            {"joint": True, "patch": 8},
            "The setting patch works only for error-min noise without a joint search: use --method error-min and "
            "--set joint=no.",
        ),
        ({"method": "lsp", "solver": "pgd"}, "--method lsp works without a search: leave out the setting solver."),
        ({"method": "ar", "joint": True}, "--method ar works without a search: leave out the setting joint."),
        (
            {"method": "error-max", "joint": True},
            "A joint search makes only class-wise error-min noise. Leave out --method and --form, or add --set "
            "joint=no.",
        ),
        (
            {"joint": True, "form": "sample-wise"},
            "A joint search makes only class-wise error-min noise. Leave out --method and --form, or add --set "
            "joint=no.",
        ),
        (
            {"method": "error-max", "solver": "lbfgs"},
            "The solvers adam and lbfgs use a penalty form, which only error-min has. For error-max, choose the "
            "solver pgd, fgsm or cw.",
        ),
        ({"colour": "red"}, "There is no setting 'colour' for noise."),
        (
            {"method": "magic"},
            "There is no method 'magic'. The methods are: error-min, error-max, random, lsp, ar.",
        ),
        ({"learning_rate": float("nan")}, "The setting learning-rate must be a finite number, not nan."),
    ],
)
def test_a_setting_of_another_method_is_refused(said: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError) as refused:
        make_settings(said)
    assert str(refused.value) == sentence


def test_what_is_fitting_is_taken_where_there_is_such_a_setting_and_goes_after_what_was_said() -> None:
    fitting = {"surrogate": "vgg11", "surrogate_epochs": 1, "rounds": 2, "epsilon": 3}
    assert make_settings({"epsilon": 5}, fitting=fitting) == ErrorMin(surrogate="vgg11", epsilon=5)
    assert make_settings({"method": "error-max"}, fitting=fitting) == ErrorMax(
        surrogate="vgg11", surrogate_epochs=1, epsilon=3
    )
    assert make_settings({"joint": True}, fitting=fitting) == Joint(surrogate="vgg11", rounds=2, epsilon=3)
    assert make_settings({"method": "ar"}, fitting={"joint": True, **fitting}) == Baseline(method="ar", epsilon=3)


ONLY_IF_SET = {"compile", "gradient_clip", "patch", "skip_below"}
"""Settings that the provenance has only where they differ from their defaults."""


def test_what_has_no_effect_is_known_and_not_in_the_provenance() -> None:
    said = {"method": "random", "surrogate": "vgg11", "joint": False, "patch": 8, "epsilon": 4}
    assert without_use(said) == ["surrogate", "joint"]
    assert without_use({"rounds": 2}) == ["rounds"]
    assert without_use({"rounds": 2}, fitting=PRESETS["person"]) == []
    for settings, unused in (
        (ErrorMin(), {"penalty", "skip_below"}),
        (ErrorMin(solver="adam"), {"skip_below"}),
        (ErrorMin(form="sample-wise"), {"penalty", "noise_share"}),
        (ErrorMax(), set()),
        (ErrorMax(form="sample-wise"), {"noise_share", "stop_error", "max_iterations", "patience"}),
        (Joint(), set()),
    ):
        assert settings.unused == unused
        own = set(asdict(settings)) - COMMON - {"through", "surrogate", "strength"} - ONLY_IF_SET
        assert settings.hyperparameters().keys() - {"joint"} == own - unused
