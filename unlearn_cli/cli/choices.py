"""The values that options of ``protect`` choose from."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from unlearn_cli.photos.encode import FormatChoice


class Faces(StrEnum):
    """The choice of the faces in a photo that get the noise, for banks whose noise goes on faces."""

    largest = "largest"
    all = "all"


class Existing(StrEnum):
    """The action if a file already exists at the path of a copy."""

    update = "update"
    skip = "skip"
    overwrite = "overwrite"


class Format(StrEnum):
    """The file format of the copies."""

    keep = "keep"
    png = "png"
    jpeg = "jpeg"
    jpg = "jpg"
    """Another name of ``jpeg``."""

    @property
    def written(self) -> FormatChoice:
        """Return the name of the format in the engine, which is one for both names of JPEG."""
        names: dict[Format, FormatChoice] = {Format.keep: "keep", Format.png: "png", Format.webp: "webp"}
        return names.get(self, "jpeg")

    webp = "webp"


class KeepMetadata(StrEnum):
    """The choice of the metadata that the copies keep."""

    safe = "safe"
    all = "all"
    none = "none"


@dataclass(frozen=True)
class Rare:
    """The settings of ``protect`` that are rarely changed, each by ``--set NAME=VALUE``."""

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
    'A rare setting: again=yes (protect copies again), fail-fast=yes, map=FILE (TOML lines folder = "class"), '
    "max-megapixels=N (400), preserve-times=no, recursive=no; may be given several times."
)
