"""Planning the runs that a user asks for without a recipe: every network with every augmentation and defence."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from unlearn_cli.evaluation.attackers.frozen import GALLERIES, HEADS, Frozen
from unlearn_cli.evaluation.attackers.pretrained import SIDE, Part, settings_to_fine_tune
from unlearn_cli.evaluation.attackers.recognisers import fingerprint
from unlearn_cli.evaluation.attackers.reweight import REWEIGHT, SHARES
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
    models: Mapping[str, Mapping[str, Any]],
    augments: Sequence[str],
    defences: Sequence[str],
    seeds: int,
) -> list[Planned]:
    """Return the runs for every network, augmentation, defence and seed: the clean baseline, then the protected run.

    ``random`` is the protected run with random noise instead; where it is given, it follows the protected run. Each
    of the ``models`` has fields of ``TrainingSettings`` in place of those of the protected run. The
    defence ``reweight`` adds, to the runs without a defence, their figures after ``attackers.reweight`` for each share
    of clean photos. Raises ``UsageError`` for an unknown defence.
    """
    shares = SHARES if REWEIGHT in defences else ()
    defences = list(dict.fromkeys("none" if defence == REWEIGHT else defence for defence in defences))
    many = {"model": models, "augment": augments, "defence": defences}
    planned = []
    first = protected.training.seed
    runs = itertools.product(range(first, first + seeds), models, augments, defences, (None, *shares))
    for seed, model, augment, defence, share in runs:
        if share is not None and defence != "none":
            continue
        own = {**models[model], "model": model, "augment": augment, "seed": seed}
        training = replace(protected.training, **own)
        cell = replace(protected, training=training, defence=parse_defence(defence).name, refit=share)
        chosen = {"model": model, "augment": augment, "defence": cell.defence}
        labels = {key: chosen[key] for key, values in many.items() if key == "model" or len(values) > 1}
        if cell.defence != "none":
            labels["defence"] = cell.defence
        if share is not None:
            labels.pop("defence", None)
            labels[REWEIGHT] = f"{100 * share:g} % clean photos"
        planned.append(Planned(cell=unprotected(cell), labels={"noise": "clean", **labels}))
        part = {"poison_rate": f"{cell.poison_rate:g}"} if cell.poison_rate < 1 else {}
        part |= {"protect_classes": ",".join(cell.protect_classes)} if cell.protect_classes else {}
        part |= {"keep": cell.keep} if cell.keep != "all" else {}
        planned.append(Planned(cell=cell, labels={"noise": noise, **labels, **part}))
        if random is not None:
            same = replace(random, training=training, defence=cell.defence, refit=share)
            planned.append(Planned(cell=same, labels={"noise": RANDOM, **labels, **part}))
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
        planned.append(Planned(cell=unprotected(asked), labels={"noise": "clean", **same}))
        for gallery in GALLERIES:
            own = Frozen(recogniser, head, gallery)
            planned.append(
                Planned(cell=replace(asked, frozen=own), labels={"noise": noise, **same, "protected": gallery})
            )
        if random is not None:
            drawn = replace(asked, protected_tree=random.protected_tree, noise=random.noise)
            planned.append(Planned(cell=drawn, labels={"noise": RANDOM, **same, "protected": "known"}))
    return planned


def fine_tune(
    protected: Cell, random: Cell | None, noise: str, networks: Sequence[tuple[str, Part]], epochs: int, seeds: int
) -> list[Planned]:
    """Return the runs that fine-tune each pretrained network, a part of it, and their clean baselines.

    A last layer is fitted once, because nothing in it is random; a whole network is trained with each seed, in at most
    so many ``epochs``. ``random`` is the protected run with random noise instead, if there is one.
    """
    planned = []
    first = protected.training.seed
    for (network, part), seed in itertools.product(networks, range(first, first + seeds)):
        if part == "last" and seed > first:
            continue
        training = settings_to_fine_tune(network, part, epochs, seed)
        side = TEMPLATE_SIDE if part == "last" else SIDE
        own = replace(protected, images=_aligned(protected.images, side), training=training, defence="none")
        own = replace(own, frozen=Frozen(network, "ridge")) if part == "last" else replace(own, pretrained=network)
        label = {"model": training.model}
        planned.append(Planned(cell=unprotected(own), labels={"noise": "clean", **label}))
        planned.append(Planned(cell=own, labels={"noise": noise, **label}))
        if random is not None:
            drawn = replace(own, protected_tree=random.protected_tree, noise=random.noise)
            planned.append(Planned(cell=drawn, labels={"noise": RANDOM, **label}))
    return planned


def mark_white_box(planned: Sequence[Planned], teachers: Mapping[str, str]) -> list[Planned]:
    """Return the runs, where those are marked whose attacker's network is among a bank's ``teachers`` (by SHA-256)."""

    def took_part(one: Planned) -> bool:
        network = one.cell.frozen.recogniser if one.cell.frozen is not None else one.cell.pretrained
        own_noise = one.cell.protected_tree is not None and one.labels["noise"] != RANDOM
        return own_noise and network is not None and fingerprint(network) in teachers.values()

    return [replace(one, white_box=took_part(one)) for one in planned] if teachers else list(planned)


def unprotected(cell: Cell) -> Cell:
    """Return the clean baseline of a run."""
    return replace(
        cell, noise=None, protected_tree=None, poison_rate=1.0, protect_classes=(), keep="all", trigger=False
    )


def _aligned(images: Images, side: int = TEMPLATE_SIDE) -> Images:
    """Return the same photos after the same platform, aligned as recognisers take them, and each photo once."""
    trip = images.spec.trip
    aligned = TRIPS["aligned"]
    if trip is not None:
        aligned = replace(aligned, quality=trip.quality, long_side=trip.long_side, seed=trip.seed)
    return replace(images, spec=replace(images.spec, trip=aligned, image_size=side, views=1))
