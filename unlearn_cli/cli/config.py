"""Defaults from the environment and from the configuration file, for every option of every command."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable, Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from unlearn_cli.errors import UsageError, where_damaged

PREFIX = "UNLEARN_"
CONFIG_VARIABLE = "UNLEARN_CONFIG"

running: ContextVar[Any] = ContextVar("running", default=None)
"""Click's context of the command that runs, by which an error's message can be traced to the value that caused it."""


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
    except OSError as error:
        raise UsageError(
            f"The configuration file {path} cannot be read ({error.strerror or error}). Check its permissions."
        ) from error
    except ValueError as error:
        raise UsageError(
            f"The configuration file {path} cannot be read: {where_damaged(error)} is not valid TOML. "
            'Write each option as a line such as class = "person", below the name of its command, such as [protect].'
        ) from error
    known = dict(_commands(group))
    defaults: dict[str, Any] = {}
    for section, values in sections.items():
        command = known.get(section)
        if command is None or not isinstance(values, dict):
            raise UsageError(
                f"The configuration file {path}{_line(path, section)} contains '{section}', but no command has that "
                f"name.{nearest(section, known)} Put each option into the section of its command, such as [protect]."
            )
        options = _options(command)
        for key, value in values.items():
            option = options.get(key.replace("_", "-"))
            if option is None:
                raise UsageError(
                    f"The configuration file {path}{_line(path, section, key)} sets '{key}', but there is no such "
                    f"option.{nearest(key, options)} See 'unlearn {section} --help'."
                )
            listed = option.multiple and not isinstance(value, list)
            defaults.setdefault(section, {})[option.name] = [value] if listed else value
    return defaults


def option_of(param: Any) -> str:
    """Return the name by which a user knows a parameter: its long option, or what the help calls an argument."""
    if param.param_type_name == "argument":
        return str(param.metavar or param.name.upper())
    return str(next((name for name in param.opts if name.startswith("--")), param.opts[0]))


def source_of(context: Any, param: Any) -> str:
    """Return where a value comes from that was not typed: a variable, or a file with its line; "" for other values."""
    source = getattr(context.get_parameter_source(param.name), "name", "")
    if source == "ENVIRONMENT":
        return str(param.envvar)
    if source == "DEFAULT_MAP":
        path = config_path()
        return f"{path}{_line(path, section_of(context), option_of(param).removeprefix('--'))}"
    return ""


def section_of(context: Any) -> str:
    """Return a command's name as a section of the configuration file, such as ``evaluate bank``."""
    names = []
    while context.parent is not None:
        names.append(str(context.info_name))
        context = context.parent
    return " ".join(reversed(names))


def in_force(context: Any, idle: Iterable[str] = ()) -> list[str]:
    """Return each option that was not typed but set by the configuration or the environment, except the idle ones."""
    found = []
    for param in context.command.params:
        value = context.params.get(param.name)
        if param.name in idle or value is None or not (where := source_of(context, param)):
            continue
        many = value if isinstance(value, list | tuple) else [value]
        shown = ", ".join(str(getattr(item, "value", item)) for item in many)
        found.append(f"{option_of(param)} {shown} (from {where})")
    return found


def origin_of(message: str) -> str:
    """Return a sentence, after a space, on values in a message that came from the configuration or the environment."""
    context, found = running.get(), []
    for param in context.command.params if context is not None else ():
        value, where = context.params.get(param.name), source_of(context, param)
        if not where or value is None:
            continue
        names = [option_of(param)]
        for item in value if isinstance(value, list | tuple) else [value]:
            names += [str(getattr(item, "value", item))] if not isinstance(item, bool) else []
        names += [part for name in names if "=" in name for part in name.split("=", 1)]
        if any(re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", message) for name in names if name):
            found.append(f"{option_of(param)} comes from {where}.")
    return "".join(f" {sentence}" for sentence in found)


def unknown_variables(context: Any) -> list[str]:
    """Return a sentence on each variable that looks like one of this command's options, but is none."""
    prefix = PREFIX + section_of(context).replace("-", "_").replace(" ", "_").upper() + "_"
    known = [str(param.envvar) for param in context.command.params if param.envvar]
    wrong = sorted(name for name in os.environ if name.startswith(prefix) and name not in known)
    return [f"{name} is set, but there is no such option.{nearest(name, known)}" for name in wrong]


def nearest(wanted: str, names: Iterable[str]) -> str:
    """Return a question that names what was probably meant, after a space, or "" if nothing is near."""
    names = list(names)
    begun = sorted((name for name in names if len(name) > 2 and wanted.startswith(name)), key=len)
    near = begun[-1:] or difflib.get_close_matches(wanted, names, n=1, cutoff=0.6)
    return f" Did you mean '{near[0]}'?" if near else ""


def _line(path: Path, section: str, key: str | None = None) -> str:
    """Return the line of a section or of one of its keys, as ``, line 3``; "" if it is not to be found."""
    inside, wanted = False, key or section
    for number, text in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
        if header := re.match(r"\s*\[+\s*(.*?)\s*\]+", text):
            inside = header[1].strip("\"'") == section
            if inside and key is None:
                return f", line {number},"
        elif found := re.match(r"\s*([\w-]+|\".*?\")\s*=", text):
            name = found[1].strip('"')
            if name.replace("_", "-") == wanted.replace("_", "-") and (inside or key is None):
                return f", line {number}" + ("," if key is None else "")
    return ""


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
