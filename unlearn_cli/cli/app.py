"""The ``unlearn`` command. Each subcommand imports its engine only when it runs, so that help appears quickly."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from unlearn_cli import __version__
from unlearn_cli.cli import banks, evaluate, generate, preview, protect, restore, verify
from unlearn_cli.cli.answer import Commands
from unlearn_cli.cli.config import learn_environment, read_config
from unlearn_cli.cli.console import exits
from unlearn_cli.cli.help import Grouped

app = typer.Typer(
    name="unlearn",
    cls=Commands,
    help="Make your photos useless for training image models, before you share them.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
OF_PHOTOS = ("protect", "restore", "preview", "verify")
"""The commands that work on several photos at once, each of which gets one core."""

app.command("protect", cls=Grouped)(protect.protect)
app.command("restore")(restore.restore)
app.command("preview")(preview.preview)
app.command("verify")(verify.verify)
app.command("generate")(generate.generate)
app.add_typer(evaluate.app, name="evaluate")
app.add_typer(banks.app, name="banks")


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"unlearn {__version__}")
        raise typer.Exit


@app.callback()
@exits()
def main(
    context: typer.Context,
    version: Annotated[  # noqa: ARG001 - its callback has already handled it
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Make your photos useless for training image models, before you share them."""
    if context.invoked_subcommand in OF_PHOTOS:
        # numpy's matrix library would start a thread for each core in each worker, and these wait by spinning: that
        # doubles the processor time of small photos. It reads this variable when numpy is imported.
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    learn_environment(context.command)
    context.default_map = read_config(context.command)
