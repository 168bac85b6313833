"""The values that options of ``protect`` choose from."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from unlearn_cli.photos.encode import FormatChoice


class Form(StrEnum):
    """The form of the noise."""

    class_wise = "class-wise"
    sample_wise = "sample-wise"


class Faces(StrEnum):
    """Which faces of a photo get the noise, where a bank's noise goes on faces."""

    largest = "largest"
    all = "all"


class Strength(StrEnum):
    """The strength of the noise, which is how visible it may be."""

    low = "low"
    medium = "medium"
    high = "high"


class Existing(StrEnum):
    """What to do where a file already has the path of a copy."""

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
    """Which metadata the copies keep."""

    safe = "safe"
    all = "all"
    none = "none"
