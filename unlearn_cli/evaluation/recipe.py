"""Recipes: the paper's experiments as TOML files in the package, and the runs of a recipe at a scale."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from unlearn_cli.errors import UsageError
from unlearn_cli.evaluation.cell import Cell, Images, NoisePlan
from unlearn_cli.evaluation.published import Published, published
from unlearn_cli.evaluation.recipe_file import Recipe
from unlearn_cli.evaluation.scale import Scale
from unlearn_cli.noise.presets import PRESETS
from unlearn_cli.noise.settings import ErrorMax, ErrorMin, NoiseSettings, make_settings
from unlearn_cli.training.augmentations import FROM_FILE
from unlearn_cli.training.datasets import DatasetSpec
from unlearn_cli.training.train import TrainingSettings

AXES = (
    "model", "noise", "search", "poison_rate", "keep", "protect_classes", "train_share", "augment", "defence",
    "epsilon", "trigger", "joined",
)  # fmt: skip
"""The properties in which the runs of a recipe may differ."""

OF_BASELINES = ("model", "noise", "train_share", "augment", "defence", "joined")
"""The properties in which its clean baselines may differ."""

AXES_OF_THE_PAPER = tuple(axis for axis in AXES if axis not in ("search", "trigger", "joined"))
"""The properties that tell the paper's own figures apart."""

LIKE = "fast-autoaugment-like"
SEARCHES = ("paper", "ours")
"""The searches for noise: the paper's, on images as they are (``presets.PRESETS``), and ours, through augmentations."""

PAPER_TRAINING: dict[str, Any] = {"learning_rate": 0.025, "gradient_clip": 5.0}
"""The settings of victims (appendix B, and the official code for the clip), where they are not the defaults."""

PAPER_PRESETS = {
    "cifar10": "paper-cifar10",
    "cifar100": "paper-cifar100",
    "svhn": "paper-svhn",
    "imagenet": "paper-imagenet",
    "folder": "paper-face",
}
"""The preset that has the paper's values for each dataset."""


@dataclass(frozen=True, kw_only=True)
class Planned:
    """A run, and the labels that tell it apart from others in a report."""

    cell: Cell
    labels: dict[str, str]
    reported: tuple[Published, ...] = ()
    """The paper's figures for it."""
    ships: bool = True
    """Whether the noise is made and applied as unlearn does it. Otherwise it is there for comparison: another method's,
    the paper's own search, or noise on only a part of the images."""
    white_box: bool = False
    """Whether the attacker's network took part in making the noise, so that its result says nothing about others."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """The user's options that say where a recipe's images are."""

    folder: Path | None = None
    data_dir: Path | None = None
    download: bool = False
    pairs: Path | None = None
    policy: Path | None = None
    """The file with the policy of Fast AutoAugment, in place of changes like it."""


def plan(recipe: Recipe, scale: Scale, source: Source, seeds: Sequence[int] = (0,)) -> list[Planned]:
    """Return the runs of a recipe, seed by seed, with the clean baselines of each seed first.

    Raises ``UsageError`` if the recipe needs a folder or pairs and the source has none.
    """
    if recipe.needs_folder and source.folder is None:
        raise UsageError(f"The recipe {recipe.name} needs --dataset folder:PATH: {recipe.data['what']}.")
    if recipe.pairs and source.pairs is None:
        raise UsageError(f"The recipe {recipe.name} needs --set pairs=FILE.csv, with columns first, second and same.")
    found: dict[tuple[int, str], Planned] = {}
    for seed in seeds:
        for block in recipe.blocks:
            for chosen in _product({**block, "search": block.get("search", list(SEARCHES))}):
                planned = _planned(recipe, scale, source, chosen, seed)
                if planned is not None:
                    found.setdefault((seed, str(planned.cell)), planned)
    return sorted(found.values(), key=lambda planned: (planned.cell.training.seed, planned.cell.noise is not None))


def chosen_cells(planned: Sequence[Planned], text: str | None) -> list[Planned]:
    """Return the runs whose labels match ``key=value,key=value``, and their clean baselines, each only once.

    Several values of one key are separated by ``|``. Raises ``UsageError`` for an unknown or repeated key, and if no
    run matches.
    """
    once = list({str((one.cell, one.labels)): one for one in planned}.values())
    if not text:
        return once
    # A value may contain commas (bird,cat): only a comma that is followed by a key and = ends it.
    pairs = [part.partition("=") for part in re.split(r",(?=[^,=]*=)", text)]
    keys = sorted({key for one in once for key in one.labels})
    for key, sign, _ in pairs:
        if not sign or key.strip() not in keys:
            raise UsageError(
                f"--only needs KEY=VALUE, and there is no key '{key.strip()}'. The keys are: {', '.join(keys)}."
            )
    wanted = {key.strip(): value.strip().split("|") for key, _, value in pairs}
    if len(wanted) < len(pairs):
        raise UsageError("--only has a key twice. Separate several values of one key by |, as in KEY=A|B.")
    kept = [one for one in once if all(one.labels.get(key) in values for key, values in wanted.items())]
    if not kept:
        raise UsageError(f"No run has {text}. The runs are: {'; '.join(sorted({_said(one) for one in once}))}.")
    return [one for one in once if one in kept or any(_is_baseline(one, of) for of in kept)]


def _is_baseline(clean: Planned, of: Planned) -> bool:
    """Return whether a clean run trains the same victim on the same images as another run."""
    one, other = clean.cell, of.cell
    return (one.noise, one.protected_tree) == (None, None) and _victim(one) == _victim(other)


def _victim(cell: Cell) -> tuple[object, ...]:
    """Return what decides a run besides its noise."""
    head = cell.frozen.head if cell.frozen is not None else None
    return (cell.training, cell.defence, cell.images, cell.joined, cell.pretrained, cell.refit, head)


def _said(planned: Planned) -> str:
    return ", ".join(f"{key}={value}" for key, value in planned.labels.items())


def _product(block: dict[str, Any]) -> list[dict[str, Any]]:
    """Return every combination of the values in a block. Raises ``UsageError`` for an unknown key."""
    if unknown := set(block) - set(AXES):
        raise UsageError(f"The table [[cells]] of a recipe has no key '{unknown.pop()}'.")
    lists = [value if isinstance(value, list) else [value] for value in block.values()]
    return [dict(zip(block, values, strict=True)) for values in itertools.product(*lists)]


def _planned(recipe: Recipe, scale: Scale, source: Source, chosen: dict[str, Any], seed: int) -> Planned | None:
    if chosen.get("keep") == "clean":
        chosen = {**chosen, "search": "ours"}  # The noise is left out with its images, so that no search matters.
    if source.policy is not None and chosen.get("augment") == LIKE:
        chosen = {**chosen, "augment": f"{FROM_FILE}{source.policy}"}
    model = scale.model(chosen.get("model", "resnet18"))
    if model is None:
        return None
    name = chosen.get("noise", "clean")
    noise = None if name == "clean" else noise_plan(name, recipe, scale, source, chosen)
    # A clean baseline ignores these, so that all runs that are compared with it share one.
    of_noise: dict[str, Any] = {} if noise is None else chosen
    classes = of_noise.get("protect_classes", "")
    joined = chosen.get("joined")
    cell = Cell(
        images=_images(recipe, scale, source, chosen),
        joined=_joined(recipe.joins[joined], scale, source) if joined else None,
        noise=noise,
        poison_rate=of_noise.get("poison_rate", 1.0),
        protect_classes=tuple(part for part in classes.split(",") if part),
        keep=of_noise.get("keep", "all"),
        training=_training(recipe, scale, chosen, model, seed),
        defence=chosen.get("defence", "none"),
        trigger=of_noise.get("trigger", False),
        pairs=source.pairs if recipe.pairs else None,
    )
    labels = _labels(chosen, cell)
    return Planned(
        cell=cell,
        labels=labels,
        reported=_reported(recipe, labels),
        ships=_ships(cell, labels),
    )


def _training(recipe: Recipe, scale: Scale, chosen: Mapping[str, Any], model: str, seed: int) -> TrainingSettings:
    """Return a victim's settings: the paper's, changed by the recipe and by the scale."""
    network = recipe.networks.get(model, model)
    own = {"epochs": _epochs(recipe, scale), **scale.training_of.get(network, {}), "model": network, "seed": seed}
    augment = {"augment": chosen["augment"]} if "augment" in chosen else {}
    return TrainingSettings(**{**PAPER_TRAINING, **recipe.training, **scale.training, **own, **augment})


def _labels(chosen: Mapping[str, Any], cell: Cell) -> dict[str, str]:
    """Return the labels of a run: what was chosen, as far as it matters, and the form and method of its noise."""
    if cell.noise is None:
        told = {key: str(chosen[key]) for key in chosen if key in OF_BASELINES}
    else:
        searched = noise_is_searched(cell.noise) and cell.keep != "clean"
        told = {key: str(value) for key, value in chosen.items() if key != "search" or searched}
    labels = {"model": chosen.get("model", "resnet18"), "noise": "clean"} | told
    if labels.get("augment", "").startswith(FROM_FILE):
        labels["augment"] = FROM_FILE.removesuffix(":")
    if cell.noise is not None and cell.noise.settings is not None:
        labels |= {"form": cell.noise.settings.form, "method": cell.noise.settings.method}
    return labels


def _reported(recipe: Recipe, labels: Mapping[str, str]) -> tuple[Published, ...]:
    """Return the paper's figures of a run: none where the noise was searched for in another way than the paper's."""
    if labels.get("search", "paper") != "paper":
        return ()
    axes = {axis: labels[axis] for axis in AXES_OF_THE_PAPER if axis in labels}
    if axes.get("augment") != FROM_FILE.removesuffix(":"):
        return published(recipe.name, axes)
    # The paper's figures for this policy stand beside ours for changes like it, with a note that says so.
    return tuple(replace(figure, note="") for figure in published(recipe.name, {**axes, "augment": LIKE}))


def _ships(cell: Cell, labels: Mapping[str, str]) -> bool:
    """Return whether the noise is made and applied as unlearn does it for its users."""
    settings = cell.noise.settings if cell.noise is not None else None
    usual = isinstance(settings, ErrorMin) and settings.solver == "pgd" and settings.patch is None
    # An experiment over epsilon also has noise that is stronger than any that protects by default.
    within = int(labels.get("epsilon", 0)) <= ErrorMin().epsilon
    return usual and within and labels.get("search") == "ours" and cell.poison_rate == 1 and cell.keep == "all"


def _images(recipe: Recipe, scale: Scale, source: Source, chosen: Mapping[str, Any]) -> Images:
    """Return the images that a run's victim is trained and tested on."""
    images = images_at(recipe.data, scale, source, recipe.scales.get(scale.name, {}))
    return replace(images, train_share=chosen.get("train_share", 1.0))


def _joined(data: dict[str, Any], scale: Scale, source: Source) -> Images:
    """Return the images that are joined to others, as many as the recipe has at this scale."""
    own = {key: data[key] for key in ("train_size", "test_size") if key in data}
    return images_at(data, scale, source, own | data.get("scales", {}).get(scale.name, {}))


def _epochs(recipe: Recipe, scale: Scale) -> int:
    own = recipe.scales.get(scale.name, {}).get("epochs")
    return int(own or scale.epochs or recipe.training.get("epochs", 60))


def images_at(data: dict[str, Any], scale: Scale, source: Source, own: dict[str, Any]) -> Images:
    """Return a recipe's images at a scale. ``own`` has the recipe's own values for this scale."""
    data = {**data, **{key: value for key, value in own.items() if key in ("image_size", "crop")}}
    name, size = data["dataset"], data.get("image_size")
    if size is not None and scale.image_size is not None and "image_size" not in own:
        size = min(size, scale.image_size)
    spec = DatasetSpec(
        source=f"folder:{source.folder}" if name == "folder" else name,
        data_dir=None if name == "folder" else source.data_dir,
        download=source.download and name != "folder",
        image_size=size,
        crop=data.get("crop"),
        classes=tuple(data.get("classes", "").split(",")) if data.get("classes") else (),
        first_classes=data.get("first_classes"),
        class_map=tuple(data.get("class_map", {}).items()),
        least_classes=data.get("least_classes", 2),
    )
    return Images(
        spec=spec, train_size=own.get("train_size", scale.train_size), test_size=own.get("test_size", scale.test_size)
    )


def noise_is_searched(plan: NoisePlan | None) -> bool:
    """Return whether a noise is searched for, so that the paper's search and ours differ."""
    if plan is None:
        return False
    return any(map(noise_is_searched, plan.parts)) or isinstance(plan.settings, ErrorMin | ErrorMax)


def noise_plan(name: str, recipe: Recipe, scale: Scale, source: Source, chosen: Mapping[str, Any]) -> NoisePlan:
    """Return the noise of this name in a recipe, at a scale, with the ``search`` and ``epsilon`` that were chosen.

    Raises ``UsageError`` for an unknown name, and as ``make_settings`` does.
    """
    if name not in recipe.noises:
        raise UsageError(f"The recipe {recipe.name} does not define the noise '{name}'.")
    said = dict(recipe.noises[name])
    if "mix" in said:
        parts = tuple(noise_plan(part, recipe, scale, source, chosen) for part in said["mix"])
        return NoisePlan(parts=parts, uniform=said.get("uniform", 0), clipped=said.get("clipped", True))
    on, family, renamed = said.pop("on", None), said.pop("family", None), said.pop("patterns", {})
    if "bank" in said:
        return NoisePlan(bank=said["bank"], fitted=said.get("fitted", False))
    if chosen.get("epsilon") is not None:
        said["epsilon"] = chosen["epsilon"]
    own = recipe.scales.get(scale.name, {})
    made_on = images_at({**recipe.data, **on}, scale, source, {**own, **on}) if on else None
    return NoisePlan(
        settings=_settings(said, recipe, scale, chosen, {**recipe.data, **(on or {})}["dataset"]),
        made_on=made_on,
        family=family,
        renamed=tuple(renamed.items()),
    )


def _settings(
    said: Mapping[str, Any], recipe: Recipe, scale: Scale, chosen: Mapping[str, Any], dataset: str
) -> NoiseSettings:
    """Return the settings of noise: those of the recipe, else those of the scale, else the paper's if it was chosen."""
    paper = chosen.get("search") == "paper"
    preset = PRESETS[PAPER_PRESETS[dataset]] if paper else {}
    fitting = {**preset, **scale.noise}
    if "surrogate" in fitting:
        fitting["surrogate"] = recipe.networks.get(fitting["surrogate"], fitting["surrogate"])
    settings = make_settings(said, fitting=fitting)
    most = scale.most_surrogate_steps
    if most is not None and isinstance(settings, ErrorMin):
        settings = replace(settings, surrogate_steps=min(most, settings.surrogate_steps))
    if settings.form != "sample-wise" or (paper and scale.as_published):
        return settings
    if isinstance(settings, ErrorMin):
        return replace(settings, **scale.sample_wise)
    if isinstance(settings, ErrorMax) and "noise_steps" in scale.sample_wise:
        return replace(settings, noise_steps=scale.sample_wise["noise_steps"])
    return settings
