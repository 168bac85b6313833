"""A bank's card: a JSON file beside the bank with everything that was measured, so that the bank itself never changes.

A card contains only numbers; ``cli.measured`` turns them into sentences.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from unlearn_cli.banks.provenance import parse_finite_json
from unlearn_cli.errors import BankError
from unlearn_cli.files import locked, write_atomically

CARD_SCHEMA = 2
"""Cards of schema 1 also contained sentences, which are ignored when such a card is read."""

ResultForm = Literal["class-wise", "sample-wise", "personal"]
"""The form of the noise that was measured: the bank's pattern, noise for each photo that begins with it, or a pattern
that begins with it and was fitted to other photos of the same person."""

Interval = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Accuracy:
    """The share of clean test images that a victim classified correctly, from 0 to 1, with 95 % intervals."""

    final: float
    """After the last epoch; a mean over the seeds."""
    peak: float
    """At the best epoch, which a scraper with a clean test set could have kept."""
    final_interval: Interval | None = None
    peak_interval: Interval | None = None


@dataclass(frozen=True, kw_only=True)
class Worst:
    """The protected class that was classified correctly most often: for photos of people, who is protected least."""

    name: str
    final: float
    """The share of its clean test images, from 0 to 1: after the last epoch, as a mean over the seeds."""
    test_images: int


@dataclass(frozen=True, kw_only=True)
class Images:
    """The images that the victims of a result were trained and tested on."""

    name: str
    train_images: int
    test_images: int
    classes: tuple[str, ...]
    image_size: int
    """The side in pixels."""
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Result:
    """One measurement of a bank: victims trained on protected images, compared with victims trained on clean ones."""

    protected: Accuracy
    """On test images of the protected classes."""
    clean: Accuracy
    """On the same test images, where nothing was protected."""
    random: Accuracy | None = None
    """On the same test images, where random noise within the same bound was applied instead."""
    others: Accuracy | None = None
    """On test images of the unprotected classes, where only some were protected."""
    clean_others: Accuracy | None = None
    """On the same, where nothing was protected."""
    worst_class: Worst | None = None
    """The protected class that fared worst; None where an earlier version did not record it."""
    auc: float | None = None
    """With a recogniser: the area under the ROC of telling whether a known and an asked photo of the protected people
    show one person; None where no recogniser was asked, and where an earlier version did not record it."""
    clean_auc: float | None = None
    """The same for the same people, where nothing was protected."""
    form: ResultForm = "class-wise"
    defence: str = "none"
    """What the scraper did against protection, as ``--defence`` names it."""
    protected_classes: int
    """How many classes were protected, in turns or all together."""
    together: int
    """How many were protected at a time."""
    protected_images: int | None = None
    """How many training images were protected at a time; None where an earlier version did not record it."""
    seeds: int
    images: Images
    trip: dict[str, Any] | None = None
    """What happened to the photos before the victims had them: the fields of ``training.trip.Trip``."""
    training: dict[str, Any]
    """How the victims were trained: the fields of ``training.train.TrainingSettings``."""
    labels: dict[str, str] = field(default_factory=dict)
    """The labels that distinguish the result from others of the same command."""
    white_box: bool = False
    """Whether the attacker's network took part in making the noise, so that it stands for no other attacker."""
    runs: tuple[str, ...] = ()
    """The names of the runs' result files."""
    command: str = ""
    hardware: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    date: str = ""

    @property
    def all_classes(self) -> bool:
        """Return whether every class was protected."""
        return self.together == len(self.images.classes)


@dataclass(frozen=True, kw_only=True)
class Made:
    """How a bank was made."""

    command: str = ""
    seconds: float | None = None
    iterations: int | None = None
    error: float | None = None
    """The surrogate's error rate on noisy images at the end; None where no surrogate is kept."""
    stop: str | None = None
    """Why the search ended: one of ``noise.events.Stop``."""
    hardware: str | None = None


@dataclass(frozen=True, kw_only=True)
class Card:
    """Everything that is known about a bank besides its provenance."""

    bank: str = ""
    bank_sha256: str
    made: Made = Made()
    results: tuple[Result, ...] = ()
    schema: int = CARD_SCHEMA


def card_path(bank: Path) -> Path:
    """Return the path of a bank's card: ``NAME.json`` beside ``NAME.safetensors``."""
    return bank.with_suffix(".json")


def read_card(bank: Path, sha256: str | None = None) -> Card:
    """Return the card of the bank at this path.

    The card is empty if there is no file, or if the file belongs to a bank with another SHA-256 than this one, about
    which it says nothing. Raises ``BankError`` if it cannot be read or is not what unlearn writes.
    """
    from pydantic import TypeAdapter, ValidationError  # Typer loads it too, but not for help.

    path = card_path(bank)
    try:
        card = TypeAdapter(Card).validate_python(parse_finite_json(path.read_bytes()))
    except FileNotFoundError:
        return Card(bank=bank.stem, bank_sha256=sha256 or "")
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "its beginning"
        raise BankError(f"The card {path} was not written by unlearn (see {where}). Restore or delete it.") from error
    except (BankError, OSError) as error:
        raise BankError(f"The card {path} cannot be read: {error}. Restore or delete it.") from error
    if card.schema > CARD_SCHEMA:
        raise BankError(f"The card {path} was written by a newer version (schema {card.schema}): update unlearn.")
    return card if sha256 in (None, card.bank_sha256) else Card(bank=bank.stem, bank_sha256=sha256 or "")


def write_card(bank: Path, card: Card) -> None:
    """Write a bank's card atomically."""
    text = json.dumps(asdict(replace(card, schema=CARD_SCHEMA)), indent=2, allow_nan=False, ensure_ascii=False)
    write_atomically(card_path(bank), text.encode() + b"\n")


def add_results(bank: Path, sha256: str, results: Sequence[Result]) -> None:
    """Add measured results to a bank's card, while no other process does.

    Each replaces a result with the same command and labels, which is the same measurement made before. The content of a
    card that belongs to another file is dropped, because it says nothing about this one.
    """
    if not results:
        return
    with locked(f"card of {bank.resolve()}"):
        card = read_card(bank, sha256)
        same = [(result.command, result.labels) for result in results]
        kept = tuple(old for old in card.results if (old.command, old.labels) not in same)
        write_card(bank, replace(card, results=(*kept, *results)))
