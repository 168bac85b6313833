"""Restoring originals whose place protected copies took."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path

from unlearn_cli.errors import PhotoError, UsageError
from unlearn_cli.files import sha256_of, write_atomically
from unlearn_cli.photos.decode import read_file
from unlearn_cli.photos.manifest import SUFFIX, Manifest, Record
from unlearn_cli.photos.outcome import PhotoDone


def undo(path: Path, *, overwrite: bool = False, dry_run: bool = False) -> Generator[PhotoDone, None, None]:
    """Restore every original of a manifest's in-place runs and yield the result for each.

    Each original is checked against its recorded SHA-256. A photo that was changed after it was protected is skipped
    unless ``overwrite`` is set. Backups stay where they are. A ``dry_run`` only checks. Raises ``UsageError`` for a
    manifest of runs that replaced nothing, or if there is no manifest.
    """
    if not path.is_file():
        beside = path.with_name(f"{path.name}{SUFFIX}")
        hint = f" Its manifest is {beside}." if path.name and beside.is_file() else ""
        raise UsageError(f"There is no manifest {path}.{hint}")
    with Manifest(path, write=not dry_run) as manifest:
        if not manifest.swapped:
            raise UsageError(f"The runs of {path} replaced no photos: there is nothing to undo.")
        for record in manifest.swaps():
            if record.output is None:
                continue
            source, target = manifest.absolute(record.input), manifest.absolute(record.output)
            try:
                original = _original(manifest, record, source, target, overwrite=overwrite)
                if not dry_run:
                    _restore(manifest, record, source, target, original)
            except PhotoError as error:
                yield PhotoDone(source, None, "failed", str(error))
                continue
            if not dry_run:
                manifest.add(replace(record, status="restored"))
            yield PhotoDone(source, source, "restored")


def _original(manifest: Manifest, record: Record, source: Path, target: Path, *, overwrite: bool) -> bytes | None:
    """Return the original's bytes; None if it is back already. Raises ``PhotoError`` if something would be lost."""
    here, copy = sha256_of(source), sha256_of(target)
    if here == record.input_sha256:  # A run that was killed before it could record it has put it back.
        return None
    assert record.backup is not None
    original = read_file(manifest.absolute(record.backup))
    if hashlib.sha256(original).hexdigest() != record.input_sha256:
        raise PhotoError("its backup is not the original that was put there")
    if here not in (None, record.output_sha256) and not overwrite:
        raise PhotoError("there is another photo in its place now (--overwrite puts the original back all the same)")
    if copy not in (None, record.output_sha256, here) and not overwrite:
        raise PhotoError("its copy was changed since (--overwrite puts the original back all the same)")
    return original


def _restore(manifest: Manifest, record: Record, source: Path, target: Path, original: bytes | None) -> None:
    assert record.backup is not None
    if original is not None:
        try:
            backup = manifest.absolute(record.backup)
            write_atomically(source, original, tag=manifest.tag, like=backup.stat(), attributes=backup)
        except OSError as error:
            raise PhotoError(f"it cannot be put back ({error.strerror or error})") from error
    if target != source and sha256_of(target) == record.output_sha256:
        with contextlib.suppress(OSError):
            target.unlink()
