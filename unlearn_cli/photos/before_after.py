"""A picture of how protecting changed photos: before, after, the face at its real size, and the noise times ten."""

from __future__ import annotations

import base64
import contextlib
import html
import io
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, PngImagePlugin

from unlearn_cli.errors import Code, PhotoError, PhotoSkippedError, UsageError, WorkError
from unlearn_cli.files import write_atomically
from unlearn_cli.photos.decode import decode, read_file
from unlearn_cli.photos.names import resolved
from unlearn_cli.photos.pairs import pair_up
from unlearn_cli.photos.quality import visible

if TYPE_CHECKING:
    from unlearn_cli.faces import Box
    from unlearn_cli.photos.outcome import PhotoDone

PHOTOS = 10
"""How many photos are shown unless the user names some."""

SIDE = 640
"""The longest side of a photo in the preview, and of the part that is shown at its real size, in pixels."""

AROUND = 1.8
"""The side of the part that is shown at its real size, as a multiple of the side of the face's box."""

TIMES = 10
"""The factor by which the difference is multiplied; grey is no difference."""

GAP, LABEL = 12, 20

MARK = "unlearn: before and after"
"""The title, which identifies an earlier preview."""

Area = tuple[int, int, int, int]
"""The left, upper, right and lower border of a part of a photo, in pixels."""


@dataclass(frozen=True, eq=False)
class _View:
    """A photo or a part of it: as it was, as it is now, and the difference."""

    before: Image.Image
    after: Image.Image
    difference: Image.Image


@dataclass(frozen=True, eq=False)
class _Shown:
    name: str
    whole: _View
    close: _View
    """The largest face, or the middle of the photo, at its real size."""
    area: Area
    """Where ``close`` is in the photo."""
    size: tuple[int, int]
    """The photo's width and height, in pixels."""
    faces: tuple[Box, ...]
    """The faces in the photo, largest first."""


@dataclass(frozen=True)
class Added:
    """One photo of a preview, or the reason why it is not shown."""

    original: Path
    copy: Path | None
    reason: str = ""
    code: Code | None = None


@dataclass(eq=False)
class Preview:
    """A collection of photos before and after, written as one PNG or as an HTML page."""

    path: Path
    most: int = PHOTOS
    """The number of photos after which it is full."""
    _shown: list[_Shown] = field(default_factory=list)

    @classmethod
    def prepare(cls, path: Path, most: int = PHOTOS) -> Preview:
        """Return a preview that will be written to this path.

        Raises ``UsageError`` unless it ends in .png, .html or .htm, and if a file is there that is no earlier preview.
        """
        if path.suffix.lower() not in (".png", ".html", ".htm"):
            raise UsageError(f"A preview must be a .png or an .html file, not {path.name}.")
        if os.path.lexists(path) and not _is_preview(path):
            raise UsageError(f"{path} already exists and is not a preview. Choose another file for the preview.")
        return cls(path, most)

    @property
    def is_full(self) -> bool:
        """Return whether no more photos fit into it."""
        return len(self._shown) >= self.most

    def add(self, photo: PhotoDone) -> None:
        """Add a photo that was just protected, if there is still room and it can be shown."""
        if photo.target is not None and not self.is_full:
            with contextlib.suppress(PhotoError, PhotoSkippedError, MemoryError):
                self.add_pair(photo.original, photo.target, photo.source.name)

    def add_pair(self, original: Path, copy: Path, name: str | None = None) -> None:
        """Add a photo and its copy.

        Raises ``PhotoError`` or ``PhotoSkippedError`` if one of them cannot be read or their sizes differ.
        """
        from unlearn_cli.faces import find_faces  # OpenCV takes a moment to load.

        before, after = _picture(original), _picture(copy)
        if before.size != after.size:
            raise PhotoError("its copy has another size", "altered")
        faces = tuple(face.box for face in find_faces(np.asarray(before)))
        area = _area(before.size, faces)
        close = _view(before.crop(area), after.crop(area))
        small = [image.copy() for image in (before, after)]
        for image in small:
            image.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
        self._shown.append(_Shown(name or original.name, _view(*small), close, area, before.size, faces))

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


def preview(originals: Path, protected: Path, output: Path, names: Sequence[str] = ()) -> Iterator[Added]:
    """Write a preview of earlier copies, and yield each photo that it shows or that cannot be shown.

    ``names`` are the photos to show, by their paths, or by their names or relative paths below ``originals``, which may
    be patterns such as ``2024/*``; without names, the first ten that can be shown are. Raises ``UsageError`` as
    ``Preview.prepare`` and ``pair_up`` do, for a name that no photo has, and for an ``output`` among the copies, and
    ``WorkError`` if there is nothing to show or the preview cannot be written.
    """
    if protected.is_dir() and resolved(output).is_relative_to(resolved(protected)):
        raise UsageError(
            f"A preview shows your original photos, so it must not lie in {protected}, which you share. Name another "
            "place with --output."
        )
    newest: dict[Path, Path | None] = {}
    for photo, copy in pair_up(originals, protected):
        if photo is not None:
            newest.setdefault(photo, copy)
    pairs = list(newest.items())
    if names:
        pairs = _chosen(pairs, originals, names)
    show = Preview.prepare(output, len(pairs) if names else PHOTOS)
    for original, copy in pairs:
        if show.is_full:
            break
        if copy is None:
            yield Added(original, None, "there is no protected copy of it", "missing")
            continue
        try:
            show.add_pair(original, copy)
        except (PhotoError, PhotoSkippedError) as error:
            yield Added(original, copy, str(error), error.code)
        else:
            yield Added(original, copy)
    if not show.write():
        raise WorkError(
            f"There is nothing to preview: no photo in {originals} has a readable copy in {protected}. "
            "Check the two paths, or run 'unlearn protect' first."
        )


def _chosen(
    pairs: list[tuple[Path, Path | None]], originals: Path, names: Sequence[str]
) -> list[tuple[Path, Path | None]]:
    """Return the pairs whose originals the names mean, in the order of the names."""
    chosen: dict[Path, Path | None] = {}
    for name in names:
        found = {photo: copy for photo, copy in pairs if _is_called(photo, originals, name)}
        if not found:
            raise UsageError(
                f"No photo in {originals} is called '{name}'. Give the name of a file, its path below that folder, or "
                "a pattern such as '*.jpg'."
            )
        chosen |= found
    return list(chosen.items())


def _is_called(photo: Path, originals: Path, name: str) -> bool:
    below = photo.relative_to(originals).as_posix() if photo != originals else photo.name
    return Path(name) == photo or any(name == own or fnmatchcase(own, name) for own in (photo.name, below))


def _is_preview(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return MARK.encode() in file.read(1024)
    except OSError:
        return False


def _picture(path: Path) -> Image.Image:
    """Return a photo as it is shown: RGB."""
    return Image.fromarray(np.rint(visible(decode(read_file(path), "none"))).astype(np.uint8))


def _area(size: tuple[int, int], faces: Sequence[Box]) -> Area:
    """Return the part of a photo around its largest face, or around its middle, no larger than ``SIDE``."""
    width, height = size
    (column, row), side = (
        (faces[0].centre, max(SIDE / 2, AROUND * faces[0].side)) if faces else ((width / 2, height / 2), SIDE)
    )
    across, down = min(width, SIDE, round(side)), min(height, SIDE, round(side))
    left = min(max(0, round(column - across / 2)), width - across)
    top = min(max(0, round(row - down / 2)), height - down)
    return left, top, left + across, top + down


def _view(before: Image.Image, after: Image.Image) -> _View:
    change = np.asarray(after).astype(np.int16) - np.asarray(before)
    return _View(before, after, Image.fromarray(np.clip(change * TIMES + 128, 0, 255).astype(np.uint8)))


def _sheet(shown: list[_Shown]) -> bytes:
    widths = [max(getattr(photo.whole, part).width for photo in shown) for part in ("before", "after", "difference")]
    height = sum(photo.whole.before.height + LABEL + GAP for photo in shown) + GAP
    sheet = Image.new("RGB", (sum(widths) + 4 * GAP, height), "white")
    draw = ImageDraw.Draw(sheet)
    top = GAP
    for photo in shown:
        left = GAP
        captions = (f"{_printable(photo.name)}: original", "protected", f"difference x {TIMES}")
        parts = (photo.whole.before, photo.whole.after, photo.whole.difference)
        for caption, image, width in zip(captions, parts, widths, strict=True):
            draw.text((left, top), caption, fill="black")
            sheet.paste(image, (left, top + LABEL))
            left += width + GAP
        top += photo.whole.before.height + LABEL + GAP
    buffer = io.BytesIO()
    texts = PngImagePlugin.PngInfo()
    texts.add_text("Title", MARK)
    sheet.save(buffer, "PNG", pnginfo=texts)
    return buffer.getvalue()


def _printable(text: str) -> str:
    return "".join(letter if " " <= letter <= "~" else "?" for letter in text)


def _page(shown: list[_Shown]) -> str:
    page = files("unlearn_cli.photos").joinpath("before_after.html").read_text(encoding="utf-8")
    figures = "\n".join(_figure(photo) for photo in shown)
    return page.replace("{{title}}", MARK).replace("{{times}}", str(TIMES)).replace("{{figures}}", figures)


def _figure(photo: _Shown) -> str:
    name = html.escape(photo.name.encode("utf-8", "replace").decode())
    left, top, right, bottom = photo.area
    count = len(photo.faces)
    return FIGURE.format(
        name=name,
        times=TIMES,
        found=f"{count} face{'s' if count > 1 else ''} found" if count else "no face found",
        what="face" if count else "middle",
        disabled="" if count else " disabled",
        whole=_shown(photo.whole, name, "whole", _outlines(photo, (0, 0, *photo.size))),
        close=_shown(photo.close, name, "close", _outlines(photo, (left, top, right, bottom))),
    )


def _shown(view: _View, name: str, kind: str, outlines: str) -> str:
    width, height = view.before.size
    images = {
        "before": (view.before, "original"),
        "after": (view.after, "protected"),
        "noise": (view.difference, "noise"),
    }
    shown = "\n".join(
        f'<img class="{part}" src="{_inline(image)}" alt="{name}, {what}" draggable="false">'
        for part, (image, what) in images.items()
    )
    style = f"aspect-ratio: {width} / {height}; width: {width}px"
    return f'<div class="view {kind}" style="{style}">\n{shown}\n{outlines}\n</div>'


def _outlines(photo: _Shown, area: Area) -> str:
    """Return a drawing of the faces' boxes over a part of a photo, which is scaled and cut as the part is."""
    left, top, right, bottom = area
    boxes = "".join(
        f'<rect class="{"other" if index else "largest"}" x="{box.left:.1f}" y="{box.top:.1f}" width="{box.side:.1f}" '
        f'height="{box.side:.1f}"/>'
        for index, box in enumerate(photo.faces)
    )
    width, height = right - left, bottom - top
    return f'<svg viewBox="{left} {top} {width} {height}" width="{width}" height="{height}">{boxes}</svg>'


def _inline(image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=95, subsampling=0)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


FIGURE = """<figure>
<figcaption>{name} ({found})</figcaption>
<button data-way="zoomed" aria-pressed="false">{what} at 100 %</button>
<button data-way="outlined" aria-pressed="false"{disabled}>outline</button>
<button data-way="noisy" aria-pressed="false">noise &times; {times}</button>
<div class="pair">
{whole}
{close}
<span class="side left">original</span><span class="side right">protected</span>
<input type="range" min="0" max="100" value="50" step="0.5" aria-label="{name}: how much of the original is shown">
</div>
</figure>"""
