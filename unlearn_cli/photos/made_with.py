"""Finding which keys made the copies that are already there, so that a lost or second key is noticed in time."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from unlearn_cli.banks.keys import Key
from unlearn_cli.errors import UsageError, WorkError
from unlearn_cli.photos.manifest import SUFFIX, WRITTEN, Manifest, Record, is_manifest
from unlearn_cli.photos.protection import Protection
from unlearn_cli.photos.scan import Plan

OTHER_KEY = "made with another key (fingerprint {})"

LOST = (
    "{manifest} records copies that were made with the key with the fingerprint {old}, but there is no key here. "
    "If you have that key, put it back with 'unlearn key import FILE', or name it with --key-file. "
    "If it is lost, or if it is another person's, make a key of your own with 'unlearn key new'."
)

CHANGED = (
    "{manifest} records that {count} of these photos have copies that were made with the key with the fingerprint "
    "{old}, but the key in use has the fingerprint {new}. One person should have one pattern. "
    "Name the old key with --key-file; for another person, name another --output; "
    "to make all copies again with the key in use, add --existing overwrite."
)


def refuse_lost_key(todo: Plan) -> None:
    """Raise ``UsageError`` if a manifest beside the output names a key, although there is none: it may be lost."""
    folders = dict.fromkeys(task.manifest.parent for task in todo.tasks)
    beside = (path for folder in folders for path in sorted(folder.glob(f"*{SUFFIX}")))
    for path in dict.fromkeys((*(task.manifest for task in todo.tasks), *beside)):
        if is_manifest(path) and (found := _fingerprints(path)):
            raise UsageError(LOST.format(manifest=path, old=max(found, key=found.__getitem__)))


def refuse_other_key(todo: Plan, protections: Mapping[str, Protection]) -> None:
    """Raise ``UsageError`` if photos of the run have copies that were made with another key than the one in use."""
    in_use = {protection.key_fingerprint for protection in protections.values()} - {None}
    paths = {task.manifest for task in todo.tasks} if in_use else set()
    manifests = {path: Manifest(path, write=False) for path in paths if _fingerprints(path).keys() - in_use}
    found: Counter[tuple[Path, str, str]] = Counter()
    for task in todo.tasks if manifests else ():
        new = (protections.get("") or protections[task.folder]).key_fingerprint
        last = manifests[task.manifest].last(task.source) if task.manifest in manifests else None
        if new is None or last is None or last.status not in WRITTEN or last.key_fingerprint in (None, new):
            continue
        found[task.manifest, str(last.key_fingerprint), new] += 1
    for (path, old, new), count in found.most_common(1):
        raise UsageError(CHANGED.format(manifest=path, count=count, old=old, new=new))


def is_of_other_key(record: Record, key: Key | None) -> bool:
    """Return whether a recorded copy was made with a key, and not with this one."""
    return record.key_fingerprint is not None and (key is None or key.fingerprint != record.key_fingerprint)


def _fingerprints(path: Path) -> Counter[str | None]:
    """Return how often a manifest names each key; this reads the file as bytes, which takes milliseconds."""
    try:
        found = re.findall(rb'"key_fingerprint": "([0-9a-f]+)"', path.read_bytes())
    except FileNotFoundError:
        return Counter()
    except OSError as error:
        raise WorkError(f"The manifest {path} cannot be read ({error.strerror or error}).") from error
    return Counter(text.decode() for text in found)
