"""Protecting what a stranger has sent to a server: one file's bytes, within limits."""

from __future__ import annotations

import time
from dataclasses import dataclass

from unlearn_cli.errors import PhotoError
from unlearn_cli.photos.decode import decode
from unlearn_cli.photos.encode import WRITING, Writing
from unlearn_cli.photos.one import Protected, protect_photo
from unlearn_cli.photos.outcome import FACE_REQUIRED, NO_FACE
from unlearn_cli.photos.protection import Protection


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The limits for one file. None of them is kept outside of the call that it is given to."""

    megapixels: float = 50
    """The largest picture that is decoded. Pillow's own limit (``PIL.Image.MAX_IMAGE_PIXELS``) applies too."""
    size: int = 30_000_000
    """The size of the largest file, in bytes."""
    seconds: float = 30
    """The time after which no further step begins: decoding, finding faces, adding noise, writing. A step that has
    begun ends, so that it is ``megapixels`` that limits how much longer the call may take."""


LIMITS = Limits()
"""The default: what phones take, and time for a slow machine."""


def protect_upload(
    data: bytes,
    protection: Protection,
    limits: Limits = LIMITS,
    writing: Writing = WRITING,
    *,
    require_face: bool = False,
) -> Protected:
    """Return a protected copy of a file's bytes as ``one.protect_bytes`` does; any number of threads may call this.

    With ``require_face``, a photo in which the noise finds no face is refused. Raises ``PhotoSkippedError`` and
    ``PhotoError`` for everything that is not protected, whatever the bytes are; their codes are ``too-large`` and
    ``too-slow`` for what exceeds a limit.
    """
    began = time.monotonic()

    def in_time() -> None:
        if time.monotonic() - began > limits.seconds:
            raise PhotoError(f"it took longer than {limits.seconds:g} seconds, the limit here", "too-slow")

    if len(data) > limits.size:
        raise PhotoError(f"it is larger than {limits.size / 1_000_000:g} MB, the limit here", "too-large")
    try:
        photo = decode(data, writing.metadata, largest=int(limits.megapixels * 1_000_000))
        in_time()
        noise = protection.noise_for(photo)
        in_time()
        made = protect_photo(photo, noise, writing, measure=False, before_encoding=in_time)
    except MemoryError as error:
        raise PhotoError("there is not enough memory to protect it", "out-of-memory") from error
    if require_face and NO_FACE in made.doubts:
        raise PhotoError(FACE_REQUIRED, "no-face")
    return made
