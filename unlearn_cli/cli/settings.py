"""``--set NAME=VALUE``: what is rarely set, read into a dataclass whose fields are the names."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from unlearn_cli.errors import UsageError

Settings = TypeVar("Settings")

YES, NO = ("yes", "true", "on", "1"), ("no", "false", "off", "0")


def read_settings(kind: type[Settings], pairs: Iterable[str]) -> Settings:
    """Return a dataclass with its defaults, but for what ``NAME=VALUE`` pairs say.

    Raises ``UsageError`` for a name that it does not have, and for a value that is not of its kind.
    """
    return kind(**dict(_values(kind, pairs)))


def _values(kind: Any, pairs: Iterable[str]) -> Iterator[tuple[str, Any]]:
    hints = typing.get_type_hints(kind)
    fields = {field.name.replace("_", "-"): field.name for field in dataclasses.fields(kind)}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        field = fields.get(name.strip().replace("_", "-"))
        if field is None:
            raise UsageError(f"There is no setting '{name}' here. There are: {', '.join(fields)}.")
        if not equals:
            raise UsageError(f"A setting is NAME=VALUE, such as {name}={_example(hints[field])}.")
        yield field, _value(name, value.strip(), hints[field])


def _value(name: str, text: str, hint: Any) -> Any:
    wanted = _plain(hint)
    try:
        if wanted is bool:
            if text.lower() not in YES + NO:
                raise ValueError
            return text.lower() in YES
        return wanted(text)
    except ValueError:
        raise UsageError(f"The setting {name} is {_kinds(wanted)}, not '{text}'.") from None


def _plain(hint: Any) -> Any:
    """A type without ``None``."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return next(part for part in typing.get_args(hint) if part is not type(None))
    return hint


def _kinds(wanted: Any) -> str:
    return {bool: "yes or no", int: "a whole number", float: "a number", Path: "a file"}.get(wanted, "a word")


def _example(hint: Any) -> str:
    return {bool: "yes", int: "100", float: "0.5", Path: "names.toml"}.get(_plain(hint), "word")
