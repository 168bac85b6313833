"""Planning the runs that a user asks for without a recipe: every network with every augmentation and defence."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace

from unlearn_cli.evaluation.cell import Cell
from unlearn_cli.evaluation.defences.table import parse_defence
from unlearn_cli.evaluation.recipe import Planned

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
