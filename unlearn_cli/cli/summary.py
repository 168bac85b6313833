"""The summary of a run over photos: its totals as a table, as plain lines or as JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unlearn_cli.cli import several_faces
from unlearn_cli.cli.closing import for_rows, for_whom, here, listed, weak_rows, written_to
from unlearn_cli.cli.console import duration, out, plain, print_json
from unlearn_cli.cli.several_faces import has_several

if TYPE_CHECKING:
    from unlearn_cli.photos.outcome import Options, PhotoDone
    from unlearn_cli.photos.protection import Protection
    from unlearn_cli.photos.scan import Plan

FIGURES = {
    "linf": ("L-infinity in the files", "largest", "{:g} levels", max),
    "psnr": ("signal-to-noise ratio (PSNR)", "lowest", "{:.1f} dB", min),
    "ssim": ("structural similarity (SSIM)", "lowest", "{:.3f}", min),
    "ciede2000": ("colour difference (CIEDE2000)", "highest", "{:.1f}", max),
    "flip": ("visible difference (FLIP)", "highest", "{:.3f}", max),
}
"""For each metric: the title of its row, the word for its worst value, its format, and how to pick the worst value."""


@dataclass(frozen=True)
class Talk:
    """The settings of the output: how much is printed, and in which form."""

    json: bool
    quiet: bool
    verbose: bool
    in_force: tuple[str, ...] = ()
    """The options that the configuration or the environment has set."""


class Totals:
    """The totals of a run over photos."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.reasons: dict[str, Counter[str]] = {"skipped": Counter(), "failed": Counter(), "would fail": Counter()}
        self.notes: Counter[str] = Counter()
        self.linf = 0.0
        self.grey = self.no_face = 0
        self.grey_alone: list[Path] = []
        """The grey photos about which there is no doubt."""
        self.weak: dict[str, list[Path]] = {}
        """The photos that are protected less than others, by the doubt, also those of earlier runs."""
        self.several: list[PhotoDone] = []
        """The photos with several faces."""
        self.bytes = [0, 0]

    def add(self, photo: PhotoDone) -> None:
        """Add one photo to the totals."""
        self.counts[photo.status] += 1
        if photo.status in self.reasons:
            self.reasons[photo.status][photo.reason] += 1
        self.notes.update(photo.notes)
        self.linf = max(self.linf, photo.linf)
        self.grey += photo.grey
        self.no_face += photo.faces == 0
        if photo.grey and not photo.doubts:
            self.grey_alone.append(photo.source)
        for doubt in photo.doubts:
            self.weak.setdefault(doubt, []).append(photo.source)
        if has_several(photo):
            self.several.append(photo)
        self.bytes = [total + size for total, size in zip(self.bytes, photo.sizes, strict=True)]

    @property
    def photos(self) -> int:
        """Return the number of photos."""
        return sum(self.counts.values())

    def to_json(self) -> dict[str, Any]:
        """Return the totals for ``--json``."""
        return {
            "protected": self.counts["protected"],
            "skipped": self.counts["skipped"],
            "failed": self.counts["failed"],
            "already_protected": self.counts["unchanged"],
            "reasons": {status: dict(self.reasons[status].most_common()) for status in ("skipped", "failed")},
            "notes": dict(self.notes.most_common()),
            "linf": self.linf,
            "grey": self.grey,
            "without_face": self.no_face,
            "weak": [{"input": str(path), "reason": why} for why, paths in self.weak.items() for path in paths],
            "several_faces": [several_faces.as_json(photo) for photo in self.several],
            "input_bytes": self.bytes[0],
            "output_bytes": self.bytes[1],
        }

    def rows(self) -> Iterable[tuple[str, str]]:
        """Yield rows that count the notes, and the photos that were not protected now, by the reason."""
        for status, reasons in self.reasons.items():
            for reason, count in reasons.most_common():
                yield status, f"{count}: {reason}"
        for note, count in self.notes.most_common():
            yield "note", f"{_counted(count, 'photo')}: {note}"


def print_rows(rows: Iterable[tuple[str, str]]) -> None:
    """Print rows of a name and a text, as a table on a terminal and as plain lines elsewhere."""
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


def tell_plan(todo: Plan, protections: dict[str, Protection], options: Options, talk: Talk) -> None:
    """Print what ``protect`` would do."""
    from unlearn_cli.photos.folder import foresee

    would = foresee(todo, protections, options)
    photos = [
        {
            "input": str(task.source),
            "output": str(task.copy),
            "class": (protections.get("") or protections[task.folder]).class_name,
        }
        for task in would.pending
    ]
    if talk.json:
        print_json(
            {
                "dry_run": True,
                "would_protect": len(photos),
                "would_skip": would.skipped,
                "already_protected": would.unchanged,
                "for": for_whom(protections),
                "other_files": todo.others,
                "not_protected": _not_protected(todo),
                "photos": photos,
            }
        )
    elif not talk.quiet:
        for photo in photos:
            source, target = (here(Path(photo[side])) for side in ("input", "output"))
            out().print(f"{plain(source)} -> {plain(target)} ({plain(photo['class'])})")
        rows = [("would protect", f"{len(photos)} photos, if all can be read"), ("up to date", str(would.unchanged))]
        if would.skipped:
            rows.append(("would skip", f"{would.skipped}: a file is in the place of the copy (--existing skip)"))
        refused = not_protected_rows(todo, verbose=talk.verbose)
        others = ("other files", f"{todo.others}, which are not photos")
        print_rows([*rows, *for_rows(protections), *_defaults(talk, protections), *refused, others])


def tell_end(totals: Totals, todo: Plan, protections: dict[str, Protection], seconds: float, talk: Talk) -> None:
    """Print what ``protect`` has done."""
    if talk.json:
        summary = {
            **totals.to_json(),
            "unreadable_folders": len(todo.unreadable),
            "other_files": todo.others,
            "not_protected": _not_protected(todo),
            "outputs": [str(path) for path in todo.outputs],
            "manifests": [str(path) for path in dict.fromkeys(task.manifest for task in todo.tasks)],
            "banks": {protection.bank: protection.bank_sha256 for protection in protections.values()},
            "for": for_whom(protections),
            "epsilon": max((protection.pattern.epsilon for protection in protections.values()), default=None),
            "seconds": round(seconds, 3),
        }
        print_json(summary)
        return
    if talk.quiet:
        return
    print_rows(_protect_rows(totals, todo, protections, seconds, talk))


def not_protected_rows(todo: Plan, *, verbose: bool) -> Iterator[tuple[str, str]]:
    """Yield a row for each reason why pictures in the folders cannot be protected."""
    names: dict[str, list[Path]] = {}
    for path, why in todo.not_protected:
        names.setdefault(why, []).append(path)
    for why, found in names.items():
        yield "not protected", f"{_counted(len(found), 'file')}: {listed(found, verbose=verbose)}: {why}"


def _not_protected(todo: Plan) -> list[dict[str, str]]:
    return [{"input": str(path), "reason": why} for path, why in todo.not_protected]


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'s' if count != 1 else ''}"


def _protect_rows(
    totals: Totals, todo: Plan, protections: dict[str, Protection], seconds: float, talk: Talk
) -> list[tuple[str, str]]:
    protected, unchanged = totals.counts["protected"], totals.counts["unchanged"]
    rows = [("protected", f"{protected} of {totals.photos} photos in {duration(seconds)}")]
    if unchanged and not (totals.counts["skipped"] or totals.counts["failed"]):
        rows = [("up to date", f"{unchanged}, new: {protected}")]
    elif unchanged:
        rows.append(("up to date", f"{unchanged}, which an earlier run protected"))
    rows += [*for_rows(protections), *_defaults(talk, protections)]
    outputs = written_to(todo) if protected else []
    manifests = [path for path in dict.fromkeys(task.manifest for task in todo.tasks) if path.exists()]
    for name, places in (("written to", outputs), ("recorded in", manifests)):
        more = f" and {len(places) - 3} more" if len(places) > 3 else ""
        if places:
            rows.append((name, ", ".join(here(path) for path in places[:3]) + more))
    rows += weak_rows(totals.weak, totals.grey_alone, verbose=talk.verbose)
    rows += several_faces.rows_of(totals.several, verbose=talk.verbose)
    rows += totals.rows()
    rows += not_protected_rows(todo, verbose=talk.verbose)
    if todo.others:
        rows.append(("other files", f"{todo.others}, which are not photos and were ignored"))
    if protected:
        bound = ", ".join(str(epsilon) for epsilon in sorted({of.pattern.epsilon for of in protections.values()}))
        rows.append(("largest change", f"{totals.linf:g} of 255 levels before encoding (bound {bound})"))
        rows.append(("file size", f"{totals.bytes[1] / max(totals.bytes[0], 1):.1f} times that of the originals"))
    return rows


def _defaults(talk: Talk, protections: dict[str, Protection]) -> list[tuple[str, str]]:
    """Return a row with the options that the configuration or the environment has set and that change something."""
    idle = {"--strength": all(of.strength is None for of in protections.values())}
    idle["--key-file"] = all(of.key_fingerprint is None for of in protections.values())
    used = [text for text in talk.in_force if not idle.get(text.split(" ")[0])]
    return [("defaults used", "; ".join(used))] if used else []
