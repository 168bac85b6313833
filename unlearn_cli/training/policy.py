"""Policies of Fast AutoAugment (Lim et al., 2019), which an evaluation reads from a file of their authors.

A policy was found by a search and is a long list of numbers, which this project does not copy. Its authors publish it
in ``archive.py`` of their repository, as the return value of ``fa_reduced_cifar10``; a JSON file with the same list is
read too. The operations are those of Pillow that the authors name, each with the range of its strength.
"""

from __future__ import annotations

import ast
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from unlearn_cli.errors import UsageError

FUNCTION = "fa_reduced_cifar10"
"""The function of the authors' file that returns the policy for CIFAR-10."""
RANGES: dict[str, tuple[float, float]] = {
    "ShearX": (-0.3, 0.3),
    "ShearY": (-0.3, 0.3),
    "TranslateX": (-0.45, 0.45),
    "TranslateY": (-0.45, 0.45),
    "Rotate": (-30, 30),
    "AutoContrast": (0, 1),
    "Invert": (0, 1),
    "Equalize": (0, 1),
    "Solarize": (0, 256),
    "Posterize": (4, 8),
    "Contrast": (0.1, 1.9),
    "Color": (0.1, 1.9),
    "Brightness": (0.1, 1.9),
    "Sharpness": (0.1, 1.9),
    "Cutout": (0, 0.2),
}
"""The operations, and the strengths at the levels 0 and 1; shifts and holes are shares of the image's side."""
FILL = (125, 123, 114)
"""The colour of a hole."""

Step = tuple[str, float, float]
"""An operation, the probability that it is applied, and its level from 0 to 1."""
Policy = tuple[tuple[Step, ...], ...]
"""Of several sequences of steps, one is drawn for each image."""

NO_POLICY = (
    "{path} holds no policy of Fast AutoAugment. Name its authors' file archive.py, in which {function} returns one, "
    "or a JSON file with such a list: [[[NAME, PROBABILITY, LEVEL], ...], ...]."
)


def read_policy(path: Path) -> Policy:
    """Return the policy in a file. Raises ``UsageError`` if there is none."""
    try:
        text = path.read_text(encoding="utf-8")
        found = json.loads(text) if path.suffix == ".json" else _literal(text)
        policy = tuple(tuple((str(name), float(chance), float(level)) for name, chance, level in one) for one in found)
    except OSError as error:
        raise UsageError(f"The policy {path} cannot be read: {error.strerror}.") from error
    except (ValueError, TypeError, SyntaxError) as error:
        raise UsageError(NO_POLICY.format(path=path, function=FUNCTION)) from error
    steps = [step for one in policy for step in one]
    if not steps or any(name not in RANGES or not (min(of) >= 0 and max(of) <= 1) for name, *of in steps):
        raise UsageError(NO_POLICY.format(path=path, function=FUNCTION))
    return policy


def _literal(text: str) -> Any:
    """Return the list that the authors' function assigns first; nothing of the file is executed."""
    for part in ast.parse(text).body:
        if isinstance(part, ast.FunctionDef) and part.name == FUNCTION:
            for line in part.body:
                if isinstance(line, ast.Assign):
                    return ast.literal_eval(line.value)
    raise ValueError(FUNCTION)


def apply_policy(images: Tensor, policy: Policy, generator: torch.Generator) -> Tensor:
    """Return uint8 images ``[B, 3, H, W]``, each after one of the policy's sequences, drawn at random."""
    changed = images.clone()
    chosen = torch.randint(len(policy), (len(images),), generator=generator).tolist()
    for place, one in enumerate(chosen):
        for name, chance, level in policy[one]:
            applied, mirrored, *where = torch.rand(4, generator=generator).tolist()
            if applied <= chance:
                low, high = RANGES[name]
                value = level * (high - low) + low
                changed[place] = OPERATIONS[name](changed[place], -value if mirrored > 0.5 else value, value, where)
    return changed


def _moved(image: Tensor, a: float, b: float, c: float, d: float, e: float, f: float) -> Tensor:
    """Return an image ``[3, H, W]`` whose pixel (x, y) is that at (ax + by + c, dx + ey + f), or black outside."""
    height, width = image.shape[1:]
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    column, row = (a * x + b * y + c).floor().long(), (d * x + e * y + f).floor().long()
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    index = (row.clamp(0, height - 1) * width + column.clamp(0, width - 1)).to(image.device)
    return image.flatten(1)[:, index] * inside.to(image.device)


def _rotated(image: Tensor, degrees: float) -> Tensor:
    """Return an image that is turned by so many degrees, against the clock, around its middle."""
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    y, x = (side / 2 for side in image.shape[1:])
    return _moved(image, cos, -sin, x - cos * x + sin * y, sin, cos, y - sin * x - cos * y)


def _with_hole(image: Tensor, share: float, where: list[float]) -> Tensor:
    """Return an image with a square hole around a random pixel; its side is this share of the image's."""
    height, width = image.shape[1:]
    half, done = share * width / 2, image.clone()
    x, y = where[0] * width, where[1] * height
    left, top = int(max(0.0, x - half)), int(max(0.0, y - half))
    right, bottom = int(min(width, left + 2 * half)), int(min(height, top + 2 * half))
    done[:, top : bottom + 1, left : right + 1] = torch.tensor(FILL, dtype=image.dtype, device=image.device)[
        :, None, None
    ]
    return done


def _of_torchvision(name: str) -> Callable[..., Tensor]:
    """Return a function of torchvision's, which is imported when it is first called, because that takes seconds."""

    def call(image: Tensor, *strength: float) -> Tensor:
        from torchvision.transforms import functional

        changed: Tensor = getattr(functional, name)(image, *strength)
        return changed

    return call


Operation = Callable[[Tensor, float, float, list[float]], Tensor]
"""A function of an image, its strength with a random sign, the strength itself, and two random numbers."""

OPERATIONS: dict[str, Operation] = {
    "ShearX": lambda image, signed, *_: _moved(image, 1, signed, 0, 0, 1, 0),
    "ShearY": lambda image, signed, *_: _moved(image, 1, 0, 0, signed, 1, 0),
    "TranslateX": lambda image, signed, *_: _moved(image, 1, 0, signed * image.shape[2], 0, 1, 0),
    "TranslateY": lambda image, signed, *_: _moved(image, 1, 0, 0, 0, 1, signed * image.shape[1]),
    "Rotate": lambda image, signed, *_: _rotated(image, signed),
    "AutoContrast": lambda image, *_: _of_torchvision("autocontrast")(image),
    "Invert": lambda image, *_: 255 - image,
    "Equalize": lambda image, *_: _of_torchvision("equalize")(image),
    "Solarize": lambda image, _, value, __: torch.where(image < value, image, 255 - image),
    "Posterize": lambda image, _, value, __: _of_torchvision("posterize")(image, int(value)),
    "Contrast": lambda image, _, value, __: _of_torchvision("adjust_contrast")(image, value),
    "Color": lambda image, _, value, __: _of_torchvision("adjust_saturation")(image, value),
    "Brightness": lambda image, _, value, __: _of_torchvision("adjust_brightness")(image, value),
    "Sharpness": lambda image, _, value, __: _of_torchvision("adjust_sharpness")(image, value),
    "Cutout": lambda image, _, value, where: _with_hole(image, value, where),
}
