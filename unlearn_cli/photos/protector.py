"""Protecting photos from Python in one line, with the choices that ``unlearn protect`` makes by default."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import overload

from PIL import Image

from unlearn_cli.banks.keys import Keyring, key_path
from unlearn_cli.banks.provenance import Strength
from unlearn_cli.errors import UsageError
from unlearn_cli.photos.folder import protect_photos
from unlearn_cli.photos.made_with import refuse_other_key
from unlearn_cli.photos.one import protect_bytes, protect_image
from unlearn_cli.photos.outcome import PhotoDone
from unlearn_cli.photos.protection import Faces
from unlearn_cli.photos.scan import plan
from unlearn_cli.photos.wanted import Wanted, protection_for

NO_KEY = (
    "A person's pattern needs your secret key, and there is none: there is no file {path}. To make your first key, run "
    "'unlearn key new', or add new_key=True. If you have a key, name it with key_file."
)


class Protector:
    """Protects images, photo files and folders of one class, as ``unlearn protect`` does."""

    def __init__(
        self,
        class_name: str = "person",
        *,
        bank: str | None = None,
        strength: Strength | None = None,
        epsilon: int | None = None,
        key_file: Path | str | None = None,
        new_key: bool = False,
        faces: Faces = "largest",
    ) -> None:
        """Find the noise for a class; the choices are those of the options of ``unlearn protect``.

        With ``new_key``, a person's key is made if there is none. Raises ``UsageError`` for a class, strength or key
        that does not exist, and ``BankError`` for a bank that is missing or damaged.
        """
        keys = Keyring(Path(key_file) if key_file is not None else None)
        wanted = Wanted(bank=bank, strength=strength, epsilon=epsilon, faces=faces, keys=keys)
        self.protection = protection_for(class_name, wanted)
        if keys.missing:
            if not new_key:
                raise UsageError(NO_KEY.format(path=key_path()))
            keys.make()
            self.protection = protection_for(class_name, wanted)

    @overload
    def protect(self, photo: Image.Image) -> Image.Image: ...
    @overload
    def protect(self, photo: bytes) -> bytes: ...
    def protect(self, photo: Image.Image | bytes) -> Image.Image | bytes:
        """Return a protected copy: of an upright Pillow image in the same mode, or of a photo file's bytes.

        Raises ``PhotoSkippedError`` and ``PhotoError`` for bytes that are not protected; both say why.
        """
        if isinstance(photo, bytes):
            return protect_bytes(photo, self.protection).data
        return protect_image(photo, self.protection)

    def folder(self, path: Path | str) -> Generator[PhotoDone, None, None]:
        """Protect a folder into ``FOLDER-protected`` beside it, and yield each photo's result when it is complete.

        Raises ``UsageError`` if earlier copies were made with another key, and the errors of ``protect_photos``.
        """
        todo, protections = plan([Path(path)]), {"": self.protection}
        refuse_other_key(todo, protections)
        yield from protect_photos(todo, protections)
