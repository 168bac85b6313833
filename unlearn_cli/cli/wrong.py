"""Errors of usage in our words: what is wrong, where the value comes from, the nearest name, and what is possible."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import typer

from unlearn_cli.cli.config import nearest, option_of, source_of

UsageErrors: Any = typer.BadParameter.__base__
"""Click's errors of usage, whose class Typer does not export."""


class Wrong(UsageErrors):  # type: ignore[misc] # see UsageErrors
    """An error of usage that is shown as one sentence and the way to the help."""

    def show(self, file: Any = None) -> None:
        """Print the sentence."""
        from unlearn_cli.cli.console import err, plain

        del file
        err().print(f"[bold red]Error:[/] {plain(self.format_message())}")


@contextmanager
def in_our_words() -> Iterator[None]:
    """Raise what Click says about wrong arguments again, in our words."""
    try:
        yield
    except Wrong:
        raise
    except UsageErrors as error:
        help_ = f" To see what is possible, run '{error.ctx.command_path} -h'." if error.ctx is not None else ""
        raise Wrong(f"{_sentence(error)}{help_}", error.ctx) from error


def _sentence(error: Any) -> str:
    param = getattr(error, "param", None)
    if type(error).__name__ == "MissingParameter" and param is not None:
        return f"{param.metavar or option_of(param)} is missing: {(param.help or '').rstrip('.')}."
    if param is not None:
        return _bad_value(error, param)
    if (option := getattr(error, "option_name", None)) is not None:
        if not hasattr(error, "possibilities"):
            return f"{option} {'takes no value' if 'take' in error.message else 'needs a value'}."
        names = [name for item in error.ctx.command.params for name in (*item.opts, *item.secondary_opts)]
        return f"There is no such option: {option}.{nearest(option, names)}"
    if found := re.match(r"No such command '(.*?)'", error.message):
        return f"There is no such command: {found[1]}.{nearest(found[1], error.ctx.command.commands)}"
    text = str(error.message).rstrip(".")
    return f"{text[:1].upper()}{text[1:]}."


def _bad_value(error: Any, param: Any) -> str:
    given = next((item["input"] for item in getattr(error.__cause__, "errors", list)()), None)
    where = source_of(error.ctx, param)
    origin = f" ({where})" if where else ""
    of = param.type_descriptor
    told = f", not '{given}'" if given is not None else ""
    if of.is_choice:
        choices = [str(getattr(choice, "value", choice)) for choice in of.choices]
        return f"{option_of(param)} must be one of {', '.join(choices)}{told}{origin}.{nearest(str(given), choices)}"
    return f"{option_of(param)} must be {_kind(of)}{told}{origin}."


def _kind(of: Any) -> str:
    least, most = of.parameter_info.min, of.parameter_info.max
    kinds = {"bool": "true or false", "int": "a whole number", "float": "a number", "list": "a list", "Path": "a path"}
    kind = next((text for name, text in kinds.items() if name in str(of.annotation)), "a text")
    if least is None:
        return kind
    return f"{kind} from {least} to {most}" if most is not None else f"{kind} of at least {least}"
