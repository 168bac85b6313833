"""Measure how well protected and unprotected copies fit the shipped patterns, to choose ``verify``'s threshold.

usage: python benchmarks/verify_fit.py FOLDER

Every photo of FOLDER that can be protected is protected with two patterns at their full bound. Without noise, it is
also encoded again (JPEG quality 95, 75 and 40), and reduced to half and enlarged again. Each copy counts with its best
fit.
"""

from __future__ import annotations

import argparse
import io
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from PIL import Image

from unlearn_cli.banks.catalog import open_bank, shipped_banks
from unlearn_cli.errors import PhotoError, PhotoSkippedError
from unlearn_cli.photos.apply import Pattern
from unlearn_cli.photos.decode import Photo, decode
from unlearn_cli.photos.encode import to_image
from unlearn_cli.photos.fit import Fit, Patterns
from unlearn_cli.photos.one import as_mode, protect_bytes
from unlearn_cli.photos.verdicts import ALTERED_RESIDUAL, PROTECTED_CORRELATION

CHOSEN = {"cifar10": 5}
"""A pattern of each shipped bank whose noise covers whole photos."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    banks = [open_bank(entry.name) for entry in shipped_banks() if entry.name in CHOSEN]
    patterns = Patterns(banks)
    laid = {bank.name: Pattern(bank.noise[CHOSEN[bank.name]], bank.provenance.epsilon) for bank in banks}
    protected: list[tuple[Fit, str]] = []
    unprotected: list[tuple[Fit, str]] = []
    for path in sorted(path for path in options.folder.rglob("*") if path.is_file()):
        data = path.read_bytes()
        try:
            before = decode(data)
            for name, pattern in laid.items():
                after = as_mode(decode(protect_bytes(data, pattern).data), before.mode)
                if (fit := patterns.best(before, after)) is not None and fit.correlation:
                    protected.append((fit, f"{path.name} with {name}"))
        except (PhotoError, PhotoSkippedError):
            continue
        for what, after in unprotected_copies(before):
            if (fit := patterns.best(before, after)) is not None:
                unprotected.append((fit, f"{path.name} {what}"))
    report("protected", sorted(protected, key=lambda pair: pair[0].correlation))
    report("not protected", sorted(unprotected, key=lambda pair: -pair[0].correlation))
    largest, name = max(protected, key=lambda pair: pair[0].residual)
    print(f"largest residual of a protected copy: {largest.residual:.2f} levels ({name}); threshold {ALTERED_RESIDUAL}")


def report(what: str, fits: list[tuple[Fit, str]]) -> None:
    """Print how many fits are on the wrong side of the threshold, and the fits that are nearest to it."""
    wrong = sum((fit.correlation >= PROTECTED_CORRELATION) != (what == "protected") for fit, _ in fits)
    print(f"{len(fits)} copies, {what}: {wrong} on the wrong side of {PROTECTED_CORRELATION}; the nearest:")
    for fit, name in fits[:6]:
        print(f"  {fit.correlation:.3f} {name}")


def unprotected_copies(photo: Photo) -> Iterator[tuple[str, Photo]]:
    """Yield copies without noise, as platforms make them, with their descriptions."""
    if photo.mode not in ("RGB", "L"):
        return
    image = to_image(photo.pixels, photo.mode)
    for quality in (95, 75, 40):
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=quality)
        yield f"at quality {quality}", as_mode(decode(buffer.getvalue()), photo.mode)
    half = image.resize((max(1, image.width // 2), max(1, image.height // 2)), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    half.resize(image.size, Image.Resampling.BICUBIC).save(buffer, "PNG")
    yield "halved", replace(as_mode(decode(buffer.getvalue()), photo.mode), format=photo.format)


if __name__ == "__main__":
    main()
