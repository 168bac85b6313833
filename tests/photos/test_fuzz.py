"""Damaged photos end with a reason. The long runs are ``benchmarks/fuzz.py``'s; what they found is kept here."""

from __future__ import annotations

import io
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.conftest import ROOT
from unlearn_cli.errors import PhotoError, PhotoSkippedError
from unlearn_cli.photos.apply import Pattern
from unlearn_cli.photos.decode import decode
from unlearn_cli.photos.formats import markers
from unlearn_cli.photos.one import protect_bytes

PATTERN = Pattern(np.random.default_rng(0).integers(-8, 9, (3, 16, 16)).astype(np.int8), 8)


def encoded(name: str, size: tuple[int, int] = (64, 48), **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.effect_noise(size, 60).convert("RGB").save(buffer, name, **options)
    return buffer.getvalue()


def test_a_thousand_mutants_of_real_photos(
    photos: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    arguments = [str(photos), "--files", "1000", "--seed", "17", "--keep", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["fuzz.py", *arguments])
    runpy.run_path(str(ROOT / "benchmarks" / "fuzz.py"), run_name="__main__")
    assert "no traceback, none outside its bound" in capsys.readouterr().out


@settings(max_examples=60)
@given(name=st.sampled_from(["JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF"]), share=st.floats(0, 0.98))
def test_a_truncated_photo_is_never_protected_as_if_it_were_whole(name: str, share: float) -> None:
    data = encoded(name)
    cut = data[: int(share * len(data))]
    try:
        made = protect_bytes(cut, PATTERN)
    except (PhotoError, PhotoSkippedError):
        return
    # A decoder may give a picture for what is cut off behind it; then it is all there.
    np.testing.assert_array_equal(decode(cut).pixels, decode(data).pixels)
    assert made.linf <= 8


def test_a_torn_png_is_not_taken_for_a_whole_one() -> None:
    """Asking it for its EXIF decodes it, and Pillow then counts it as decoded, however that went."""
    data = bytearray(encoded("PNG", (300, 300)))
    at = data.index(b"IDAT", data.index(b"IDAT") + 4)
    data[at - 4 : at + 4] = b"\0\0\0\0JUNK"
    for keep in ("safe", "all", "none"):
        with pytest.raises(PhotoError):
            decode(bytes(data), keep)


def test_a_jpeg_of_very_many_scans_is_refused_before_it_is_decoded() -> None:
    data = encoded("JPEG", (640, 480), progressive=True)
    scans = markers.count_scans(data)
    assert 5 < scans < 20
    start = data.rindex(b"\xff\xda")
    last_scan = data[start : data.rindex(b"\xff\xd9")]
    bomb = data[:start] + last_scan * 7000 + b"\xff\xd9"
    assert markers.count_scans(bomb) == scans - 1 + 7000
    with pytest.raises(PhotoError, match="scans, which would take minutes"):
        decode(bomb)
    assert markers.count_scans(encoded("JPEG")) == 1
    assert markers.count_scans(b"\xff\xd8") == 0


def test_a_very_long_line_of_pixels_is_left_alone() -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (70_000, 1), "grey").save(buffer, "PNG")
    with pytest.raises(PhotoSkippedError, match="65535 pixels long"):
        decode(buffer.getvalue())
