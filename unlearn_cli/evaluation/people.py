"""Protecting the photos of some people among many as these people would do it, each with a pattern of their own."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np

from unlearn_cli.banks.catalog import Choice
from unlearn_cli.banks.keys import Key
from unlearn_cli.errors import UsageError, WorkError
from unlearn_cli.evaluation.recipe import Planned
from unlearn_cli.photos.folder import protect_photos
from unlearn_cli.photos.outcome import Options
from unlearn_cli.photos.protection import Protection
from unlearn_cli.photos.scan import Where, plan
from unlearn_cli.training.folders import list_classes
from unlearn_cli.training.workers import usable_cores

HASH_LETTERS = 16


def find_people(root: Path, patterns: Sequence[str]) -> list[str]:
    """Return the names of the matching folders, in order. Raises ``UsageError`` for a pattern that matches none."""
    names = list(list_classes(root))
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise UsageError(f"Nobody in {root} matches '{pattern}'. The people are: {', '.join(names[:12])}.")
    return [name for name in names if any(fnmatchcase(name, pattern) for pattern in patterns)]


def person_key(name: str, seed: int) -> Key:
    """Return the key of a person in an evaluation, which is always the same for one name and seed."""
    return Key(hashlib.sha256(f"unlearn evaluation\0{seed}\0{name}".encode()).digest())


def own_choice(choice: Choice, turn: int) -> Choice:
    """Return the choice with the pattern of the ``turn``-th person, if the bank is a family that takes no keys.

    Any other choice is returned unchanged.
    """
    if choice.keyed or choice.bank.provenance.family is None:
        return choice
    return replace(choice, index=turn % len(choice.bank.noise))


def random_choice(choice: Choice) -> Choice:
    """Return the choice with random noise within the same bound, which is applied like the bank's: the control."""
    noise, bound = choice.bank.noise, choice.bank.provenance.epsilon
    drawn = np.random.default_rng(0).integers(-bound, bound + 1, noise.shape, np.int8)
    return replace(choice, bank=replace(choice.bank, noise=drawn))


def protect_folders(root: Path, protections: Mapping[str, Protection], output: Path) -> Path:
    """Protect each of these folders below ``root``, and return the folder of the copies, which are made only once.

    Raises ``WorkError`` if a photo could not be protected.
    """
    each = [f"{name} {of.fingerprint} {of.pattern.epsilon}" for name, of in sorted(protections.items())]
    what = "\n".join([str(root.absolute()), *each])
    tree = output / "protected" / hashlib.sha256(what.encode()).hexdigest()[:HASH_LETTERS]
    for name, protection in protections.items():
        todo = plan([root / name], Where(output=tree / name))
        for photo in protect_photos(todo, {"": protection}, Options(jobs=usable_cores())):
            if photo.status in ("failed", "skipped"):
                raise WorkError(f"{photo.source} was not protected: {photo.reason}. Remove it from the folder.")
    return tree


def in_turns(planned: Sequence[Planned], people: Sequence[str], together: int) -> list[Planned]:
    """Split each run that protects all these people into runs that protect ``together`` of them and nobody else.

    In practice only a few people among many are protected. With turns, each run has only a few protected people, and
    still the test photos of all of them count.
    """
    turns = [tuple(people[start : start + together]) for start in range(0, len(people), together)]
    label = {"protect_classes": f"{len(people)} people, {together} at a time"} if len(turns) > 1 else {}
    found = [
        [replace(one, cell=replace(one.cell, protect_classes=turn), labels={**one.labels, **label}) for turn in turns]
        if one.cell.protected_tree is not None
        else [one]
        for one in planned
    ]
    return list(itertools.chain.from_iterable(found))
