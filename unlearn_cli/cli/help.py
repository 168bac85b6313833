"""Help with groups and examples, made without rich, which would take a tenth of a second to load."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperCommand

from unlearn_cli.cli.answer import Commands
from unlearn_cli.cli.config import in_force, option_of, running, section_of, unknown_variables
from unlearn_cli.cli.option_groups import groups_of, title_of
from unlearn_cli.cli.wrong import in_our_words

WHOLE = 1000
"""More letters than the first sentence of any command's help has, so that none is cut off."""


class Command(TyperCommand):
    """A command whose help has groups of options and examples, and whose errors of usage are one sentence."""

    tells_itself = False
    """Whether the command's own summary tells which options come from the configuration or the environment."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the options into the help, in a section for each group."""
        groups: dict[str, list[tuple[str, str]]] = {"Arguments": []}
        section = section_of(ctx)
        groups |= {title: [] for title in groups_of(section)}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record is not None:
                panel = getattr(param, "rich_help_panel", None) or title_of(section, option_of(param).strip("-"))
                name = panel or "Other options"
                if param.param_type_name == "argument":
                    # Its name says what it is; Typer adds a Python type, such as <list[Path]>.
                    name, record = "Arguments", (record[0].partition(" <")[0], record[1])
                groups.setdefault(name, []).append(record)
        for name, records in groups.items():
            if records:
                with formatter.section(name):
                    formatter.write_dl(records)

    def format_epilog(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002 - Click decides what is given
        """Write the examples into the help, each on a line of its own, so that they can be copied."""
        _write_examples(self.epilog, formatter)

    def make_context(self, *args: Any, **kwargs: Any) -> Any:
        """Return the context of parsed arguments. Raises Click's errors of usage in our words."""
        with in_our_words():
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: Any) -> Any:
        """Run the command, after telling which of its options come from the configuration or the environment."""
        running.set(ctx)
        if not (ctx.params.get("as_json") or ctx.params.get("verbose") is False):
            for line in unknown_variables(ctx):
                typer.echo(line, err=True)
            if not self.tells_itself and (found := in_force(ctx)):
                typer.echo(f"Defaults used: {'; '.join(found)}.", err=True)
        return super().invoke(ctx)


class Summarised(Command):
    """A command whose summary tells which options come from the configuration or the environment."""

    tells_itself = True


class Group(Commands):
    """A group of commands that shows its help if no command is named."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Return what is left of the arguments; without any, print the help and exit with 0, as nothing went wrong."""
        if not args and not ctx.resilient_parsing:
            typer.echo(ctx.get_help())
            raise typer.Exit
        return super().parse_args(ctx, args)

    def make_context(self, *args: Any, **kwargs: Any) -> Any:
        """Return the context of parsed arguments. Raises Click's errors of usage in our words."""
        with in_our_words():
            return super().make_context(*args, **kwargs)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Return the command that the arguments name. Raises Click's errors of usage in our words."""
        with in_our_words():
            return super().resolve_command(ctx, args)

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002 - Click decides what is given
        """Write the commands into the help, in a section for each group."""
        groups: dict[str, list[tuple[str, str]]] = {}
        for name, command in self.commands.items():
            panel = getattr(command, "rich_help_panel", None)
            title = panel if isinstance(panel, str) else "Commands"
            groups.setdefault(title, []).append((name, command.get_short_help_str(WHOLE)))
        for title, records in groups.items():
            with formatter.section(title):
                formatter.write_dl(records)

    def format_epilog(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002 - Click decides what is given
        """Write the examples into the help."""
        _write_examples(self.epilog, formatter)


def _write_examples(epilog: str | None, formatter: Any) -> None:
    if epilog:
        lines = epilog.splitlines()
        with formatter.section("Examples" if lines[1:] else "Example"):
            for line in lines:
                formatter.write(f"  {line}\n")
