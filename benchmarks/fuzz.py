"""Feed thousands of damaged photos to ``protect``: each must end protected, skipped or failed, with a reason, in time.

usage: python benchmarks/fuzz.py FOLDER [--files 5000] [--seconds 60] [--seed 0] [--keep DIR]

Every file of FOLDER is a seed. A mutant has bytes flipped, runs overwritten, removed, repeated or taken from another
seed, or its end cut off. Each is protected in memory, in one process, under a time limit; a traceback, a time above the
limit, or a lossless copy outside of the bound ends the run, with the mutant kept.
"""

from __future__ import annotations

import argparse
import random
import resource
import signal
import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path
from types import FrameType

from PIL import Image

from unlearn_cli.banks.catalog import choose
from unlearn_cli.errors import PhotoError, PhotoSkippedError
from unlearn_cli.photos.decode import decode
from unlearn_cli.photos.encode import LOSSLESS_FORMATS
from unlearn_cli.photos.metrics import largest_change
from unlearn_cli.photos.noise import Pattern
from unlearn_cli.photos.one import Protected, as_mode, protect_bytes

LARGEST_SEED = 200_000
"""Bytes. Small files are damaged in their headers more often than in their pixels."""


SUFFIXES = (".jpg", ".png", ".webp", ".tif", ".bmp", ".gif", ".avif", ".jp2", ".heif")
"""Equally many mutants are made of each."""


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
    pattern = Pattern(choice.bank.noise[choice.index], choice.bank.provenance.epsilon)
    signal.signal(signal.SIGALRM, too_slow)
    ends: Counter[str] = Counter()
    formats: Counter[str] = Counter()
    slowest = 0.0
    for number in range(options.files):
        index = draw.choice(of[draw.choice([suffix for suffix in SUFFIXES if of[suffix]])])
        mutant = mutate(draw, data[index], data[draw.randrange(len(data))])
        start = time.perf_counter()
        signal.alarm(options.seconds)
        try:
            ends[end(mutant, pattern)] += 1
        except BaseException:
            kept = options.keep / f"fuzz-{number}-{seeds[index].name}"
            kept.write_bytes(mutant)
            print(f"the mutant is {kept}")
            raise
        finally:
            signal.alarm(0)
        slowest = max(slowest, time.perf_counter() - start)
        formats[seeds[index].suffix.lower()] += 1
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{options.files} mutants of {len(seeds)} files (seed {options.seed}): {dict(ends)}; no traceback, none "
        f"outside its bound; the slowest took {slowest:.1f} s; peak memory of the process {peak:.0f} MiB.\n"
        f"Of {', '.join(f'{suffix} {count}' for suffix, count in formats.most_common())}."
    )


def too_slow(signum: int, frame: FrameType | None) -> None:  # noqa: ARG001
    raise TimeoutError("a mutant took too long")


def end(data: bytes, pattern: Pattern) -> str:
    """How a photo's protection ends; checks what was made of it."""
    try:
        made = protect_bytes(data, pattern)
    except PhotoSkippedError:
        return "skipped"
    except PhotoError:
        return "failed"
    check(data, made, pattern.epsilon)
    return "protected"


def check(data: bytes, made: Protected, epsilon: int) -> None:
    """What is called protected can be read, and is within its bound where its format is lossless."""
    assert 0 < made.linf <= epsilon
    after = decode(made.data, "none")
    if made.format in LOSSLESS_FORMATS:
        before = decode(data, "none")
        assert largest_change(before, as_mode(after, before.mode)) <= epsilon


def mutate(draw: random.Random, data: bytes, other: bytes) -> bytes:
    """A damaged copy of a file."""
    mutant = bytearray(data)
    for _ in range(draw.choice((1, 1, 1, 2, 4, 16))):
        # Half of the damage is done where headers are.
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
