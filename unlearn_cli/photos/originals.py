"""The originals of photos that are protected in place: saving them in a backup, and putting them back."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from collections.abc import Generator, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from unlearn_cli.errors import PhotoError, UsageError
from unlearn_cli.files import sha256_of, write_atomically
from unlearn_cli.photos.decode import read_file
from unlearn_cli.photos.kinds import PHOTO_SUFFIXES
from unlearn_cli.photos.manifest import SUFFIX, Manifest, Record, is_manifest, kept_originals
from unlearn_cli.photos.names import place_of
from unlearn_cli.photos.outcome import PhotoDone


def keep_original(
    source: Path, backup: Path, data: bytes, *, sha256: str | None, like: os.stat_result | None, tag: str
) -> None:
    """Write a photo's bytes into the backup unless they are already there; no file there is ever overwritten.

    Raises ``PhotoError`` if the backup holds another photo in this place, or cannot be written.
    """
    if backup.is_symlink() or (backup.exists() and backup.samefile(source)):
        reason = "its place in the backup folder is a link or the photo itself; choose another --backup"
        raise PhotoError(reason, "backup-conflict")
    try:
        write_atomically(backup, data, tag=tag, like=like, attributes=source, kind="new")
    except FileExistsError as error:
        if sha256_of(backup) != sha256:
            raise PhotoError(
                "the backup folder already has a different photo of its name; choose another --backup",
                "backup-conflict",
            ) from error
    except OSError as error:
        raise PhotoError(
            f"it cannot be saved in the backup folder ({error.strerror or error})", "not-written"
        ) from error


def is_perhaps_a_copy(source: Path, backup: Path, kept: Mapping[Path, set[Path]]) -> bool:
    """Return whether a photo looks like the copy of an original in the backup, and no manifest contradicts this.

    ``kept`` maps the backups that manifests know to the copies made from them. An original that is listed there has its
    copy, so a photo with a similar name beside that copy is a different one.
    """
    for name in _names_of_originals(backup.name):
        original = backup.with_name(name)
        if not os.path.lexists(original) or original.is_dir() or os.path.lexists(source.with_name(name)):
            continue
        # This is looked up last, because another thread records a swap before it removes the original.
        copies = kept.get(original)
        if copies is None or place_of(source) in map(place_of, set(copies)):
            return True
    return False


def _names_of_originals(name: str) -> Iterator[str]:
    """Yield the names that the original of a copy may have: with another suffix, or without the suffix or number."""
    stem, suffix = os.path.splitext(name)
    for whole in dict.fromkeys((stem, re.sub(r"-\d+$", "", stem))):
        for other in sorted(PHOTO_SUFFIXES - {suffix.lower()}):
            yield from (whole + other, whole + other.upper())
        if suffix:
            yield whole


def restore(path: Path, *, overwrite: bool = False, dry_run: bool = False) -> Generator[PhotoDone, None, None]:
    """Restore every original of a manifest's in-place runs and yield the result for each.

    ``path`` is the manifest, or the folder of the photos or of their originals, for which it is found. Each original is
    checked against its recorded SHA-256. A photo that was changed after it was protected is skipped unless
    ``overwrite`` is set. Backups stay where they are. A ``dry_run`` only checks: its statuses are ``would restore`` and
    ``would fail``. Raises ``UsageError`` for a manifest of runs that replaced nothing, or if there is no manifest.
    """
    path = _manifest_of(path)
    with Manifest(path, write=not dry_run) as manifest:
        if not manifest.swapped:
            raise UsageError(f"The runs recorded in {path} replaced no photos, so there is nothing to restore.")
        for record in manifest.swaps():
            if record.output is None:
                continue
            source, target = manifest.absolute(record.input), manifest.absolute(record.output)
            try:
                original = _original(manifest, record, source, target, overwrite=overwrite)
                if not dry_run:
                    _restore(manifest, record, source, target, original)
            except PhotoError as error:
                yield PhotoDone(source, None, "would fail" if dry_run else "failed", str(error), error.code)
                continue
            if not dry_run:
                manifest.add(replace(record, status="restored"))
            yield PhotoDone(source, source, "would restore" if dry_run else "restored")


def _manifest_of(path: Path) -> Path:
    """Return the manifest that a path is or, for a folder of photos or a backup folder, the one that records it.

    Raises ``UsageError`` if there is none.
    """
    if path.is_file():
        return path
    if path.name in ("", ".."):  # The folder . or ..
        path = Path(os.path.abspath(path))
    beside = path.with_name(f"{path.name}{SUFFIX}") if path.name else path
    if not path.is_dir():
        wrong = f"There is no manifest {path}."
        raise UsageError(f"{wrong} Did you mean {beside}?" if beside.is_file() else wrong)
    if beside.is_file():
        return beside
    whole = place_of(path)
    for folder in dict.fromkeys((path.parent, Path())):
        for manifest in filter(is_manifest, sorted(folder.glob(f"*{SUFFIX}"))):
            if any(place_of(original).is_relative_to(whole) for original in kept_originals([manifest])):
                return manifest
    raise UsageError(
        f"No manifest of a run in place was found for the folder {path}. "
        "Name the .jsonl file beside the folder of your photos, which 'protect --in-place' wrote."
    )


def _original(manifest: Manifest, record: Record, source: Path, target: Path, *, overwrite: bool) -> bytes | None:
    """Return the original's bytes; None if it is already back. Raises ``PhotoError`` if a file would be lost."""
    here, copy = sha256_of(source), sha256_of(target)
    if here == record.input_sha256:  # An earlier run restored it, but was killed before it could record that.
        return None
    assert record.backup is not None
    original = read_file(manifest.absolute(record.backup))
    if hashlib.sha256(original).hexdigest() != record.input_sha256:
        raise PhotoError("its file in the backup was changed and is not the original any more", "backup-changed")
    if here not in (None, record.output_sha256) and not overwrite:
        reason = "there is a different photo in its place now (add --overwrite to replace it by the original)"
        raise PhotoError(reason, "changed")
    if copy not in (None, record.output_sha256, here) and not overwrite:
        reason = "its copy was changed after it was written (add --overwrite to restore the original anyway)"
        raise PhotoError(reason, "changed")
    return original


def _restore(manifest: Manifest, record: Record, source: Path, target: Path, original: bytes | None) -> None:
    assert record.backup is not None
    if original is not None:
        try:
            backup = manifest.absolute(record.backup)
            write_atomically(source, original, tag=manifest.tag, like=backup.stat(), attributes=backup)
        except OSError as error:
            raise PhotoError(f"it cannot be put back ({error.strerror or error})", "not-written") from error
    if target != source and sha256_of(target) == record.output_sha256:
        with contextlib.suppress(OSError):
            target.unlink()
