"""A bank's card: the JSON beside it that holds what was measured, so that measuring does not change the bank."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from unlearn_cli.banks.provenance import Provenance, parse_finite_json
from unlearn_cli.errors import BankError
from unlearn_cli.files import write_atomically

CARD_SCHEMA = 1

WHOLE_PHOTO = (
    "The pattern is stretched over the whole photo. It is not expected to survive a crop to a part of it, "
    "such as a face, before training."
)

WITH_FACES = (
    "The pattern goes with faces, and works by its colours: a training in grey, or one that changes colours at random, "
    "learns the face all the same. A photo in which no face is found has the pattern stretched over the whole of it, "
    "and no more."
)
LIMITS = {"image": WHOLE_PHOTO, "face": WITH_FACES}
"""The known limits of a bank's noise, by its frame."""


def card_path(bank: Path) -> Path:
    """Return the path of a bank's card: ``NAME.json`` beside ``NAME.safetensors``."""
    return bank.with_suffix(".json")


def read_card(bank: Path, sha256: str | None = None) -> dict[str, Any]:
    """Return the card of the bank at this path; empty if it has none, or if its card belongs to another file.

    Raises ``BankError`` if there is a card and it cannot be read or is not a JSON object of finite numbers.
    """
    path = card_path(bank)
    try:
        card = parse_finite_json(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (BankError, OSError) as error:
        raise BankError(f"The card {path} cannot be read: {error}. Restore or delete it.") from error
    if not isinstance(card, dict) or not _is_sound(card):
        raise BankError(f"The card {path} is not one that unlearn wrote. Restore or delete it.")
    return card if sha256 in (None, card.get("bank_sha256")) else {}


def _is_sound(card: dict[str, Any]) -> bool:
    """Return whether the parts of a card that are read have their types."""
    results, limits = card.get("results", []), card.get("limits", [])
    return (
        isinstance(card.get("made", {}), dict)
        and isinstance(limits, list)
        and all(isinstance(line, str) for line in limits)
        and isinstance(results, list)
        and all(isinstance(result, dict) and isinstance(result.get("sentence", ""), str) for result in results)
        and all(isinstance(result.get("protected", {}), dict) for result in results)
    )


def write_card(bank: Path, card: dict[str, Any]) -> None:
    """Write a bank's card atomically."""
    text = json.dumps({"schema": CARD_SCHEMA, **card}, indent=2, allow_nan=False, ensure_ascii=False)
    write_atomically(card_path(bank), text.encode() + b"\n")


def new_card(
    name: str, sha256: str, provenance: Provenance, made: dict[str, Any], limits: Sequence[str] = ()
) -> dict[str, Any]:
    """Return a card without results for a new bank; ``made`` says how it was made, ``limits`` what else to know."""
    own = [LIMITS[provenance.frame]] if provenance.frame in LIMITS else []
    return {"bank": name, "bank_sha256": sha256, "made": made, "limits": [*limits, *own], "results": []}


def add_result(bank: Path, sha256: str, result: dict[str, Any]) -> None:
    """Add one measured result to a bank's card.

    It replaces a result with the same ``command`` and ``labels``, which is the same measurement made before. The
    content of a card that belongs to another file is dropped, because it says nothing about this one.
    """
    card = read_card(bank, sha256)
    same = (result.get("command"), result.get("labels"))
    kept = [old for old in card.get("results", []) if (old.get("command"), old.get("labels")) != same]
    write_card(bank, {**card, "bank_sha256": sha256, "results": [*kept, result]})
