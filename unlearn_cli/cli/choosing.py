"""How ``protect`` comes from a class's name to what its photos are protected with."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from unlearn_cli.cli.choices import Faces, Form
from unlearn_cli.cli.console import plain

if TYPE_CHECKING:
    from unlearn_cli.banks.bank import Bank
    from unlearn_cli.banks.keys import Key
    from unlearn_cli.noise.surrogate import PhotoNoise
    from unlearn_cli.photos.protection import Protection


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
    makers: dict[Path, PhotoNoise] = field(default_factory=dict)
    """Of sample-wise noise: one for each bank, since it holds a network and works on several classes together."""

    def choose(self, class_name: str) -> Protection:
        """Raise ``UsageError`` and ``BankError`` for what is not there, as the catalog does."""
        from unlearn_cli.banks.catalog import choose
        from unlearn_cli.errors import UsageError
        from unlearn_cli.photos.protection import PerPhoto, Protection

        choice = choose(class_name, self.bank, self.strength)
        if self.form is not Form.class_wise and choice.bank.provenance.frame == "face":
            raise UsageError(f"The bank '{choice.bank.name}' goes with faces: leave out --form sample-wise.")
        key = self.keys.key() if choice.keyed else None
        protection = replace(Protection.of(choice, class_name, self.epsilon, key), faces=self.faces.value)
        if self.form is Form.class_wise:
            return protection
        maker = self._maker(choice.bank, protection.pattern.epsilon)
        make = partial(maker.of, label=choice.index)
        return replace(protection, per_photo=PerPhoto(make, maker.size, f"{maker.fingerprint} {choice.index}"))

    def _maker(self, bank: Bank, epsilon: int) -> PhotoNoise:
        from unlearn_cli.noise.surrogate import PhotoNoise
        from unlearn_cli.victims.devices import pick_device

        if bank.path not in self.makers:
            self.makers[bank.path] = PhotoNoise(bank, epsilon, pick_device())
        return self.makers[bank.path]
