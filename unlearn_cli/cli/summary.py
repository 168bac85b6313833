"""The summary of a run over photos: its totals as a table, as plain lines or as JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unlearn_cli.cli import several_faces
from unlearn_cli.cli.answer import answer, entry
from unlearn_cli.cli.closing import for_rows, for_whom, here, listed, weak_rows, written_to
from unlearn_cli.cli.console import duration, out, plain
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
        self.entries: list[dict[str, Any]] = []
        """The photos of this run for ``--json``, without those that are up to date."""
        self.reasons: dict[str, Counter[str]] = {"skipped": Counter(), "failed": Counter(), "would fail": Counter()}
        self.notes: Counter[str] = Counter()
        self.linf = 0.0
        self.grey_alone: list[Path] = []
        """The grey photos about which there is no doubt."""
        self.weak: dict[str, list[Path]] = {}
        """The photos that are protected less than others, by the doubt, also those of earlier runs."""
        self.weakly = 0
        """How many of the photos that were protected now are weak."""
        self.several: list[PhotoDone] = []
        """The photos with several faces."""
        self.bytes = [0, 0]

    def add(self, photo: PhotoDone) -> None:
        """Add one photo to the totals."""
        from unlearn_cli.photos.outcome import DOUBT_CODES

        self.counts[photo.status] += 1
        if photo.status != "unchanged":
            reason = photo.reason or "; ".join(photo.doubts)
            code = photo.code or next((DOUBT_CODES[doubt] for doubt in photo.doubts), None)
            of = (photo.source, photo.target, photo.status, reason)
            found = entry(*of, code=code, faces=photo.faces, notes=list(photo.notes))
            self.entries.append({**found, "class": photo.class_name})
        if photo.status in self.reasons:
            self.reasons[photo.status][photo.reason] += 1
        self.notes.update(photo.notes)
        self.linf = max(self.linf, photo.linf)
        if photo.grey and not photo.doubts:
            self.grey_alone.append(photo.source)
        self.weakly += photo.status == "protected" and bool(photo.doubts)
        for doubt in photo.doubts:
            self.weak.setdefault(doubt, []).append(photo.source)
        if has_several(photo):
            self.several.append(photo)
        self.bytes = [total + size for total, size in zip(self.bytes, photo.sizes, strict=True)]

    @property
    def photos(self) -> int:
        """Return the number of photos."""
        return sum(self.counts.values())

    def counted(self) -> dict[str, int]:
        """Return how many photos had each result, for ``--json``."""
        names = {"unchanged": "already_protected"}
        return {names.get(name, name): self.counts[name] for name in ("protected", "skipped", "failed", "unchanged")}

    def weak_photos(self) -> list[dict[str, str]]:
        """Return the photos that are protected less than others, for ``--json``."""
        from unlearn_cli.photos.outcome import DOUBT_CODES

        return [
            {"input": str(path), "code": DOUBT_CODES[why], "reason": why}
            for why, paths in self.weak.items()
            for path in paths
        ]

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
    classes = [(protections.get("") or protections[task.folder]).class_name for task in would.pending]
    if talk.json:
        photos = [
            {**entry(task.source, task.copy, "would_protect"), "class": name}
            for task, name in zip(would.pending, classes, strict=True)
        ]
        answer.give(
            {"would_protect": len(photos), "would_skip": would.skipped, "already_protected": would.unchanged},
            photos,
            dry_run=True,
            **{"for": for_whom(protections)},
            other_files=todo.others,
            not_protected=_not_protected(todo),
        )
    elif not talk.quiet:
        for task, name in zip(would.pending, classes, strict=True):
            out().print(f"{plain(here(task.source))} -> {plain(here(task.copy or task.target))} ({plain(name)})")
        planned = f"{len(would.pending)} photos, if all can be read"
        rows = [("would protect", planned), ("up to date", str(would.unchanged))]
        if would.skipped:
            rows.append(("would skip", f"{would.skipped}: a file is in the place of the copy (--existing skip)"))
        refused = not_protected_rows(todo, verbose=talk.verbose)
        others = ("other files", f"{todo.others}, which are not photos")
        print_rows([*rows, *for_rows(protections), *_defaults(talk, protections), *refused, others])


def tell_end(
    totals: Totals, todo: Plan, protections: dict[str, Protection], seconds: float, talk: Talk, meaning: list[str]
) -> None:
    """Print what ``protect`` has done; ``meaning`` has the lines on how well its noise protects, for ``--json``."""
    if talk.json:
        answer.give(
            totals.counted(),
            totals.entries,
            dry_run=False,
            **{"for": for_whom(protections)},
            not_protected=_not_protected(todo),
            other_files=todo.others,
            unreadable_folders=[str(path) for path in todo.unreadable],
            outputs=[str(path) for path in todo.outputs],
            manifests=[str(path) for path in dict.fromkeys(task.manifest for task in todo.tasks)],
            banks={protection.bank: protection.bank_sha256 for protection in protections.values()},
            epsilon=max((protection.pattern.epsilon for protection in protections.values()), default=None),
            linf=totals.linf,
            weak=totals.weak_photos(),
            several_faces=[several_faces.as_json(photo) for photo in totals.several],
            meaning=meaning,
            input_bytes=totals.bytes[0],
            output_bytes=totals.bytes[1],
            seconds=round(seconds, 3),
        )
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


def _not_protected(todo: Plan) -> list[dict[str, Any]]:
    return [entry(path, None, "not protected", why, code="unsupported") for path, why in todo.not_protected]


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'s' if count != 1 else ''}"


def _protect_rows(
    totals: Totals, todo: Plan, protections: dict[str, Protection], seconds: float, talk: Talk
) -> list[tuple[str, str]]:
    protected, unchanged = totals.counts["protected"], totals.counts["unchanged"]
    weakly = f", {totals.weakly} of them weakly," if totals.weakly else ""
    rows = [("protected", f"{protected} of {totals.photos} photos{weakly} in {duration(seconds)}")]
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
