"""Telling which photos have several faces: how many there are, and which got the pattern."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from unlearn_cli.cli.closing import NAMED

if TYPE_CHECKING:
    from unlearn_cli.photos.outcome import PhotoDone

COLUMNS, ROWS = ("left", "middle", "right"), ("upper", "middle", "lower")


def has_several(photo: PhotoDone) -> bool:
    """Return whether a photo with noise for faces shows more than one."""
    return photo.faces is not None and (photo.faces_found or 0) > 1


def rows_of(photos: Sequence[PhotoDone], *, verbose: bool) -> Iterator[tuple[str, str]]:
    """Yield a row with the photos of which the largest face alone has the pattern, and one with the others."""
    some = [photo for photo in photos if (photo.faces_found or 0) > (photo.faces or 0)]
    every = [photo for photo in photos if (photo.faces_found or 0) <= (photo.faces or 0)]
    if some:
        yield (
            "several faces",
            f"{_counted(some)}: {_named(some, verbose=verbose)}: the pattern is only on the largest face. "
            "The other people are hardly protected; --faces all puts your pattern on every face",
        )
    if every:
        yield "several faces", f"{_counted(every)}: {_named(every, verbose=verbose)}: the pattern is on every face"


def place(at: tuple[float, float]) -> str:
    """Return where in a photo a point is, such as ``upper left``; shares of its width and height are given."""
    column, row = (names[min(2, max(0, int(3 * share)))] for names, share in zip((COLUMNS, ROWS), at, strict=True))
    if row == "middle":
        return "middle" if column == "middle" else column
    return f"{row} {column}"


def as_json(photo: PhotoDone) -> dict[str, Any]:
    """Return a photo with several faces for ``--json``."""
    return {"input": str(photo.source), "faces": photo.faces_found, "with_pattern": photo.faces, "at": photo.face_at}


def _named(photos: Sequence[PhotoDone], *, verbose: bool) -> str:
    shown = photos if verbose else photos[:NAMED]
    more = f" and {len(photos) - len(shown)} more" if len(photos) > len(shown) else ""
    return ", ".join(f"{photo.source.name} ({_described(photo)})" for photo in shown) + more


def _described(photo: PhotoDone) -> str:
    at = f", the largest {place(photo.face_at)}" if photo.face_at is not None else ""
    return f"{photo.faces_found} faces{at}"


def _counted(photos: Sequence[PhotoDone]) -> str:
    return f"{len(photos)} photo{'s' if len(photos) != 1 else ''}"
