"""``unlearn protect``: the main job."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from unlearn_cli.cli.banks import measured
from unlearn_cli.cli.console import duration, err, exits, out, plain, progress_bar

if TYPE_CHECKING:
    from unlearn_cli.banks.catalog import Choice
    from unlearn_cli.photos.folder import PhotoDone
    from unlearn_cli.photos.scan import Plan


@exits()
def protect(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH", help="Folders of photos, or single photos.")],
    class_name: Annotated[
        str, typer.Option("--class", help="What the photos show: 'person', or a name that 'unlearn banks list' tells.")
    ],
    bank: Annotated[
        str | None,
        typer.Option(help="A shipped bank's name or a .safetensors file.  [default: the one with the class]"),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Where to write.  [default: FOLDER-protected beside it]")
    ] = None,
    recursive: Annotated[
        bool, typer.Option("--recursive/--no-recursive", "-r", help="Go into subfolders, or stay on top.")
    ] = True,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Make copies that are already there again.")] = False,
    jobs: Annotated[
        int | None, typer.Option("--jobs", "-j", min=1, max=256, help="Photos at once.  [default: one for each core]")
    ] = None,
) -> None:
    """Protect photos: write copies with noise that leaves a model nothing to learn.

    The originals are never touched. Each photo keeps its size, format, colour profile and dates;
    its place (GPS) and embedded thumbnail are dropped.
    """
    import os
    import time
    import warnings

    from unlearn_cli.banks.card import read_card
    from unlearn_cli.banks.catalog import choose
    from unlearn_cli.photos.folder import protect_photos
    from unlearn_cli.photos.noise import Pattern
    from unlearn_cli.photos.scan import plan

    # Pillow warns of odd but readable files and of large ones. Its hard limit on size stays on.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    start = time.perf_counter()
    choice = choose(class_name, bank)
    card = read_card(choice.bank.path, choice.bank.sha256)  # a damaged one is told before any work
    todo = plan(paths, output, recursive=recursive)
    pattern = Pattern(choice.bank.noise[choice.index], choice.bank.provenance.epsilon)
    done: list[PhotoDone] = []
    with progress_bar() as bar:
        row = bar.add_task("Protecting", total=len(todo.tasks), detail="")
        for photo in protect_photos(todo.tasks, pattern, overwrite=overwrite, jobs=jobs or os.cpu_count() or 1):
            done.append(photo)
            bar.update(row, advance=1, detail=plain(photo.source.name))
            if photo.status != "protected":
                bar.console.print(f"{photo.status}: {plain(str(photo.source))}: {plain(photo.reason)}")
    for path in todo.copies:
        err().print(f"passed over: {plain(str(path))}: it is a protected copy of what lies beside it")
    for path in todo.unreadable:
        err().print(f"failed: {plain(str(path))}: the folder cannot be read")
    _print_summary(done, todo, choice, time.perf_counter() - start)
    if any(photo.status == "protected" for photo in done):
        _print_limits(card)
    if todo.unreadable or any(photo.status == "failed" for photo in done):
        raise typer.Exit(1)


def _print_summary(done: list[PhotoDone], todo: Plan, choice: Choice, seconds: float) -> None:
    from rich.table import Table

    protected = [photo for photo in done if photo.status == "protected"]
    table = Table(show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    table.add_row("protected", f"{len(protected)} of {len(done)} photos in {duration(seconds)}")
    if protected:
        more = f" and {len(todo.outputs) - 3} more" if len(todo.outputs) > 3 else ""
        table.add_row("written to", plain(", ".join(_here(path) for path in todo.outputs[:3]) + more))
    for status, meaning in (("skipped", "left alone"), ("failed", "failed")):
        for reason, count in _reasons(done, status).items():
            table.add_row(meaning, f"{count}: {plain(reason)}")
    if todo.others:
        table.add_row("no photos", f"other files passed over: {todo.others}")
    changes = [photo.change for photo in protected if photo.change]
    if changes:
        table.add_row(
            "largest change",
            f"{max(change.linf for change in changes):g} of 255 levels before encoding "
            f"(bound {choice.bank.provenance.epsilon})",
        )
        lossy = max(photo.realised for photo in protected)
        table.add_row("in the files", f"up to {lossy:g} levels, decoded again (JPEG and its like change pixels too)")
        psnr = sorted(change.psnr for change in changes)
        table.add_row("PSNR", f"{statistics.median(psnr):.1f} dB median, {psnr[0]:.1f} lowest, before encoding")
    if grey := sum(photo.grey for photo in protected):
        table.add_row("grey photos", f"{grey}: they carry only the brightness of the noise, and are protected less")
    out().print(table)


def _print_limits(card: dict[str, Any]) -> None:
    for line in [*measured(card)[:1], *card.get("limits", [])]:
        err().print(f"- {plain(line)}")
    err().print("- Nothing here helps against models that are already trained or photos that are already shared.")


def _here(path: Path) -> str:
    """A path as seen from the working folder."""
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def _reasons(done: list[PhotoDone], status: str) -> dict[str, int]:
    from collections import Counter

    return dict(Counter(photo.reason for photo in done if photo.status == status).most_common())
