"""The protection of a class's photos: one pattern for all of them, or noise made for each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from unlearn_cli.banks.catalog import Choice
from unlearn_cli.banks.keys import Key, identity_pattern
from unlearn_cli.banks.provenance import Anchor
from unlearn_cli.errors import UsageError
from unlearn_cli.photos.anchored import Anchored, Square
from unlearn_cli.photos.apply import DEEP, UNIT, Noise, Pattern
from unlearn_cli.photos.decode import Photo
from unlearn_cli.photos.encode import to_image

if TYPE_CHECKING:
    from unlearn_cli.faces import Face

Faces = Literal["largest", "all"]

DETECTOR = "YuNet 2023mar, 2"
"""What finds faces; with another detector, copies are made again, because their noise lies elsewhere."""

OVERSAMPLED = 4
"""The number of pixels, per wanted pixel and side, to which a large photo is averaged before it is resized."""


@dataclass(frozen=True, eq=False)
class PerPhoto:
    """Noise that is made for each photo by a caller that has networks; this package has none."""

    make: Callable[[NDArray[np.uint8]], NDArray[np.int8]]
    """The function from a photo's reduced pixels ``[S, S, 3]``, or those of a face's square, to its noise ``[3, S, S]``
    in pixel levels. It may be called from several threads."""
    size: int
    """The side S, in pixels."""
    fingerprint: str
    """A digest of everything that decides the noise besides the photo."""


@dataclass(frozen=True, eq=False)
class Protection:
    """The pattern or noise with which a class of photos is protected, and its bound."""

    pattern: Pattern
    class_name: str
    bank: str
    bank_sha256: str
    bank_epsilon: int
    """The bound that the bank was made and measured with."""
    bank_path: Path = Path()
    per_photo: PerPhoto | None = None
    """If set, its noise replaces the pattern, of which only the bound is used."""
    span: float | None = None
    """For a pattern that is applied to faces, the side of its square as a multiple of the side of a face's box."""
    anchor: Anchor = "box"
    """How the square lies on a face: upright, or turned with its landmarks."""
    faces: Faces = "largest"
    """The faces to which it is applied, if a photo has several."""
    key_fingerprint: str | None = None
    """The fingerprint of the key that decided the pattern."""
    means: str = ""
    """The bank's own name of the class, of which ``class_name`` may be another word."""
    strength: str | None = None
    """The bank's strength, if it has one."""

    @classmethod
    def of(cls, choice: Choice, class_name: str, epsilon: int | None = None, key: Key | None = None) -> Protection:
        """Return the protection by a bank's pattern, or by a key's own pattern, scaled down to ``epsilon``.

        Raises ``UsageError`` for an epsilon below 1 or above the bank's, and if a key is needed and there is none.
        """
        bank, bound = choice.bank, choice.bank.provenance.epsilon
        if choice.keyed and key is None:
            raise UsageError(
                f"For '{class_name}', the bank '{bank.name}' gives each person a different pattern, so it needs a key."
            )
        own = key if choice.keyed else None
        noise = bank.noise[choice.index] if own is None else identity_pattern(bank.noise, own)
        return cls(
            Pattern(noise, bound).scaled(bound if epsilon is None else epsilon),
            class_name,
            bank.name,
            bank.sha256,
            bound,
            bank.path,
            span=bank.provenance.span,
            anchor=bank.provenance.anchor or "box",
            key_fingerprint=own.fingerprint if own is not None else None,
            means=bank.provenance.family or bank.classes[choice.index // bank.provenance.variants],
            strength=bank.provenance.strength,
        )

    @property
    def form(self) -> str:
        """Return ``class-wise`` or ``sample-wise``."""
        return "class-wise" if self.per_photo is None else "sample-wise"

    @property
    def fingerprint(self) -> str:
        """Return a digest of everything that decides the noise besides the photo."""
        made = self.pattern.fingerprint if self.per_photo is None else self.per_photo.fingerprint
        if self.span is None:
            return made
        return f"{made} {self.faces} faces, {self.span} {self.anchor} by {DETECTOR}"

    def noise_for(self, photo: Photo) -> Noise:
        """Return the noise to apply to a photo."""
        each, bound = self.per_photo, self.pattern.epsilon
        if self.span is None:
            return self.pattern if each is None else Pattern(each.make(reduced(photo, each.size)), bound)
        squares, count = squares_and_count(photo, self.span, self.anchor, self.faces)
        own: tuple[Pattern, ...] = ()
        if each is not None:
            own = tuple(Pattern(each.make(pixels_under(square, photo, each.size)), bound) for square in squares)
        return Anchored(self.pattern, squares, self.pattern, count, own)


def face_squares(photo: Photo, span: float, anchor: Anchor = "box", faces: Faces = "largest") -> tuple[Square, ...]:
    """Return the squares that a pattern covers on a photo's faces; the largest face's is last, above the others."""
    return squares_and_count(photo, span, anchor, faces)[0]


def squares_and_count(photo: Photo, span: float, anchor: Anchor, faces: Faces) -> tuple[tuple[Square, ...], int]:
    """Return the squares as ``face_squares`` does, and how many faces the photo has."""
    from unlearn_cli.faces import find_and_count  # OpenCV takes a moment to load.

    found, count = find_and_count(photo.pixels, photo.mode, 1 if faces == "largest" else None)
    return tuple(face_square(face, span, anchor) for face in reversed(found)), count


def face_square(face: Face, span: float, anchor: Anchor) -> Square:
    """Return the square that a pattern covers on a face: ``span`` times its box, upright or turned with it."""
    box = face.box
    turn = face.alignment.turn / face.alignment.scale if anchor == "landmarks" else 1
    return Square(complex(*box.centre), box.side * span, turn)


def pixels_under(square: Square, photo: Photo, size: int) -> NDArray[np.uint8]:
    """Return what a face's square covers, turned upright: uint8 ``[size, size, 3]``.

    Beyond the photo's edge its last pixels are repeated.
    """
    import cv2  # OpenCV has found this face already.

    half = square.side / 2 * (abs(square.turn.real) + abs(square.turn.imag)) + 2
    top, left = (max(0, int(at - half)) for at in (square.centre.imag, square.centre.real))
    part = photo.pixels[top : int(square.centre.imag + half) + 1, left : int(square.centre.real + half) + 1]
    part = (part // UNIT).astype(np.uint8) if photo.mode == DEEP else np.ascontiguousarray(part)
    image = np.asarray(to_image(part, "L" if photo.mode == DEEP else photo.mode).convert("RGB"))
    # A large face is interpolated at several times the size first, and averaged, so that no pixel is left out.
    fine = max(1, int(square.side / size))
    step = square.turn * square.side / (size * fine)
    corner = square.centre - complex(left, top) + step * (0.5 - size * fine / 2) * (1 + 1j) - (0.5 + 0.5j)
    matrix = np.array([[step.real, -step.imag, corner.real], [step.imag, step.real, corner.imag]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    turned = cv2.warpAffine(image, matrix, (size * fine, size * fine), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    blocks: NDArray[np.uint8] = turned.reshape(size, fine, size, fine, 3).mean(axis=(1, 3)).round().astype(np.uint8)
    return blocks


def reduced(photo: Photo, size: int) -> NDArray[np.uint8]:
    """Return a photo as a model sees it: uint8 ``[size, size, 3]``, the whole picture squeezed into a square.

    Large photos are first averaged in blocks, some rows at a time, so that they are never copied as a whole.
    """
    pixels = photo.pixels if photo.pixels.ndim == 3 else photo.pixels[..., None]
    height, width, bands = pixels.shape
    down, across = max(1, height // (OVERSAMPLED * size)), max(1, width // (OVERSAMPLED * size))
    few = np.empty((height // down, width // across, bands), np.uint8)
    for row in range(len(few)):
        block = pixels[row * down : (row + 1) * down, : few.shape[1] * across]
        total = block.reshape(down, -1, across, bands).sum(axis=(0, 2), dtype=np.uint32)
        few[row] = total // (down * across * (UNIT if photo.mode == DEEP else 1))
    mode = "L" if photo.mode == DEEP else photo.mode
    image = to_image(few if bands > 1 else few[..., 0], mode).convert("RGB")
    return np.asarray(image.resize((size, size), Image.Resampling.BOX))
