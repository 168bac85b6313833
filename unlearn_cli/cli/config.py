"""Defaults from the environment and from the configuration file, for every option of every command."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from unlearn_cli.errors import UsageError

PREFIX = "UNLEARN_"
CONFIG_VARIABLE = "UNLEARN_CONFIG"


def config_path() -> Path:
    """The configuration file: what ``UNLEARN_CONFIG`` names, or the one in the platform's folder for that."""
    if named := os.environ.get(CONFIG_VARIABLE):
        return Path(named)
    from platformdirs import user_config_path

    return user_config_path("unlearn", appauthor=False) / "config.toml"


def learn_environment(group: Any) -> None:
    """Let ``UNLEARN_PROTECT_SOME_NAME`` stand for ``--some-name`` of ``unlearn protect``, and so for each command."""
    for name, command in _commands(group):
        for key, option in _options(command).items():
            option.envvar = PREFIX + f"{name} {key}".replace("-", "_").replace(" ", "_").upper()
            option.show_envvar = False  # They follow a rule, and would be a third of the help.


def read_config(group: Any) -> dict[str, Any]:
    """The configuration file as Click's map of defaults; empty when there is none.

    Raises ``UsageError`` for a file that is no TOML, and for a command or option that is not there.
    """
    import tomllib

    path = config_path()
    try:
        sections = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if CONFIG_VARIABLE in os.environ:
            raise UsageError(f"There is no configuration file {path}, which {CONFIG_VARIABLE} names.") from None
        return {}
    except (OSError, ValueError) as error:
        raise UsageError(f"The configuration {path} cannot be read: {error}.") from error
    known = dict(_commands(group))
    defaults: dict[str, Any] = {}
    for section, values in sections.items():
        command = known.get(section)
        if command is None or not isinstance(values, dict):
            raise UsageError(f"The configuration {path} says '{section}', which is no command's section.")
        options = _options(command)
        for key, value in values.items():
            option = options.get(key.replace("_", "-"))
            if option is None:
                raise UsageError(f"The configuration {path} says '{key}', which is no option of 'unlearn {section}'.")
            listed = option.multiple and not isinstance(value, list)
            defaults.setdefault(section, {})[option.name] = [value] if listed else value
    return defaults


def _commands(group: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from _commands(command, f"{prefix}{name} ")
        else:
            yield prefix + name, command


def _options(command: Any) -> dict[str, Any]:
    """A command's options by their long names, without the dashes."""
    return {
        name.removeprefix("--"): option
        for option in command.params
        if option.param_type_name == "option" and not option.is_eager
        for name in option.opts
        if name.startswith("--")
    }
