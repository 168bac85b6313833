"""The transformations that noise is optimised through (expectation over transformation).

They are drawn at random for every image in every step, and gradients pass through them. Without them (as in the paper)
the noise protects less against a victim that augments its images, because such a victim learns much from the images
before it learns the noise: see docs/results/first-banks.md.

A transformation that moves pixels along rows and columns (flip, shift, crop, face, scale, resize, blur) is one matrix
for the rows and one for the columns of each image. The matrices of consecutive ones are multiplied first, so that
together they cost two batched products on the images, with an exact gradient. A transformation that mixes the channels
is a 3 x 3 matrix and an offset.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from itertools import groupby

import torch
from torch import Tensor

from unlearn_cli.banks.provenance import SPAN
from unlearn_cli.errors import UsageError
from unlearn_cli.noise.diffjpeg import constant, jpeg
from unlearn_cli.pixels import LUMA
from unlearn_cli.training.augmentations import flip_and_shift_by

PRESETS = {
    "none": "",
    "augment": "shift+flip",
    "person": "face+shift+flip",
    "photo": "jpeg:70-95+scale+shift+resize:50-100+flip+color+gray",
}
"""Named chains. ``augment`` is exactly the victim's standard augmentation. ``photo`` is a first guess at what happens
to a photo between its owner and a victim (platform, detector, resizing, augmentation)."""

CROSS = ((0, -1, 1), (1, 0, -1), (-1, 1, 0))
"""The matrix of the cross product with (1, 1, 1)."""
SHIFT = 1 / 8
CROP_LEAST = 0.6
SCALE_MOST = 1.25
FACE_SIDE = 1.2 / SPAN
FACE_ZOOM = (0.85, 1.2)
FACE_JITTER = 0.1
"""The crop of the trip ``face`` in ``training.trip``: its side is the detector's, times 1.2 and times the zoom."""
BLUR_MOST = 1 / 32
GRAY_PROBABILITY = 0.2
COLOR_STRENGTH = 0.4
HUE_MOST = 0.1

Matrices = tuple[Tensor, Tensor]
Mixing = tuple[Tensor, Tensor, Tensor]


@dataclass(frozen=True)
class Space:
    """A transformation that moves pixels; ``of`` makes its matrices ``[B, S, S]`` for rows and for columns."""

    name: str
    draws: int
    """How many random numbers it takes for each image."""
    of: Callable[[Tensor, int], Matrices]


@dataclass(frozen=True)
class Color:
    """A transformation that mixes channels; ``of`` makes its matrix ``[B, 3, 3]``, contrast and brightness ``[B]``."""

    name: str
    draws: int
    of: Callable[[Tensor], Mixing]


@dataclass(frozen=True)
class Whole:
    """Any other transformation; ``of`` applies it to images, given its draws."""

    name: str
    draws: int
    of: Callable[[Tensor, Tensor], Tensor]


Stage = Space | Color | Whole


class Through:
    """A chain of transformations.

    Drawing random numbers and applying them are two methods, so that workers that share a batch can share its draws.
    """

    def __init__(self, text: str) -> None:
        """Parse names joined by ``+`` or ``,``, or a key of ``PRESETS``.

        Raises ``UsageError`` for an empty text, an unknown name, and numbers out of range or where none belong.
        """
        self.text = text
        chain = PRESETS.get(text, text).replace(",", "+")
        self.stages = [_parse(part.strip()) for part in chain.split("+")] if chain else []
        if not text:
            raise UsageError("--through is empty. To use no transformations at all, write --through none.")
        self.exact = sorted(stage.name for stage in self.stages) == ["flip", "shift"]
        self.draws = sum(stage.draws for stage in self.stages)

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """Return the random numbers for ``count`` images: ``[draws, count]``, on the CPU, where the generator is."""
        return torch.rand((self.draws, count), generator=generator)

    def apply(self, images: Tensor, draws: Tensor) -> Tensor:
        """Transform images ``[B, 3, S, S]`` (float, 0..255) by draws ``[draws, B]`` on the same device."""
        if self.exact:
            # One gather replaces the matrices below, and gives the same bits as the victims' augmentation.
            return flip_and_shift_by(images, draws)
        parts = draws.split([stage.draws for stage in self.stages])
        for kind, group in groupby(zip(self.stages, parts, strict=True), lambda part: type(part[0])):
            stages = list(group)
            if kind is Space:
                size = images.shape[-1]
                images = _moved(images, [stage.of(own, size) for stage, own in stages if isinstance(stage, Space)])
                continue
            for stage, own in stages:
                if isinstance(stage, Color):
                    images = _mixed(images, *stage.of(own))
                elif isinstance(stage, Whole):
                    images = stage.of(images, own)
        return images


def _moved(images: Tensor, matrices: list[Matrices]) -> Tensor:
    rows, columns = (reduce(lambda first, then: torch.bmm(then, first), chain) for chain in zip(*matrices, strict=True))
    return torch.matmul(torch.matmul(rows[:, None], images.contiguous()), columns.transpose(1, 2)[:, None])


def _mixed(images: Tensor, matrix: Tensor, contrast: Tensor, brightness: Tensor) -> Tensor:
    """Mix the channels by the matrix, and change brightness, and contrast around each image's own mean grey."""
    grey = torch.einsum("c,bchw->b", constant(LUMA, images.device), images) / images.shape[-1] ** 2
    mixed = torch.einsum("bdc,bchw->bdhw", matrix * (brightness * contrast)[:, None, None], images)
    return (mixed + (brightness * (1 - contrast) * grey)[:, None, None, None]).clamp(0, 255)


def _sampled(centre: Tensor, zoom: Tensor, size: int, *, blur: Tensor | None = None) -> Tensor:
    """Return matrices ``[B, size, size]`` that sample output pixels around ``centre``, ``zoom`` source pixels apart.

    ``centre`` and ``zoom`` are ``[B]``, in pixels. Source pixels are weighted by Pillow's antialiased bilinear filter:
    a triangle that reaches as far as the distance between samples, but at least one pixel. Pixels outside the source
    count as zero, with their share of the weight. With ``blur``, a standard deviation ``[B]`` in pixels, the weights
    are a Gaussian over the source instead.
    """
    at = torch.arange(size, device=centre.device, dtype=torch.float32)
    wanted = centre[:, None] + (at - (size - 1) / 2) * zoom[:, None]
    distance = (wanted[:, :, None] - at).abs()
    if blur is not None:
        weights = torch.exp(-(distance**2) / (2 * blur[:, None, None] ** 2))
        return weights / weights.sum(2, keepdim=True)
    support = zoom.clamp(min=1.0)[:, None, None]
    # The sum of the weights if the source had no borders; six pixels are enough, because no zoom is above 2.
    near = torch.arange(-2, 4, device=centre.device)
    every = (1 - ((wanted - wanted.floor())[:, :, None] - near).abs() / support).clamp(min=0).sum(2, keepdim=True)
    return (1 - distance / support).clamp(min=0) / every


def _unmoved(draws: Tensor, size: int) -> Tensor:
    return torch.eye(size, device=draws.device).expand(draws.shape[1], size, size)


def _flip(draws: Tensor, size: int) -> Matrices:
    eye = torch.eye(size, device=draws.device)
    return _unmoved(draws, size), torch.where((draws[0] < 0.5)[:, None, None], eye.flip(0), eye)


def _shift(draws: Tensor, size: int) -> Matrices:
    most = int(size * SHIFT)
    pixels = (draws * (2 * most + 1)).long() - most
    middle, one = (size - 1) / 2, torch.ones_like(draws[0])
    return _sampled(middle + pixels[0], one, size), _sampled(middle + pixels[1], one, size)


def _crop(draws: Tensor, size: int) -> Matrices:
    zoom = CROP_LEAST + (1 - CROP_LEAST) * draws[0]
    room = (1 - zoom) * size
    middle = (size - 1) / 2
    y, x = (middle + (draw - 0.5) * room for draw in draws[1:])
    return _sampled(y, zoom, size), _sampled(x, zoom, size)


def _face(draws: Tensor, size: int) -> Matrices:
    """Return the matrices of a scraper's face crop out of the square that a face pattern covers."""
    side = FACE_SIDE * (FACE_ZOOM[0] + (FACE_ZOOM[1] - FACE_ZOOM[0]) * draws[0])
    middle = (size - 1) / 2
    y, x = (middle + (2 * draw - 1) * FACE_JITTER * side * size for draw in draws[1:])
    return _sampled(y, side, size), _sampled(x, side, size)


def _scale(draws: Tensor, size: int) -> Matrices:
    zoom = SCALE_MOST ** (2 * draws[0] - 1)
    matrix = _sampled(torch.full_like(zoom, (size - 1) / 2), zoom, size)
    return matrix, matrix


def _blur(draws: Tensor, size: int) -> Matrices:
    sigma = (draws[0] * BLUR_MOST * size).clamp(min=0.1)
    middle = torch.full_like(sigma, (size - 1) / 2)
    matrix = _sampled(middle, torch.ones_like(sigma), size, blur=sigma)
    return matrix, matrix


def _resize(low: float, high: float) -> Callable[[Tensor, int], Matrices]:
    def matrices(draws: Tensor, size: int) -> Matrices:
        """Return the matrices that resize to a random share of the size and back."""
        share = (low + (high - low) * draws[0]).clamp(min=1 / size)
        at = torch.arange(size, device=draws.device, dtype=torch.float32)
        # Pixel k of the small image lies at (k + 1/2) / share - 1/2. Rows beyond the small image stay zero.
        count = (share * size).round().clamp(min=1)
        step = size / count
        there = (at[None] + 0.5) * step[:, None] - 0.5
        down = (1 - (there[:, :, None] - at).abs() / step[:, None, None]).clamp(min=0)
        down = down / down.sum(2, keepdim=True).clamp(min=1e-6) * (at[None, :, None] < count[:, None, None])
        back = ((at[None] + 0.5) / step[:, None] - 0.5).clamp(min=0)
        back = torch.minimum(back, count[:, None] - 1)
        up = (1 - (back[:, :, None] - at).abs()).clamp(min=0)
        matrix = torch.bmm(up, down)
        return matrix, matrix

    return matrices


def _gray(draws: Tensor) -> Mixing:
    luma = constant(LUMA, draws.device).expand(3, 3)
    chosen = (draws[0] < GRAY_PROBABILITY)[:, None, None]
    one = torch.ones_like(draws[0])
    return torch.where(chosen, luma, torch.eye(3, device=draws.device)), one, one


def _color(draws: Tensor) -> Mixing:
    """Return random changes of brightness, contrast, saturation and hue, in this order of the draws.

    The hue is rotated around the grey axis.
    """
    brightness, contrast, saturation = 1 + COLOR_STRENGTH * (2 * draws[:3] - 1)
    angle = 2 * math.pi * HUE_MOST * (2 * draws[3] - 1)
    device = draws.device
    luma = constant(LUMA, device).expand(3, 3)
    eye, third = torch.eye(3, device=device), torch.full((3, 3), 1 / 3, device=device)
    cross = constant(CROSS, device) / math.sqrt(3)
    # Rodrigues' rotation around (1, 1, 1), which leaves greys unchanged.
    cosine, sine = angle.cos()[:, None, None], angle.sin()[:, None, None]
    turned = third + cosine * (eye - third) + sine * cross
    saturated = saturation[:, None, None] * eye + (1 - saturation)[:, None, None] * luma
    return torch.matmul(turned, saturated), contrast, brightness


def _jpeg(low: float, high: float) -> Callable[[Tensor, Tensor], Tensor]:
    def compressed(images: Tensor, draws: Tensor) -> Tensor:
        return jpeg(images, low + (high - low) * draws[0])

    return compressed


_PLAIN: dict[str, Stage] = {
    stage.name: stage
    for stage in (
        Space("flip", 1, _flip),
        Space("shift", 2, _shift),
        Space("crop", 3, _crop),
        Space("face", 3, _face),
        Space("scale", 1, _scale),
        Space("blur", 1, _blur),
        Color("gray", 1, _gray),
        Color("color", 4, _color),
    )
}


def _parse(text: str) -> Stage:
    if text in _PLAIN:
        return _PLAIN[text]
    if text.split(":")[0] in _PLAIN:
        raise UsageError(f"--through {text}: {text.split(':')[0]} does not take numbers. Leave them out.")
    if match := re.fullmatch(r"(jpeg|resize):(\d+)(?:-(\d+))?", text):
        name, low = match[1], float(match[2])
        high = float(match[3] or low)
        if 1 <= low <= high <= 100:
            if name == "jpeg":
                return Whole(text, 1, _jpeg(low, high))
            return Space(text, 1, _resize(low / 100, high / 100))
    if text.split(":")[0] in ("jpeg", "resize"):
        raise UsageError(f"--through {text}: it needs two numbers from 1 to 100, the lower first, such as jpeg:50-95.")
    raise UsageError(
        f"There is no transformation '{text}'. --through takes {', '.join(PRESETS)}, or a chain such as "
        "flip+shift+jpeg:50-95 of flip, shift, crop, face, scale, blur, gray, color, jpeg:Q1-Q2 (qualities) and "
        "resize:R1-R2 (percent of the size)."
    )
