"""``unlearn preview``: show photos before and after, from the originals and their copies."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from unlearn_cli.cli.console import err, exits, plain, set_limits

EXAMPLES = """\
unlearn preview selfies selfies-protected
unlearn preview me.jpg me-protected.jpg -o before-after.png"""


@exits()
def preview(
    originals: Annotated[Path, typer.Argument(metavar="ORIGINALS", help="The folder of originals, or one photo.")],
    protected: Annotated[Path, typer.Argument(metavar="PROTECTED", help="The folder of their copies, or one copy.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The picture to write: .png, or .html with a slider on each photo.")
    ] = Path("preview.html"),
) -> None:
    """Show the first photos before and after protection, and the difference.

    This protects nothing. Photos and copies are paired by the manifest, or otherwise by their names.
    """
    from unlearn_cli.errors import WorkError
    from unlearn_cli.photos.before_after import Preview
    from unlearn_cli.photos.verdicts import pair_up

    set_limits()
    show = Preview.prepare(output)
    for original, copy in pair_up(originals, protected):
        if original is not None and copy is not None and not show.is_full:
            show.add_pair(original, copy)
    if not show.write():
        raise WorkError(
            f"There is nothing to preview: no photo in {originals} has a readable copy in {protected}. "
            "Check the two paths, or run 'unlearn protect' first."
        )
    err().print(f"Preview: {plain(str(output))} (it shows your original photos, so do not share it)")
