"""One photo: written to the very file that a user names, or read from a pipe and written to one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from unlearn_cli.errors import PhotoError, UsageError
from unlearn_cli.photos.encode import SUFFIXES, FormatChoice
from unlearn_cli.photos.kinds import PHOTO_SUFFIXES
from unlearn_cli.photos.one import Protected, protect_bytes
from unlearn_cli.photos.outcome import FACE_REQUIRED, NO_FACE, Options
from unlearn_cli.photos.protection import Protection

CHOICES: dict[str, FormatChoice] = {"JPEG": "jpeg", "PNG": "png", "WEBP": "webp"}
"""The formats that a name can ask for, if they are not the photo's own."""


def is_file_name(output: Path | None) -> bool:
    """Return whether an output is the name of one photo and not of a folder: by its suffix, unless it is a folder."""
    return output is not None and output.suffix.lower() in PHOTO_SUFFIXES and not output.is_dir()


def format_by_name(paths: Sequence[Path], output: Path | None, wanted: FormatChoice) -> FormatChoice:
    """Return the format for the copies: the wanted one, or the one that the name of a single copy asks for.

    Raises ``UsageError`` for a name that does not fit the wanted format, or asks for one that no copy is written in.
    """
    if output is None or not is_file_name(output) or len(paths) != 1:
        return wanted
    own, named = _format(paths[0]), _format(output)
    if wanted != "keep":
        if named != wanted.upper():
            raise UsageError(
                f"The output {output} is not a name for --format {wanted}. Name it {output.stem}.{wanted}."
            )
        return wanted
    if named == own and named is not None:
        return "keep"
    if named not in CHOICES:
        raise UsageError(
            f"A copy of {paths[0].name} cannot be written as {output.suffix}. "
            "Give the output a name that ends in .jpg, .png or .webp."
        )
    return CHOICES[named]


def protect_piped(data: bytes, protection: Protection, options: Options) -> Protected:
    """Return a protected copy of a photo file's bytes; nothing is recorded.

    Raises the errors of ``one.protect_bytes``, and ``PhotoError`` if there is no face and ``options`` require one.
    """
    made = protect_bytes(data, protection, options.writing)
    if options.require_face and NO_FACE in made.doubts:
        raise PhotoError(FACE_REQUIRED, "no-face")
    return made


def _format(path: Path) -> str | None:
    return next((name for name, suffixes in SUFFIXES.items() if path.suffix.lower() in suffixes), None)
