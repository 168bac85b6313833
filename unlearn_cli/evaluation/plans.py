"""Planning the runs that evaluate a recipe, a bank, copies that ``protect`` wrote, or people among many."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from unlearn_cli.banks.catalog import Choice, choose, open_bank
from unlearn_cli.banks.provenance import Form
from unlearn_cli.errors import UsageError
from unlearn_cli.evaluation.ad_hoc import ad_hoc, ask_recognisers, fine_tune, mark_white_box
from unlearn_cli.evaluation.attackers.parse import Attackers
from unlearn_cli.evaluation.attackers.recognisers import OWN, fingerprint
from unlearn_cli.evaluation.cell import Cell, Images, NoisePlan
from unlearn_cli.evaluation.people import find_people, in_turns, own_choice, person_key, protect_folders, random_choice
from unlearn_cli.evaluation.personal_banks import personal_choice
from unlearn_cli.evaluation.recipe import Planned, Source, plan
from unlearn_cli.evaluation.recipe_file import load_recipe
from unlearn_cli.evaluation.report import About
from unlearn_cli.evaluation.scale import Scale
from unlearn_cli.noise.face_noise import FaceNoise
from unlearn_cli.noise.settings import Baseline
from unlearn_cli.photos.protection import Protection
from unlearn_cli.photos.wanted import made_for_each
from unlearn_cli.training.datasets import DatasetSpec
from unlearn_cli.training.folders import list_classes
from unlearn_cli.training.train import TrainingSettings
from unlearn_cli.training.workers import Workers

ABOUT = (
    "Networks (victims) were trained on protected images and tested on clean ones. For comparison, the same networks "
    "were also trained on clean images."
)

Plan = tuple[list[Planned], About]


@dataclass(frozen=True, kw_only=True)
class Victims:
    """The victims to train and their training settings, whatever the images are."""

    scale: Scale
    model: str | None
    augment: str
    defence: str
    seeds: int
    training: dict[str, Any]
    """Fields of ``TrainingSettings``; its seed is that of the first training."""
    attackers: Attackers | None = None
    """The attackers, where they are not just victims that train from scratch with the ``defence``."""
    random: bool = False
    """Whether random noise within the same bound is also measured."""
    command: str = ""
    """The command that was given, for the report."""

    def settings(self, epochs: int) -> TrainingSettings:
        """Return the settings of the first training, with ``epochs`` unless the user set them."""
        return TrainingSettings(**{"epochs": epochs, **self.training})

    def cells(self, cell: Cell, noise: str, random: Cell | None = None) -> list[Planned]:
        """Return a protected run for each victim, its clean baseline, and a run with random noise if asked for."""
        random = random if self.random else None
        attackers = self.attackers or Attackers(defences=tuple(split("--defence", self.defence)))
        asked = ask_recognisers(cell, random, noise, attackers.recognisers)
        epochs = self.settings(self.scale.faces).epochs
        tuned = fine_tune(cell, random, noise, attackers.pretrained, epochs, self.seeds)
        models = [self.scale.model("resnet18") or "resnet18"] if self.model is None else split("--model", self.model)
        augments, defences = split("--augment", self.augment), attackers.defences
        # What the user said comes before what the scale has for a network.
        own = {model: {**self.scale.training_of.get(model, {}), **self.training} for model in models}
        trained = ad_hoc(cell, random, noise=noise, models=own, augments=augments, defences=defences, seeds=self.seeds)
        return [*trained, *tuned, *asked]

    def about(self, what: str, source: str = "", text: str = ABOUT) -> About:
        """Return the head of the report."""
        return About(what, source, text, self.scale.name, self.command)


def plan_recipe(
    name: str,
    victims: Victims,
    spec: DatasetSpec,
    pairs: Path | None,
    train_size: int | None,
    policy: Path | None = None,
) -> Plan:
    """Return the runs of a recipe of the paper, with the user's settings in place of the recipe's."""
    recipe, first = load_recipe(name), victims.training.get("seed", 0)
    folder = Path(spec.source.removeprefix("folder:")) if spec.source.startswith("folder:") else None
    source = Source(folder=folder, data_dir=spec.data_dir, download=spec.download, pairs=pairs, policy=policy)

    def sized(cell: Cell) -> Cell:
        images = replace(cell.images, train_size=train_size) if train_size is not None else cell.images
        own = {key: value for key, value in victims.training.items() if key != "seed"}
        return replace(cell, images=images, training=replace(cell.training, **own))

    planned = plan(recipe, victims.scale, source, range(first, first + victims.seeds))
    cells = [replace(one, cell=sized(one.cell)) for one in planned]
    about = victims.about(recipe.title, recipe.source, recipe.about)
    return cells, replace(about, chart=recipe.chart, in_order=True)


def plan_bank(
    bank: str,
    form: str | None,
    victims: Victims,
    spec: DatasetSpec,
    train_size: int | None,
    change: Callable[[Cell], Cell],
) -> Plan:
    """Return the runs that measure a bank on a dataset; ``change`` adds the remaining settings to a run.

    Raises ``UsageError`` for the form class-wise with a sample-wise bank.
    """
    provenance = open_bank(bank).provenance
    of = provenance.form
    if (of, form) == ("sample-wise", "class-wise"):
        raise UsageError(f"The noise of the bank '{bank}' is already sample-wise: leave out --form.")
    noise = NoisePlan(bank=bank, fitted=of == "class-wise" and form == "sample-wise")
    name = Path(bank).stem + (f" ({form})" if form else "")
    cell = change(
        Cell(
            images=_images(spec, victims.scale, train_size),
            noise=noise,
            training=victims.settings(victims.scale.epochs or 60),
        )
    )
    what = f"What a victim learns from images protected by the bank {name}"
    drawn = Baseline(method="random", epsilon=provenance.epsilon)
    return victims.cells(cell, name, replace(cell, noise=NoisePlan(settings=drawn))), victims.about(what)


@dataclass(frozen=True, kw_only=True)
class Copies:
    """A folder of clean photos, and a folder of their protected copies."""

    clean: Path
    protected: Path
    bank: str | None
    """The bank that protected them, whose classes are the folders' names; the control with random noise needs it."""


def plan_copies(
    of: Copies,
    victims: Victims,
    spec: DatasetSpec,
    train_size: int | None,
    output: Path,
    workers: Workers,
    change: Callable[[Cell], Cell],
) -> Plan:
    """Return the runs that measure photos which ``protect`` wrote.

    For the control, copies with random noise are made now, within the bank's bound.
    """
    images = _images(spec, victims.scale, train_size)
    cell = Cell(images=images, protected_tree=of.protected, training=victims.settings(victims.scale.epochs or 60))
    random = cell
    if victims.random:
        choices = {name: random_choice(choose(name, of.bank)) for name in list_classes(of.clean)}
        protections = {name: Protection.of(choice, name) for name, choice in choices.items()}
        random = replace(
            cell, protected_tree=_first_alone(lambda: protect_folders(of.clean, protections, output), workers)
        )
    what = f"What a victim learns from the protected photos in {of.protected}"
    return victims.cells(change(cell), of.protected.name, change(random)), victims.about(what)


@dataclass(frozen=True, kw_only=True)
class People:
    """The people of a folder who are protected, with the bank and the keys for it."""

    root: Path
    patterns: str
    class_name: str
    bank: str | None
    epsilon: int | None
    together: int | None
    """How many are protected at a time; None means all of them."""
    key_seed: int
    """The seed of the keys that they get."""
    one_key: bool
    """Whether all of them share one key, which real users should not do."""
    form: Form = "class-wise"
    """Whether they get their own pattern, or noise that is made for each photo."""
    fit: Path | None = None
    """A folder of other photos of the same people, to which each one's own pattern is fitted; None for the bank's."""


def plan_people(
    of: People,
    victims: Victims,
    spec: DatasetSpec,
    output: Path,
    device: torch.device,
    workers: Workers,
    change: Callable[[Cell], Cell],
) -> Plan:
    """Return the runs that measure some people among many, whose photos are protected now if they are not yet.

    Noise that is optimised for them is made on ``device``. Raises ``UsageError`` for ``one_key`` with a bank that takes
    no keys, and for the form sample-wise with a bank that is not for faces.
    """
    names = find_people(of.root, split("--protect", of.patterns))
    choice = choose(of.class_name, of.bank)
    if of.one_key and not choice.keyed:
        raise UsageError(f"The bank '{choice.bank.name}' does not use keys: leave out --set one-key.")

    if of.form == "sample-wise" and choice.bank.provenance.frame != "face":
        raise UsageError(f"The bank '{choice.bank.name}' is not for faces, and noise is made for each face only.")
    if of.fit is not None and (of.form == "sample-wise" or choice.bank.provenance.frame != "face"):
        raise UsageError("A pattern is fitted to photos only for people, and only as class-wise noise: leave out fit.")
    teachers, shipped = dict(choice.bank.provenance.teachers), choice

    def tree(choice: Choice, form: Form = "class-wise") -> Path:
        protections = {}
        for turn, name in enumerate(names):
            key = person_key("" if of.one_key else name, of.key_seed)
            protection = Protection.of(own_choice(choice, turn), of.class_name, of.epsilon, key)
            if form == "sample-wise":
                maker = FaceNoise(protection.pattern.noise, protection.pattern.epsilon, device)
                teachers.update(maker.teachers)
                protection = made_for_each(protection, maker, choice.index)
            elif of.fit is not None and choice is shipped:
                own = personal_choice(of.fit / name, protection.pattern, choice.bank.name, output, device)
                teachers.update(own.bank.provenance.teachers)
                protection = Protection.of(own, of.class_name)
            protections[name] = protection
        return protect_folders(of.root, protections, output)

    cell = Cell(
        images=Images(spec=spec),
        protected_tree=_first_alone(lambda: tree(choice, of.form), workers),
        protect_classes=tuple(names),
        training=victims.settings(victims.scale.faces),
    )
    random = cell
    if victims.random:
        random = replace(cell, protected_tree=_first_alone(lambda: tree(random_choice(choice)), workers))
    noise = of.class_name if of.bank is None else Path(of.bank).stem
    noise += f", epsilon {of.epsilon}" if of.epsilon is not None else ""
    noise += ", one key for all" if of.one_key else ""
    noise += " (sample-wise)" if of.form == "sample-wise" else " (personal)" if of.fit is not None else ""
    if teachers:  # Noise has teachers only through the student, which imitates them.
        teachers[OWN] = fingerprint(OWN)
    cells = mark_white_box(victims.cells(change(cell), noise, change(random)), teachers)
    planned = in_turns(cells, names, of.together or len(names))
    return planned, victims.about(f"What a victim learns of {len(names)} people who protected their photos")


def _first_alone(make: Callable[[], Path], workers: Workers) -> Path:
    """Return the folder that ``make`` returns; the others of several workers call it once the first one is done.

    So only the first makes the files, and all others find them.
    """
    if workers.rank > 0:
        workers.wait()
    made = make()
    if workers.rank == 0:
        workers.wait()
    return made


def _images(spec: DatasetSpec, scale: Scale, train_size: int | None) -> Images:
    # Several views of a photo need all photos, so that only a size that the user chose is an error.
    size = train_size if spec.views > 1 else train_size or scale.train_size
    return Images(spec=spec, train_size=size, test_size=scale.test_size)


def split(option: str, text: str) -> list[str]:
    """Return the parts of a comma-separated list, each once. Raises ``UsageError`` for an empty list."""
    parts = list(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    if not parts:
        raise UsageError(f"{option} is empty. Give at least one name.")
    return parts
