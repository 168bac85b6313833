"""Planning the runs that a user asks for without a recipe: every network with every augmentation and defence."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from unlearn_cli.evaluation.attackers.frozen import GALLERIES, HEADS, Frozen
from unlearn_cli.evaluation.cell import Cell, Images
from unlearn_cli.evaluation.defences.table import parse_defence
from unlearn_cli.evaluation.recipe import Planned
from unlearn_cli.faces import TEMPLATE_SIDE
from unlearn_cli.training.train import TrainingSettings
from unlearn_cli.training.trip import TRIPS

RANDOM = "random noise"
"""The label of the control run, whose images carry random noise instead of the measured noise."""


def ad_hoc(
    protected: Cell,
    random: Cell | None = None,
    *,
    noise: str,
    models: Sequence[str],
    augments: Sequence[str],
    defences: Sequence[str],
    seeds: int,
) -> list[Planned]:
    """Return the runs for every network, augmentation, defence and seed: the clean baseline, then the protected run.

    ``random`` is the protected run with random noise instead; where it is given, it follows the protected run. Raises
    ``UsageError`` for an unknown defence.
    """
    many = {"model": models, "augment": augments, "defence": defences}
    planned = []
    first = protected.training.seed
    for seed, model, augment, defence in itertools.product(range(first, first + seeds), models, augments, defences):
        training = replace(protected.training, model=model, augment=augment, seed=seed)
        cell = replace(protected, training=training, defence=parse_defence(defence).name)
        clean = replace(
            cell, noise=None, protected_tree=None, poison_rate=1.0, protect_classes=(), keep="all", trigger=False
        )
        chosen = {"model": model, "augment": augment, "defence": cell.defence}
        labels = {key: chosen[key] for key, values in many.items() if key == "model" or len(values) > 1}
        if cell.defence != "none":
            labels["defence"] = cell.defence
        planned.append(Planned(cell=clean, labels={"noise": "clean", **labels}))
        own = {"poison_rate": f"{cell.poison_rate:g}"} if cell.poison_rate < 1 else {}
        own |= {"protect_classes": ",".join(cell.protect_classes)} if cell.protect_classes else {}
        own |= {"keep": cell.keep} if cell.keep != "all" else {}
        planned.append(Planned(cell=cell, labels={"noise": noise, **labels, **own}))
        if random is not None:
            same = replace(random, training=training, defence=cell.defence)
            planned.append(Planned(cell=same, labels={"noise": RANDOM, **labels, **own}))
    return planned


def ask_recognisers(protected: Cell, random: Cell | None, noise: str, recognisers: Sequence[str]) -> list[Planned]:
    """Return the runs that ask each recogniser, with each head and gallery, and their clean baselines.

    ``random`` is the protected run with random noise instead, if there is one.
    """
    planned = []
    for recogniser, head in itertools.product(recognisers, HEADS):
        name = f"frozen:{Path(recogniser).stem}"
        training = TrainingSettings(model=name, epochs=1, augment="none", seed=protected.training.seed)
        same = {"model": name, "head": head}
        images = _aligned(protected.images)
        asked = replace(protected, images=images, training=training, frozen=Frozen(recogniser, head), defence="none")
        clean = replace(asked, noise=None, protected_tree=None, poison_rate=1.0, protect_classes=())
        planned.append(Planned(cell=clean, labels={"noise": "clean", **same}))
        for gallery in GALLERIES:
            own = Frozen(recogniser, head, gallery)
            planned.append(
                Planned(cell=replace(asked, frozen=own), labels={"noise": noise, **same, "protected": gallery})
            )
        if random is not None:
            drawn = replace(asked, protected_tree=random.protected_tree, noise=random.noise)
            planned.append(Planned(cell=drawn, labels={"noise": RANDOM, **same, "protected": "known"}))
    return planned


def _aligned(images: Images) -> Images:
    """Return the same photos after the same platform, aligned as recognisers take them, and each photo once."""
    trip = images.spec.trip
    aligned = TRIPS["aligned"]
    if trip is not None:
        aligned = replace(aligned, quality=trip.quality, long_side=trip.long_side, seed=trip.seed)
    return replace(images, spec=replace(images.spec, trip=aligned, image_size=TEMPLATE_SIDE, views=1))
