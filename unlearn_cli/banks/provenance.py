"""The provenance of a bank's noise: a JSON string in the metadata of the bank's file."""

from __future__ import annotations

import json
import math
import re
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, get_args

from unlearn_cli.errors import BankError, NewerBankError, where_damaged

SCHEMA = 2
"""The newest bank format that this version reads; it writes the oldest one that can hold the noise."""

SPAN = 1.6
"""The side of the square that a pattern covers in a new bank of frame ``face``, as a multiple of the side of the
detector's box."""
EDGE = 0.08
"""The share of the square over which such a pattern fades in from each side, so that no edge is visible."""
MOST_SPAN = 10
FRAMES = ("image", "face", "texture", "patch")

Anchor = Literal["box", "landmarks"]
"""How a pattern goes with a face: on an upright square around it, or on a square that turns with its landmarks."""
Form = Literal["class-wise", "sample-wise"]
"""The two forms of noise: one pattern for each class, or noise for each image (Huang et al., 2021, section 3.1)."""
PERSONAL = "feature shift, one pattern for one person (after Fawkes, Shan et al., 2020, and OPOM, Zhong and Deng, 2022)"
"""The method of a bank that holds one person's own pattern, fitted to their photos."""
Strength = Literal["low", "medium", "high", "max"]
"""How visible the noise of a bank is, among banks of the same classes."""


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """The provenance of a bank: what its noise is, and how it was made. It never changes after that."""

    classes: tuple[str, ...]
    """The names of the classes, in the order of the noise's first axis."""
    epsilon: int
    """The L-infinity bound of the noise, in pixel levels (1 to 127)."""
    scale: int
    """The model resolution that the noise was made for, in pixels."""
    form: Form = "class-wise"
    frame: str = "image"
    """How the noise is applied: over the whole photo, over each face, tiled, or as a patch at a random place."""
    span: float | None = None
    """The side of the square that a pattern of frame ``face`` covers, as a multiple of the side of the detector's
    box."""
    anchor: Anchor | None = None
    """How a pattern of frame ``face`` is applied to a face; None in older banks, which are anchored to ``box``."""
    variants: int = 1
    """The number of patterns of each class, one of which is chosen at random for each image; they are consecutive."""
    uniform: int = 0
    """The largest level of the uniform random noise that is added for each image; the sum stays within epsilon."""
    strength: Strength | None = None
    """How visible the noise is, among banks of the same classes; None if there is only one bank."""
    family: str | None = None
    """Set if all patterns are interchangeable ones of a single category, such as ``person``."""
    method: str = ""
    through: str = ""
    """The transformations through which the noise was optimised."""
    dataset: dict[str, Any] = field(default_factory=dict)
    """The name, licence, number of images and how they were cropped and resized."""
    surrogate: str = ""
    teachers: dict[str, str] = field(default_factory=dict)
    """The recognisers that took part in making the noise: from each one's name to the SHA-256 of its file. They are no
    judges of it. Where a network was rebuilt from a file to differentiate it, the SHA-256 is that of the file."""
    hyperparameters: dict[str, Any] = field(default_factory=dict)
    seed: int | None = None
    versions: dict[str, str] = field(default_factory=dict)
    date: str = ""
    """The date in UTC, ISO 8601."""
    schema: int = 1

    @property
    def is_personal(self) -> bool:
        """Return whether the bank holds one person's own pattern, of which only that person can say whether it works.

        Patterns that were made in the same way are measured on the card of the bank that the search began with, whose
        name is the hyper-parameter ``start``.
        """
        return self.method == PERSONAL

    @property
    def is_plain(self) -> bool:
        """Return whether schema 1 can describe it: class-wise, one pattern for each class, no random choices."""
        return self.form == "class-wise" and self.frame != "patch" and self.variants == 1 and self.uniform == 0

    def to_json(self) -> str:
        """Return the provenance as one line of JSON, without NaN or infinity."""
        values = asdict(self) | {"schema": 1 if self.is_plain else SCHEMA}
        if self.is_plain:
            del values["variants"], values["uniform"]
        for name in ("span", "anchor", "strength"):
            if values[name] is None:
                del values[name]
        if not self.teachers:
            del values["teachers"]
        return json.dumps(values, allow_nan=False, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> Provenance:
        """Return the checked provenance from what ``to_json`` wrote.

        Raises ``BankError`` if the text is no such JSON, comes from a newer schema, holds a number that is not finite,
        or a field with a value that no bank can have.
        """
        values = parse_finite_json(text)
        if not isinstance(values, dict):
            raise BankError("its provenance is not a JSON object")
        schema = values.get("schema")
        if not isinstance(schema, int) or schema < 1:
            raise BankError("its provenance does not have a schema number")
        if schema > SCHEMA:
            raise NewerBankError(
                f"it has schema {schema}, but this version reads only schemas up to {SCHEMA}: update unlearn"
            )
        known = {item.name for item in fields(cls)}
        missing = {"classes", "epsilon", "scale"} - values.keys()
        if missing:
            raise BankError(f"its provenance does not have {', '.join(sorted(missing))}")
        kept = {name: value for name, value in values.items() if name in known}
        if isinstance(kept["classes"], list):
            kept["classes"] = tuple(kept["classes"])
        provenance = cls(**kept)
        provenance.check()
        return provenance

    def check(self) -> None:
        """Raise ``BankError`` if any field has a value that no bank can have."""
        names = self.classes
        if not (isinstance(names, tuple) and names and all(isinstance(n, str) and n for n in names)):
            raise BankError("its class names are not a list of names")
        if len(set(names)) != len(names):
            raise BankError("two of its patterns have the same class name")
        for name, value, most in (("epsilon", self.epsilon, 127), ("scale", self.scale, 65536)):
            if type(value) is not int or not 1 <= value <= most:
                raise BankError(f"its {name} is {value!r}, not a whole number from 1 to {most}")
        if type(self.variants) is not int or not 1 <= self.variants <= 1000:
            raise BankError(f"its number of variants is {self.variants!r}, not a whole number from 1 to 1000")
        if type(self.uniform) is not int or not 0 <= self.uniform <= 127:
            raise BankError(f"its uniform noise is {self.uniform!r}, not a whole number from 0 to 127")
        if self.frame not in FRAMES:
            raise BankError(f"its frame is {self.frame!r}, not one of {', '.join(FRAMES)}")
        is_span = isinstance(self.span, int | float) and 0 < self.span <= MOST_SPAN
        if is_span != (self.frame == "face") or not (is_span or self.span is None):
            raise BankError(f"its span is {self.span!r}; it must be up to {MOST_SPAN} for the frame 'face', else None")
        if self.anchor is not None and (self.frame != "face" or self.anchor not in get_args(Anchor)):
            raise BankError(
                f"its anchor is {self.anchor!r}: it must be box or landmarks for the frame 'face', else None"
            )
        if self.form not in get_args(Form):
            raise BankError(f"its form is {self.form!r}, not one of {', '.join(get_args(Form))}")
        if self.strength not in (None, *get_args(Strength)):
            raise BankError(f"its strength is {self.strength!r}, not one of {', '.join(get_args(Strength))}")
        for name in ("dataset", "hyperparameters", "versions"):
            if not isinstance(getattr(self, name), dict):
                raise BankError(f"its {name} is not a JSON object")
        if not (isinstance(self.teachers, dict) and all(map(_is_sha256, self.teachers.values()))):
            raise BankError("its teachers are not recognisers with the SHA-256 of each")
        if not isinstance(self.family, str | None):
            raise BankError(f"its family is {self.family!r}, not a name")


def _is_sha256(text: object) -> bool:
    return isinstance(text, str) and re.fullmatch("[0-9a-f]{64}", text) is not None


def parse_finite_json(text: str | bytes) -> Any:
    """Return the value of a JSON text, refusing NaN, infinity and numbers too large for a float.

    Raises ``BankError``, because banks and their cards are the only JSON from users that is read this way.
    """

    def finite(literal: str) -> float:
        value = float(literal)
        if not math.isfinite(value):
            raise ValueError(f"{literal} is not finite")
        return value

    try:
        return json.loads(text, parse_constant=finite, parse_float=finite)
    except RecursionError as error:
        raise BankError("its JSON is nested too deeply") from error
    except ValueError as error:
        raise BankError(f"{where_damaged(error)} is not valid JSON, or contains a number that is not finite") from error
