"""Comparing photos with their copies where one of the two is in object storage: the verdicts of ``verdicts.py``."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from unlearn_cli.banks.bank import Bank
from unlearn_cli.banks.keys import Key
from unlearn_cli.errors import UsageError, WorkError
from unlearn_cli.photos.bulk.index import Index
from unlearn_cli.photos.bulk.ledger import Ledger, ledger_at
from unlearn_cli.photos.bulk.store import LocalStore, Store, Stored, store_at
from unlearn_cli.photos.bulk.stream import below, expected_name, is_hidden
from unlearn_cli.photos.fit import Patterns
from unlearn_cli.photos.kinds import PHOTO_SUFFIXES
from unlearn_cli.photos.manifest import SUFFIX, WRITTEN, Record
from unlearn_cli.photos.pipeline import in_order
from unlearn_cli.photos.verdicts import Check, Pair


@dataclass(frozen=True)
class _Pair:
    original: Stored | None
    copy: Stored | None
    record: Record | None


def compare_bulk(
    originals: Path, protected: Path, banks: Sequence[Bank], *, jobs: int, key: Key | None, measure: bool
) -> Generator[Pair, None, None]:
    """Pair the photos of two places, of which one at least is a URL, and yield the result for each pair.

    Copies are found by the manifest that is beside ``protected`` under its name, and otherwise by their names. Raises
    ``WorkError`` if a place cannot be listed, and if there is no photo.
    """
    source, target = store_at(originals), store_at(protected)
    for store in (source, target):
        if isinstance(store, LocalStore) and not store.folder.is_dir():
            raise UsageError(f"There is no folder {store.folder}.")
    check = Check(Patterns(banks, key), key, measure=measure)

    def checked(pair: _Pair) -> Pair:
        one, other = (
            Path(f"{store.place}/{file.name}") if file is not None else None
            for store, file in ((source, pair.original), (target, pair.copy))
        )

        def read(path: Path) -> bytes:
            store, file = (source, pair.original) if path == one else (target, pair.copy)
            assert file is not None
            return store.read(file)

        return check.pair(one, other, pair.record, read)

    with contextlib.closing(Index(whole=True)) as index, contextlib.ExitStack() as stack:
        ledger = ledger_at(f"{target.place}{SUFFIX}", write=False)
        stack.callback(ledger.close)
        index.learn_records(ledger.records())
        index.learn_files(file for file in target.listing() if _is_photo(file))
        count = 0
        for pair in in_order(checked, _pairs(source, target, ledger, index), jobs):
            count += 1
            yield pair
        if not count:
            raise WorkError(f"No photo found in {source.place}.")


def _pairs(source: Store, target: Store, ledger: Ledger, index: Index) -> Iterator[_Pair]:
    given, made = ledger.name_of(source), ledger.name_of(target)
    apart = below(source, target)
    for file in source.listing():
        if not _is_photo(file) or (apart is not None and file.name.startswith(apart)):
            continue
        record = index.record(f"{given}/{file.name}")
        name = expected_name(file.name, "keep")
        if record is not None and record.status in WRITTEN and record.output is not None:
            name = record.output.removeprefix(f"{made}/")
        yield _Pair(file, index.take(name), record)
    for file in list(index.left()):
        yield _Pair(None, file, None)


def _is_photo(file: Stored) -> bool:
    return Path(file.name).suffix.lower() in PHOTO_SUFFIXES and not is_hidden(Path(file.name))
