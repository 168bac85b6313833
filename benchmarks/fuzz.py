"""Feed thousands of damaged photos to ``protect``: each must end protected, skipped or failed, with a reason, in time.

usage: python benchmarks/fuzz.py FOLDER [--files 5000] [--seconds 60] [--seed 0] [--keep DIR]

Every file of FOLDER is a seed. Half of the mutants have bytes flipped, runs overwritten, removed, repeated or taken
from another seed, or their end cut off. The other half, of JPEG and PNG, have damaged *helper segments*: wrong lengths,
bodies cut or filled with noise, wrong checksums, texts above a megabyte, segments twice, a missing end marker with or
without bytes after it. Each mutant is protected in memory, in one process, under a time limit. A traceback, a time
above the limit, or a lossless copy outside the bound ends the run, and the mutant is kept. A mutant with damage in its
helper segments only, which libvips decodes like its seed, also ends the run if it is refused or decoded differently.

libvips, where it is installed (the extra ``dev``), is the second decoder: it decodes every fifth protected mutant, and
the last line says how often its picture differed from ours.
"""

from __future__ import annotations

import argparse
import random
import resource
import signal
import struct
import tempfile
import time
import warnings
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from unlearn_cli.banks.catalog import choose
from unlearn_cli.errors import PhotoError, PhotoSkippedError
from unlearn_cli.photos.apply import Pattern
from unlearn_cli.photos.decode import decode
from unlearn_cli.photos.encode import LOSSLESS_FORMATS
from unlearn_cli.photos.formats import exif, markers, png
from unlearn_cli.photos.one import Protected, as_mode, protect_bytes
from unlearn_cli.photos.quality import largest_change

LARGEST_SEED = 200_000
"""The largest size of a seed in bytes. Damage to small files hits their headers more often than their pixels."""


SUFFIXES = (".jpg", ".png", ".webp", ".tif", ".bmp", ".gif", ".avif", ".jp2", ".heif")
"""The kinds of files, of which equally many mutants are made."""

HELPED = (".jpg", ".png")
"""The formats whose helper segments are damaged."""


SAMPLED = 5
"""The second decoder decodes one protected mutant in this many."""

ALIKE = 3.0
"""The mean difference in levels of 255 up to which two decoders count as agreeing."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--files", type=int, default=5000)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, default=Path(tempfile.gettempdir()))
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    draw = random.Random(options.seed)
    seeds = [path for path in sorted(options.folder.rglob("*")) if path.is_file()]
    seeds = [path for path in seeds if path.stat().st_size <= LARGEST_SEED]
    data = [path.read_bytes() for path in seeds]
    of = {suffix: [i for i, path in enumerate(seeds) if path.suffix.lower() == suffix] for suffix in SUFFIXES}
    choice = choose("cat")
    run = Run(Pattern(choice.bank.noise[choice.index], choice.bank.provenance.epsilon))
    signal.signal(signal.SIGALRM, too_slow)
    slowest = 0.0
    for number in range(options.files):
        helpers = number % 2 == 0
        suffixes = HELPED if helpers else SUFFIXES
        index = draw.choice(of[draw.choice([suffix for suffix in suffixes if of[suffix]])])
        mutant = damaged(draw, data[index]) if helpers else mutate(draw, data[index], data[draw.randrange(len(data))])
        start = time.perf_counter()
        signal.alarm(options.seconds)
        try:
            run.take(mutant, data[index] if helpers else None)
        except BaseException:
            kept = options.keep / f"fuzz-{number}-{seeds[index].name}"
            kept.write_bytes(mutant)
            print(f"the mutant is {kept}")
            raise
        finally:
            signal.alarm(0)
        slowest = max(slowest, time.perf_counter() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{options.files} mutants of {len(seeds)} files (seed {options.seed}): {dict(run.ends)}; no traceback, none "
        f"outside its bound; the slowest took {slowest:.1f} s; peak memory of the process {peak:.0f} MiB.\n"
        f"Half of them with damaged helper segments: {dict(run.helped)}.\n"
        f"The second decoder: {dict(run.seen) or 'not installed'}."
    )


class Run:
    """Counts the outcomes of the mutants."""

    def __init__(self, pattern: Pattern) -> None:
        self.pattern = pattern
        self.ends: Counter[str] = Counter()
        self.helped: Counter[str] = Counter()
        self.seen: Counter[str] = Counter()

    def take(self, mutant: bytes, seed: bytes | None) -> None:
        """Protect a mutant and check the outcome; ``seed`` is the original of one with damage in its helpers only."""
        how = end(mutant, self.pattern)
        self.ends[how] += 1
        if seed is not None:
            self.helped[how] += 1
            if how != "protected" and end(seed, self.pattern) == "protected":
                other, before = second_opinion(mutant), second_opinion(seed)
                lost = other is not None and before is not None and alike(other, before)
                assert not lost, "a photo was refused for damage beside its pixels"
        if how == "protected" and (seed is not None or self.ends[how] % SAMPLED == 0):
            other = second_opinion(mutant)
            if other is not None:
                same = alike(decode(mutant, "none").pixels, other)
                self.seen["alike" if same else "differently"] += 1
                assert same or seed is None, "damage beside the pixels changed what is seen"


def second_opinion(data: bytes) -> NDArray[Any] | None:
    """Return what libvips decodes; None if it cannot decode it or is not installed."""
    try:
        import pyvips

        image = pyvips.Image.new_from_buffer(data, "", fail_on="warning").autorot()
        pixels: NDArray[Any] = image.numpy()
    except Exception:
        return None
    return pixels


def alike(one: NDArray[Any], other: NDArray[Any]) -> bool:
    """Return whether two decoders agree; pictures of different layouts (greys as colours, palettes) count as equal."""
    if one.shape != other.shape or one.dtype != other.dtype:
        return one.shape[:2] == other.shape[:2]
    scale = 257 if one.dtype == np.uint16 else 1
    return bool(np.abs(one.astype(np.int32) - other).mean() <= ALIKE * scale)


def too_slow(signum: int, frame: FrameType | None) -> None:  # noqa: ARG001
    raise TimeoutError("a mutant took too long")


def end(data: bytes, pattern: Pattern) -> str:
    """Protect a photo, check the copy, and return the outcome."""
    try:
        made = protect_bytes(data, pattern)
    except PhotoSkippedError:
        return "skipped"
    except PhotoError:
        return "failed"
    check(data, made, pattern.epsilon)
    return "protected"


def check(data: bytes, made: Protected, epsilon: int) -> None:
    """Check that a protected copy can be read, and is within its bound where its format is lossless."""
    assert 0 < made.linf <= epsilon
    after = decode(made.data, "none")
    if made.format in LOSSLESS_FORMATS:
        before = decode(data, "none")
        assert largest_change(before, as_mode(after, before.mode)) <= epsilon


def damaged(draw: random.Random, data: bytes) -> bytes:
    """Return a file with damage in its helper segments only; unchanged if it has none."""
    for _ in range(draw.choice((1, 1, 2, 3))):
        data = damaged_png(draw, data) if data.startswith(png.SIGNATURE) else damaged_jpeg(draw, data)
    return data


def damaged_jpeg(draw: random.Random, data: bytes) -> bytes:
    found = [part for part in markers.segments(data) if part.kind in (*range(0xE0, 0xF0), 0xFE)]
    adobe = any(part.kind == 0xEE for part in found)
    # Leave out the segments that decide how colours are decoded and how pixels are turned.
    found = [part for part in found if part.kind != 0xEE and not turns(part.body)]
    if not found:
        return data
    part = draw.choice(found)
    choice = draw.randrange(6)
    body = part.body
    if choice == 0:
        body = body[: draw.randrange(len(body) + 1)]
    elif choice == 1:
        body = body[:4] + draw.randbytes(max(0, len(body) - 4))
    elif choice == 2:
        body = draw.choice((b"JFIF\0", b"ICC_PROFILE\0\1", b"Exif\0\0MM", b"MPF\0")) + draw.randbytes(draw.randrange(9))
    elif choice == 3:
        body = body + draw.randbytes(draw.randrange(200))
    elif choice == 4:
        again = data[part.start : part.end]
        return data[: part.end] + again * draw.randrange(1, 4) + data[part.end :]
    elif not adobe and data.endswith(markers.END):
        return data[:-2] + draw.choice((b"", bytes(draw.randrange(1, 99)), b"\0\0\0\x18ftypmp42" + draw.randbytes(99)))
    body = body[:65533]
    whole = struct.pack(">BBH", 0xFF, part.kind, len(body) + 2) + body
    return data[: part.start] + whole + data[part.end :]


def turns(body: bytes) -> bool:
    """Return whether a segment is EXIF that asks for the photo to be turned."""
    block = exif.read(body) if body.startswith(b"Exif") else None
    return block is not None and block.orientation != 1


def damaged_png(draw: random.Random, data: bytes) -> bytes:
    kinds = (b"gAMA", b"cHRM", b"pHYs", b"sRGB", b"cICP", b"iCCP", b"eXIf", b"tEXt", b"zTXt", b"iTXt", b"tIME", b"prVt")
    kind = draw.choice(kinds)
    bodies: tuple[Callable[[], bytes], ...] = (
        lambda: draw.randbytes(draw.randrange(40)),
        lambda: b"key\0\0" + zlib.compress(bytes(draw.randrange(1_100_000, 1_300_000))),
        lambda: b"key\0\0" + zlib.compress(draw.randbytes(60))[: draw.randrange(60)],
        lambda: b"key\0" + b"x" * draw.randrange(1_048_577, 1_200_000),
    )
    body = draw.choice(bodies)()
    check = zlib.crc32(kind + body) if draw.random() < 0.8 else draw.randrange(1 << 32)
    whole = struct.pack(">I", len(body)) + kind + body + struct.pack(">I", check)
    return data[: png.AFTER_HEADER] + whole + data[png.AFTER_HEADER :]


def mutate(draw: random.Random, data: bytes, other: bytes) -> bytes:
    """Return a damaged copy of a file."""
    mutant = bytearray(data)
    for _ in range(draw.choice((1, 1, 1, 2, 4, 16))):
        # Half of the damage goes into the first 400 bytes, where headers are.
        end = len(mutant) if draw.random() < 0.5 else min(len(mutant), 400)
        if end < 2:
            break
        at = draw.randrange(end)
        size = min(draw.choice((1, 1, 2, 4, 16, 200)), len(mutant) - at)
        match draw.randrange(6):
            case 0:
                mutant[at] ^= 1 << draw.randrange(8)
            case 1:
                mutant[at : at + size] = draw.randbytes(size)
            case 2:
                del mutant[at : at + size]
            case 3:
                mutant[at:at] = mutant[at : at + size]
            case 4:
                start = draw.randrange(max(1, len(other) - size))
                mutant[at : at + size] = other[start : start + size]
            case 5 if draw.random() < 0.3:
                del mutant[at:]
            case _:
                mutant[at : at + size] = draw.choice((b"\0", b"\xff", b"\x7f", b"\x80")) * size
    return bytes(mutant)


if __name__ == "__main__":
    Image.init()
    main()
