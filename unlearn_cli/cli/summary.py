"""What a run over photos tells: its totals, as a table, as plain lines or as JSON."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unlearn_cli.cli.console import duration, out, plain

if TYPE_CHECKING:
    from unlearn_cli.photos.copying import PhotoDone
    from unlearn_cli.photos.scan import Plan

FIGURES = {
    "linf": ("L-infinity in the files", "largest", "{:g} levels", max),
    "psnr": ("PSNR", "lowest", "{:.1f} dB", min),
    "ssim": ("SSIM", "lowest", "{:.3f}", min),
    "ciede2000": ("CIEDE2000, mean of a photo", "highest", "{:.1f}", max),
    "flip": ("FLIP, mean of a photo", "highest", "{:.3f}", max),
}
"""For each figure of a photo: its row, what its worst is called, how it is printed, and what is worst."""


class Totals:
    """The totals of a run, of any number of photos: only the figures of ``--measure`` are kept for each."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.reasons: dict[str, Counter[str]] = {"skipped": Counter(), "failed": Counter()}
        self.linf = 0.0
        self.grey = self.no_face = 0
        self.bytes = [0, 0]
        self.measured: dict[str, list[float]] = {name: [] for name in FIGURES}

    def add(self, photo: PhotoDone) -> None:
        """Count one photo."""
        self.counts[photo.status] += 1
        if photo.reason:
            self.reasons[photo.status][photo.reason] += 1
        self.linf = max(self.linf, photo.linf)
        self.grey += photo.grey
        self.no_face += photo.faces == 0
        self.bytes = [total + size for total, size in zip(self.bytes, photo.sizes, strict=True)]
        if photo.quality is not None:
            for name, values in self.measured.items():
                value = getattr(photo.quality, name)
                if value is not None and value != float("inf"):
                    values.append(value)

    @property
    def photos(self) -> int:
        """How many photos there were."""
        return sum(self.counts.values())

    def to_json(self) -> dict[str, Any]:
        """The totals for ``--json``."""
        from unlearn_cli.photos.copying import DONE

        return {
            "protected": self.counts["protected"],
            "skipped": self.counts["skipped"],
            "failed": self.counts["failed"],
            "already_protected": self.reasons["skipped"][DONE],
            "reasons": {status: dict(reasons.most_common()) for status, reasons in self.reasons.items()},
            "linf": self.linf,
            "grey": self.grey,
            "without_face": self.no_face,
            "input_bytes": self.bytes[0],
            "output_bytes": self.bytes[1],
            "measured": {
                name: {"median": statistics.median(values), "worst": FIGURES[name][3](values), "photos": len(values)}
                for name, values in self.measured.items()
                if values
            },
        }

    def rows(self) -> Iterable[tuple[str, str]]:
        """The totals of what was left alone, of what failed, and of what was measured."""
        for status, meaning in (("skipped", "left alone"), ("failed", "failed")):
            for reason, count in self.reasons[status].most_common():
                yield meaning, f"{count}: {reason}"
        for name, values in self.measured.items():
            if values:
                row, worst, form, choose = FIGURES[name]
                median = form.format(statistics.median(values))
                yield row, f"{median} (median of the photos), {worst} {form.format(choose(values))}"


def print_rows(rows: Iterable[tuple[str, str]]) -> None:
    """Rows of a name and a text: a table on a terminal, else plain lines."""
    if not out().is_terminal:
        for name, text in rows:
            out().print(f"{name}: {plain(text)}")
        return
    from rich.table import Table

    table = Table(show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, text in rows:
        table.add_row(name, plain(text))
    out().print(table)


def protect_rows(totals: Totals, todo: Plan, seconds: float, epsilons: set[int], chroma: bool) -> list[tuple[str, str]]:
    """What ``protect`` tells at its end."""
    protected = totals.counts["protected"]
    rows = [("protected", f"{protected} of {totals.photos} photos in {duration(seconds)}")]
    outputs = [path for path in todo.outputs if path.exists()] if protected else []
    manifests = [path for path in dict.fromkeys(task.manifest for task in todo.tasks) if path.exists()]
    for name, places in (("written to", outputs), ("recorded in", manifests)):
        more = f" and {len(places) - 3} more" if len(places) > 3 else ""
        if places:
            rows.append((name, ", ".join(here(path) for path in places[:3]) + more))
    rows += totals.rows()
    if todo.others:
        rows.append(("no photos", f"other files passed over: {todo.others}"))
    if protected:
        bound = ", ".join(str(epsilon) for epsilon in sorted(epsilons))
        rows.append(("largest change", f"{totals.linf:g} of 255 levels before encoding (bound {bound})"))
        rows.append(("size", f"{totals.bytes[1] / max(totals.bytes[0], 1):.1f} times the originals'"))
    if totals.grey:
        how = "hardly protected: this noise is mostly colour" if chroma else "protected less"
        rows.append(("grey photos", f"{totals.grey}: they carry only the brightness of the noise, and are {how}"))
    if totals.no_face:
        whole = "the noise is over the whole photo, and would not survive a crop to a face"
        rows.append(("no face found", f"in {totals.no_face}: {whole}"))
    return rows


def here(path: Path) -> str:
    """A path as seen from the working folder."""
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)
