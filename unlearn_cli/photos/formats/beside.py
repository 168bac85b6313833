"""The contents of a photo's file besides its pixels, before any of them is selected for the copy."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from unlearn_cli.photos.formats.colour import Colour
from unlearn_cli.photos.formats.exif import Block


@dataclass(frozen=True)
class Text:
    """One text of a PNG file, or the time of its last change."""

    key: str
    value: str
    kind: bytes
    """The type of its chunk: ``tEXt``, ``zTXt``, ``iTXt`` or ``tIME``."""
    body: bytes
    """The unchanged content of its chunk."""


@dataclass(frozen=True)
class Beside:
    """Everything that a photo's file holds besides its pixels, unchanged."""

    icc_profile: bytes | None = None
    colour: Colour = field(default_factory=Colour)
    """The colour space, as far as the file's own tags describe it by numbers."""
    exif: Block | None = None
    xmp: bytes | None = None
    comment: bytes | None = None
    texts: tuple[Text, ...] = ()
    notes: tuple[str, ...] = ()
    """Sentences for the user about parts that were dropped because they are damaged or a copy cannot have them."""


def damaged(names: Iterable[str]) -> Iterator[str]:
    """Yield one sentence for each damaged tag that was left out; nothing if there are no names."""
    for name in dict.fromkeys(names):
        yield f"its {name} is damaged or too large and was left out"


UNREADABLE = "its metadata (dates, colour profile and so on) is damaged and was left out"
GAIN_MAP = "it has a gain map for bright screens (HDR), which a protected copy does not have"
VIDEO = "it holds a short video (a motion photo), which a protected copy does not have"
"""The sentences about what a copy cannot hold."""
