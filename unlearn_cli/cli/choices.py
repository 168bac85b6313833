"""What the options of ``protect`` choose from."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from unlearn_cli.photos.encode import FormatChoice


class Form(StrEnum):
    """Of the noise."""

    class_wise = "class-wise"
    sample_wise = "sample-wise"


class Faces(StrEnum):
    """Which of a photo's faces carry a pattern that goes with faces."""

    largest = "largest"
    all = "all"


class Strength(StrEnum):
    """Of the noise: how much of it an eye may see."""

    low = "low"
    medium = "medium"
    high = "high"


class Existing(StrEnum):
    """What happens where something is at a copy's place."""

    update = "update"
    skip = "skip"
    overwrite = "overwrite"


class Format(StrEnum):
    """Of the copies."""

    keep = "keep"
    png = "png"
    jpeg = "jpeg"
    jpg = "jpg"
    """The same."""

    @property
    def written(self) -> FormatChoice:
        """The format's one name."""
        names: dict[Format, FormatChoice] = {Format.keep: "keep", Format.png: "png", Format.webp: "webp"}
        return names.get(self, "jpeg")

    webp = "webp"


class KeepMetadata(StrEnum):
    """What of the metadata is kept."""

    safe = "safe"
    all = "all"
    none = "none"


@dataclass(frozen=True)
class Rare:
    """What is rarely set, by ``--set NAME=VALUE``."""

    again: bool = False
    """Also protect what is a protected copy already: noise on noise."""
    fail_fast: bool = False
    """Begin no more photos after one failed."""
    map: Path | None = None
    """A TOML file with lines folder = "class", for --class-from-folders."""
    max_megapixels: int | None = None
    """Decode photos of up to this size; 400 where it is not said."""
    preserve_times: bool = True
    """Give copies their originals' times."""
    recursive: bool = True
    """Go into subfolders."""


RARE = (
    'again=yes (noise on noise), fail-fast=yes, map=FILE (TOML lines folder = "class"), max-megapixels=N (400), '
    "preserve-times=no, recursive=no; may be given several times."
)
