"""Putting originals back that protected copies took the place of."""

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
    """Put back every original of the in-place runs of a manifest and yield what became of it.

    Each original is checked against the SHA-256 that it had. A photo that was changed after it
    was protected is left alone unless ``overwrite``. Backups stay where they are. A ``dry_run`` only
    checks. Raises
    ``UsageError`` for a manifest of runs that replaced nothing, or none at all.
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
    """What has to be put back; None where it is back already. Raises ``PhotoError`` where something would be lost."""
    here, copy = sha256_of(source), sha256_of(target)
    if here == record.input_sha256:  # Put back by a run that was killed before it could say so.
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
