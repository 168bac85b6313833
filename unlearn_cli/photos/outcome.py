"""The options of a run over photos, and the result for each photo."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from unlearn_cli.errors import Code, PhotoError, PhotoSkippedError, UnlearnError
from unlearn_cli.photos.anchored import Anchored
from unlearn_cli.photos.apply import Noise
from unlearn_cli.photos.encode import WRITING, Writing
from unlearn_cli.photos.quality import Quality

ITSELF_PROTECTED = "it is already protected, according to a manifest (--set again=yes adds noise all the same)"

HARDLY_PROTECTED = "it is grey and the noise is mostly colour, so it is hardly protected"
NO_FACE = "no face was found in it: the noise is over the whole photo, and would not survive a crop to a face"
"""Doubts about how well a protected photo is protected, which the manifest records."""

DOUBTS = (HARDLY_PROTECTED, NO_FACE)
DOUBT_CODES: dict[str, Code] = {HARDLY_PROTECTED: "grey", NO_FACE: "no-face"}

KEPT = "a file already exists in the place of its copy (--existing skip)"
"""Why a photo is skipped that has a file in its copy's place, if the user wants to keep whatever is there."""

FACE_REQUIRED = "no face was found in it, and --require-face asks for one"
"""Why a photo fails in which no face was found, if one is required."""


def doubts_in(reason: str) -> tuple[str, ...]:
    """Return the doubts in the reason that a manifest records for a protected photo."""
    parts = reason.split("; ")
    return tuple(doubt for doubt in DOUBTS if doubt in parts)


def doubts_about(noise: Noise, *, grey: bool) -> Iterator[str]:
    """Yield the reasons why a photo, grey or not, with this noise may be protected less; they are among ``DOUBTS``."""
    if grey and noise.mostly_chroma:
        yield HARDLY_PROTECTED
    if isinstance(noise, Anchored) and not noise.squares:
        yield NO_FACE


LINKED = "it has other names (hard links), which still show the unprotected photo: replace or delete them"
"""A note; in the manifest it follows the doubts."""
EARLIER_COPY = "an earlier copy with another name is still beside the new one: delete it before you share the folder"
"""A note, for example after ``--format`` was changed."""


Outcome = Literal["protected", "unchanged", "skipped", "failed", "restored", "would restore", "would fail"]
"""What a run did with a photo, or would do if it were not a dry run. ``unchanged`` means that an earlier run protected
it, and nothing changed since."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """The options of a run."""

    writing: Writing = WRITING
    overwrite: bool = False
    """Whether to overwrite whatever is in a copy's place."""
    skip_existing: bool = False
    """Whether to skip photos if anything is in the copy's place, without examining it."""
    again: bool = False
    """Whether to protect again what a manifest knows as protected."""
    measure: bool = False
    require_face: bool = False
    """Whether a photo fails if the noise is for faces and none is found in it."""
    fail_fast: bool = False
    """Whether to start no more photos after one has failed."""
    jobs: int = 1


OPTIONS = Options()
"""The default: one photo at a time, and no existing file is touched."""


@dataclass(frozen=True, eq=False)
class PhotoDone:
    """The result for one photo."""

    source: Path
    target: Path | None
    status: Outcome
    reason: str = ""
    code: Code | None = None
    """The reason's code, for scripts."""
    linf: float = 0.0
    """The largest change before encoding, in pixel levels."""
    grey: bool = False
    """Whether the photo could only carry the noise's luma."""
    faces: int | None = None
    """The number of faces to which the noise was applied; None if the noise is not for faces."""
    faces_found: int | None = None
    """The number of faces in the photo; None also if an earlier version protected it, which did not count them."""
    face_at: tuple[float, float] | None = None
    """The place of the largest face with noise, as shares of the upright photo's width and height; None if it has none,
    or an earlier run protected it."""
    doubts: tuple[str, ...] = ()
    """Why it is protected less than others: some of ``DOUBTS``."""
    quality: Quality | None = None
    """How the written file differs from the original; None if that was not measured."""
    class_name: str = ""
    sizes: tuple[int, int] = (0, 0)
    """The sizes of the original and of the copy, in bytes."""
    backup: Path | None = None
    """Where the original is, if its copy has taken its place."""
    seconds: float = 0.0
    notes: tuple[str, ...] = ()
    """What the user has to know about a protected photo, one sentence each."""

    @property
    def original(self) -> Path:
        """Return where the unprotected photo is."""
        return self.backup or self.source


def unexpected(error: Exception) -> str:
    """Return why a photo failed with an error that nobody foresaw."""
    return f"an unexpected error ({type(error).__name__}: {error}); please report it"


def refusal(*, ours: bool) -> UnlearnError:
    """Return the error for a photo whose copy is not written because another file is in its place.

    ``ours`` says that the file is a copy which somebody changed; it is kept on purpose. Any other file, such as the
    photo itself, is a failure, because it would be shared as the copy.
    """
    if ours:
        return PhotoSkippedError(
            "its copy was changed after it was written (--existing overwrite replaces it)", "changed"
        )
    reason = "another file, which may be unprotected, is in the place of its copy (--existing overwrite replaces it)"
    return PhotoError(reason, "copy-exists")
