"""Finding the protection for a class of photos from the words that a user gave."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from unlearn_cli.banks.bank import Bank
from unlearn_cli.banks.catalog import Choice, choose
from unlearn_cli.banks.keys import Keyring
from unlearn_cli.banks.provenance import Anchor, Strength
from unlearn_cli.errors import UsageError, where_damaged
from unlearn_cli.photos.apply import Pattern
from unlearn_cli.photos.names import Task
from unlearn_cli.photos.protection import Faces, PerPhoto, Protection

MOST_NAMED = 6
"""How many subfolders an error message lists whose names are not classes."""


class NoiseMaker(Protocol):
    """A maker of noise for single photos. It needs a network, so it is implemented in another package."""

    @property
    def size(self) -> int:
        """Return the side in pixels to which photos must be reduced for it."""

    @property
    def fingerprint(self) -> str:
        """Return a digest of everything that decides the noise besides the photo and its label."""

    def of(self, pixels: NDArray[np.uint8], label: int) -> NDArray[np.int8]:
        """Return the noise ``[3, S, S]`` for a photo's reduced pixels ``[S, S, 3]``; several threads may call it."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """The user's choices for a protection, besides the class."""

    bank: str | None = None
    """A shipped bank's name or the path of a bank; None for the bank that has the class."""
    strength: Strength | None = None
    strength_is_default: bool = False
    """Whether the strength is only a default, which is ignored where there are no banks of several strengths."""
    epsilon: int | None = None
    """A bound to scale the noise down to, in pixel levels; None for the bank's."""
    faces: Faces = "largest"
    keys: Keyring = field(default_factory=Keyring)
    maker: Callable[[Bank, Pattern], NoiseMaker] | None = None
    """Returns the maker of sample-wise noise for a bank and the pattern that class-wise noise would be; None for
    class-wise noise."""


def protection_for(class_name: str, wanted: Wanted) -> Protection:
    """Return the protection for photos of a class.

    Raises ``UsageError`` and ``BankError`` as ``catalog.choose`` does, ``UsageError`` for an epsilon that is not from 1
    to the bank's, and what the maker of sample-wise noise raises.
    """
    choice = _choice(class_name, wanted)
    key = wanted.keys.key() if choice.keyed else None
    protection = replace(Protection.of(choice, class_name, wanted.epsilon, key), faces=wanted.faces)
    if wanted.maker is None:
        return protection
    return made_for_each(protection, wanted.maker(choice.bank, protection.pattern), choice.index)


def made_for_each(protection: Protection, maker: NoiseMaker, label: int) -> Protection:
    """Return the protection with noise that the maker makes for each photo, or for each face, in place of a pattern."""
    made = PerPhoto(partial(maker.of, label=label), maker.size, f"{maker.fingerprint} {label}")
    # Noise that is made for a face is made for the face as it is turned.
    anchor: Anchor = "landmarks" if protection.span is not None else protection.anchor
    return replace(protection, per_photo=made, anchor=anchor)


def protections_of(
    class_name: str | None, tasks: Iterable[Task], wanted: Wanted, map_file: Path | None = None
) -> dict[str, Protection]:
    """Return the one protection for a class, as ``{"": protection}``; without a class, one for each subfolder.

    Raises the same errors as ``protection_for`` and ``protections_by_folder``.
    """
    if class_name is None:
        return protections_by_folder(tasks, wanted, map_file)
    return {"": protection_for(class_name, wanted)}


def protections_by_folder(tasks: Iterable[Task], wanted: Wanted, map_file: Path | None = None) -> dict[str, Protection]:
    """Return a protection for each subfolder, by its name, which is a class or which a TOML file maps to a class.

    Raises ``UsageError`` for a map that cannot be read, a photo that is not in a subfolder, and subfolders whose names
    are not classes; the message names up to six of these.
    """
    names = read_map(map_file) if map_file is not None else {}
    folders = set()
    for task in tasks:
        if not task.folder:
            raise UsageError(
                f"{task.source} is not in a subfolder, so its class is not known. "
                "Move it into a subfolder that is named after its class."
            )
        folders.add(task.folder)
    found, wrong = {}, []
    for folder in sorted(folders):
        try:
            found[folder] = protection_for(str(names.get(folder, folder)), wanted)
        except UsageError as error:
            wrong.append((folder, str(error)))
    if wrong:
        folder, why = wrong[0]
        listed = ", ".join(name for name, _ in wrong[1:MOST_NAMED])
        others = f" ({len(wrong) - 1} more folders: {listed})" if wrong[1:] else ""
        raise UsageError(
            f"The folder name '{folder}' is not a class: {why}{others} "
            "Rename the folders, or give their classes with --set map=FILE.toml."
        )
    return found


def _choice(class_name: str, wanted: Wanted) -> Choice:
    try:
        return choose(class_name, wanted.bank, wanted.strength)
    except UsageError:
        if not wanted.strength_is_default or wanted.strength is None:
            raise
        return choose(class_name, wanted.bank)


def read_map(path: Path, example: str = 'folder = "class"') -> dict[str, object]:
    """Return the names in a TOML file. Raises ``UsageError``, which gives the example, if it cannot be read."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"The map {path} cannot be read ({error.strerror or error}). Check its path.") from error
    except ValueError as error:
        raise UsageError(
            f"The map {path} cannot be read: {where_damaged(error)} is not valid TOML. Write lines such as {example}."
        ) from error
