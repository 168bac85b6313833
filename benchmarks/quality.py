"""Measure what remains in a protected file by format and quality: the table from which the default was chosen.

usage: python benchmarks/quality.py PHOTO...

Every photo is protected with the shipped pattern for cats and encoded each way; the file is decoded again and
compared with the original. The figures are medians over the photos. "Noise left" is the part of the pattern that is
still in the file: the epsilon that ``verify`` finds divided by the one that was applied, for the whole pattern and for
its finest detail. The detail counts because a scraper that crops out a face sees what was fine detail in the photo,
while the pattern itself is small and smooth.
"""

from __future__ import annotations

import argparse
import statistics
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from unlearn_cli.banks.catalog import choose
from unlearn_cli.photos.apply import Pattern
from unlearn_cli.photos.decode import decode
from unlearn_cli.photos.encode import Writing, encode
from unlearn_cli.photos.fit import Patterns
from unlearn_cli.photos.formats import jpeg
from unlearn_cli.photos.quality import compare

Levels = NDArray[np.int16]

WAYS = [("PNG", None, None), *(("JPEG", q, s) for q in (75, 85, 90, 95) for s in ("420", "444"))]


@dataclass(frozen=True)
class Row:
    size: float
    linf: float
    psnr: float
    ssim: float
    ciede2000: float
    flip: float
    left: float
    fine: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", nargs="+", type=Path)
    options = parser.parse_args()
    choice = choose("cat")
    pattern = Pattern(choice.bank.noise[choice.index], choice.bank.provenance.epsilon)
    patterns = Patterns([choice.bank])
    rows: dict[str, list[Row]] = {}
    for path in options.photos:
        for name, row in measure(path, pattern, patterns):
            rows.setdefault(name, []).append(row)
    print("| written as | size | L-infinity | PSNR, dB | SSIM | CIEDE2000 | FLIP | noise left | of its fine detail |")
    print("|---|---|---|---|---|---|---|---|---|")
    for name, of in rows.items():
        middle = [statistics.median(getattr(row, field) for row in of) for field in Row.__dataclass_fields__]
        worst = max(row.linf for row in of)
        size, linf, psnr, ssim, ciede, flip, left, fine = middle
        print(
            f"| {name} | {size:.2f} | {linf:.0f} (to {worst:.0f}) | {psnr:.1f} | {ssim:.3f} | {ciede:.1f} | {flip:.3f} "
            f"| {left:.0%} | {fine:.0%} |"
        )


def measure(path: Path, pattern: Pattern, patterns: Patterns) -> list[tuple[str, Row]]:
    """Return a photo's row for each way of writing it."""
    data = path.read_bytes()
    before, photo = decode(data), decode(data)
    pattern.apply(photo.pixels, photo.mode)
    laid = photo.pixels.astype(np.int16) - before.pixels
    found = []
    for target, quality, subsampling in WAYS:
        if target == "PNG":
            name, encoded = "PNG", encode(photo, Writing("png"))
        else:
            assert quality is not None
            assert subsampling is not None
            name = f"JPEG q{quality} {':'.join(subsampling)}"
            made = jpeg.encode(photo.pixels, photo.mode, quality, subsampling)
            assert made is not None
            encoded = made
        after = decode(encoded)
        of, fit = compare(before, after), patterns.best(before, after)
        assert fit is not None
        row = Row(
            len(encoded) / len(data),
            of.linf,
            of.psnr,
            of.ssim or 0,
            of.ciede2000,
            of.flip or 0,
            fit.epsilon / pattern.epsilon,
            share(laid, after.pixels.astype(np.int16) - before.pixels),
        )
        found.append((name, row))
    return found


def share(laid: Levels, seen: Levels) -> float:
    """Return the share of the noise that is left in the fine detail, which a reduction to an eighth would remove."""
    fine_laid, fine_seen = fine(laid), fine(seen)
    return float((fine_laid * fine_seen).sum() / (fine_laid * fine_laid).sum())


def fine(difference: Levels) -> NDArray[np.float32]:
    """Return a difference minus its means over squares of eight by eight pixels."""
    height, width = (side // 8 * 8 for side in difference.shape[:2])
    part = difference[:height, :width].astype(np.float32).reshape(height // 8, 8, width // 8, 8, 3)
    rest: NDArray[np.float32] = part - part.mean(axis=(1, 3), keepdims=True)
    return rest


if __name__ == "__main__":
    main()
