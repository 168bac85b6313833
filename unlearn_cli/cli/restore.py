"""``unlearn restore``: put back the originals that protected copies have replaced."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from unlearn_cli.cli.answer import answer, entry
from unlearn_cli.cli.console import err, exits, plain
from unlearn_cli.cli.summary import Totals, print_rows
from unlearn_cli.photos.urls import refuse_url

EXAMPLES = """\
unlearn restore photos --dry-run
unlearn restore photos"""

NOTHING = "nothing is left to restore: all photos of this manifest were already restored"
AFTER = "The restored photos are unprotected again. The backup folder remains as it is."


@exits()
def restore(
    manifest: Annotated[
        Path,
        typer.Argument(metavar="PHOTOS", help="Folder of the photos, or the manifest that 'protect --in-place' wrote."),
    ],
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Also replace photos that were changed after they were protected.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", "-n", help="Print what would be put back, and write nothing.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of the summary.")] = False,
    verbose: Annotated[
        bool | None, typer.Option("--verbose/--quiet", "-v/-q", help="Print every photo, or only failures.")
    ] = None,
) -> None:
    """Put back the originals that 'unlearn protect --in-place' replaced, after checking that each backup is intact.

    A photo that was changed after it was protected is not replaced. The backup folder is not deleted.
    """
    from unlearn_cli.photos.originals import restore

    answer.expect("restore", wanted=as_json)
    refuse_url({"The manifest of a run in place": manifest})
    totals, photos = Totals(), []
    success, failure = ("would restore", "would fail") if dry_run else ("restored", "failed")
    for photo in restore(manifest, overwrite=overwrite, dry_run=dry_run):
        totals.add(photo)
        status = photo.status.replace(" ", "_")
        photos.append(entry(photo.source, photo.target, status, photo.reason, code=photo.code))
        if photo.status == failure or verbose:
            reason = f": {photo.reason}" if photo.reason else ""
            err().print(f"{photo.status}: {plain(str(photo.source))}{plain(reason)}")
    restored, failed = totals.counts[success], totals.counts[failure]
    if as_json:
        counts = {success.replace(" ", "_"): restored, failure.replace(" ", "_"): failed}
        answer.give(counts, photos, dry_run=dry_run)
    elif verbose is not False:
        print_rows([(success, f"{restored} of {totals.photos} photos" if totals.photos else NOTHING), *totals.rows()])
        if restored and not dry_run:
            err().print(AFTER)
    if failed:
        raise typer.Exit(1)
