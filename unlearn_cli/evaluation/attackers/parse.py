"""The attackers of ``evaluate people``, by the names that ``--attacker`` takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from unlearn_cli.errors import UsageError
from unlearn_cli.evaluation.attackers.recognisers import open_recogniser

SCRATCH = {
    "scratch": "none",
    "scratch-grey": "gray",
    "scratch-jitter": "color-jitter",
    "scratch-pipeline": "pipeline",
}
"""The attackers that train a victim from scratch, and the defence in their training."""
FROZEN = "frozen:"
NAMES = f"{', '.join(SCRATCH)}, frozen:dlib, frozen:FILE.onnx, all"


@dataclass(frozen=True)
class Attackers:
    """The attackers of an evaluation."""

    defences: tuple[str, ...]
    """The defences of those that train, as ``defences.table`` names them."""
    recognisers: tuple[str, ...]
    """The recognisers of those that do not train."""


def parse_attackers(names: Sequence[str], defences: Sequence[str] = ()) -> Attackers:
    """Return the attackers of these names; ``all`` means every attacker that is possible here without a further file.

    Each of the ``defences`` makes one more attacker that trains; without any name, they are all.

    Raises ``UsageError`` for an unknown name, and for a recogniser that cannot be used.
    """
    every = [*SCRATCH, *([f"{FROZEN}dlib"] if _has_dlib() else [])]
    wanted = list(dict.fromkeys(part for name in names for part in (every if name == "all" else [name])))
    for name in wanted:
        if name not in SCRATCH and not name.startswith(FROZEN):
            raise UsageError(f"There is no attacker '{name}'. Use one of {NAMES}.")
    recognisers = tuple(name.removeprefix(FROZEN) for name in wanted if name.startswith(FROZEN))
    found = [open_recogniser(recogniser).name for recogniser in recognisers]
    if len(set(found)) < len(found):
        raise UsageError("Two recognisers have the same file name. Rename one of the files.")
    besides = [defence for defence in defences if not names or defence != "none"]
    trained = dict.fromkeys([*(SCRATCH[name] for name in wanted if name in SCRATCH), *besides])
    return Attackers(tuple(trained), recognisers)


def _has_dlib() -> bool:
    try:
        open_recogniser("dlib")
    except UsageError:
        return False
    return True
