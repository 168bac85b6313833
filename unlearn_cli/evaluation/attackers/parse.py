"""The attackers of ``evaluate people``, by the names that ``--attacker`` takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from unlearn_cli.errors import UsageError
from unlearn_cli.evaluation.attackers.pretrained import NOT_HERE, Part, find_weights, load_pretrained
from unlearn_cli.evaluation.attackers.recognisers import OWN, open_recogniser
from unlearn_cli.evaluation.attackers.reweight import REWEIGHT

SCRATCH = {
    "scratch": "none",
    "scratch-grey": "gray",
    "scratch-jitter": "color-jitter",
    "scratch-pipeline": "pipeline",
    REWEIGHT: REWEIGHT,
}
"""The attackers that train a victim from scratch, and the defence in their training."""
PARTS: tuple[Part, ...] = get_args(Part)
FROZEN, FINE_TUNE = "frozen:", "fine-tune:"
USUAL = "mobilenet_v2"
"""The network that ``all`` fine-tunes, where torchvision's weights are here: small enough for a CPU."""
NAMES = (
    f"{', '.join(SCRATCH)}, frozen:dlib, frozen:student, frozen:FILE.onnx, fine-tune:NETWORK, fine-tune:NETWORK=FILE "
    "(with :last or :whole behind it for only one of the two), all"
)


@dataclass(frozen=True)
class Attackers:
    """The attackers of an evaluation."""

    defences: tuple[str, ...] = ()
    """The defences of those that train from scratch, as ``defences.table`` names them, and ``reweight``."""
    recognisers: tuple[str, ...] = ()
    """The recognisers of those that do not train."""
    pretrained: tuple[tuple[str, Part], ...] = ()
    """The pretrained networks of those that fine-tune, as ``NETWORK=FILE``, and which part of each they train."""


def parse_attackers(names: Sequence[str], defences: Sequence[str] = ()) -> Attackers:
    """Return the attackers of these names; ``all`` means every attacker that is possible here without a further file.

    Each of the ``defences`` makes one more attacker that trains; without any name, they are all.

    Raises ``UsageError`` for an unknown name, and for a network that cannot be used.
    """
    wanted = list(dict.fromkeys(part for name in names for part in (_every() if name == "all" else [name])))
    for name in wanted:
        if name not in SCRATCH and not name.startswith((FROZEN, FINE_TUNE)):
            raise UsageError(f"There is no attacker '{name}'. Use one of {NAMES}.")
    recognisers = tuple(name.removeprefix(FROZEN) for name in wanted if name.startswith(FROZEN))
    found = [open_recogniser(recogniser).name for recogniser in recognisers]
    if len(set(found)) < len(found):
        raise UsageError("Two recognisers have the same file name. Rename one of the files.")
    pretrained = [one for name in wanted if name.startswith(FINE_TUNE) for one in _pretrained(name)]
    if len({(name.partition("=")[0], part) for name, part in pretrained}) < len(pretrained):
        raise UsageError("A network is to be fine-tuned twice. Name each network with only one file of weights.")
    besides = [defence for defence in defences if not names or defence != "none"]
    trained = dict.fromkeys([*(SCRATCH[name] for name in wanted if name in SCRATCH), *besides])
    return Attackers(tuple(trained), recognisers, tuple(pretrained))


def _every() -> list[str]:
    """Return the names of the attackers that are possible here."""
    dlib = [f"{FROZEN}dlib"] if _has_dlib() else []
    return [*SCRATCH, *dlib, f"{FROZEN}{OWN}", *([f"{FINE_TUNE}{USUAL}"] if find_weights(USUAL) is not None else [])]


def _pretrained(name: str) -> list[tuple[str, Part]]:
    """Return what ``fine-tune:NETWORK[=FILE][:last|:whole]`` fine-tunes. Raises ``UsageError`` without its weights."""
    text, parts = name.removeprefix(FINE_TUNE), PARTS
    for part in PARTS:
        if text.endswith(f":{part}"):
            text, parts = text.removesuffix(f":{part}"), (part,)
    network, _, file = text.partition("=")
    path = Path(file) if file else find_weights(network)
    if path is None:
        raise UsageError(NOT_HERE.format(network=network))
    load_pretrained(f"{network}={path}")
    return [(f"{network}={path}", part) for part in parts]


def _has_dlib() -> bool:
    try:
        open_recogniser("dlib")
    except UsageError:
        return False
    return True
