"""A person's secret key, and the pattern that is made from a bank with it.

For things, such as cats, all photos of a class can have the same pattern. But a network that learns to recognise people
must take one person's pattern for that person, so every person needs a pattern of their own, and always the same one.
Of a key, only a fingerprint is ever recorded.

A key's pattern is not a mixture of the bank's patterns: mixtures lie in the span of a few public vectors, which anyone
can project out of a photo. Instead the key chooses one pattern, mirrors it or not, and warps it by a smooth random
field of its own. The result stays close to what was optimised, but two keys that choose the same pattern get different
results. Mosaics of several patterns have less in common with each other, but protect less (docs/results/person.md).
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shlex
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
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
            raise UsageError(f"{where} does not contain a valid key. A key consists of {2 * BYTES} hexadecimal digits.")
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
        return read_key(path)
    if text := os.environ.get(ENVIRONMENT):
        return _of_environment(text)
    own = key_path()
    return read_key(own) if own.exists() else None


def make_key(path: Path | None = None) -> Key:
    """Make and return a key in a file, or the user's own; if two runs make one at once, both return the first one's.

    Raises ``WorkError`` if it cannot be stored.
    """
    return save_key(Key(secrets.token_bytes(BYTES)), path or key_path())


def save_key(key: Key, path: Path) -> Key:
    """Write a key into a file that only its owner can read, and return the key that is there then.

    A file that is already there is never replaced. Raises ``WorkError`` if the key cannot be written.
    """
    try:
        write_atomically(path, key.secret.hex().encode() + b"\n", kind="private")
    except FileExistsError:
        return read_key(path)
    except OSError as error:
        raise WorkError(
            f"The key cannot be saved in {path} ({error.strerror or error}). "
            "Make that folder writable, or keep the key in another file and name it with --key-file."
        ) from error
    return key


@dataclass
class Keyring:
    """The user's key, which is looked for when a class first needs one, and never made without being asked to."""

    path: Path | None = None
    """The file of the key, if the user named one."""
    missing: bool = False
    """Whether a key was needed and there is none; a key of zeros stands in for it, so that a run can be planned."""
    _key: Key | None = None

    def key(self) -> Key:
        """Return the key, or zeros in place of one that was never made. Raises ``UsageError`` for a wrong key file."""
        if self._key is None:
            self._key = known_key(self.path)
            self.missing = self._key is None
        return self._key or Key(bytes(BYTES))

    def make(self) -> None:
        """Make the user's own key, which ``key`` returns from now on. Raises ``WorkError`` if it cannot be kept."""
        self._key, self.missing = make_key(), False


def read_key(path: Path) -> Key:
    """Return the key in a file. Raises ``UsageError`` if it is not there, cannot be read or contains no key."""
    try:
        return Key.parse(path.read_text(encoding="ascii", errors="replace"), str(path))
    except FileNotFoundError as error:
        raise UsageError(
            f"There is no key file {path}. To make a key for another person, "
            f"run: unlearn key new {shlex.quote(str(path))}"
        ) from error
    except OSError as error:
        raise UsageError(
            f"The key {path} cannot be read ({error.strerror or error}). Check the path and its permissions."
        ) from error


def _of_environment(text: str) -> Key:
    """Return the key in the environment's variable. Raises ``UsageError`` that says so if it contains a path."""
    try:
        return Key.parse(text, ENVIRONMENT)
    except UsageError:
        if not (any(mark in text for mark in ("/", "\\", "~", ".")) or os.path.lexists(text)):
            raise
    raise UsageError(
        f"{ENVIRONMENT} contains a path, but must contain the key itself: {2 * BYTES} hexadecimal digits. "
        f"Unset {ENVIRONMENT}, and name the file with --key-file."
    )


GRID = 5
"""The number of values per side of the random fields; a smooth curve connects them."""
WARP = 0.08
"""The standard deviation of the displacement in each direction, as a share of the pattern's side."""
LABEL = "identity"

Floats = NDArray[np.float64]


def identity_pattern(noise: NDArray[np.int8], key: Key) -> NDArray[np.int8]:
    """Return a pattern ``[3, H, W]`` in pixel levels, within the bound of the bank's ``[K, 3, H, W]``.

    The same key and bank give the same pattern. Every key's pattern is scaled to the average strength of the bank's.
    """
    count, _, height, width = noise.shape
    draws = np.frombuffer(key.stream(LABEL, 4 * (2 + 2 * GRID**2)), "<u4")
    bits = np.ascontiguousarray(draws[2:]).view(np.uint8).reshape(2, GRID, GRID, 4)
    # The sum of four random bytes is about normally distributed.
    values: Floats = (bits.astype(np.float64).sum(axis=3) - 510) / 148
    down, across = WARP * (_curve(height) @ values @ _curve(width).T)  # [H, W] each
    rows = np.rint(np.arange(height)[:, None] + height * down).clip(0, height - 1).astype(int)
    columns = np.rint(np.arange(width) + width * across).clip(0, width - 1).astype(int)
    if draws[1] % 2:
        columns = width - 1 - columns
    levels: Floats = noise[draws[0] % count][:, rows, columns].astype(np.float64)
    bound = int(np.abs(noise).max())
    levels *= np.sqrt(np.square(noise, dtype=np.float64).mean() / max(np.square(levels).mean(), 1e-9))
    own: NDArray[np.int8] = np.rint(levels.clip(-bound, bound)).astype(np.int8)
    return own


def _curve(size: int) -> Floats:
    """Return the matrix ``[size, GRID]`` that interpolates smoothly between equally spaced values."""
    at = np.linspace(0, GRID - 1, size)
    left = np.minimum(at.astype(int), GRID - 2)
    share = at - left
    share = share**2 * (3 - 2 * share)
    matrix = np.zeros((size, GRID))
    matrix[np.arange(size), left] = 1 - share
    matrix[np.arange(size), left + 1] = share
    return matrix
