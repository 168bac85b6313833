"""How a run over photos goes, and what became of each photo."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from unlearn_cli.photos.encode import WRITING, Writing
from unlearn_cli.photos.manifest import Status
from unlearn_cli.photos.metrics import Quality

DONE = "it was protected by an earlier run, and nothing has changed since"
ITSELF_PROTECTED = "it is a protected photo already, as a manifest tells (--set again=yes lays noise on noise)"

HARDLY_PROTECTED = "it is grey and the noise is mostly colour, so it is hardly protected"
NO_FACE = "no face was found in it: the noise is over the whole photo, and would not survive a crop to a face"
"""In the manifest, of photos that are protected all the same."""

LINKED = "it had other names (hard links), which still hold the unprotected photo"
"""A note; in the manifest behind the doubts."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """How a run goes."""

    writing: Writing = WRITING
    overwrite: bool = False
    """Write over whatever is at a copy's place."""
    skip_existing: bool = False
    """Leave photos alone at whose copy's place there is anything, without looking at it."""
    again: bool = False
    """Also protect what a manifest knows as protected."""
    measure: bool = False
    fail_fast: bool = False
    """Begin nothing more after a photo has failed."""
    jobs: int = 1


OPTIONS = Options()
"""One photo at a time, and nothing that is there already is touched."""


@dataclass(frozen=True, eq=False)
class PhotoDone:
    """What became of one photo."""

    source: Path
    target: Path | None
    status: Status
    reason: str = ""
    linf: float = 0.0
    """The largest change before encoding, in pixel levels."""
    grey: bool = False
    """Whether the photo could only carry the noise's luma."""
    faces: int | None = None
    """How many faces carry the noise, where it goes with faces."""
    quality: Quality | None = None
    """What the written file holds, where that was measured."""
    class_name: str = ""
    sizes: tuple[int, int] = (0, 0)
    """Bytes of the original and of the copy."""
    backup: Path | None = None
    """Where the original is, if its copy has taken its place."""
    seconds: float = 0.0
    notes: tuple[str, ...] = ()
    """What has to be known of a protected photo, a sentence each."""

    @property
    def original(self) -> Path:
        """Where the unprotected photo is."""
        return self.backup or self.source
