"""``unlearn preview``: show photos before and after, from the originals and their copies."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from unlearn_cli.cli.answer import answer, entry
from unlearn_cli.cli.console import err, exits, plain, set_limits
from unlearn_cli.photos.urls import refuse_url

EXAMPLES = """\
unlearn preview selfies
unlearn preview me.jpg me-protected.jpg -o before-after.png"""


@exits()
def preview(
    originals: Annotated[Path, typer.Argument(metavar="ORIGINALS", help="The folder of originals, or one photo.")],
    protected: Annotated[
        Path | None,
        typer.Argument(
            metavar="[PROTECTED]",
            help="The folder of their copies, or one copy.  [default: ORIGINALS-protected]",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help="The file to write: .html to look closely, or .png for a single picture."),
    ] = Path("preview.html"),
    photos: Annotated[
        list[str] | None,
        typer.Option(
            "--photo",
            metavar="NAME",
            help="A photo to show: its name, its path below ORIGINALS, or a pattern such as '*.jpg'. Can be repeated.  "
            "[default: the first ten]",
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object with the photos that are shown.")
    ] = False,
) -> None:
    """Show photos before and after protection, the face at its real size, and the noise.

    This protects nothing: it reads the copies that are there. Photos and copies are paired by the manifest, or
    otherwise by their names.
    """
    from unlearn_cli.photos.before_after import preview as show
    from unlearn_cli.photos.scan import both_of

    answer.expect("preview", wanted=as_json)
    refuse_url({"What a preview shows": originals, "What a preview compares with": protected})
    if protected is None:
        originals, protected = both_of(originals)
    set_limits()
    found = []
    for photo in show(originals, protected, output, photos or ()):
        status = "left out" if photo.code else "shown"
        found.append(entry(photo.original, photo.copy, status, photo.reason, code=photo.code))
        if photo.code and (photos or photo.copy):
            err().print(f"left out: {plain(str(photo.original))}: {plain(photo.reason)}")
    left_out = sum(photo["status"] == "left out" for photo in found)
    answer.give({"shown": len(found) - left_out, "left out": left_out}, found, outputs=[str(output)])
    err().print(f"Preview: {plain(str(output))} (it shows your original photos, so do not share it)")
    if photos and left_out:
        raise typer.Exit(1)
