"""The preview shows what was done; its slider works in a real browser."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import protection_of
from unlearn_cli.errors import UsageError, WorkError
from unlearn_cli.photos.apply import Pattern
from unlearn_cli.photos.before_after import PHOTOS, Preview
from unlearn_cli.photos.folder import protect_folder

GREENER = protection_of(Pattern(np.stack([np.full((4, 4), level, np.int8) for level in (0, 8, 0)]), 8))
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def preview_of(folder: Path, path: Path, photos: int = 2) -> Preview:
    (folder / "in").mkdir()
    for i in range(photos):
        Image.new("RGB", (300, 200), (100, 100, 100)).save(folder / "in" / f"<b>{i}.png")
    preview = Preview.prepare(path)
    for done in protect_folder(folder / "in", GREENER):
        preview.add(done)
    return preview


def test_a_sheet_shows_before_after_and_ten_times_the_difference(tmp_path: Path) -> None:
    assert preview_of(tmp_path, tmp_path / "p.png").write()
    with Image.open(tmp_path / "p.png") as sheet:
        colours = {colour for _, colour in sheet.getcolors(1 << 20) or []}
    assert {(100, 100, 100), (100, 108, 100), (128, 208, 128)} <= colours


def test_only_the_first_photos_are_shown(tmp_path: Path) -> None:
    preview_of(tmp_path, tmp_path / "p.html", PHOTOS + 3).write()
    assert (tmp_path / "p.html").read_text().count("<figure>") == PHOTOS


def test_a_page_needs_nothing_else_and_names_cannot_speak_in_it(tmp_path: Path) -> None:
    preview_of(tmp_path, tmp_path / "p.html").write()
    page = (tmp_path / "p.html").read_text()
    assert "http" not in page
    assert "<b>" not in page


def test_what_cannot_be_shown(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"\.png or an \.html"):
        Preview.prepare(tmp_path / "p.gif")
    assert not Preview.prepare(tmp_path / "p.png").write()
    (tmp_path / "file").touch()
    with pytest.raises(WorkError, match="cannot be written"):
        preview_of(tmp_path, tmp_path / "file" / "p.png").write()


@pytest.mark.skipif(not any(map(shutil.which, BROWSERS)), reason="no Chromium is installed")
def test_the_slider_moves_the_border_between_before_and_after(tmp_path: Path) -> None:
    from playwright.sync_api import sync_playwright

    preview_of(tmp_path, tmp_path / "p.html").write()
    browser_path = next(filter(None, map(shutil.which, BROWSERS)))
    flags = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path, args=flags)
        page = browser.new_page(viewport={"width": 800, "height": 600})
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto((tmp_path / "p.html").as_uri())
        pair = page.locator(".pair").first
        box = pair.bounding_box()
        assert box is not None

        def colour(share: float) -> tuple[int, ...]:
            """Of the picture on the screen, at a share of its width."""
            pair.screenshot(path=tmp_path / "shot.png")
            with Image.open(tmp_path / "shot.png") as shot:
                pixel = shot.convert("RGB").getpixel((int(share * (shot.width - 1)), shot.height // 3))
            assert isinstance(pixel, tuple)
            return tuple(int(value) for value in pixel)

        def is_protected(share: float) -> bool:
            red, green, _ = colour(share)
            return green > red + 4

        assert (is_protected(0.2), is_protected(0.8)) == (False, True)
        page.mouse.click(box["x"] + 0.9 * box["width"], box["y"] + 0.5 * box["height"])
        assert (is_protected(0.2), is_protected(0.8)) == (False, False)
        page.mouse.click(box["x"] + 0.1 * box["width"], box["y"] + 0.5 * box["height"])
        assert (is_protected(0.2), is_protected(0.8)) == (True, True)
        page.keyboard.press("End")  # without a mouse
        assert not is_protected(0.8)
        page.locator("summary").first.click()
        assert page.locator("details img").first.is_visible()
        assert errors == []
        browser.close()
