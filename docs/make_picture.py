"""Write docs/strengths.jpg, the picture of the README: ``python docs/make_picture.py``.

It shows docs/portrait.jpg as it is, and as ``unlearn protect --class person`` writes it at each strength, with a key
that anybody may know. The portrait is NASA's official one of the astronaut Eileen Collins (1992), which is in the
public domain (https://flic.kr/p/r9qvLn); the file is the one in scikit-image's data, 512 pixels wide, saved as JPEG. A
test fails when the picture is not what this script makes, for example after a bank was made anew.
"""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import get_args

from PIL import Image, ImageDraw, ImageFont

from unlearn_cli.banks.catalog import choose
from unlearn_cli.banks.keys import Key
from unlearn_cli.banks.provenance import Strength
from unlearn_cli.photos.one import protect_bytes
from unlearn_cli.photos.protection import Protection

PORTRAIT, PICTURE = (Path(__file__).parent / name for name in ("portrait.jpg", "strengths.jpg"))
KEY = Key(hashlib.sha256(b"unlearn's picture").digest())
AREA = (114, 10, 334, 250)
"""The part of the portrait that is shown, at its real size."""
CAPTION, GAP = 28, 6


def picture() -> Image.Image:
    """Return the original and a copy at each strength, side by side."""
    data = PORTRAIT.read_bytes()
    panels = {"original": data}
    for strength in get_args(Strength):
        protection = Protection.of(choose("person", strength=strength), "person", key=KEY)
        panels[strength] = protect_bytes(data, protection).data
    width, height = AREA[2] - AREA[0], AREA[3] - AREA[1]
    sheet = Image.new("RGB", (len(panels) * (width + GAP) - GAP, height + CAPTION), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(16)
    for index, (name, copy) in enumerate(panels.items()):
        left = index * (width + GAP)
        with Image.open(io.BytesIO(copy)) as photo:
            sheet.paste(photo.convert("RGB").crop(AREA), (left, 0))
        draw.text((left + width / 2, height + CAPTION / 2), name, fill="black", anchor="mm", font=font)
    return sheet


if __name__ == "__main__":
    picture().save(PICTURE, quality=95, subsampling=0, optimize=True)
