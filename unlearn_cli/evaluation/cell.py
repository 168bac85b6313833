"""A ``Cell`` is one run: one training of one victim on one training set. Its hash names the file of its result."""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal

from unlearn_cli.banks.catalog import open_bank, surrogate_path
from unlearn_cli.errors import UsageError
from unlearn_cli.evaluation.attackers.frozen import Frozen
from unlearn_cli.evaluation.attackers.recognisers import Recogniser, fingerprint, identity_of, open_recogniser
from unlearn_cli.evaluation.face_pairs import pairs_digest
from unlearn_cli.files import sha256_of
from unlearn_cli.noise.settings import NoiseSettings
from unlearn_cli.training.augmentations import FROM_FILE
from unlearn_cli.training.datasets import DatasetSpec, ImageSet, digest, listing, load_counterpart, load_dataset
from unlearn_cli.training.folders import Split
from unlearn_cli.training.train import TrainingSettings

CELL_SCHEMA = 1
NEWER_WITHOUT_EFFECT = (
    ("gradient_clip", None), ("schedule", "cosine"), ("nesterov", False), ("label_smoothing", 0.0),
    ("skip_below", None), ("weight_average", 0.0), ("alternate_flips", False),
)  # fmt: skip
"""Settings that the first version did not have, with the values that change nothing."""
HASH_LETTERS = 16

Keep = Literal["all", "clean", "protected"]


@dataclass(frozen=True, kw_only=True)
class Images:
    """A dataset, and how many of its images are used (all where a size is None)."""

    spec: DatasetSpec
    train_size: int | None = None
    test_size: int | None = None
    train_share: float = 1.0
    """The share of these training images that is used, as many of each class as possible."""


@dataclass(frozen=True, kw_only=True)
class NoisePlan:
    """The source of a run's noise: a bank, noise made for the evaluation, or a mixture of such noises."""

    bank: str | None = None
    """The name of a shipped bank, or the path of a bank file."""
    settings: NoiseSettings | None = None
    """The settings of noise that the evaluation makes, once for all runs that want the same noise."""
    made_on: Images | None = None
    """The images that the noise is made on; None means the run's own training images."""
    family: str | None = None
    """The category, such as a person, of which all patterns are interchangeable; the classes of the run then need
    not be those that the noise was made for."""
    parts: tuple[NoisePlan, ...] = ()
    """The noises of a mixture, of which each image gets one at random."""
    uniform: int = 0
    """The bound, in levels of 255, of uniform random noise that a mixture adds on top."""
    clipped: bool = True
    """Whether the sum with uniform noise is clipped to the mixture's epsilon."""
    renamed: tuple[tuple[str, str], ...] = ()
    """Pairs of a pattern's class and the class that it is applied to; the other patterns are not used."""
    fitted: bool = False
    """Whether the class-wise bank's surrogate makes noise for each image, as in ``protect --form sample-wise``."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One run: a training in which a share of the images of some or all classes is protected."""

    images: Images
    joined: Images | None = None
    """Another dataset whose classes are added to those of the first (figure 3)."""
    noise: NoisePlan | None = None
    """The noise that is applied; None where the run is a clean baseline or has a ``protected_tree``."""
    poison_rate: float = 1.0
    """The share of each protected class's training images that carry noise."""
    protect_classes: tuple[str, ...] = ()
    """Names of the protected classes, or shell patterns that match them; empty means all classes."""
    keep: Keep = "all"
    """``clean`` trains only on the images without noise (D_c in table 2 of the paper), and ``protected`` only on those
    with noise (figure 2)."""
    training: TrainingSettings = field(default_factory=TrainingSettings)
    defence: str = "none"
    trigger: bool = False
    """Whether to also apply each class's noise to the clean test images of the other classes, and to count how many
    are then classified as that class (figure 8)."""
    pairs: Path | None = None
    """A CSV file of pairs of photos, which lie beside it, for also measuring face verification (figure 7)."""
    protected_tree: Path | None = None
    """A folder of photos that ``protect`` wrote, laid out like the dataset's folder, to use instead of noise."""
    frozen: Frozen | None = None
    """The attacker that asks a recogniser instead of training a victim; ``training`` then only has its name."""
    pretrained: str | None = None
    """The network ``NETWORK=FILE`` whose weights the victim starts from; ``training.model`` then only names it."""
    refit: float | None = None
    """The share of clean photos on which the victim's last layer is fitted again after its training. Every training
    does it for all ``reweight.SHARES``, so this only decides which figures count, and not the run's hash."""


class Library:
    """The datasets and recognisers of an evaluation, each of which is read only once."""

    def __init__(self) -> None:
        self._sets: dict[tuple[DatasetSpec, Split], ImageSet] = {}
        self._digests: dict[DatasetSpec, str] = {}
        self._counterparts: dict[tuple[DatasetSpec, Path, tuple[str, ...], Split], ImageSet] = {}
        self._reading: dict[DatasetSpec, tuple[float, int]] = {}
        self._recognisers: dict[str, Recogniser] = {}

    def recogniser(self, name: str) -> Recogniser:
        """Return the recogniser of this name, opened only once. Raises what ``open_recogniser`` raises."""
        if name not in self._recognisers:
            self._recognisers[name] = open_recogniser(name)
        return self._recognisers[name]

    def train(self, images: Images) -> ImageSet:
        """Return the training images. Raises what ``load_dataset`` raises."""
        chosen = self._load(images.spec, "train").first(images.train_size)
        return chosen if images.train_share == 1 else chosen.first(round(images.train_share * len(chosen)))

    def test(self, images: Images) -> ImageSet:
        """Return the clean test images. Raises what ``load_dataset`` raises."""
        return self._load(images.spec, "test").first(images.test_size)

    def contents(self, spec: DatasetSpec) -> str:
        """Return a digest that tells two datasets of the same name apart.

        It is the SHA-256 of a folder's images or of ImageNet's listing, and empty for a dataset that torchvision
        checks.
        """
        if spec.source == "imagenet" and spec not in self._digests:
            self._digests[spec] = listing(spec)
        if spec.source.startswith("folder:") and spec not in self._digests:
            self._digests[spec] = digest(self._load(spec, "train"), self._load(spec, "test"))
        return self._digests.get(spec, "")

    def counterpart(self, cell: Cell, split: Split = "train") -> ImageSet:
        """Return the images of a run's split, where those of the protected classes come from ``protected_tree``.

        Raises ``WorkError`` unless both folders have the same photos of these classes, and ``UsageError`` for a class
        that does not exist.
        """
        assert cell.protected_tree is not None
        spec, tree = cell.images.spec, cell.protected_tree
        key = (spec, tree, cell.protect_classes, split)
        if key not in self._counterparts:
            data = self._load(spec, split)
            labels = set(protected_labels(data.classes, cell.protect_classes))
            self._counterparts[key] = load_counterpart(spec, split, data, tree, labels)
        size = cell.images.train_size if split == "train" else cell.images.test_size
        return self._counterparts[key].first(size)

    def seconds_to_read(self, spec: DatasetSpec) -> float:
        """Return how long reading one photo of a dataset took: its mean over all that were read of it."""
        seconds, photos = self._reading.get(spec, (0.0, 1))
        return seconds / photos

    def _load(self, spec: DatasetSpec, split: Split) -> ImageSet:
        if (spec, split) not in self._sets:
            began, views = time.perf_counter(), spec.views if split == "train" else 1
            data = self._sets[spec, split] = load_dataset(spec, split)
            seconds, photos = self._reading.get(spec, (0.0, 0))
            self._reading[spec] = (seconds + time.perf_counter() - began, photos + len(data) // views)
        return self._sets[spec, split]


def protected_labels(classes: tuple[str, ...], patterns: tuple[str, ...]) -> list[int]:
    """Return the labels whose class names match a pattern; without any pattern, all labels.

    Raises ``UsageError`` for a pattern that matches no class.
    """
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in classes):
            raise UsageError(f"No class matches '{pattern}'. The classes are: {', '.join(classes[:12])}.")
    return [
        label
        for label, name in enumerate(classes)
        if not patterns or any(fnmatchcase(name, pattern) for pattern in patterns)
    ]


def identity(cell: Cell, library: Library) -> dict[str, Any]:
    """Return everything but the machine that decides a run's result, with files by their contents, not their paths."""
    return {
        "schema": CELL_SCHEMA,
        "images": _of_images(cell.images, library),
        "joined": _of_images(cell.joined, library) if cell.joined else None,
        # The images that are left out with keep="clean" do not matter, and neither does their noise.
        "noise": _of_noise(cell.noise, library) if cell.noise and cell.keep != "clean" else None,
        "poison_rate": cell.poison_rate,
        "protect_classes": list(cell.protect_classes),
        "keep": cell.keep,
        "training": _hashed(cell.training),
        "defence": cell.defence,
        "trigger": cell.trigger,
        "pairs": pairs_digest(cell.pairs) if cell.pairs else None,
        "protected_tree": digest(library.counterpart(cell)) if cell.protected_tree else None,
    } | _of_attacker(cell, library)


def _of_attacker(cell: Cell, library: Library) -> dict[str, Any]:
    """Return what runs have that do not train from scratch, so that all others keep the hashes of earlier versions."""
    if cell.frozen is not None:
        frozen = cell.frozen
        asked: dict[str, Any] = {}
        if cell.protected_tree is not None and frozen.gallery != "known":
            asked = {"protected_tests": digest(library.counterpart(cell, "test"))}
        recogniser = identity_of(frozen.recogniser)
        return {"frozen": {**recogniser, "head": frozen.head, "gallery": frozen.gallery} | asked}
    return {"pretrained": fingerprint(cell.pretrained)} if cell.pretrained is not None else {}


def hash_of(identity: dict[str, Any]) -> str:
    """Return the hash that names the result of a run."""
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:HASH_LETTERS]


def noise_identity(plan: NoisePlan, on: Images, library: Library) -> dict[str, Any]:
    """Return everything that decides what the noise of a plan with settings will be."""
    assert plan.settings is not None
    on = plan.made_on or on
    return {"settings": _hashed(plan.settings), "on": _of_images(on, library), "family": plan.family}


def _hashed(settings: TrainingSettings | NoiseSettings) -> dict[str, Any]:
    """Return settings without newer ones that have no effect, so that they keep the hashes of earlier versions."""
    values = {name: value for name, value in asdict(settings).items() if (name, value) not in NEWER_WITHOUT_EFFECT}
    if (augment := str(values.get("augment"))).startswith(FROM_FILE):  # A file counts by its content.
        values["augment"] = f"{FROM_FILE}{sha256_of(Path(augment.removeprefix(FROM_FILE)))}"
    return values


def _of_images(images: Images, library: Library) -> dict[str, Any]:
    spec = asdict(images.spec)
    for name in ("data_dir", "download", "name", "licence", "least_classes"):
        del spec[name]
    if contents := library.contents(images.spec):
        spec["source"] = f"{images.spec.source.partition(':')[0]}:{contents}"
    if spec["trip"] is None:
        del spec["trip"], spec["views"]  # So that datasets without a trip keep the hashes of earlier versions.
    else:
        spec["trip"]["zoom"] = list(spec["trip"]["zoom"])
    # Lists as JSON has them, so that an identity that was read from a file equals a new one.
    spec["classes"], spec["class_map"] = list(spec["classes"]), [list(pair) for pair in spec["class_map"]]
    share = {"train_share": images.train_share} if images.train_share != 1 else {}
    return {**spec, "train_size": images.train_size, "test_size": images.test_size} | share


def _of_noise(plan: NoisePlan, library: Library) -> dict[str, Any]:
    found: dict[str, Any] = {"fitted": plan.fitted, "uniform": plan.uniform}
    if plan.bank is not None:
        bank = open_bank(plan.bank)
        found["bank_sha256"] = bank.sha256
        if plan.fitted:
            found["surrogate_sha256"] = sha256_of(surrogate_path(bank.path))
    if plan.settings is not None:
        found["settings"], found["family"] = _hashed(plan.settings), plan.family
        found["on"] = _of_images(plan.made_on, library) if plan.made_on else "the cell's training images"
    found["parts"] = [_of_noise(part, library) for part in plan.parts]
    # Only where they differ from the usual, so that all others keep the hashes of earlier versions.
    found |= {"renamed": [list(pair) for pair in plan.renamed]} if plan.renamed else {}
    return found | ({} if plan.clipped else {"clipped": False})
