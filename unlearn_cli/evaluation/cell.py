"""A cell: one training of one victim on one training set, described so fully that its hash names its result."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal

from unlearn_cli.banks.catalog import open_bank, surrogate_path
from unlearn_cli.errors import UsageError
from unlearn_cli.evaluation.verification import pairs_digest
from unlearn_cli.files import sha256_of
from unlearn_cli.noise.settings import NoiseSettings
from unlearn_cli.victims.datasets import DatasetSpec, ImageSet, digest, listing, load_counterpart, load_dataset
from unlearn_cli.victims.folders import Split
from unlearn_cli.victims.train import TrainingSettings

CELL_SCHEMA = 1
HASH_LETTERS = 16

Keep = Literal["all", "clean"]


@dataclass(frozen=True, kw_only=True)
class Images:
    """A dataset, and how many of its images."""

    spec: DatasetSpec
    train_size: int | None = None
    test_size: int | None = None


@dataclass(frozen=True, kw_only=True)
class NoisePlan:
    """The noise of a cell: a bank's, or made for it, or a mixture of such."""

    bank: str | None = None
    """A shipped bank's name or a file."""
    settings: NoiseSettings | None = None
    """Noise that is made, once for all cells that want the same."""
    made_on: Images | None = None
    """What it is made on; the cell's own training images when None."""
    family: str | None = None
    """Set where its patterns are interchangeable ones of a category, such as people that are not in the cell."""
    parts: tuple[NoisePlan, ...] = ()
    """A mixture: each image gets the noise of one of them."""
    uniform: int = 0
    """A mixture: random noise of so many levels on top."""
    fitted: bool = False
    """Make noise for each image with the class-wise bank's surrogate, as ``protect --form sample-wise`` does."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One training. What is protected: a share of the images of some classes."""

    images: Images
    joined: Images | None = None
    """Another dataset whose classes join the first one's (figure 3)."""
    noise: NoisePlan | None = None
    """None is the clean baseline."""
    poison_rate: float = 1.0
    """The share of each protected class's training images that carry noise."""
    protect_classes: tuple[str, ...] = ()
    """Names or patterns of the protected classes; empty means all."""
    keep: Keep = "all"
    """``clean``: train on the images without noise alone (table 2, D_c)."""
    training: TrainingSettings = field(default_factory=TrainingSettings)
    defence: str = "none"
    trigger: bool = False
    """Also lay each class's noise on clean test images, and count how many are then named so (figure 8)."""
    pairs: Path | None = None
    """Also verify people: a CSV file of pairs of photos beside it (figure 7)."""
    protected_tree: Path | None = None
    """The protected photos themselves, in a folder like the dataset's, instead of noise: what ``protect`` wrote."""


class Library:
    """The datasets of an evaluation, each read once."""

    def __init__(self) -> None:
        self._sets: dict[tuple[DatasetSpec, Split], ImageSet] = {}
        self._digests: dict[DatasetSpec, str] = {}
        self._counterparts: dict[tuple[DatasetSpec, Path, tuple[str, ...]], ImageSet] = {}

    def train(self, images: Images) -> ImageSet:
        """The training images. Raises what ``load_dataset`` does."""
        return self._load(images.spec, "train").first(images.train_size)

    def test(self, images: Images) -> ImageSet:
        """The clean test images."""
        return self._load(images.spec, "test").first(images.test_size)

    def contents(self, spec: DatasetSpec) -> str:
        """What tells two datasets of one name apart: SHA-256 of a folder's images, or of ImageNet's listing; nothing
        for a dataset that torchvision checks.
        """
        if spec.source == "imagenet" and spec not in self._digests:
            self._digests[spec] = listing(spec)
        if spec.source.startswith("folder:") and spec not in self._digests:
            self._digests[spec] = digest(self._load(spec, "train"), self._load(spec, "test"))
        return self._digests.get(spec, "")

    def counterpart(self, cell: Cell) -> ImageSet:
        """The training images of a cell, those of its protected classes as its other tree has them.

        Raises ``WorkError`` unless both trees have the same photos of these classes, ``UsageError`` for no such class.
        """
        assert cell.protected_tree is not None
        spec, tree = cell.images.spec, cell.protected_tree
        key = (spec, tree, cell.protect_classes)
        if key not in self._counterparts:
            data = self._load(spec, "train")
            labels = set(protected_labels(data.classes, cell.protect_classes))
            self._counterparts[key] = load_counterpart(spec, "train", data, tree, labels)
        return self._counterparts[key].first(cell.images.train_size)

    def _load(self, spec: DatasetSpec, split: Split) -> ImageSet:
        if (spec, split) not in self._sets:
            self._sets[spec, split] = load_dataset(spec, split)
        return self._sets[spec, split]


def protected_labels(classes: tuple[str, ...], patterns: tuple[str, ...]) -> list[int]:
    """The labels whose names match; all without a pattern. Raises ``UsageError`` for a pattern that matches none."""
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in classes):
            raise UsageError(f"No class matches '{pattern}'. There are: {', '.join(classes[:12])}.")
    return [
        label
        for label, name in enumerate(classes)
        if not patterns or any(fnmatchcase(name, pattern) for pattern in patterns)
    ]


def identity(cell: Cell, library: Library) -> dict[str, Any]:
    """Everything that decides a cell's result, but for the machine: no path, and every file by what it holds."""
    return {
        "schema": CELL_SCHEMA,
        "images": _of_images(cell.images, library),
        "joined": _of_images(cell.joined, library) if cell.joined else None,
        # Clean images alone are the same whatever the others would have carried.
        "noise": _of_noise(cell.noise, library) if cell.noise and cell.keep == "all" else None,
        "poison_rate": cell.poison_rate,
        "protect_classes": list(cell.protect_classes),
        "keep": cell.keep,
        "training": asdict(cell.training),
        "defence": cell.defence,
        "trigger": cell.trigger,
        "pairs": pairs_digest(cell.pairs) if cell.pairs else None,
        "protected_tree": digest(library.counterpart(cell)) if cell.protected_tree else None,
    }


def hash_of(identity: dict[str, Any]) -> str:
    """The name of a cell's result."""
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:HASH_LETTERS]


def noise_identity(plan: NoisePlan, on: Images, library: Library) -> dict[str, Any]:
    """Everything that decides made noise."""
    assert plan.settings is not None
    on = plan.made_on or on
    return {"settings": asdict(plan.settings), "on": _of_images(on, library), "family": plan.family}


def _of_images(images: Images, library: Library) -> dict[str, Any]:
    spec = asdict(images.spec)
    for name in ("data_dir", "download", "name", "licence", "least_classes"):
        del spec[name]
    if contents := library.contents(images.spec):
        spec["source"] = f"{images.spec.source.partition(':')[0]}:{contents}"
    if spec["trip"] is None:
        del spec["trip"], spec["views"]  # As cells had it before there were trips.
    else:
        spec["trip"]["zoom"] = list(spec["trip"]["zoom"])
    # As it would come back from JSON, so that a kept identity equals a new one.
    spec["classes"], spec["class_map"] = list(spec["classes"]), [list(pair) for pair in spec["class_map"]]
    return {**spec, "train_size": images.train_size, "test_size": images.test_size}


def _of_noise(plan: NoisePlan, library: Library) -> dict[str, Any]:
    found: dict[str, Any] = {"fitted": plan.fitted, "uniform": plan.uniform}
    if plan.bank is not None:
        bank = open_bank(plan.bank)
        found["bank_sha256"] = bank.sha256
        if plan.fitted:
            found["surrogate_sha256"] = sha256_of(surrogate_path(bank.path))
    if plan.settings is not None:
        found["settings"], found["family"] = asdict(plan.settings), plan.family
        found["on"] = _of_images(plan.made_on, library) if plan.made_on else "the cell's training images"
    found["parts"] = [_of_noise(part, library) for part in plan.parts]
    return found
