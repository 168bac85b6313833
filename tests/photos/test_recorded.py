"""The same key writes the same pixels in every version: what these banks made once is recorded, and compared.

``python -m tests.photos.test_recorded`` records anew, which only a change of the noise itself may call for.
"""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from unlearn_cli.banks.catalog import choose
from unlearn_cli.banks.keys import Key
from unlearn_cli.photos.one import protect_bytes
from unlearn_cli.photos.protection import Protection

RECORD = Path(__file__).parent / "recorded.json"

KEY = Key(bytes(range(32)))
BANKS = {
    "person": ("person", None, None),
    "person, low": ("person", "low", None),
    "person, high": ("person", "high", None),
    "person, max": ("person", "max", None),
    "person, epsilon 4": ("person", None, 4),
    "church": ("church", None, None),
    "cat": ("cat", None, None),
    "car": ("car", None, None),
}
MODES = ("RGB", "RGBA", "L", "LA", "CMYK", "I;16")
SIZES = ((64, 64), (333, 127), (640, 480))


def photo(mode: str, size: tuple[int, int]) -> bytes:
    """Return a picture without faces whose every value is known, as a lossless file."""
    y, x = np.mgrid[0 : size[1], 0 : size[0]]
    bands = [(x * (2 + band) + y * (7 - band) + (x * y) % 31) % 256 for band in range(4)]
    if mode == "I;16":
        image = Image.fromarray((bands[0] * 257).astype(np.uint16))
    else:
        count = {"RGB": 3, "RGBA": 4, "L": 1, "LA": 2, "CMYK": 4}[mode]
        values = np.stack(bands[:count], -1).astype(np.uint8)
        image = Image.fromarray(values if count > 1 else values[..., 0], mode)
    buffer = io.BytesIO()
    image.save(buffer, "TIFF" if mode == "CMYK" else "PNG")
    return buffer.getvalue()


def measured(bank: str) -> dict[str, str]:
    """Return the SHA-256 of the pixels that a bank writes, by mode and size."""
    class_name, strength, epsilon = BANKS[bank]
    choice = choose(class_name, None, strength)
    protection = Protection.of(choice, class_name, epsilon, KEY if choice.keyed else None)
    found = {}
    for mode in MODES:
        for size in SIZES:
            made = protect_bytes(photo(mode, size), protection)
            with Image.open(io.BytesIO(made.data)) as image:
                pixels = np.asarray(image)
            found[f"{mode} {size[0]} x {size[1]}"] = hashlib.sha256(np.ascontiguousarray(pixels).tobytes()).hexdigest()
    return found


@pytest.mark.parametrize("bank", BANKS)
def test_the_same_key_writes_the_same_pixels_as_ever(bank: str) -> None:
    assert measured(bank) == json.loads(RECORD.read_text(encoding="utf-8"))[bank]


if __name__ == "__main__":
    RECORD.write_text(json.dumps({bank: measured(bank) for bank in BANKS}, indent=1) + "\n", encoding="utf-8")
