"""How ``protect`` comes from a class's name to what its photos are protected with."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from unlearn_cli.cli.choices import Form

if TYPE_CHECKING:
    from unlearn_cli.banks.bank import Bank
    from unlearn_cli.noise.surrogate import PhotoNoise
    from unlearn_cli.photos.protection import Protection


@dataclass(frozen=True)
class Choosing:
    """The options that decide it besides the class."""

    bank: str | None
    epsilon: int | None
    form: Form
    makers: dict[Path, PhotoNoise] = field(default_factory=dict)
    """Of sample-wise noise: one for each bank, since it holds a network and works on several classes together."""

    def choose(self, class_name: str) -> Protection:
        """Raise ``UsageError`` and ``BankError`` for what is not there, as the catalog does."""
        from unlearn_cli.banks.catalog import choose
        from unlearn_cli.photos.protection import PerPhoto, Protection

        choice = choose(class_name, self.bank)
        protection = Protection.of(choice, class_name, self.epsilon)
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
