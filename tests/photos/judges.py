"""Decoders that are not Pillow: what they see in an original and in its copy is what people see."""

from __future__ import annotations

import base64
import shutil
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Self

import numpy as np
import pytest
from numpy.typing import NDArray

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync"]

SHOW = """async (address) => {
    const image = new Image();
    image.src = address;
    await image.decode();
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
    const context = canvas.getContext("2d", { colorSpace: "srgb" });
    context.drawImage(image, 0, 0);
    const data = context.getImageData(0, 0, canvas.width, canvas.height).data;
    let text = "";
    for (let at = 0; at < data.length; at += 8192)
        text += String.fromCharCode.apply(null, data.subarray(at, at + 8192));
    return [canvas.width, canvas.height, btoa(text)];
}"""


class Browser:
    """Chromium, which obeys colour profiles, colour tags and orientations as people's viewers do."""

    def __enter__(self) -> Self:
        from playwright.sync_api import sync_playwright

        path = next(filter(None, map(shutil.which, BROWSERS)))
        self._playwright = sync_playwright().start()
        self._browser = self._playwright.chromium.launch(executable_path=path, args=FLAGS)
        self._page = self._browser.new_page()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._browser.close()
        self._playwright.stop()

    def pixels(self, data: bytes, kind: str) -> NDArray[np.float64]:
        """Return what it shows of a file: sRGB and alpha, ``[H, W, 4]``, pixel levels."""
        address = f"data:image/{kind};base64," + base64.b64encode(data).decode()
        width, height, text = self._page.evaluate(SHOW, address)
        return np.frombuffer(base64.b64decode(text), np.uint8).reshape(height, width, 4).astype(np.float64)


def open_browser() -> Iterator[Browser]:
    """Return Chromium, or the reason to skip."""
    if not any(map(shutil.which, BROWSERS)):
        pytest.skip("no Chromium is installed, which judges colours here")
    with Browser() as browser:
        yield browser


def seen_by_vips(data: bytes, *, strict: bool = True) -> NDArray[Any]:
    """Return the pixels ``[H, W, bands]`` that libvips sees, turned and cropped as a file says, or a reason to skip.

    A ``strict`` look fails on any damage that it meets.
    """
    pyvips = pytest.importorskip("pyvips", reason="libvips is not installed, which judges pixels here")
    image = pyvips.Image.new_from_buffer(data, "", fail_on="warning" if strict else "none").autorot()
    pixels: NDArray[Any] = image.numpy()
    return pixels.reshape(*pixels.shape[:2], -1)
