"""Pairing the photos of a folder with their copies: by the manifests beside the copies, and otherwise by name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path

from unlearn_cli.errors import UsageError, WorkError
from unlearn_cli.photos.encode import SUFFIXES
from unlearn_cli.photos.manifest import SUFFIX, WRITTEN, Record, is_manifest, read_records
from unlearn_cli.photos.names import resolved
from unlearn_cli.photos.scan import COPY, is_copy, photos_below


def pair_up(originals: Path, protected: Path) -> list[tuple[Path | None, Path | None]]:
    """Return the photos below two folders paired with their copies, with None for a missing counterpart.

    A photo with several copies, in several formats, has a pair for each of them: first those that a manifest records,
    the newest first, and then those found by name. What ``protect`` passes over, because it is itself a copy beside its
    original, is no original here either. Raises the same errors as ``verify``.
    """
    for path in (originals, protected):
        if not path.exists():
            raise UsageError(f"There is no file or folder {path}.")
    if originals.is_dir() != protected.is_dir():
        raise UsageError("A folder and a file cannot be compared. Name two folders, or two files, the originals first.")
    if is_copy(originals) and resolved(protected) == resolved(originals).with_name(originals.name.removesuffix(COPY)):
        raise UsageError(f"The two paths are swapped: {originals} is the protected copy. Name the originals first.")
    if originals.is_file():
        return [(originals, protected)]
    copies = dict.fromkeys(photos_below(protected, apart=originals))
    photos = list(photos_below(originals, apart=protected))
    if not photos:
        raise WorkError(f"No photo found in {originals}.")
    sources = _recorded_sources(copies, protected)
    found = _recorded_pairs(photos, sources)
    for copy in chain.from_iterable(found.values()):
        del copies[copy]
    _find_by_name({photo: protected / photo.relative_to(originals) for photo in photos}, copies, sources, found)
    wanted = [photo for photo in photos if photo in found or not _is_passed_over(photo, originals)]
    pairs = [(photo, copy) for photo in wanted for copy in found.get(photo, [None])]
    return [*pairs, *((None, copy) for copy in copies)]


def _find_by_name(
    names: dict[Path, Path],
    copies: dict[Path, None],
    sources: dict[Path, set[Path]],
    found: dict[Path, list[Path]],
) -> None:
    """Move copies that have a photo's name from ``copies`` to ``found``: one for each photo before any gets a second.

    ``names`` are the photos' own names among the copies, and ``sources`` the recorded originals of the copies.
    """
    own = {name: photo for photo, name in names.items()}
    recorded = set(found)
    for first in (True, False):
        for photo, name in names.items():
            for copy in _names(name):
                if copy not in copies or own.get(copy, photo) is not photo or (first and photo in found):
                    continue
                # A copy that is recorded as another photo's is taken only by a photo without a record: as its first
                # one after the photo was renamed, or as a further one if only its folder was.
                namesake = any(source.name == photo.name for source in sources.get(copy, ()))
                if copy not in sources or (photo not in recorded and (first or namesake)):
                    found.setdefault(photo, []).append(copy)
                    del copies[copy]


def _is_passed_over(photo: Path, folder: Path) -> bool:
    """Return whether ``protect`` passes over a photo below a folder, because it or a folder around it is a copy."""
    return any(is_copy(path) for path in (photo, *photo.parents) if path.is_relative_to(folder) and path != folder)


def _recorded_sources(copies: Iterable[Path], protected: Path) -> dict[Path, set[Path]]:
    """Return for each recorded copy, the oldest first, the paths of its original: the photo's and its backup's.

    If several records name a copy, the last one counts.
    """
    there = {resolved(copy): copy for copy in copies}
    sources: dict[Path, set[Path]] = {}
    for folder, record in _records(protected):
        copy = there.get(resolved(folder / record.output)) if record.output is not None else None
        if copy is not None and record.status in WRITTEN:
            sources.pop(copy, None)  # It was written again, so it is the newest.
            sources[copy] = {resolved(folder / source) for source in (record.input, record.backup) if source}
    return sources


def _recorded_pairs(photos: list[Path], sources: dict[Path, set[Path]]) -> dict[Path, list[Path]]:
    """Return the copies that are recorded for photos, the newest first."""
    made: dict[Path, list[Path]] = {}
    for copy in reversed(sources):
        for source in sources[copy]:
            made.setdefault(source, []).append(copy)
    found: dict[Path, list[Path]] = {}
    taken: set[Path] = set()
    for photo in photos if made else ():
        if of_it := [copy for copy in made.get(resolved(photo), ()) if copy not in taken]:
            found[photo] = of_it
            taken.update(of_it)
    return found


def _names(target: Path) -> Iterator[Path]:
    """Yield the names that a copy may have: its original's, or one with another suffix after or instead of its own."""
    yield target
    suffixes = [suffix for names in SUFFIXES.values() for suffix in names]
    for suffix in suffixes:
        yield target.with_name(target.name + suffix)
    for suffix in suffixes:
        yield target.with_suffix(suffix)


def known_records(protected: Path) -> dict[Path, Record]:
    """Return the records beside a folder or file, by the path of the copy, or of the original if it has none."""
    known: dict[Path, Record] = {}
    for folder, record in _records(protected):
        if record.status != "protected":
            known[resolved(folder / record.input)] = record
            continue
        known.pop(resolved(folder / record.input), None)  # What an earlier run said no longer counts.
        if record.output is not None:
            known[resolved(folder / record.output)] = record
    return known


def _records(protected: Path) -> Iterator[tuple[Path, Record]]:
    """Yield the records of the manifests beside a folder or file, each with the folder of its relative paths."""
    folder = resolved(protected).parent
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        if is_manifest(path):
            for record in read_records(path):
                yield folder, record
