"""Colour spaces that a file describes by numbers instead of an ICC profile, and the equivalent ICC profile."""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Chromaticities = tuple[float, float, float, float, float, float, float, float]
"""The x and y coordinates (CIE 1931) of white, red, green and blue, in the order of PNG's cHRM chunk."""

D65 = (0.3127, 0.329)

PRIMARIES: dict[int, Chromaticities] = {
    1: (*D65, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06),
    4: (0.31, 0.316, 0.67, 0.33, 0.21, 0.71, 0.14, 0.08),
    5: (*D65, 0.64, 0.33, 0.29, 0.6, 0.15, 0.06),
    6: (*D65, 0.63, 0.34, 0.31, 0.595, 0.155, 0.07),
    7: (*D65, 0.63, 0.34, 0.31, 0.595, 0.155, 0.07),
    9: (*D65, 0.708, 0.292, 0.17, 0.797, 0.131, 0.046),
    11: (0.314, 0.351, 0.68, 0.32, 0.265, 0.69, 0.15, 0.06),
    12: (*D65, 0.68, 0.32, 0.265, 0.69, 0.15, 0.06),
    22: (*D65, 0.63, 0.34, 0.295, 0.605, 0.155, 0.077),
}
"""The code points for colour primaries that have coordinates (ITU-T H.273, table 2)."""

SRGB_CURVE = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)

CURVES: dict[int, tuple[float, ...]] = {
    4: (2.2,),
    5: (2.8,),
    8: (1.0,),
    13: SRGB_CURVE,
}
"""Transfer characteristics (H.273, table 3) as an ICC parametric curve: either its gamma, or g, a, b, c and d."""

BT709_TRANSFERS, BT1886 = (1, 6, 14, 15), 2.4
"""The curves of video cameras (BT.709 and its relatives), and the gamma of the display curve (BT.1886) that shows them.
In HEIF and AVIF, however, encoders write these code points for sRGB pictures, and all viewers show them as sRGB."""

HDR_TRANSFERS = {16: "PQ", 18: "HLG"}
"""Transfer characteristics of pictures brighter than paper white, which no ordinary ICC profile can describe."""

UNSPECIFIED = 2

BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
D50 = np.array([0.9642, 1.0, 0.8249])
"""The white point to which ICC profiles refer (ICC.1:2010, 7.2.16)."""


@dataclass(frozen=True)
class Colour:
    """A colour space as numbers: H.273 code points, or a gamma and chromaticities as in PNG."""

    primaries: int | None = None
    transfer: int | None = None
    full_range: bool = True
    """Whether the code points apply to values from 0 to 255, and not to video's range from 16 to 235."""
    gamma: float | None = None
    """The exponent that turns values into light, such as 2.2."""
    chromaticities: Chromaticities | None = None
    intent: int | None = None
    """The rendering intent in PNG's sRGB chunk, whose presence says that the picture is sRGB."""
    heif: bool = False
    """Whether the code points come from a HEIF or AVIF file."""

    @property
    def hdr(self) -> str | None:
        """Return ``PQ`` or ``HLG``; None for an ordinary picture."""
        return HDR_TRANSFERS.get(self.transfer or 0)

    @property
    def is_srgb(self) -> bool:
        """Return whether this is sRGB, which viewers also assume for a picture without colour information."""
        if self.primaries is None and self.transfer is None:
            return self.intent is not None or (self.gamma is None and self.chromaticities is None)
        return self.primaries in (1, UNSPECIFIED) and self.shown_transfer in (13, UNSPECIFIED)

    @property
    def shown_transfer(self) -> int | None:
        """Return the transfer characteristics that viewers use in place of the stored ones."""
        return 13 if self.heif and self.transfer in (*BT709_TRANSFERS, UNSPECIFIED) else self.transfer

    def icc_profile(self, *, grey: bool = False) -> bytes | None:
        """Return the equivalent ICC profile; None for sRGB, and for what no ordinary profile can describe."""
        if self.is_srgb or self.hdr:
            return None
        white, curve = self._white(), self._curve()
        if white is None or curve is None or not all(map(math.isfinite, (*white, *curve))):
            return None
        try:
            return _profile(white, curve, grey=grey)
        except (ZeroDivisionError, ValueError, np.linalg.LinAlgError, struct.error):
            # The coordinates describe no colours.
            return None

    def _white(self) -> Chromaticities | None:
        """Return the coordinates of white and the primaries; None for code points that have none."""
        if self.primaries is None:
            return self.chromaticities or PRIMARIES[1]
        return PRIMARIES.get(1 if self.primaries == UNSPECIFIED else self.primaries)

    def _curve(self) -> tuple[float, ...] | None:
        """Return the ICC parametric curve from values to light; None for code points that have none."""
        if self.transfer is None:
            return (self.gamma,) if self.gamma else SRGB_CURVE
        return (BT1886,) if self.shown_transfer in BT709_TRANSFERS else CURVES.get(self.shown_transfer or 0)


def _profile(white: Chromaticities, curve: tuple[float, ...], *, grey: bool) -> bytes:
    """Return a display profile of version 4 (ICC.1:2010, 8.3 and 8.4).

    Raises ``ValueError`` for coordinates that are no colours.
    """
    if min(white[1::2]) <= 0:
        raise ValueError("a colour without light")
    columns = _to_xyz(white)
    light = columns.sum(axis=1)
    adapted = _adaptation(light)
    if not (np.isfinite(adapted).all() and np.abs(adapted).max() < 30_000):
        raise ValueError("coordinates that are no colours")
    tags = [
        (b"desc", _text("as the original's tags")),
        (b"cprt", _text("CC0")),
        (b"wtpt", _xyz(D50)),
        (b"chad", b"sf32" + bytes(4) + _fixed(adapted.ravel())),
    ]
    shape = b"para" + bytes(4) + struct.pack(">HH", 0 if len(curve) == 1 else 3, 0) + _fixed(np.array(curve))
    if grey:
        tags.append((b"kTRC", shape))
    else:
        tags += [
            (name, _xyz(value)) for name, value in zip((b"rXYZ", b"gXYZ", b"bXYZ"), (adapted @ columns).T, strict=True)
        ]
        tags += [(name, shape) for name in (b"rTRC", b"gTRC", b"bTRC")]
    return _assembled(tags, b"GRAY" if grey else b"RGB ")


def _to_xyz(white: Chromaticities) -> NDArray[np.float64]:
    """Return the matrix from linear RGB to XYZ, whose columns are the primaries."""
    x, y = np.array(white[0::2]), np.array(white[1::2])
    xyz = np.stack([x / y, np.ones(4), (1 - x - y) / y])
    return np.asarray(xyz[:, 1:] * np.linalg.solve(xyz[:, 1:], xyz[:, 0]))


def _adaptation(light: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the Bradford matrix that adapts a white point to D50 (ICC.1:2010, annex E)."""
    gains = (BRADFORD @ D50) / (BRADFORD @ light)
    return np.asarray(np.linalg.inv(BRADFORD) @ np.diag(gains) @ BRADFORD)


def _assembled(tags: list[tuple[bytes, bytes]], space: bytes) -> bytes:
    position = 128 + 4 + 12 * len(tags)
    places: dict[bytes, int] = {}
    table, body = [struct.pack(">I", len(tags))], []
    for name, value in tags:
        if value not in places:  # The three curves share one entry.
            padded = value.ljust(-(-len(value) // 4) * 4, b"\0")
            places[value] = position
            body.append(padded)
            position += len(padded)
        table.append(name + struct.pack(">II", places[value], len(value)))
    head = struct.pack(">I4xI4s4s4s", position, 0x04300000, b"mntr", space, b"XYZ ")
    head += struct.pack(">6H", 2026, 1, 1, 0, 0, 0) + b"acsp" + bytes(28) + _fixed(D50)
    return head.ljust(128, b"\0") + b"".join(table + body)


def _fixed(values: NDArray[np.float64]) -> bytes:
    return np.rint(values * 65536).astype(">i4").tobytes()


def _xyz(values: NDArray[np.float64]) -> bytes:
    return b"XYZ " + bytes(4) + _fixed(values)


def _text(text: str) -> bytes:
    encoded = text.encode("utf-16-be")
    return b"mluc" + bytes(4) + struct.pack(">II2s2sII", 1, 12, b"en", b"US", len(encoded), 28) + encoded
