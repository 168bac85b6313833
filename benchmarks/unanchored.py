"""Make two banks for people that need no face detection, to be compared with `person-high`.

whole      the patterns of person-high, stretched over the whole photo
texture    a sinusoid over the whole photo, with a random direction, wavelength and colour for each pattern, which
           looks the same in every crop

    python benchmarks/unanchored.py OUT
    unlearn evaluate people ...  --protect ... --bank OUT/whole.safetensors
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from unlearn_cli.banks.bank import save_bank
from unlearn_cli.banks.catalog import choose

SIDE = 160
"""The side of a texture's pattern in pixels, which is enough for the shortest wave."""
WAVES = (6, 20)
"""The least and most waves across the photo, of which a crop to a face shows about half."""


def textures(count: int, epsilon: int, rms: float) -> NDArray[np.int8]:
    """Return sinusoids ``[K, 3, SIDE, SIDE]`` in levels of 255 with this RMS, clipped to the bound."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:SIDE, :SIDE] / SIDE
    made = []
    for _ in range(count):
        angle, waves, phase = rng.uniform(0, np.pi), rng.uniform(*WAVES), rng.uniform(0, 2 * np.pi)
        wave = np.sin(2 * np.pi * waves * (np.cos(angle) * columns + np.sin(angle) * rows) + phase)
        colour = rng.normal(size=3)
        made.append(wave * (colour / np.sqrt(np.square(colour).mean()))[:, None, None])
    levels = np.stack(made) * np.sqrt(2) * rms
    whole: NDArray[np.int8] = np.rint(levels.clip(-epsilon, epsilon)).astype(np.int8)
    return whole


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    out: Path = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    high = choose("person", "person-high").bank
    of = replace(high.provenance, frame="image", span=None, strength=None)
    rms = float(np.sqrt(np.square(high.noise, dtype=np.float64).mean()))
    save_bank(out / "whole.safetensors", high.noise, of)
    made = textures(len(high.noise), of.epsilon, rms)
    save_bank(
        out / "texture.safetensors", made, replace(of, scale=SIDE, method="sinusoids", through="", hyperparameters={})
    )


if __name__ == "__main__":
    main()
