"""What stands beside the pixels in a photo's file, before anything is chosen of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from unlearn_cli.photos.formats.colour import Colour
from unlearn_cli.photos.formats.exif import Block


@dataclass(frozen=True)
class Text:
    """One of a PNG's texts, or its time of change."""

    key: str
    value: str
    kind: bytes
    """Its chunk's type: ``tEXt``, ``zTXt``, ``iTXt`` or ``tIME``."""
    body: bytes
    """Its chunk, as it was."""


@dataclass(frozen=True)
class Beside:
    """All that a photo's file holds beside its pixels, as it is there."""

    icc_profile: bytes | None = None
    colour: Colour = field(default_factory=Colour)
    """The colour space as far as the file's own tags tell it by numbers."""
    exif: Block | None = None
    xmp: bytes | None = None
    comment: bytes | None = None
    texts: tuple[Text, ...] = ()
    notes: tuple[str, ...] = ()
    """What was dropped because it is damaged, and what a copy cannot hold: whole sentences for the user."""


def damaged(names: Iterable[str]) -> Iterator[str]:
    """Yield the sentence that says which damaged tags were left out; none for no names."""
    for name in dict.fromkeys(names):
        yield f"its {name} is damaged or too large and was left out"


UNREADABLE = "what stands beside its pixels (dates, colour profile and so on) is damaged and was left out"
GAIN_MAP = "it has a gain map for bright screens (HDR), which a protected copy does not have"
VIDEO = "it holds a short video (a motion photo), which a protected copy does not have"
"""The sentences about what a copy cannot hold."""
