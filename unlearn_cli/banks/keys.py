"""A person's secret key, which decides their pattern; no record of it is stored except a fingerprint.

All photos of a category may carry the same pattern. But a person has to be told apart from others by theirs, so
everybody needs their own, and always the same one.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from dataclasses import dataclass, field
from pathlib import Path

from platformdirs import user_data_path

from unlearn_cli.errors import UsageError, WorkError
from unlearn_cli.files import write_atomically

ENVIRONMENT = "UNLEARN_KEY"
BYTES = 32
FINGERPRINT_LETTERS = 16


@dataclass(frozen=True)
class Key:
    """A key of 32 secret bytes."""

    secret: bytes = field(repr=False)

    @classmethod
    def parse(cls, text: str, where: str) -> Key:
        """Return the key in 64 hexadecimal digits.

        Raises ``UsageError`` for any other text, which the message does not repeat.
        """
        try:
            secret = bytes.fromhex(text.strip())
        except ValueError:
            secret = b""
        if len(secret) != BYTES:
            raise UsageError(f"{where} holds no key: a key is {2 * BYTES} hexadecimal digits, as unlearn writes them.")
        return cls(secret)

    @property
    def fingerprint(self) -> str:
        """Return a text that tells keys apart without revealing them."""
        return hashlib.sha256(b"unlearn fingerprint\0" + self.secret).hexdigest()[:FINGERPRINT_LETTERS]

    def stream(self, label: str, count: int) -> bytes:
        """Return bytes that only the key's owner can compute, the same for the same label."""
        return hashlib.shake_256(label.encode() + b"\0" + self.secret).digest(count)


def key_path() -> Path:
    """Return the path of the user's own key."""
    return user_data_path("unlearn") / "key"


def known_key(path: Path | None = None) -> Key | None:
    """Return the key in a file, or in ``UNLEARN_KEY``, or the user's own; None if that was never made.

    Raises ``UsageError`` for a file that does not exist or holds no key, and if ``UNLEARN_KEY`` holds none.
    """
    if path is not None:
        return _read(path)
    if text := os.environ.get(ENVIRONMENT):
        return Key.parse(text, ENVIRONMENT)
    own = key_path()
    return _read(own) if own.exists() else None


def make_key() -> Key:
    """Make and return the user's own key; if two runs make one at once, both return the first one's.

    Raises ``WorkError`` if it cannot be stored.
    """
    path, key = key_path(), Key(secrets.token_bytes(BYTES))
    try:
        write_atomically(path, key.secret.hex().encode() + b"\n", kind="private")
    except FileExistsError:
        return _read(path)
    except OSError as error:
        raise WorkError(
            f"Your key cannot be kept in {path} ({error.strerror or error}). Name a file with one by --key-file."
        ) from error
    return key


def _read(path: Path) -> Key:
    try:
        return Key.parse(path.read_text(encoding="ascii", errors="replace"), str(path))
    except OSError as error:
        raise UsageError(f"The key {path} cannot be read ({error.strerror or error}).") from error
