"""The defences that a scraper may use against protection, by the names that ``--defence`` takes."""

from __future__ import annotations

import re
from collections.abc import Callable

from unlearn_cli.errors import UsageError
from unlearn_cli.evaluation.defences.defence import Defence
from unlearn_cli.evaluation.defences.filters import bit_depth, blur, gray, jpeg, orthogonal_projection
from unlearn_cli.evaluation.defences.hardening import adversarial, color_jitter, pipeline, ueraser_like

PLAIN: dict[str, Callable[[], Defence]] = {
    "none": lambda: Defence(name="none"),
    "gray": gray,
    "blur": blur,
    "color-jitter": color_jitter,
    "pipeline": pipeline,
    "orthogonal-projection": orthogonal_projection,
    "ueraser-like": ueraser_like,
}
NUMBERED: dict[str, tuple[Callable[[int], Defence], int, int, int]] = {
    "jpeg": (jpeg, 10, 1, 95),
    "bit-depth": (bit_depth, 2, 1, 7),
    "adversarial": (adversarial, 8, 1, 127),
}
"""For each defence with a number: the function that makes it, and the default, least and largest number."""

NAMES = (
    "none, jpeg:QUALITY, gray, blur, color-jitter, pipeline, bit-depth:BITS, adversarial:LEVELS, "
    "orthogonal-projection, ueraser-like, reweight"
)


def parse_defence(text: str) -> Defence:
    """Return the defence that a text such as ``jpeg:10`` or ``gray`` names.

    Raises ``UsageError`` for an unknown name or a number out of range.
    """
    if text in PLAIN:
        return PLAIN[text]()
    if match := re.fullmatch(r"([a-z-]+)(?::(\d+))?", text):
        make, usual, least, most = NUMBERED.get(match[1], (None, 0, 1, 0))
        number = int(match[2] or usual)
        if make is not None and least <= number <= most:
            return make(number)
        if make is not None:
            raise UsageError(f"--defence {match[1]} needs a number from {least} to {most}, such as {match[1]}:{usual}.")
    raise UsageError(f"There is no defence '{text}'. Use one of {NAMES}.")
