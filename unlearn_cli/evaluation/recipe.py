"""Recipes: the paper's experiments as TOML files in the package, and the runs of a recipe at a scale."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from unlearn_cli.errors import UsageError
from unlearn_cli.evaluation.cell import Cell, Images, NoisePlan
from unlearn_cli.evaluation.recipe_file import Recipe
from unlearn_cli.noise.presets import PRESETS
from unlearn_cli.noise.settings import ErrorMax, ErrorMin, make_settings
from unlearn_cli.training.datasets import DatasetSpec
from unlearn_cli.training.train import TrainingSettings

AXES = (
    "model", "noise", "search", "poison_rate", "keep", "protect_classes", "augment", "defence", "epsilon", "trigger", "joined",
)  # fmt: skip
"""The properties in which the runs of a recipe may differ."""

OF_BASELINES = ("model", "noise", "augment", "defence", "joined")
"""The properties in which its clean baselines may differ."""

SEARCHES = ("paper", "ours")
"""The searches for noise: the paper's, on images as they are (``presets.PRESETS``), and ours, through augmentations."""

PAPER_PRESETS = {
    "cifar10": "paper-cifar10",
    "cifar100": "paper-cifar100",
    "svhn": "paper-svhn",
    "imagenet": "paper-imagenet",
    "folder": "paper-face",
}
"""The preset that has the paper's values for each dataset."""


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
    models: Mapping[str, str | None] = field(default_factory=dict)
    """Smaller networks in place of the paper's; None leaves out the runs of a network."""
    noise: Mapping[str, Any] = field(default_factory=dict)
    sample_wise: Mapping[str, Any] = field(default_factory=dict)

    def model(self, name: str) -> str | None:
        """Return the network that replaces one of the paper's; None if its runs are left out."""
        return self.models.get(name, name)


SMALL = {"resnet18": "resnet10-w16", "vgg11": "vgg11-w16", "resnet50": None, "densenet121": None}
SCALES = {
    # On a GPU, bf16 and large batches make sample-wise noise several times faster.
    "paper": Scale(
        name="paper",
        noise={"surrogate": "resnet18", "precision": "bf16"},
        sample_wise={"batch_size": 512, "max_iterations": 20},
    ),
    "cpu": Scale(
        name="cpu",
        train_size=10_000,
        epochs=12,
        image_size=64,
        face_size=40,
        models=SMALL,
        noise={"surrogate": "resnet10-w16"},
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
        noise={"surrogate": "resnet10-w16", "max_iterations": 1, "surrogate_epochs": 1},
        sample_wise={"noise_steps": 2},
    ),
}


@dataclass(frozen=True, kw_only=True)
class Planned:
    """A run, and the labels that tell it apart from others in a report."""

    cell: Cell
    labels: dict[str, str]
    reported: float | None = None
    """The clean accuracy that the paper reports, 0 to 1; None if the recipe does not have it."""
    white_box: bool = False
    """Whether the attacker's network took part in making the noise, so that its result says nothing about others."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """The user's options that say where a recipe's images are."""

    folder: Path | None = None
    data_dir: Path | None = None
    download: bool = False
    pairs: Path | None = None


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
            for chosen in _product({"search": list(SEARCHES), **block}):
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
    model = scale.model(chosen.get("model", "resnet18"))
    if model is None:
        return None
    images = images_at(recipe.data, scale, source, recipe.scales.get(scale.name, {}))
    noise = chosen.get("noise", "clean")
    training = TrainingSettings(
        **{**recipe.training, "epochs": _epochs(recipe, scale), "model": model, "seed": seed}
        | ({"augment": chosen["augment"]} if "augment" in chosen else {})
    )
    classes = chosen.get("protect_classes", "")
    joined = chosen.get("joined")
    cell = Cell(
        images=images,
        joined=_joined(recipe.joins[joined], scale, source) if joined else None,
        noise=None if noise == "clean" else noise_plan(noise, recipe, scale, source, chosen),
        # A clean baseline ignores these, so that all runs that are compared with it share one.
        poison_rate=chosen.get("poison_rate", 1.0) if noise != "clean" else 1.0,
        protect_classes=tuple(part for part in classes.split(",") if part) if noise != "clean" else (),
        keep=chosen.get("keep", "all") if noise != "clean" else "all",
        training=training,
        defence=chosen.get("defence", "none"),
        trigger=chosen.get("trigger", False) and noise != "clean",
        pairs=source.pairs if recipe.pairs else None,
    )
    told = {key: value for key, value in chosen.items() if key != "search" or noise_is_searched(cell.noise)}
    told = told if noise != "clean" else {key: chosen[key] for key in chosen if key in OF_BASELINES}
    labels = {"model": chosen.get("model", "resnet18"), "noise": noise} | {key: str(told[key]) for key in told}
    if cell.noise is not None and cell.noise.settings is not None:
        labels |= {"form": cell.noise.settings.form, "method": cell.noise.settings.method}
    reported = [one["percent"] / 100 for one in recipe.reported if _matches(one, labels)]
    return Planned(cell=cell, labels=labels, reported=reported[0] if reported else None)


def _paper(chosen: Mapping[str, Any], data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the paper's values for the search on a dataset; nothing where our own search was chosen."""
    return PRESETS[PAPER_PRESETS[data.get("dataset", "folder")]] if chosen.get("search") == "paper" else {}


def _joined(data: dict[str, Any], scale: Scale, source: Source) -> Images:
    """Return the images that are joined to others, as many as the recipe has at this scale."""
    return replace(images_at(data, scale, source, {}), **data.get("scales", {}).get(scale.name, {}))


def _matches(reported: dict[str, Any], labels: dict[str, str]) -> bool:
    return all(labels.get(key) == str(value) for key, value in reported.items() if key != "percent")


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
        return NoisePlan(parts=parts, uniform=said.get("uniform", 0))
    on, family = said.pop("on", None), said.pop("family", None)
    if "bank" in said:
        return NoisePlan(bank=said["bank"], fitted=said.get("fitted", False))
    if chosen.get("epsilon") is not None:
        said["epsilon"] = chosen["epsilon"]
    settings = make_settings(said, fitting={**_paper(chosen, on or recipe.data), **scale.noise})
    if settings.form == "sample-wise" and isinstance(settings, ErrorMin):
        settings = replace(settings, **scale.sample_wise)
    elif settings.form == "sample-wise" and isinstance(settings, ErrorMax) and "noise_steps" in scale.sample_wise:
        settings = replace(settings, noise_steps=scale.sample_wise["noise_steps"])
    own = recipe.scales.get(scale.name, {})
    made_on = images_at({**recipe.data, **on}, scale, source, {**own, **on}) if on else None
    return NoisePlan(settings=settings, made_on=made_on, family=family)
