"""Finds the bank, pattern and key with which ``protect`` protects the photos of a class."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unlearn_cli.cli.choices import Faces
from unlearn_cli.cli.console import plain

if TYPE_CHECKING:
    from unlearn_cli.banks.bank import Bank
    from unlearn_cli.banks.keys import Key
    from unlearn_cli.banks.provenance import Form
    from unlearn_cli.noise.surrogate import PhotoNoise
    from unlearn_cli.photos.protection import Protection
    from unlearn_cli.photos.scan import Plan


@dataclass
class Keyring:
    """The user's key, which is looked for, and made if needed, when a class first needs one."""

    path: Path | None
    make: bool
    """Whether a missing key is made and kept in a file; otherwise a key of zeros stands in for it during this run."""
    made: bool = False
    _key: Key | None = None

    def key(self) -> Key:
        """Return the key. Raises ``UsageError`` for a file without a key, ``WorkError`` if a new one cannot be kept."""
        from unlearn_cli.banks import keys

        if self._key is None:
            self._key = keys.known_key(self.path)
            self.made = self._key is None and self.make
        if self._key is None:
            self._key = keys.make_key() if self.make else keys.Key(bytes(keys.BYTES))
        return self._key

    def told(self) -> str:
        """Return the message that says where a new key is kept."""
        from unlearn_cli.banks.keys import key_path

        return (
            f"Made your key, {plain(str(key_path()))}. It decides your pattern: keep it, copy it to your other "
            "machines, and show it to nobody."
        )


@dataclass(frozen=True)
class Choosing:
    """The options that decide, together with the class, how photos are protected."""

    bank: str | None
    strength: str | None
    epsilon: int | None
    form: Form
    faces: Faces
    keys: Keyring
    strength_typed: bool = True
    """Whether the strength is on the command line; one from the configuration is ignored where it does not fit."""
    makers: dict[Path, PhotoNoise] = field(default_factory=dict)
    """The makers of sample-wise noise, one for each bank, since each holds a network and serves several classes."""

    def choose(self, class_name: str) -> Protection:
        """Return the protection for photos of a class.

        Raises ``UsageError`` and ``BankError`` as the catalog does, and ``UsageError`` for sample-wise noise of a bank
        whose noise goes on faces.
        """
        from unlearn_cli.banks.catalog import choose
        from unlearn_cli.errors import UsageError
        from unlearn_cli.photos.protection import PerPhoto, Protection

        try:
            choice = choose(class_name, self.bank, self.strength)
        except UsageError:
            if self.strength_typed or self.strength is None:
                raise
            choice = choose(class_name, self.bank, None)
        if self.form != "class-wise" and choice.bank.provenance.frame == "face":
            raise UsageError(f"The bank '{choice.bank.name}' goes with faces: leave out --form sample-wise.")
        key = self.keys.key() if choice.keyed else None
        protection = replace(Protection.of(choice, class_name, self.epsilon, key), faces=self.faces.value)
        if self.form == "class-wise":
            return protection
        maker = self._maker(choice.bank, protection.pattern.epsilon)
        make = partial(maker.of, label=choice.index)
        return replace(protection, per_photo=PerPhoto(make, maker.size, f"{maker.fingerprint} {choice.index}"))

    def by_folder(self, todo: Plan, map_file: Path | None) -> dict[str, Protection]:
        """Return a protection for each subfolder, by its name.

        Raises ``UsageError`` for a map that cannot be read, a photo that lies in no subfolder, and subfolders whose
        names are no classes; the message names up to six of these.
        """
        import tomllib

        from unlearn_cli.errors import UsageError

        names: dict[str, Any] = {}
        if map_file is not None:
            try:
                names = tomllib.loads(map_file.read_text(encoding="utf-8"))
            except (OSError, ValueError) as error:
                raise UsageError(f"The map {map_file} cannot be read: {error}.") from error
        for task in todo.tasks:
            if not task.folder:
                raise UsageError(f"{task.source} lies in no subfolder that would tell its class.")
        found, wrong = {}, []
        for folder in sorted({task.folder for task in todo.tasks}):
            try:
                found[folder] = self.choose(str(names.get(folder, folder)))
            except UsageError as error:
                wrong.append((folder, str(error)))
        if wrong:
            folder, why = wrong[0]
            names_of = ", ".join(name for name, _ in wrong[1:6])
            others = f" ({len(wrong) - 1} more folders: {names_of})" if wrong[1:] else ""
            raise UsageError(f"The folder '{folder}' tells no class: {why}{others} Name them: --set map=FILE.toml.")
        return found

    def _maker(self, bank: Bank, epsilon: int) -> PhotoNoise:
        from unlearn_cli.noise.surrogate import PhotoNoise
        from unlearn_cli.training.devices import pick_device

        if bank.path not in self.makers:
            self.makers[bank.path] = PhotoNoise(bank, epsilon, pick_device())
        return self.makers[bank.path]
