"""A picture of how protecting changed the first photos: before, after, and the difference times ten."""

from __future__ import annotations

import base64
import html
import io
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, PngImagePlugin

from unlearn_cli.errors import PhotoError, PhotoSkippedError, UsageError, WorkError
from unlearn_cli.files import write_atomically
from unlearn_cli.photos.decode import decode, read_file
from unlearn_cli.photos.quality import visible

if TYPE_CHECKING:
    from unlearn_cli.photos.outcome import PhotoDone

PHOTOS = 4
SIDE = 640
"""The longest side of a photo in the preview, in pixels."""

TIMES = 10
"""The factor by which the difference is multiplied; grey is no difference."""

GAP, LABEL = 12, 20

MARK = "unlearn: before and after"
"""The title, which identifies an earlier preview."""


@dataclass(frozen=True, eq=False)
class _Shown:
    name: str
    before: Image.Image
    after: Image.Image
    difference: Image.Image


@dataclass(eq=False)
class Preview:
    """A collection of the first photos of a run, written as one PNG or as an HTML page with sliders."""

    path: Path
    _shown: list[_Shown] = field(default_factory=list)

    @classmethod
    def prepare(cls, path: Path) -> Preview:
        """Return a preview that will be written to this path.

        Raises ``UsageError`` unless it ends in .png, .html or .htm, and if a file is there that is no earlier preview.
        """
        if path.suffix.lower() not in (".png", ".html", ".htm"):
            raise UsageError(f"A preview must be a .png or an .html file, not {path.name}.")
        if os.path.lexists(path) and not _is_preview(path):
            raise UsageError(f"{path} already exists and is not a preview. Choose another file for the preview.")
        return cls(path)

    @property
    def is_full(self) -> bool:
        """Return whether no more photos fit into it."""
        return len(self._shown) >= PHOTOS

    def add(self, photo: PhotoDone) -> None:
        """Add a photo that was just protected, if there is still room."""
        if photo.target is not None:
            self.add_pair(photo.original, photo.target, photo.source.name)

    def add_pair(self, original: Path, copy: Path, name: str | None = None) -> None:
        """Add a photo and its copy, if there is still room, both can be read and their sizes are the same."""
        if self.is_full:
            return
        try:
            before, after = _picture(original), _picture(copy)
        except (PhotoError, PhotoSkippedError):
            return
        if before.size != after.size:
            return
        change = np.asarray(after).astype(np.int16) - np.asarray(before)
        difference = np.clip(change * TIMES + 128, 0, 255).astype(np.uint8)
        self._shown.append(_Shown(name or original.name, before, after, Image.fromarray(difference)))

    def write(self) -> bool:
        """Write the preview; return False, and write nothing, if it shows no photo. Raises ``WorkError``."""
        if not self._shown:
            return False
        data = _sheet(self._shown) if self.path.suffix.lower() == ".png" else _page(self._shown).encode()
        try:
            write_atomically(self.path, data)
        except OSError as error:
            raise WorkError(f"The preview {self.path} cannot be written ({error.strerror or error}).") from error
        return True


def _is_preview(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return MARK.encode() in file.read(1024)
    except OSError:
        return False


def _picture(path: Path) -> Image.Image:
    """Return a photo as it is shown: RGB, no larger than ``SIDE``."""
    image = Image.fromarray(np.rint(visible(decode(read_file(path), "none"))).astype(np.uint8))
    image.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    return image


def _sheet(shown: list[_Shown]) -> bytes:
    widths = [max(getattr(photo, part).width for photo in shown) for part in ("before", "after", "difference")]
    height = sum(photo.before.height + LABEL + GAP for photo in shown) + GAP
    sheet = Image.new("RGB", (sum(widths) + 4 * GAP, height), "white")
    draw = ImageDraw.Draw(sheet)
    top = GAP
    for photo in shown:
        left = GAP
        captions = (f"{_printable(photo.name)}: original", "protected", f"difference x {TIMES}")
        parts = (photo.before, photo.after, photo.difference)
        for caption, image, width in zip(captions, parts, widths, strict=True):
            draw.text((left, top), caption, fill="black")
            sheet.paste(image, (left, top + LABEL))
            left += width + GAP
        top += photo.before.height + LABEL + GAP
    buffer = io.BytesIO()
    texts = PngImagePlugin.PngInfo()
    texts.add_text("Title", MARK)
    sheet.save(buffer, "PNG", pnginfo=texts)
    return buffer.getvalue()


def _printable(text: str) -> str:
    return "".join(letter if " " <= letter <= "~" else "?" for letter in text)


def _page(shown: list[_Shown]) -> str:
    figures = "\n".join(_figure(photo) for photo in shown)
    return PAGE.replace("{{title}}", MARK).replace("{{figures}}", figures).replace("{{times}}", str(TIMES))


def _figure(photo: _Shown) -> str:
    name = html.escape(photo.name.encode("utf-8", "replace").decode())
    width, height = photo.before.size
    return FIGURE.format(
        name=name,
        width=width,
        height=height,
        before=_inline(photo.before),
        after=_inline(photo.after),
        difference=_inline(photo.difference),
        times=TIMES,
    )


def _inline(image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=95, subsampling=0)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


FIGURE = """<figure>
<figcaption>{name}</figcaption>
<div class="pair" style="aspect-ratio: {width} / {height}; max-width: {width}px">
<img src="{before}" alt="{name}, original">
<img class="after" src="{after}" alt="{name}, protected">
<span class="side left">original</span><span class="side right">protected</span>
<input type="range" min="0" max="100" value="50" step="0.5" aria-label="{name}: how much of the original is shown">
</div>
<details><summary>difference &times; {times}</summary>
<img src="{difference}" alt="{name}, difference times {times}"></details>
</figure>"""

PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{title}}</title>
<style>
body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 700px; padding: 0 1rem; color: #222;
       background: #fff }
figure { margin: 0 0 2.5rem }
figcaption { font-weight: 600; overflow-wrap: anywhere }
.pair { position: relative; --at: 50%; overflow: hidden }
.pair img { position: absolute; inset: 0; width: 100%; height: 100%; display: block }
.pair .after { clip-path: inset(0 0 0 var(--at)) }
.pair::after { content: ""; position: absolute; inset: 0 auto 0 var(--at); width: 2px; margin-left: -1px;
               background: #fff; box-shadow: 0 0 3px #000; pointer-events: none }
.pair input { position: absolute; inset: 0; width: 100%; height: 100%; margin: 0; opacity: 0; cursor: ew-resize }
.pair:focus-within { outline: 3px solid #06c }
.side { position: absolute; bottom: .5rem; padding: 0 .5rem; background: #000a; color: #fff; font-size: .8rem }
.left { left: .5rem }
.right { right: .5rem }
details img { max-width: 100%; display: block }
</style>
</head>
<body>
<h1>Before and after</h1>
<p>Drag across a photo to compare: the original is on the left, the protected copy on the right. The photos are scaled
down to fit. The difference is multiplied by {{times}}; grey means no change.</p>
{{figures}}
<script>
for (const slider of document.querySelectorAll(".pair input")) {
  const show = () => slider.parentElement.style.setProperty("--at", slider.value + "%");
  slider.addEventListener("input", show);
  show();
}
</script>
</body>
</html>
"""
