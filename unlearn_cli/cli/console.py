"""Output to the terminal: results go to stdout, everything else to stderr, and errors are one sentence."""

from __future__ import annotations

import errno
import re
import shlex
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any, Self

import typer

from unlearn_cli.cli.answer import answer
from unlearn_cli.cli.config import origin_of
from unlearn_cli.errors import INTERRUPTED, UnlearnError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

SECONDS_A_LINE, SECONDS_A_LONG_LINE = 10.0, 60.0
"""How often a line tells the progress where there is no terminal: that of work on photos, and of trainings."""

TRAINING_LIBRARIES = ("torch", "torchvision", "scipy", "matplotlib", "jinja2")


@cache
def out() -> Console:
    """Return the console for results. Rich is imported only here, since that takes a tenth of a second."""
    from rich.console import Console

    return Console(highlight=False, soft_wrap=True)


@cache
def err() -> Console:
    """Return the console for everything but results."""
    from rich.console import Console

    return Console(stderr=True, highlight=False, soft_wrap=True)


@contextmanager
def exits() -> Iterator[None]:
    """Turn the errors that a user can meet into one sentence and a stable exit code.

    The codes are: 0 all done; 1 some of the work failed; 2 usage; 3 bank missing or corrupt; 130 interrupted.
    Any other exception is a defect of the program, so its traceback is shown. The answer to ``--json`` is printed here.
    """
    try:
        yield
        answer.end(0)
    except typer.Exit as end:
        answer.end(end.exit_code)
        raise
    except UnlearnError as error:
        fail(f"{error}{origin_of(str(error))}", error.exit_code)
    except KeyboardInterrupt:
        fail("Interrupted. No file was left half-written.", INTERRUPTED)
    except ModuleNotFoundError as error:
        if error.name not in TRAINING_LIBRARIES:
            raise
        fail(
            "This command needs PyTorch, which is not installed. In unlearn's source folder, run: "
            "pip install '.[train]'",
            1,
        )
    except OSError as error:
        if error.errno == errno.EPIPE:
            raise
        where = f" ({error.filename})" if error.filename else ""
        fail(f"{error.strerror or error}{where}.", 1)


def fail(message: str, code: int) -> None:
    """Print an error message and exit with this code."""
    err().print(f"[bold red]Error:[/] {plain(message)}")
    answer.end(code, message)
    raise typer.Exit(code)


def plain(text: str) -> str:
    """Return a text escaped for rich, since file names may contain brackets, surrogates and control characters."""
    from rich.markup import escape

    shown = re.sub(r"[\x00-\x1f\x7f-\x9f]", lambda control: f"\\x{ord(control[0]):02x}", text)
    return escape(shown.encode("utf-8", "replace").decode())


def print_json(data: Any) -> None:
    """Print one JSON object on stdout, in ASCII, so that file names that are not UTF-8 cannot break a reader."""
    out().print_json(data=data, ensure_ascii=True)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table on a terminal, and lines with tabs between the columns elsewhere, which ``cut`` and others read."""
    if not out().is_terminal:
        for row in (columns, *rows):
            typer.echo("\t".join(re.sub(r"[\x00-\x1f\x7f-\x9f]", " ", cell) for cell in row))
        return
    from rich.table import Table

    table = Table()
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*map(plain, row))
    out().print(table)


def progress_bar(*, hidden: bool = False) -> Progress:
    """Return a progress bar on stderr that vanishes at the end and is hidden where stderr is no terminal."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        SpinnerColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[detail]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=err(),
        transient=True,
        disable=hidden or not err().is_terminal,
    )


class Lines:
    """Tells how far long work is where there is no terminal: a line on stderr now and then."""

    def __init__(self, every: float, *, hidden: bool = False) -> None:
        self._every, self._hidden, self._told = every, hidden or err().is_terminal, time.monotonic()

    def tell(self, text: str) -> None:
        """Print a text, unless the last line was printed less than so many seconds ago."""
        if not self._hidden and time.monotonic() - self._told >= self._every:
            self._told = time.monotonic()
            err().print(plain(text))


class Steps:
    """The progress of work on many photos: a bar on a terminal, and elsewhere a line on stderr now and then.

    The total is None if it is not known, or not yet.
    """

    def __init__(self, what: str, total: int | None, *, hidden: bool = False) -> None:
        self._what, self._total = what, total
        self._lines = Lines(SECONDS_A_LINE, hidden=hidden)
        self._bar = progress_bar(hidden=hidden)
        self._row = self._bar.add_task(what, total=total, detail="")
        self._done = 0

    def __enter__(self) -> Self:
        self._bar.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.stop()

    def expect(self, total: int) -> None:
        """Set the number of photos, once it is known."""
        self._total = total
        self._bar.update(self._row, total=total)

    def step(self, detail: str) -> None:
        """Count one more photo, of this name."""
        self._done += 1
        self._bar.update(self._row, advance=1, detail=plain(detail))
        of = f" of {self._total}" if self._total is not None else ""
        self._lines.tell(f"{self._what}: {self._done}{of} photos")

    def say(self, text: str) -> None:
        """Print a line, which must be escaped already, above the bar."""
        self._bar.console.print(text)


def duration(seconds: float) -> str:
    """Return a duration in seconds, minutes or hours as a short text."""
    if seconds < 90:
        return f"{seconds:.0f} s" if seconds >= 1 else "less than a second"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def typed(context: typer.Context) -> set[str]:
    """Return the names of the parameters that were typed on the command line.

    Parameters that come from the configuration file or the environment are not among them.
    """
    return set(given_of(context, tuple(param.name for param in context.command.params if param.name)))


def given_of(context: typer.Context, names: tuple[str, ...]) -> list[str]:
    """Return those of these names whose parameters were typed on the command line."""
    sources = {name: context.get_parameter_source(name) for name in names}
    return [name for name, source in sources.items() if source is not None and source.name == "COMMANDLINE"]


def command_line() -> str:
    """Return the command as it was given, for cards and reports."""
    return shlex.join(["unlearn", *sys.argv[1:]])


def set_limits(megapixels: int | None = None) -> None:
    """Let Pillow open photos up to this size, and silence its warnings about odd but readable files."""
    import warnings

    from PIL import Image

    from unlearn_cli.photos.decode import DEFAULT_MEGAPIXELS

    warnings.filterwarnings("ignore", module=r"PIL\.")
    Image.MAX_IMAGE_PIXELS = (megapixels or DEFAULT_MEGAPIXELS) * 500_000  # Pillow refuses images above twice this.
