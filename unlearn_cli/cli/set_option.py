"""Reading ``--set NAME=VALUE``, for less common settings, into a dataclass whose fields are the names."""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

from unlearn_cli.cli.config import nearest
from unlearn_cli.errors import UsageError

Settings = TypeVar("Settings")

MOST_SEED = 2**32 - 1
"""The largest random seed; every generator takes it."""

YES, NO = ("yes", "true", "on", "1"), ("no", "false", "off", "0")


def read_settings(kind: type[Settings], pairs: Iterable[str]) -> Settings:
    """Return a dataclass with the values of ``NAME=VALUE`` pairs, and defaults for all other fields.

    Raises ``UsageError`` for an unknown name, and for a value of the wrong type or out of bounds.
    """
    return kind(**dict(_values(kind, pairs)))


def _values(kind: Any, pairs: Iterable[str]) -> Iterator[tuple[str, Any]]:
    hints = typing.get_type_hints(kind)
    fields = {field.name.replace("_", "-"): field.name for field in dataclasses.fields(kind)}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        field = fields.get(name.strip().replace("_", "-"))
        if field is None:
            near = nearest(name, fields)
            raise UsageError(f"There is no setting '{name}' here.{near} The settings are: {', '.join(fields)}.")
        if not equals:
            raise UsageError(f"--set needs a name and a value, such as {name}={_example(hints[field])}.")
        info = next(item.metadata for item in dataclasses.fields(kind) if item.name == field)
        yield field, _value(name, value.strip(), hints[field], info)


def _value(name: str, text: str, hint: Any, info: Mapping[str, Any]) -> Any:
    wanted = _plain(hint)
    choices = typing.get_args(wanted) if typing.get_origin(wanted) is Literal else ()
    if choices and text not in choices:
        near = nearest(text, choices)
        raise UsageError(f"The setting {name} must be one of {', '.join(choices)}, not '{text}'.{near}")
    try:
        if wanted is bool and text.lower() not in YES + NO:
            raise ValueError
        value = text.lower() in YES if wanted is bool else text if choices else wanted(text)
    except ValueError:
        raise UsageError(f"The setting {name} must be {_kinds(wanted)}, not '{text}'.") from None
    if isinstance(value, float) and not math.isfinite(value):
        raise UsageError(f"The setting {name} must be a finite number, not {text}.")
    least, most = info.get("least"), info.get("most")
    if (least is not None and not value >= least) or (most is not None and not value <= most):
        bounds = " and ".join(
            f"{word} {bound:g}" for word, bound in (("at least", least), ("at most", most)) if bound is not None
        )
        raise UsageError(f"The setting {name} must be {bounds}, not {text}.")
    return value


def setting(text: str, default: str, least: float | None = None, most: float | None = None) -> Any:
    """Return a dataclass field whose value is None until it is set.

    ``text`` says what it means, ``default`` what applies as long as it is None, and ``least`` and ``most`` limit it.
    """
    return dataclasses.field(default=None, metadata={"text": text, "default": default, "least": least, "most": most})


def listing(kind: Any) -> Iterator[tuple[str, str, str]]:
    """Yield the name, default and meaning of each field of a dataclass whose fields ``setting`` made."""
    for item in dataclasses.fields(kind):
        yield item.name.replace("_", "-"), item.metadata["default"], item.metadata["text"]


def _plain(hint: Any) -> Any:
    """Return a type without its ``None`` alternative."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return next(part for part in typing.get_args(hint) if part is not type(None))
    return hint


def _kinds(wanted: Any) -> str:
    return {bool: "yes or no", int: "a whole number", float: "a number", Path: "a file"}.get(wanted, "a word")


def _example(hint: Any) -> str:
    wanted = _plain(hint)
    if typing.get_origin(wanted) is Literal:
        return str(typing.get_args(wanted)[0])
    return {bool: "yes", int: "100", float: "0.5", Path: "names.toml"}.get(wanted, "word")
