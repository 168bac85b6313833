"""Protecting photos from Python in one line, with the choices that ``unlearn protect`` makes by default."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Self, overload

from PIL import Image

from unlearn_cli.banks.catalog import choose
from unlearn_cli.banks.keys import Key, Keyring, key_path
from unlearn_cli.banks.provenance import Strength
from unlearn_cli.errors import UsageError
from unlearn_cli.photos.folder import protect_photos
from unlearn_cli.photos.made_with import refuse_other_key
from unlearn_cli.photos.one import Protected, protect_bytes, protect_image
from unlearn_cli.photos.outcome import PhotoDone
from unlearn_cli.photos.protection import Faces, Protection
from unlearn_cli.photos.scan import plan
from unlearn_cli.photos.upload import LIMITS, Limits, protect_upload
from unlearn_cli.photos.wanted import Wanted, protection_for

NO_KEY = (
    "A person's pattern needs your secret key, and there is none: there is no file {path}. To make your first key, run "
    "'unlearn key new', or add new_key=True. If you have a key, name it with key_file."
)


class Protector:
    """Protects images, photo files and folders of one class, as ``unlearn protect`` does.

    It does not change once it is made, so that threads can share it.
    """

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
        _load_detector(self.protection)

    @classmethod
    def of(
        cls,
        class_name: str,
        key: Key | None = None,
        *,
        bank: str | None = None,
        strength: Strength | None = None,
        epsilon: int | None = None,
        faces: Faces = "largest",
    ) -> Self:
        """Return the protector with a key that the program has, such as one of its users' keys, and not in a file.

        No file of a key is read, and no variable. Raises the errors of the class, and ``UsageError`` if the class needs
        a key and there is none.
        """
        choice = choose(class_name, bank, strength)
        made = cls.__new__(cls)
        made.protection = replace(Protection.of(choice, class_name, epsilon, key), faces=faces)
        _load_detector(made.protection)
        return made

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

    def protect_upload(self, data: bytes, limits: Limits = LIMITS, *, require_face: bool = False) -> Protected:
        """Return a protected copy of a file that a stranger sent, within limits; any number of threads may call this.

        Raises ``PhotoSkippedError`` and ``PhotoError`` as ``upload.protect_upload`` does, whatever the bytes are.
        """
        return protect_upload(data, self.protection, limits, require_face=require_face)

    def folder(self, path: Path | str) -> Generator[PhotoDone, None, None]:
        """Protect a folder into ``FOLDER-protected`` beside it, and yield each photo's result when it is complete.

        Raises ``UsageError`` if earlier copies were made with another key, and the errors of ``protect_photos``.
        """
        todo, protections = plan([Path(path)]), {"": self.protection}
        refuse_other_key(todo, protections)
        yield from protect_photos(todo, protections)


def _load_detector(protection: Protection) -> None:
    """Load OpenCV if the noise is applied to faces.

    Several threads must not do that at once, because it replaces itself in the table of modules while it is loaded.
    """
    if protection.span is not None:
        import_module("unlearn_cli.faces")
