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
        """Return the engine's name of the format, which is the same for ``jpeg`` and ``jpg``."""
        names: dict[Format, FormatChoice] = {Format.keep: "keep", Format.png: "png", Format.webp: "webp"}
        return names.get(self, "jpeg")

    webp = "webp"


class Engine(StrEnum):
    """The choice of what runs the work on many photos."""

    local = "local"
    ray = "ray"


class KeepMetadata(StrEnum):
    """The choice of the metadata that the copies keep."""

    safe = "safe"
    all = "all"
    none = "none"


@dataclass(frozen=True)
class Rare:
    """The settings of ``protect`` that are rarely changed, each by ``--set NAME=VALUE``."""

    again: bool = False
    """Also protect photos that are protected copies already, which adds noise to noise."""
    fail_fast: bool = False
    """Start no more photos after one has failed."""
    map: Path | None = None
    """A TOML file with lines folder = "class", for --class-from-folders."""
    max_megapixels: int | None = None
    """The largest photo to decode, in megapixels; None means 400."""
    preserve_times: bool = True
    """Give each copy the file times of its original."""
    recursive: bool = True
    """Go into subfolders."""


RARE = (
    "A less common setting: again=yes (protect copies again), fail-fast=yes (stop after a failure), map=FILE (TOML "
    'lines folder = "class"), max-megapixels=N (default 400), preserve-times=no, recursive=no. Can be repeated.'
)
