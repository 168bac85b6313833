"""Putting originals back that protected copies took the place of."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path

from unlearn_cli.errors import PhotoError, UsageError
from unlearn_cli.files import sha256_of, write_atomically
from unlearn_cli.photos.copying import PhotoDone
from unlearn_cli.photos.decode import read_file
from unlearn_cli.photos.manifest import WRITTEN, Manifest, Record


def undo(path: Path, *, overwrite: bool = False) -> Generator[PhotoDone, None, None]:
    """Put back every original of the in-place runs of a manifest and yield what became of it.

    Each original is checked against the SHA-256 that it had. A photo that was changed after it
    was protected is left alone unless ``overwrite``. Backups stay where they are. Raises
    ``UsageError`` for a manifest of runs that replaced nothing, or none at all.
    """
    if not path.is_file():
        raise UsageError(f"There is no manifest {path}.")
    with Manifest(path) as manifest:
        replaced = [record for record in manifest.written() if record.backup is not None]
        if not replaced:
            raise UsageError(f"The runs of {path} replaced no photos: there is nothing to undo.")
        for record in replaced:
            if record.status not in WRITTEN or record.output is None:
                continue
            source, target = manifest.absolute(record.input), manifest.absolute(record.output)
            try:
                _restore(manifest, record, source, target, overwrite=overwrite)
            except PhotoError as error:
                yield PhotoDone(source, None, "failed", str(error))
                continue
            manifest.add(replace(record, status="restored"))
            yield PhotoDone(source, source, "restored")


def _restore(manifest: Manifest, record: Record, source: Path, target: Path, *, overwrite: bool) -> None:
    assert record.backup is not None
    backup = manifest.absolute(record.backup)
    here, copy = sha256_of(source), sha256_of(target)
    if here != record.input_sha256:  # else it was put back by a run that was killed before it could say so
        original = read_file(backup)
        if hashlib.sha256(original).hexdigest() != record.input_sha256:
            raise PhotoError("its backup is not the original that was put there")
        if here not in (None, record.output_sha256) and not overwrite:
            raise PhotoError(
                "there is another photo in its place now (--overwrite puts the original back all the same)"
            )
        if copy not in (None, record.output_sha256, here) and not overwrite:
            raise PhotoError("its copy was changed since (--overwrite puts the original back all the same)")
        try:
            write_atomically(source, original, tag=manifest.tag, like=backup.stat())
        except OSError as error:
            raise PhotoError(f"it cannot be put back ({error.strerror or error})") from error
    if target != source and copy is not None and (copy == record.output_sha256 or overwrite):
        with contextlib.suppress(OSError):
            target.unlink()
