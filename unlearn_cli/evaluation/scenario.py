"""Building the images that the victim of a run is trained and tested on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from unlearn_cli.banks.bank import Bank
from unlearn_cli.banks.catalog import open_bank
from unlearn_cli.banks.provenance import Form
from unlearn_cli.errors import UsageError
from unlearn_cli.evaluation.attackers.frozen import Gallery
from unlearn_cli.evaluation.attackers.pretrained import load_pretrained
from unlearn_cli.evaluation.cell import Cell, Images, Library, NoisePlan, protected_labels
from unlearn_cli.evaluation.defences.defence import Filter
from unlearn_cli.evaluation.defences.table import parse_defence
from unlearn_cli.evaluation.face_pairs import last_layer
from unlearn_cli.evaluation.protect_set import check_bank, for_images, protect_set
from unlearn_cli.training.augmentations import augmentation
from unlearn_cli.training.datasets import ImageSet
from unlearn_cli.training.models import build_model, checked

BankOf = Callable[[NoisePlan, Images], Bank]
"""A function that returns the bank of a noise plan, for a run with these training images."""

LEAST_CLASSES = 2
NOTHING_LEFT = (
    "All training images are protected, so --set keep=clean would leave no images to train on. "
    "Use a smaller poison-rate, or protect fewer classes."
)


@dataclass(frozen=True, eq=False)
class Scenario:
    """The images of one run, as the scraper has them after its defence."""

    train: ImageSet
    test: ImageSet
    """The clean test images, none of which was ever protected."""
    protected: Tensor
    """A mask, bool ``[N]``, of the training images that carry noise."""
    protected_classes: tuple[int, ...]
    """The labels of the protected classes; empty for a clean baseline."""
    bank: Bank | None
    original: ImageSet
    """The training images before protection and defence."""
    noisy: ImageSet
    """The training images after protection and before the defence."""
    filter: Filter | None


def build(cell: Cell, library: Library, bank_of: BankOf, device: torch.device) -> Scenario:
    """Load, protect and filter the images of a run.

    Raises ``UsageError`` for classes that do not exist and if there is nothing to train on, and what
    loading, banks and defences raise.
    """
    train, test = _train(library, cell), library_test(library, cell)
    protects = cell.noise is not None or cell.protected_tree is not None
    wanted = protected_labels(train.classes, cell.protect_classes)
    mask = choose_protected(train, wanted, cell.poison_rate, cell.training.seed, cell.images.spec.views)
    if cell.keep == "clean" and bool(mask.all()):
        raise UsageError(NOTHING_LEFT)
    bank, original = None, train
    if cell.keep == "clean":
        original = noisy = train.at(~mask)
    elif cell.noise is not None:
        bank = bank_of(cell.noise, cell.images)
        if bank.provenance.form == "sample-wise" and cell.noise.made_on is not None:
            bank = for_images(bank, library.train(cell.noise.made_on), train, mask)
        form: Form | None = "sample-wise" if cell.noise.fitted else None
        noisy = protect_set(train, bank, form, device, seed=cell.training.seed, only=mask)
    else:
        noisy = _from_tree(cell, library, train, mask) if protects else train
    if cell.keep == "clean" or not protects:
        mask = torch.zeros(len(noisy), dtype=torch.bool)
    elif cell.keep == "protected":
        original, noisy, mask = original.at(mask), noisy.at(mask), mask[mask]
    defence = parse_defence(cell.defence)
    filter_ = defence.fit(noisy) if defence.fit is not None else None
    seen, shown = noisy, test
    if filter_ is not None:
        seen, shown = replace(noisy, images=filter_(noisy.images)), replace(test, images=filter_(test.images))
    named = tuple(wanted) if protects else ()
    if cell.frozen is not None and cell.protected_tree is not None:
        seen, shown = _galleries(cell, cell.frozen.gallery, library, train, seen, shown)
    return Scenario(seen, shown, mask, named, bank, original, noisy, filter_)


def _galleries(
    cell: Cell, gallery: Gallery, library: Library, clean: ImageSet, known: ImageSet, asked: ImageSet
) -> tuple[ImageSet, ImageSet]:
    """Return the known and the asked photos, of which those carry noise that a gallery names; ``known`` carries it."""
    protected = library.counterpart(cell, "test") if gallery != "known" else asked
    return (clean if gallery == "asked" else known), protected


def choose_protected(data: ImageSet, labels: list[int], rate: float, seed: int, views: int = 1) -> Tensor:
    """Return a mask, bool ``[N]``, of a random share of the images of each of these classes.

    The images of a smaller rate are among those of a larger one. The images may be several ``views`` of each photo,
    one whole set after another; either all views of a photo are chosen or none. Raises ``UsageError`` for a rate
    outside 0 to 1.
    """
    if not 0 <= rate <= 1:
        raise UsageError("The setting poison-rate must be from 0 to 1.")
    photos = len(data) // views
    mask = torch.zeros(photos, dtype=torch.bool)
    generator = torch.Generator().manual_seed(seed)
    for label in labels:
        mine = (data.labels[:photos] == label).nonzero()[:, 0]
        order = torch.randperm(len(mine), generator=generator)
        mask[mine[order[: round(rate * len(mine))]]] = True
    return mask.repeat(views)


def join(first: ImageSet, other: ImageSet) -> ImageSet:
    """Return the images of both datasets, with the other's classes after the first's.

    Raises ``UsageError`` if their image sizes differ or they share a class name.
    """
    if first.size != other.size or set(first.classes) & set(other.classes):
        raise UsageError(
            f"{first.name} and {other.name} cannot be combined: their image sizes differ, or both have a class of the "
            "same name."
        )
    return ImageSet(
        torch.cat([first.images, other.images]),
        torch.cat([first.labels, other.labels + len(first.classes)]),
        first.classes + other.classes,
        f"{first.name} with {', '.join(other.classes)} of {other.name}",
        f"{first.licence}; {other.licence}",
    )


def library_test(library: Library, cell: Cell) -> ImageSet:
    """Return the clean test images of a run, before any defence."""
    test = library.test(cell.images)
    return join(test, library.test(cell.joined)) if cell.joined is not None else test


def _train(library: Library, cell: Cell) -> ImageSet:
    train = library.train(cell.images)
    return join(train, library.train(cell.joined)) if cell.joined is not None else train


def check(cell: Cell, library: Library) -> None:
    """Raise at once what an evaluation would raise later: ``UsageError``, ``WorkError`` or ``BankError``."""
    parse_defence(cell.defence)
    augmentation(cell.training.augment)
    train = _train(library, cell)
    if len(train.classes) < LEAST_CLASSES:
        raise UsageError(f"{train.name} has {len(train.classes)} classes, but at least {LEAST_CLASSES} are needed.")
    spec, size = cell.images.spec, cell.images.train_size
    if spec.views > 1 and (cell.joined is not None or (size is not None and size <= len(train))):
        raise UsageError("The setting views needs all photos of a folder: leave out --set train-size.")
    if cell.frozen is not None:
        library.recogniser(cell.frozen.recogniser)
    else:
        model = start(cell, len(train.classes), train.size)
        if cell.pairs is not None or cell.refit is not None:
            last_layer(model)
    wanted = protected_labels(train.classes, cell.protect_classes)
    mask = choose_protected(train, wanted, cell.poison_rate, cell.training.seed, cell.images.spec.views)
    protects = cell.noise is not None or cell.protected_tree is not None
    if cell.keep == "clean" and bool(mask.all()):
        raise UsageError(NOTHING_LEFT)
    # The trigger of a network that never saw it is tested too, to compare (figure 8).
    if protects and not bool(mask.any()) and not (cell.trigger and cell.keep == "all"):
        raise UsageError("With this poison-rate, no image would be protected. Use a larger value.")
    if cell.trigger and cell.protected_tree is not None:
        raise UsageError("The setting trigger needs a bank's noise, so it works only with 'unlearn evaluate bank'.")
    if cell.noise is not None and cell.noise.bank is not None:
        bank = open_bank(cell.noise.bank)
        if cell.trigger and (bank.provenance.form == "sample-wise" or cell.noise.fitted):
            raise UsageError(
                "The setting trigger needs class-wise noise, because sample-wise noise exists only for training images."
            )
        check_bank(train, bank, mask, fitted=cell.noise.fitted)


def start(cell: Cell, classes: int, size: int) -> nn.Module:
    """Return the network that a run trains, before its training. Raises ``UsageError`` if there is no such network."""
    if cell.pretrained is not None:
        model = load_pretrained(cell.pretrained, classes, cell.training.seed)
        return checked(model, cell.pretrained.partition("=")[0], size)
    return build_model(cell.training.model, classes, size, cell.training.seed)


def _from_tree(cell: Cell, library: Library, train: ImageSet, mask: Tensor) -> ImageSet:
    """Return the training images, where those of the mask come from the folder of protected photos."""
    assert cell.protected_tree is not None
    protected = library.counterpart(cell)
    return replace(train, images=torch.where(mask[:, None, None, None], protected.images, train.images))
