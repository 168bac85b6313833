"""``unlearn restore``: put back the originals that protected copies have replaced."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from unlearn_cli.cli.console import err, exits, plain, print_json
from unlearn_cli.cli.summary import Totals, print_rows


@exits()
def restore(
    manifest: Annotated[Path, typer.Argument(metavar="MANIFEST", help="The manifest of the runs with --in-place.")],
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Put originals back also where the photo was changed since.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", "-n", help="Say what would be put back, and do nothing.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of the summary.")] = False,
    verbose: Annotated[
        bool | None, typer.Option("--verbose/--quiet", "-v/-q", help="Name each photo, or only what failed.")
    ] = None,
) -> None:
    """Put back the originals of 'unlearn protect --in-place', each checked against what it was.

    A photo that was changed after it was protected is left alone. The backup stays where it is.
    """
    from unlearn_cli.photos.originals import restore

    totals = Totals()
    for photo in restore(manifest, overwrite=overwrite, dry_run=dry_run):
        totals.add(photo)
        if photo.status == "failed" or verbose:
            err().print(f"{photo.status}: {plain(str(photo.source))}: {plain(photo.reason)}")
    restored, failed = totals.counts["restored"], totals.counts["failed"]
    word = "would restore" if dry_run else "restored"
    if as_json:
        print_json({**({"dry_run": True} if dry_run else {}), word.replace(" ", "_"): restored, "failed": failed})
    elif verbose is not False:
        print_rows([(word, f"{restored} of {totals.photos} photos"), *totals.rows()])
    if failed:
        raise typer.Exit(1)
