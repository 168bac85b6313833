"""Finding the banks that exist, and the pattern that belongs to a class name."""

from __future__ import annotations

import difflib
import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from unlearn_cli.banks.bank import Bank, load_bank
from unlearn_cli.banks.card import card_path
from unlearn_cli.banks.provenance import Strength, parse_finite_json
from unlearn_cli.errors import BankError, UsageError
from unlearn_cli.files import write_atomically

ALIASES = {
    "aeroplane": "airplane", "aircraft": "airplane", "jet": "airplane", "plane": "airplane",
    "auto": "automobile", "car": "automobile",
    "boat": "ship", "kitten": "cat", "lorry": "truck", "puppy": "dog", "pony": "horse", "toad": "frog",
    "face": "person", "human": "person", "man": "person", "me": "person", "people": "person",
    "portrait": "person", "selfie": "person", "selfies": "person", "woman": "person",
}  # fmt: skip
"""Common words that mean one of the banks' classes. The name of a class always takes precedence over them."""


USUAL_STRENGTH = "medium"

SURROGATE_SUFFIX = ".surrogate.safetensors"
"""The suffix of the file beside a bank that holds the network on which its noise was made."""


STUDENT = "face-student.safetensors"
"""The shipped file of the face recogniser with which noise is made for single faces; it is no bank."""


def surrogate_path(bank: Path) -> Path:
    """Return the path of a bank's surrogate: ``NAME.surrogate.safetensors`` beside ``NAME.safetensors``."""
    return bank.with_suffix(SURROGATE_SUFFIX)


@dataclass(frozen=True)
class Entry:
    """A shipped bank as described in ``index.json``: enough to choose one without loading any."""

    name: str
    path: Path
    sha256: str
    classes: tuple[str, ...]
    family: str | None
    strength: str | None = None

    @property
    def offered(self) -> tuple[str, ...]:
        """Return the names to show a user: a family's name instead of those of its interchangeable patterns."""
        return (self.family,) if self.family else self.classes


@dataclass(frozen=True, eq=False)
class Choice:
    """The pattern that was found for a class name."""

    bank: Bank
    index: int
    keyed: bool = False
    """Whether the name means people, each of whom gets their own pattern from their key."""


def shipped_folder() -> Path:
    """Return the folder of this installation's banks: in the package, or in the checkout from which it runs."""
    package = Path(__file__).resolve().parents[1]
    inside = package / "pretrained"
    return inside if inside.is_dir() else package.parent / "pretrained"


def shipped_banks() -> list[Entry]:
    """Return the shipped banks: first those for people, from low to max. Raises ``BankError`` for a damaged list."""
    folder = shipped_folder()
    path = folder / "index.json"
    try:
        banks = parse_finite_json(path.read_bytes())["banks"]
        entries = [
            Entry(
                name,
                folder / f"{name}.safetensors",
                item["sha256"],
                tuple(item["classes"]),
                item["family"],
                item.get("strength"),
            )
            for name, item in banks.items()
        ]
        return sorted(entries, key=_place)
    except (OSError, BankError, KeyError, TypeError, AttributeError) as error:
        raise BankError(f"The list of shipped banks {path} cannot be read. Install unlearn again.") from error


def _place(entry: Entry) -> tuple[bool, int, str]:
    strengths = get_args(Strength)
    strength = strengths.index(entry.strength) if entry.strength in strengths else len(strengths)
    return entry.family != "person", strength, entry.name


def check_output(path: Path, *, overwrite: bool) -> None:
    """Check, before a long search, that a bank can be written to a path.

    Raises ``UsageError`` if the path is not a bank's or is a folder, or if a file is there and ``overwrite`` is not
    set, and ``OSError`` if the folder cannot be written.
    """
    if path.suffix != ".safetensors" or path.name.endswith(SURROGATE_SUFFIX):
        raise UsageError(f"A bank must be a .safetensors file: name it {path.name.split('.')[0]}.safetensors.")
    if path.is_dir():
        raise UsageError(f"{path} is a folder. Name another --output.")
    for there in (path, card_path(path), surrogate_path(path)):
        if there.exists() and not overwrite:
            raise UsageError(f"{there} already exists. Name another --output, or add --overwrite to replace it.")
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=path.parent):
        pass


def write_index(folder: Path) -> None:
    """Write ``index.json`` for all the banks in a folder, after loading and checking each."""
    banks = {}
    for path in sorted(folder.glob("*.safetensors")):
        if path.name.endswith(SURROGATE_SUFFIX) or path.name == STUDENT:
            continue
        bank = load_bank(path)
        banks[bank.name] = {
            "sha256": bank.sha256,
            "family": bank.provenance.family,
            "classes": list(bank.classes),
        } | ({"strength": bank.provenance.strength} if bank.provenance.strength is not None else {})
    text = json.dumps({"schema": 1, "banks": banks}, indent=1, ensure_ascii=False)
    write_atomically(folder / "index.json", text.encode() + b"\n")


def open_bank(name: str) -> Bank:
    """Return a bank by its shipped name or from a file.

    A shipped bank must have the SHA-256 that it was shipped with. Raises ``BankError`` if there is no such bank or it
    is damaged.
    """
    entries = {entry.name: entry for entry in shipped_banks()}
    if name in entries:
        return load_bank(entries[name].path, entries[name].sha256)
    path = Path(name)
    if path.is_file():
        return load_bank(path)
    if path.suffix == ".safetensors":
        raise BankError(f"There is no noise bank {path}. Check the path.")
    raise BankError(
        f"There is no noise bank '{name}'.{_nearest(name, list(entries))} "
        f"The shipped banks are: {', '.join(entries)}. For a bank of your own, name its .safetensors file."
    )


def choose(class_name: str, bank_name: str | None = None, strength: str | None = None) -> Choice:
    """Return the pattern for a class, from the bank of this name or from any shipped one.

    Names match without regard to case, spaces, hyphens and underscores, and through ``ALIASES``. The name of a family
    (``person``) means each user's own pattern, which their key decides, if its patterns go with faces; otherwise it
    means the family's first pattern. If banks exist in several strengths, the one with this strength is used, or the
    medium one by default. Raises ``UsageError`` for an unknown class, with the nearest name and all existing ones, and
    for a strength that does not exist, and ``BankError`` for a bank that cannot be used.
    """
    if bank_name is not None:
        bank = open_bank(bank_name)
        bank.check_applicable()
        family = bank.provenance.family
        index = _find(class_name, bank.classes, family)
        if index is None:
            having = [entry for entry in shipped_banks() if _find(class_name, entry.classes, entry.family) is not None]
            elsewhere = [entry.name for entry in sorted(having, key=lambda entry: entry.strength != USUAL_STRENGTH)]
            hint = f" The shipped bank {elsewhere[0]} has this class: leave out --bank." if elsewhere else ""
            raise UsageError(_unknown(class_name, [family] if family else bank.classes) + hint)
        if strength not in (None, bank.provenance.strength):
            raise UsageError(f"The bank '{bank.name}' has only one strength: leave out either --bank or --strength.")
        return Choice(bank, index, _is_keyed(class_name, bank))
    entries = shipped_banks()
    found = [
        (entry, index) for entry in entries if (index := _find(class_name, entry.classes, entry.family)) is not None
    ]
    if not found:
        raise UsageError(_unknown(class_name, [name for entry in entries for name in entry.offered]))
    fitting = [(entry, index) for entry, index in found if entry.strength == (strength or USUAL_STRENGTH)]
    if not fitting and strength is not None:
        raise UsageError(f"The bank '{found[0][0].name}' has only one strength: leave out --strength.")
    entry, index = (fitting or found)[0]
    bank = load_bank(entry.path, entry.sha256)
    bank.check_applicable()
    return Choice(bank, index, _is_keyed(class_name, bank))


def only_class(bank_name: str) -> str | None:
    """Return the class that a bank is for, if it is for one only: its family or its single class; else None.

    Raises ``BankError`` as ``open_bank`` does.
    """
    bank = open_bank(bank_name)
    return bank.provenance.family or (bank.classes[0] if len(bank.classes) == 1 else None)


def _find(wanted: str, classes: tuple[str, ...], family: str | None) -> int | None:
    names = {_plain(name): index for index, name in enumerate(classes)}
    if family:
        names.setdefault(_plain(family), 0)
    plain = _plain(wanted)
    return names.get(plain, names.get(ALIASES.get(plain, "")))


def _is_keyed(wanted: str, bank: Bank) -> bool:
    """Return whether a name is that of a family whose patterns go with faces.

    Other patterns were never measured with keys.
    """
    of = bank.provenance
    return of.family is not None and of.frame == "face" and _find(wanted, bank.classes, None) is None


def _plain(name: str) -> str:
    return "".join(letter for letter in name.casefold() if letter not in " -_")


def _unknown(wanted: str, names: Sequence[str]) -> str:
    words = [*names, *(alias for alias, name in ALIASES.items() if name in names)]
    listing = ", ".join(dict.fromkeys(names))
    return f"There is no class '{wanted}'.{_nearest(wanted, words)} Choose one of these: {listing}."


def _nearest(wanted: str, names: list[str]) -> str:
    near = difflib.get_close_matches(_plain(wanted), names, n=1, cutoff=0.7)
    return f" Did you mean '{near[0]}'?" if near else ""
