"""The preview shows what was done; it works in a real browser, by mouse, keyboard and finger."""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from tests.conftest import ROOT, RunUnlearn, protection_of
from unlearn_cli.errors import UsageError, WorkError
from unlearn_cli.photos.apply import Pattern
from unlearn_cli.photos.before_after import PHOTOS, Preview
from unlearn_cli.photos.folder import protect_folder

GREENER = protection_of(Pattern(np.stack([np.full((4, 4), level, np.int8) for level in (0, 8, 0)]), 8))
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = ("--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync")
PORTRAIT = ROOT / "docs" / "portrait.jpg"
"""A face that may be published, see docs/make_picture.py."""


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


def make_album(folder: Path, count: int) -> None:
    (folder / "in" / "sub").mkdir(parents=True)
    for i in range(count):
        Image.new("RGB", (30, 20), (100, 100, 100)).save(folder / "in" / "sub" / f"{i:02}.png")
    list(protect_folder(folder / "in", GREENER))


def test_copies_of_earlier_runs_are_shown_without_protecting_anything(tmp_path: Path, unlearn: RunUnlearn) -> None:
    make_album(tmp_path, PHOTOS + 2)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.*")}
    run = unlearn("preview", "in", "in-protected")
    assert run.returncode == 0, run.stderr
    assert "do not share it" in run.stderr
    page = (tmp_path / "preview.html").read_text()
    assert [f"{i:02}.png" in page for i in range(PHOTOS + 2)] == [True] * PHOTOS + [False] * 2
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_photos_can_be_chosen_by_name_path_or_pattern(tmp_path: Path, unlearn: RunUnlearn) -> None:
    make_album(tmp_path, PHOTOS + 5)
    names = ("11.png", "sub/03.png", "in/sub/05.png", "1[34].png")
    run = unlearn("preview", "in", "in-protected", *(word for name in names for word in ("--photo", name)))
    assert run.returncode == 0, run.stderr
    page = (tmp_path / "preview.html").read_text()
    assert [i for i in range(PHOTOS + 5) if f"{i:02}.png" in page] == [3, 5, 11, 13, 14]
    wrong = unlearn("preview", "in", "in-protected", "--photo", "selfie.png")
    assert wrong.returncode == 2
    assert "No photo in in is called 'selfie.png'" in wrong.stderr


def test_a_name_with_brackets_is_no_pattern(tmp_path: Path, unlearn: RunUnlearn) -> None:
    make_album(tmp_path, 2)
    (tmp_path / "in" / "sub" / "00.png").rename(tmp_path / "in" / "sub" / "0 [1].png")
    (tmp_path / "in-protected" / "sub" / "00.png").rename(tmp_path / "in-protected" / "sub" / "0 [1].png")
    assert unlearn("preview", "in", "in-protected", "--photo", "0 [1].png").returncode == 0
    assert (tmp_path / "preview.html").read_text().count("<figure>") == 1


def test_a_chosen_photo_without_a_copy_is_told(tmp_path: Path, unlearn: RunUnlearn) -> None:
    make_album(tmp_path, 2)
    (tmp_path / "in-protected" / "sub" / "00.png").unlink()
    Image.new("RGB", (10, 10)).save(tmp_path / "in-protected" / "sub" / "01.png")
    run = unlearn("preview", "in", "in-protected", "--photo", "*")
    assert run.returncode == 1
    assert "00.png: there is no protected copy of it" in run.stderr
    assert "01.png: its copy has another size" in run.stderr
    assert "There is nothing to preview" in run.stderr
    assert not (tmp_path / "preview.html").exists()


@pytest.fixture
def browser() -> Iterator[Any]:
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip("no Chromium is installed")
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=list(FLAGS))
        yield browser
        browser.close()


class Page:
    """A preview that is open in a browser."""

    def __init__(self, browser: Any, path: Path, **window: Any) -> None:
        self.context = browser.new_context(**{"viewport": {"width": 800, "height": 900}, **window})
        self.page = self.context.new_page()
        self.errors: list[str] = []
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.goto(path.as_uri())

    def box(self, index: int = 0) -> dict[str, float]:
        found: dict[str, float] | None = self.page.locator(".pair").nth(index).bounding_box()
        assert found is not None
        return found

    def point(self, share: float, index: int = 0) -> tuple[float, float]:
        box = self.box(index)
        return box["x"] + share * box["width"], box["y"] + box["height"] / 2

    def shot(self, index: int = 0) -> Image.Image:
        return Image.open(io.BytesIO(self.page.locator(".pair").nth(index).screenshot())).convert("RGB")

    def colour(self, share: float, index: int = 0) -> tuple[int, ...]:
        """Return the colour on the screen, at a share of the picture's width."""
        shot = self.shot(index)
        pixel = shot.getpixel((int(share * (shot.width - 1)), shot.height // 3))
        assert isinstance(pixel, tuple)
        return tuple(int(value) for value in pixel)

    def protected_at(self, *shares: float, index: int = 0) -> list[bool]:
        colours = [self.colour(share, index) for share in shares]
        return [green > red + 4 for red, green, _ in colours]


@pytest.fixture
def grey(tmp_path: Path, browser: Any) -> Page:
    preview_of(tmp_path, tmp_path / "p.html").write()
    return Page(browser, tmp_path / "p.html")


def test_the_slider_follows_the_mouse_and_the_keyboard(grey: Page) -> None:
    assert grey.protected_at(0.2, 0.8) == [False, True]
    grey.page.mouse.click(*grey.point(0.9))
    assert grey.protected_at(0.2, 0.8) == [False, False]
    grey.page.mouse.move(*grey.point(0.9))
    grey.page.mouse.down()
    grey.page.mouse.move(*grey.point(0.1))
    grey.page.mouse.up()
    assert grey.protected_at(0.2, 0.8) == [True, True]
    grey.page.mouse.move(*grey.point(0.9))
    assert grey.protected_at(0.2, 0.8) == [True, True], "a mouse that is not pressed moves nothing"
    grey.page.keyboard.press("End")
    assert grey.protected_at(0.8) == [False]
    grey.page.keyboard.press("ArrowLeft")
    grey.page.keyboard.press("Home")
    assert grey.protected_at(0.2) == [True]
    assert grey.protected_at(0.2, index=1) == [False], "the other photo is as it was"
    assert grey.errors == []


def test_the_slider_follows_a_finger_anywhere_and_leaves_scrolling_alone(tmp_path: Path, browser: Any) -> None:
    preview_of(tmp_path, tmp_path / "p.html").write()
    phone = Page(browser, tmp_path / "p.html", viewport={"width": 320, "height": 400}, has_touch=True, is_mobile=True)
    phone.page.locator(".pair").first.scroll_into_view_if_needed()
    touch = phone.context.new_cdp_session(phone.page)

    def drag(*points: tuple[float, float]) -> None:
        for kind, point in zip(("touchStart", *["touchMove"] * (len(points) - 1)), points, strict=True):
            at = {"x": point[0], "y": point[1]}
            touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [at]})
        touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})

    drag(phone.point(0.9))
    assert phone.protected_at(0.2, 0.8) == [False, False]
    drag(*(phone.point(share) for share in (0.9, 0.6, 0.3, 0.05)))
    assert phone.protected_at(0.2, 0.8) == [True, True]
    scrolled = phone.page.evaluate("window.scrollY")
    (x, y) = phone.point(0.5)
    drag(*((x, y - step) for step in (0, 20, 40, 60, 80)))
    phone.page.wait_for_function(f"window.scrollY > {scrolled}")
    phone.page.get_by_role("button", name="noise").first.tap()
    assert phone.colour(0.5)[1] > 190
    assert phone.errors == []


def test_the_noise_is_shown_ten_times_as_strong(grey: Page) -> None:
    grey.page.keyboard.press("n")
    assert np.allclose(grey.colour(0.2), (128, 208, 128), atol=4)
    assert grey.protected_at(0.2, index=1) == [False]
    grey.page.get_by_role("button", name="noise").first.click()
    assert grey.protected_at(0.2, 0.8) == [False, True]
    grey.page.get_by_role("button", name="noise").nth(1).click()
    assert np.allclose(grey.colour(0.2, 1), (128, 208, 128), atol=4)
    assert grey.errors == []


def test_where_no_face_is_found_the_page_says_so(grey: Page) -> None:
    assert "no face found" in grey.page.locator("figcaption").first.inner_text()
    assert grey.page.get_by_role("button", name="outline").first.is_disabled()
    grey.page.keyboard.press("o")
    assert not grey.page.locator("rect").count()


@pytest.mark.parametrize("width", [800, 200])
def test_the_face_is_shown_pixel_by_pixel_and_outlined(tmp_path: Path, browser: Any, width: int) -> None:
    from unlearn_cli.faces import find_faces

    with Image.open(PORTRAIT) as portrait:
        # A photo that does not fit on the page.
        photo = portrait.convert("RGB").resize((2 * portrait.width, 2 * portrait.height))
    (tmp_path / "in").mkdir()
    photo.save(tmp_path / "in" / "me.png")
    preview = Preview.prepare(tmp_path / "p.html")
    preview.add_pair(tmp_path / "in" / "me.png", tmp_path / "in" / "me.png")
    preview.write()
    box = find_faces(np.asarray(photo))[0].box
    page = Page(browser, tmp_path / "p.html", viewport={"width": width, "height": 900})
    assert "1 face found" in page.page.locator("figcaption").inner_text()
    whole = page.box()
    page.page.keyboard.press("o")
    drawn = page.page.locator(".whole rect").bounding_box()
    scale = whole["width"] / photo.width
    assert drawn is not None
    assert np.allclose(
        (drawn["x"] - whole["x"], drawn["y"] - whole["y"], drawn["width"]),
        np.array((box.left, box.top, box.side)) * scale,
        atol=2,
    )
    page.page.keyboard.press("o")
    page.page.keyboard.press("z")
    page.page.keyboard.press("ArrowRight")  # without touching anything before
    page.page.keyboard.press("End")
    x, y = (int(at) for at in box.centre)
    middle = np.asarray(photo.crop((x - 40, y - 40, x + 40, y + 40)))
    differences: Any = cv2.matchTemplate(np.asarray(page.shot()), middle, cv2.TM_SQDIFF)
    nearest = np.sqrt(differences.min() / middle.size)
    assert nearest < 4, "one pixel of the photo is one pixel on the page"
    assert page.errors == []


def test_the_largest_face_is_told_from_the_others(tmp_path: Path, browser: Any) -> None:
    with Image.open(PORTRAIT) as portrait:
        two = Image.new("RGB", (900, 512), "white")
        two.paste(portrait.resize((350, 350)), (0, 0))
        two.paste(portrait, (388, 0))
    two.save(tmp_path / "two.png")
    preview = Preview.prepare(tmp_path / "p.html")
    preview.add_pair(tmp_path / "two.png", tmp_path / "two.png")
    preview.write()
    page = Page(browser, tmp_path / "p.html")
    assert "2 faces found" in page.page.locator("figcaption").inner_text()
    page.page.get_by_role("button", name="outline").click()
    left, right = (page.page.locator(f".whole rect.{kind}").bounding_box() for kind in ("other", "largest"))
    assert left is not None
    assert right is not None
    assert left["x"] < right["x"]
    assert left["width"] < right["width"]
    assert page.errors == []
