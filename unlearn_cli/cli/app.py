"""The ``unlearn`` command. Each subcommand imports its engine only when it runs, so that help appears quickly."""

from __future__ import annotations

import os
import signal
import threading
from typing import Annotated, Any

import typer

from unlearn_cli import __version__
from unlearn_cli.cli import banks, evaluate, generate, key, preview, protect, restore, verify
from unlearn_cli.cli.config import learn_environment, read_config
from unlearn_cli.cli.console import exits
from unlearn_cli.cli.help import Command, Group, Summarised

YOURS, NOISE = "Your photos", "The noise: what there is, how to make it, what it does"
"""The titles of the groups of commands in the help."""

OF_PHOTOS = ("protect", "restore", "preview", "verify")
"""The commands that work on several photos at once, each of which gets one core."""

app = typer.Typer(
    cls=Group,
    name="unlearn",
    help="Make your photos useless for training image models, before you share them.",
    epilog="unlearn protect selfies --class person",
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command("protect", cls=Summarised, epilog=protect.EXAMPLES, rich_help_panel=YOURS)(protect.protect)
app.command("verify", cls=Command, epilog=verify.EXAMPLES, rich_help_panel=YOURS)(verify.verify)
app.command("preview", cls=Command, epilog=preview.EXAMPLES, rich_help_panel=YOURS)(preview.preview)
app.command("restore", cls=Command, epilog=restore.EXAMPLES, rich_help_panel=YOURS)(restore.restore)
app.add_typer(key.app, name="key", rich_help_panel=YOURS)
app.add_typer(banks.app, name="banks", rich_help_panel=NOISE)
app.command("generate", cls=Command, epilog=generate.EXAMPLES, rich_help_panel=NOISE)(generate.generate)
app.add_typer(evaluate.app, name="evaluate", rich_help_panel=NOISE)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"unlearn {__version__}")
        raise typer.Exit


def _end_like_ctrl_c(*_: Any) -> None:
    """End the program as Ctrl-C does: what is finished stays, and no file is left half-written."""
    raise KeyboardInterrupt


@app.callback()
@exits()
def main(
    context: typer.Context,
    version: Annotated[  # noqa: ARG001 - its callback has already handled it
        bool,
        typer.Option("--version", "-V", callback=_print_version, is_eager=True, help="Print the version and exit."),
    ] = False,
) -> None:
    """Make your photos useless for training image models, before you share them."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _end_like_ctrl_c)
    if context.invoked_subcommand in OF_PHOTOS:
        # numpy's matrix library would start a thread for each core in each worker, and these wait by spinning: that
        # doubles the processor time of small photos. It reads this variable when numpy is imported.
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    learn_environment(context.command)
    context.default_map = read_config(context.command)
