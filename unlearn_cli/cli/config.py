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
    """Return the path that ``UNLEARN_CONFIG`` names, or else ``config.toml`` in the platform's configuration folder."""
    if named := os.environ.get(CONFIG_VARIABLE):
        return Path(named)
    from platformdirs import user_config_path

    return user_config_path("unlearn", appauthor=False) / "config.toml"


def learn_environment(group: Any) -> None:
    """Let each option be set by an environment variable: ``UNLEARN_PROTECT_SOME_NAME`` is ``protect --some-name``."""
    for name, command in _commands(group):
        for key, option in _options(command).items():
            option.envvar = PREFIX + f"{name} {key}".replace("-", "_").replace(" ", "_").upper()
            option.show_envvar = False  # The names all follow one rule, and would fill a third of the help.


def read_config(group: Any) -> dict[str, Any]:
    """Return the configuration file as Click's map of defaults; an empty map when there is no file.

    Raises ``UsageError`` for a file that cannot be read or is not TOML, for a file that ``UNLEARN_CONFIG`` names and
    that does not exist, and for an unknown command or option.
    """
    import tomllib

    path = config_path()
    try:
        sections = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if CONFIG_VARIABLE in os.environ:
            raise UsageError(
                f"The configuration file {path} does not exist. Create it, or unset {CONFIG_VARIABLE}, which names it."
            ) from None
        return {}
    except (OSError, ValueError) as error:
        raise UsageError(
            f"The configuration file {path} cannot be read: {error}. Correct the file, or delete it."
        ) from error
    known = dict(_commands(group))
    defaults: dict[str, Any] = {}
    for section, values in sections.items():
        command = known.get(section)
        if command is None or not isinstance(values, dict):
            raise UsageError(
                f"The configuration file {path} contains '{section}', but no command has that name. "
                "Put each option into the section of its command, such as [protect]."
            )
        options = _options(command)
        for key, value in values.items():
            option = options.get(key.replace("_", "-"))
            if option is None:
                raise UsageError(
                    f"The configuration file {path} sets '{key}', but there is no such option. "
                    f"See 'unlearn {section} --help'."
                )
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
    """Return a command's options by their long names, without the dashes."""
    return {
        name.removeprefix("--"): option
        for option in command.params
        if option.param_type_name == "option" and not option.is_eager
        for name in option.opts
        if name.startswith("--")
    }
