"""How ``protect`` comes from a class's name to what its photos are protected with."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unlearn_cli.cli.choices import Faces, Form
from unlearn_cli.cli.console import plain

if TYPE_CHECKING:
    from unlearn_cli.banks.bank import Bank
    from unlearn_cli.banks.keys import Key
    from unlearn_cli.noise.surrogate import PhotoNoise
    from unlearn_cli.photos.protection import Protection
    from unlearn_cli.photos.scan import Plan


@dataclass
class Keyring:
    """The user's key, looked for (and made) when a class first takes one."""

    path: Path | None
    make: bool
    """Whether a key that is not there yet is made and kept; else it serves this run alone."""
    made: bool = False
    _key: Key | None = None

    def key(self) -> Key:
        """Raise ``UsageError`` for a file without a key, ``WorkError`` if a new one cannot be kept."""
        from unlearn_cli.banks import keys

        if self._key is None:
            self._key = keys.known_key(self.path)
            self.made = self._key is None and self.make
        if self._key is None:
            self._key = keys.make_key() if self.make else keys.Key(bytes(keys.BYTES))
        return self._key

    def told(self) -> str:
        """Where a new key lies."""
        from unlearn_cli.banks.keys import key_path

        return (
            f"Made your key, {plain(str(key_path()))}. It decides your pattern: keep it, copy it to your other "
            "machines, and show it to nobody."
        )


@dataclass(frozen=True)
class Choosing:
    """The options that decide it besides the class."""

    bank: str | None
    strength: str | None
    epsilon: int | None
    form: Form
    faces: Faces
    keys: Keyring
    strength_typed: bool = True
    """Whether the strength was asked for by hand; one from the configuration is for banks that have several."""
    makers: dict[Path, PhotoNoise] = field(default_factory=dict)
    """Of sample-wise noise: one for each bank, since it holds a network and works on several classes together."""

    def choose(self, class_name: str) -> Protection:
        """Raise ``UsageError`` and ``BankError`` for what is not there, as the catalog does."""
        from unlearn_cli.banks.catalog import choose
        from unlearn_cli.errors import UsageError
        from unlearn_cli.photos.protection import PerPhoto, Protection

        try:
            choice = choose(class_name, self.bank, self.strength)
        except UsageError:
            if self.strength_typed or self.strength is None:
                raise
            choice = choose(class_name, self.bank, None)
        if self.form is not Form.class_wise and choice.bank.provenance.frame == "face":
            raise UsageError(f"The bank '{choice.bank.name}' goes with faces: leave out --form sample-wise.")
        key = self.keys.key() if choice.keyed else None
        protection = replace(Protection.of(choice, class_name, self.epsilon, key), faces=self.faces.value)
        if self.form is Form.class_wise:
            return protection
        maker = self._maker(choice.bank, protection.pattern.epsilon)
        make = partial(maker.of, label=choice.index)
        return replace(protection, per_photo=PerPhoto(make, maker.size, f"{maker.fingerprint} {choice.index}"))

    def by_folder(self, todo: Plan, map_file: Path | None) -> dict[str, Protection]:
        """A protection for each subfolder's name; all that is wrong with them is told at once."""
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
        from unlearn_cli.victims.devices import pick_device

        if bank.path not in self.makers:
            self.makers[bank.path] = PhotoNoise(bank, epsilon, pick_device())
        return self.makers[bank.path]
