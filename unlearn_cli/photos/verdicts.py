"""Comparing a folder of originals with a folder of copies: whether every copy exists, is protected and in its bound."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from unlearn_cli.banks.bank import Bank
from unlearn_cli.banks.keys import Key
from unlearn_cli.errors import Code, PhotoError, PhotoSkippedError
from unlearn_cli.photos.decode import Photo, decode, read_file
from unlearn_cli.photos.encode import is_lossless
from unlearn_cli.photos.fit import Fit, Found, Patterns
from unlearn_cli.photos.made_with import OTHER_KEY, is_of_other_key
from unlearn_cli.photos.manifest import WRITTEN, Record
from unlearn_cli.photos.names import resolved
from unlearn_cli.photos.one import as_mode
from unlearn_cli.photos.outcome import DOUBT_CODES, doubts_in
from unlearn_cli.photos.pairs import known_records, pair_up
from unlearn_cli.photos.pipeline import in_order
from unlearn_cli.photos.quality import Quality, compare, largest_change

Verdict = Literal[
    "protected",
    "weak",
    "not protected",
    "altered",
    "over its bound",
    "missing",
    "extra",
    "skipped",
    "unreadable",
    "failed",
]
"""``weak`` is protected, but less than others, for one of ``outcome.DOUBTS``; of an ``unreadable`` photo the original
cannot be read."""

GOOD = ("protected", "weak", "skipped")
"""The verdicts that do not cause an exit code of 1."""

CODES: dict[Verdict, Code] = {
    "not protected": "no-noise",
    "altered": "altered",
    "over its bound": "over-bound",
    "missing": "missing",
    "extra": "extra",
}
"""The codes of the verdicts that have only one reason."""

PROTECTED_CORRELATION = 0.5
"""From this correlation with a pattern on, a difference between two photos counts as the pattern's noise.

On the project's photos, copies at the full bound have a correlation of at least 0.72, and unprotected ones, re-encoded
or halved, of at most 0.37, except for a picture of 127 x 64 pixels (0.48): ``benchmarks/verify_fit.py``.
"""

ALTERED_RESIDUAL = 4.0
"""The largest residual of the reduced difference, in pixel levels, that still counts as noise alone; encoders cause at
most 2."""


NOT_YET = "it has no backup, so that the run which protects these photos in place has not come to it: run it again"


@dataclass(frozen=True)
class Pair:
    """The result for one photo and its copy."""

    original: Path | None
    protected: Path | None
    verdict: Verdict
    reason: str = ""
    lossless: bool = False
    """Whether the copy's format is lossless, so that its bound holds in the file."""
    linf: float | None = None
    """The largest change of any value, in pixel levels; None if the two cannot be compared."""
    quality: Quality | None = None
    """How the copy differs from its original; None if that was not measured."""
    fit: Found | None = None
    """The noise in the copy: a ``Fit`` where it was looked for, or else what the manifest records of both files."""
    made_for_it: bool = False
    """Whether the manifest says that the noise was made for this photo alone, so that it matches no bank's pattern."""
    code: Code | None = None
    """The code of the reason, for scripts, where the verdict does not say it; see ``CODES``."""


def verify(
    originals: Path,
    protected: Path,
    banks: Sequence[Bank],
    *,
    jobs: int = 1,
    key: Key | None = None,
    measure: bool = False,
    on_total: Callable[[int], None] | None = None,
) -> Generator[Pair, None, None]:
    """Pair the photos of two folders (or two files), and yield the result for each pair, in order.

    If there is a manifest beside ``protected``, it is used: it knows which copy belongs to which photo, what was
    skipped and why, and whether both files are still what they were. If they are, it also tells the noise, which is
    looked for in all other copies. With ``measure`` it is looked for in every copy, and each copy's quality is
    measured. A person's own pattern is found with their ``key``. ``on_total`` is called with the number of pairs before
    the first is compared. Raises ``UsageError`` for a path that does not exist and ``WorkError`` if there is no photo.
    """
    paired, known = pair_up(originals, protected), known_records(protected)
    if on_total is not None:
        on_total(len(paired))
    in_place = any(record.backup is not None for record in known.values())
    check = Check(Patterns(banks, key), key, measure=measure, in_place=in_place)

    def checked(pair: tuple[Path | None, Path | None]) -> Pair:
        return check.pair(*pair, _recorded(known, *pair), read_file)

    yield from in_order(checked, paired, jobs)


def _recorded(known: dict[Path, Record], original: Path | None, copy: Path | None) -> Record | None:
    for path in (copy, original):
        if path is not None and (record := known.get(resolved(path))) is not None:
            return record
    return None


def _with_key(pair: Pair, record: Record | None, key: Key | None) -> Pair:
    """Return a result that says if the copy was made with another key, without which its noise cannot be looked for."""
    if pair.original is None or pair.protected is None or record is None or record.status not in WRITTEN:
        return pair
    if not is_of_other_key(record, key):
        return pair
    note = OTHER_KEY.format(record.key_fingerprint)
    found = pair.reason.partition("; ")[0] if pair.verdict == "altered" else pair.reason
    fit = None if isinstance(pair.fit, Fit) else pair.fit
    code = "other-key" if pair.verdict == "protected" else pair.code
    return replace(pair, reason="; ".join(filter(None, (found, note))), fit=fit, code=code)


Read = Callable[[Path], bytes]
"""Returns a file's bytes, or raises ``PhotoError``."""


class Check:
    """The comparison of photos with their copies, wherever they are."""

    def __init__(self, patterns: Patterns, key: Key | None, *, measure: bool, in_place: bool = False) -> None:
        """``in_place`` says that the copies have replaced their originals, which are in a backup."""
        self.patterns, self.key, self.measure, self.in_place = patterns, key, measure, in_place

    def pair(self, original: Path | None, copy: Path | None, record: Record | None, read: Read) -> Pair:
        """Return the result of comparing a photo with its copy, of which there may be a record."""
        return _with_key(self._pair(original, copy, record, read), record, self.key)

    def _pair(self, original: Path | None, copy: Path | None, record: Record | None, read: Read) -> Pair:
        if original is None:
            if record is not None and record.status == "skipped":  # An in-place run skipped it: it is the original.
                return Pair(None, copy, "skipped", record.reason, code=record.code)
            if record is None and self.in_place:  # Whoever takes it for a copy too many may delete the only original.
                return Pair(None, copy, "not protected", NOT_YET)
            return Pair(None, copy, "extra", "there is no original for it")
        if copy is None:
            return _without_copy(original, record, read)
        if record is not None and record.status == "skipped" and _sha256(copy, read) == record.input_sha256:
            # An in-place run has skipped it: it is the original.
            return Pair(original, copy, "skipped", record.reason, code=record.code)
        try:
            data = read(original)
            before = decode(data, "none")
        except PhotoError as error:
            return Pair(original, copy, "unreadable", f"its original cannot be compared: {error}", code=error.code)
        except PhotoSkippedError as error:
            return Pair(original, copy, "failed", str(error), code=error.code)
        try:
            return self._compared(_Original(original, before, hashlib.sha256(data).hexdigest()), copy, record, read)
        except (PhotoError, PhotoSkippedError) as error:
            return Pair(original, copy, "failed", f"its copy cannot be compared: {error}", code=error.code)
        except MemoryError:
            return Pair(original, copy, "failed", "there is not enough memory to compare it", code="out-of-memory")

    def _compared(self, original: _Original, copy: Path, record: Record | None, read: Read) -> Pair:
        data, before = read(copy), original.photo
        after = decode(data, "none")
        lossless = is_lossless(after, after.format)
        after = as_mode(after, before.mode)
        if record is not None and (record.status != "protected" or record.output_sha256 is None):
            record = None
        same_file = record is not None and hashlib.sha256(data).hexdigest() == record.output_sha256
        if after.pixels.shape != before.pixels.shape or after.mode != before.mode:
            reason = f"its size or mode is {_size(after)}, but that of its original is {_size(before)}"
            return Pair(original.path, copy, "altered", reason, lossless)
        linf = largest_change(before, after)
        quality = compare(before, after) if self.measure else None
        # A record without the original's content is of an early version.
        vouched = same_file and record is not None and record.input_sha256 in (None, original.sha256)
        fit, made_for_it = None, record is not None and record.form == "sample-wise"
        if vouched and record is not None and not self.measure:
            fit = None if made_for_it else self._recorded(record)
        elif not made_for_it:
            fit = self.patterns.best(before, after)
        verdict, reason = _judged(linf, fit, record, same_file=same_file, vouched=vouched)
        if vouched and isinstance(fit, Fit) and record is not None and self._is_gone(fit, record):
            verdict, reason = "not protected", "no noise can be found in it, perhaps because it was compressed too much"
        if same_file and verdict == "altered":
            fit = None  # It is only the least unlikely pattern for the difference of two pictures.
        bound = record.epsilon if record is not None else None
        if verdict == "protected" and lossless:
            bound = bound or (fit.bank_epsilon if fit is not None else None)
            if bound is not None and linf > bound:
                verdict, reason = "over its bound", f"it differs by {linf:g} levels; its bound is {bound}"
        code: Code | None = None
        if verdict == "protected" and (doubts := _doubts(fit, record)):
            verdict, reason, code = "weak", "; ".join(doubts), DOUBT_CODES[doubts[0]]
        return Pair(original.path, copy, verdict, reason, lossless, linf, quality, fit, made_for_it, code)

    def _is_gone(self, fit: Fit, record: Record) -> bool:
        """Return whether noise was not found that must be in a copy as it was written, whole and with its key."""
        whole = record.bank_sha256 is not None and self.patterns.epsilon_of(record.bank_sha256) == record.epsilon
        sure = whole and not doubts_in(record.reason) and not is_of_other_key(record, self.key)
        return sure and fit.correlation < PROTECTED_CORRELATION

    def _recorded(self, record: Record) -> Found | None:
        """Return the noise that a record tells; None if an earlier version has not recorded it completely."""
        if record.bank is None or record.bank_sha256 is None or record.class_name is None or record.epsilon is None:
            return None
        bound = self.patterns.epsilon_of(record.bank_sha256) or record.epsilon
        return Found(record.bank, record.bank_sha256, bound, record.class_name, record.epsilon)


@dataclass(frozen=True, eq=False)
class _Original:
    path: Path
    photo: Photo
    sha256: str


def _sha256(path: Path, read: Read) -> str | None:
    try:
        return hashlib.sha256(read(path)).hexdigest()
    except PhotoError:
        return None


def _without_copy(original: Path, record: Record | None, read: Read) -> Pair:
    """Return the result for a photo without a copy: why there cannot be one, or that it is missing."""
    if record is not None and record.status == "skipped":
        return Pair(original, None, "skipped", record.reason, code=record.code)
    try:
        decode(read(original), "none")
    except PhotoError as error:
        return Pair(original, None, "unreadable", f"no copy can be made of it: {error}", code=error.code)
    except PhotoSkippedError as error:
        return Pair(original, None, "skipped", str(error), code=error.code)
    why = f" ({record.reason})" if record is not None and record.status == "failed" else ""
    return Pair(original, None, "missing", f"there is no protected copy of it{why}")


def _doubts(fit: Found | None, record: Record | None) -> tuple[str, ...]:
    """Return the reasons why a protected copy is protected less than others, by its record or else by its pixels."""
    if record is not None:
        return doubts_in(record.reason)
    return fit.doubts if isinstance(fit, Fit) else ()


def _judged(
    linf: float, fit: Found | None, record: Record | None, *, same_file: bool, vouched: bool
) -> tuple[Verdict, str]:
    """Return the verdict on a copy, and its reason.

    A copy that is the ``same_file`` as recorded is ``vouched`` for if it is recorded as made of this very original.
    """
    if vouched:
        return "protected", ""
    known = isinstance(fit, Fit) and fit.correlation >= PROTECTED_CORRELATION
    if same_file and known:  # Only something else than the original's picture has changed.
        return "protected", ""
    if same_file:
        return "altered", "its original was changed after the copy was made; run protect again to renew the copy"
    if linf == 0:
        return "not protected", "its pixels are the same as the original's"
    if fit is None and record is not None and record.form == "sample-wise":
        reason = "it was changed after unlearn wrote it, and noise that was made for one photo cannot be looked for"
        return "altered", reason
    if record is not None:
        found = "the noise is still in it" if known else "no noise can be found in it"
        return "altered", f"it was changed after unlearn wrote it; {found}"
    if not known:
        reason = "no known pattern was found in it (noise made for each photo is recognised only by its manifest)"
        return "not protected", reason
    if isinstance(fit, Fit) and fit.residual > ALTERED_RESIDUAL:
        return "altered", "it has other changes besides the noise, which is still in it"
    return "protected", ""


def _size(photo: Photo) -> str:
    return f"{photo.pixels.shape[1]} x {photo.pixels.shape[0]} {photo.mode}"
