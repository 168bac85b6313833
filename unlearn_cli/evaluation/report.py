"""Making the report of an evaluation from the results of its finished runs (docs/reference/report.md)."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from unlearn_cli import __version__
from unlearn_cli.banks.card import Worst
from unlearn_cli.evaluation.ad_hoc import RANDOM
from unlearn_cli.evaluation.cell import hash_of
from unlearn_cli.evaluation.pooled import Accuracies, accuracies_of, means, worst_class
from unlearn_cli.evaluation.published import Metric, Published
from unlearn_cli.evaluation.recipe import Planned
from unlearn_cli.evaluation.result import Confusion, FacePairs, GroupPairs, Images, NoiseUsed, RunResult, Separability
from unlearn_cli.training.train import TrainingSettings
from unlearn_cli.training.trip import SUBSAMPLING_NAME

REPORT_SCHEMA = 3
LABELS_NOT_SHOWN = ("form", "method")
NAMES = {
    "search": "search",
    "poison_rate": "share",
    "train_share": "of the images",
    "protect_classes": "only",
    "keep": "train on",
    "augment": "",
    "defence": "against",
    "head": "",
    "reweight": "last layer refitted on",
}
"""The names of labels, as a reader of the report sees them."""


@dataclass(frozen=True)
class About:
    """The head of a report: what it measures, and with which command."""

    title: str
    source: str
    text: str
    scale: str
    command: str
    chart: str = ""
    """The label that the experiment is drawn over, besides the epochs."""
    in_order: bool = False
    """Whether the rows stay in the order in which they were planned; otherwise the worst comes first."""


@dataclass(frozen=True, kw_only=True)
class Seconds:
    """How long a row's runs took."""

    training: float
    """One training, as a mean over the runs."""
    noise: float | None
    """Making the noise; None where nothing was made, or where that is not known."""
    noise_share_of_training: float | None


@dataclass(frozen=True, kw_only=True)
class Row(Accuracies):
    """Runs that differ only in their seed, or in the classes that they protect in turn.

    Its own accuracies are those on all classes.
    """

    name: str
    labels: dict[str, str]
    reported: tuple[Published, ...]
    """The paper's figures for it."""
    ships: bool = True
    """Whether its noise is made and applied as unlearn does it, and not only there for comparison."""
    cells: tuple[str, ...]
    """The names of the runs' result files."""
    seeds: int
    protected: Accuracies | None
    """On the protected classes, where only some are protected; each run counts on its own protected classes."""
    others: Accuracies | None
    """On the unprotected classes of such runs."""
    worst_class: Worst | None = None
    """The protected class that fared worst; None where nothing is protected."""
    unprotected: Accuracies | None = None
    """Of the clean baseline, on the classes of ``protected``; None without a baseline."""
    unprotected_others: Accuracies | None = None
    """Of the clean baseline, on the classes of ``others``, each counted as often as in the turns."""
    train_final: float
    protected_classes: tuple[int, ...]
    together: int
    """How many classes are protected at a time."""
    train_images: int
    protected_images: int
    noise: NoiseUsed | None
    seconds: Seconds
    confusion: Confusion
    trigger: tuple[float | None, ...] | None
    auc: float | None
    """Of face verification, as a mean over the runs; with a recogniser, over pairs of the protected people's photos, or
    of everybody's where nobody is protected."""
    auc_unprotected: float | None = None
    """Of the same recogniser, for the same people, where nothing is protected."""
    separability: Separability | None = None
    """How well a linear classifier tells the classes of the noise apart, as means over the runs."""
    white_box: bool = False
    """Whether the attacker's network took part in making the noise, so that it stands for no other attacker."""
    verification: tuple[FacePairs, ...] | None
    groups: tuple[GroupPairs, ...] | None
    trip: dict[str, Any] | None
    like: str
    """A hash that is the same for rows that may be compared: they differ only in protection and seed."""
    training: TrainingSettings
    defence: str
    hardware: str

    @property
    def decisive(self) -> Accuracies:
        """Return the accuracies that tell how well the protection works: those on the protected classes."""
        return self.protected or self

    @property
    def is_control(self) -> bool:
        """Return whether the row is only for comparison: its images are clean or carry random noise."""
        return self.protected_images == 0 or self.labels.get("noise") == RANDOM

    @property
    def counts(self) -> bool:
        """Return whether the row can be the worst case: protected as unlearn does it, against a network that is new."""
        return self.ships and not self.is_control and not self.white_box

    def figure(self, metric: Metric) -> float | None:
        """Return our own figure for a metric, over all test images and as a mean; None if it was not measured."""
        if metric == "trigger":
            shares = [share for share in self.trigger or () if share is not None]
            return round(statistics.mean(shares), 4) if shares else None
        if metric == "noise_time":
            return self.seconds.noise_share_of_training
        return {"final": self.final.mean, "peak": self.peak.mean, "auc": self.auc}[metric]


@dataclass(frozen=True, kw_only=True)
class Report:
    """The results of an evaluation: those of a recipe in the experiment's order, all others with the worst first."""

    title: str
    source: str
    about: str
    scale: str
    command: str
    missing: int
    """How many planned runs have no result yet."""
    dataset: Images | None
    chance: float | None
    """The accuracy of guessing."""
    rows: tuple[Row, ...]
    chart: str
    """The label that the experiment is drawn over, besides the epochs; empty if there is none."""
    versions: dict[str, str]
    date: str
    schema: int = REPORT_SCHEMA

    @property
    def worst(self) -> Row | None:
        """Return the worst case for the person who protected the images: the protected row with the highest peak."""
        return max((row for row in self.rows if row.counts), key=lambda row: row.decisive.peak.mean, default=None)

    @property
    def ran(self) -> str:
        """Return what really ran: the networks, images, epochs and the scale."""
        if self.dataset is None or not self.rows:
            return f"scale {self.scale}"
        networks = ", ".join(dict.fromkeys(row.training.model for row in self.rows))
        images, epochs = {row.train_images for row in self.rows}, {row.training.epochs for row in self.rows}
        some = f"{min(images):,} to " if len(images) > 1 else ""
        long = f"{max(epochs)} {'epoch' if max(epochs) == 1 else 'epochs'}"
        return f"{networks}; {some}{max(images):,} training images of {self.dataset.name}; {long}; scale {self.scale}"


def make_report(about: About, planned: Sequence[Planned], results: Mapping[int, RunResult]) -> Report:
    """Return the report of those planned runs (by their index) that have a result.

    Runs that differ only in their seed form one row. The worst case for the user is the protected row with the highest
    peak of clean accuracy, which is what a scraper can still get.
    """
    groups: dict[tuple[tuple[str, str], ...], dict[str, int]] = {}
    for index, one in enumerate(planned):
        if index in results:
            groups.setdefault(tuple(sorted(one.labels.items())), {}).setdefault(results[index].hash, index)
    found = [
        (_row(planned[min(group.values())], of), of)
        for group in groups.values()
        for of in [[results[index] for index in group.values()]]
    ]
    rows = [_compared(row, of, found) for row, of in found]
    rows = [replace(row, name=_name(row, rows)) for row in rows]
    if not about.in_order:
        rows.sort(key=lambda row: (row.is_control, row.white_box, -row.decisive.peak.mean))
    first = next(iter(results.values()), None)
    return Report(
        title=about.title,
        source=about.source,
        about=about.text,
        scale=about.scale,
        command=about.command,
        missing=len(planned) - len(results),
        dataset=first.dataset if first else None,
        chance=1 / len(first.dataset.classes) if first else None,
        rows=tuple(rows),
        chart=about.chart,
        versions=first.versions if first else {"unlearn": __version__},
        date=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _row(planned: Planned, results: list[RunResult]) -> Row:
    """Return the row of these results, without the clean baseline's figures and without a name."""
    first = results[0]
    own = [set(result.protected_classes) for result in results]
    every = set(range(len(first.dataset.classes)))
    some = all(own) and own[0] != every
    whole = accuracies_of(results, [None] * len(results))
    assert whole is not None  # Loading has refused a test set without images.
    training = statistics.mean(result.seconds for result in results)
    noise = first.noise.seconds if first.noise else None
    return Row(
        **vars(whole),
        name="",
        labels={key: value for key, value in planned.labels.items() if key not in LABELS_NOT_SHOWN},
        reported=planned.reported,
        ships=planned.ships,
        cells=tuple(result.hash for result in results),
        seeds=len({result.training.seed for result in results}),
        protected=accuracies_of(results, own) if some else None,
        others=accuracies_of(results, [every - of for of in own]) if some else None,
        train_final=round(statistics.mean(result.epochs[-1].train for result in results), 4),
        protected_classes=tuple(sorted(set().union(*own))),
        together=max(map(len, own)),
        train_images=first.dataset.train_images,
        protected_images=first.protected_images,
        noise=first.noise,
        seconds=Seconds(
            training=round(training, 1),
            noise=noise,
            noise_share_of_training=round(noise / training, 3) if noise else None,
        ),
        confusion=_summed([result.confusion for result in results]),
        trigger=means([result.trigger for result in results if result.trigger]),
        white_box=planned.white_box,
        separability=_separability(results),
        worst_class=worst_class(results),
        auc=_auc([of.verification for of in results]),
        auc_unprotected=_auc([of.verification_unprotected for of in results]),
        verification=tuple(of.verification for of in results if of.verification) or None,
        groups=tuple(of.groups for of in results if of.groups) or None,
        trip=_trip(first),
        like=_like(first),
        training=first.training,
        defence=first.defence,
        hardware=first.hardware,
    )


def _compared(row: Row, results: list[RunResult], found: Sequence[tuple[Row, list[RunResult]]]) -> Row:
    """Return a protected row with its clean baseline's accuracies on the same classes."""
    baseline = next((clean for other, clean in found if _is_baseline(other, row)), None)
    if row.protected_images == 0 or baseline is None:
        return row
    named = set(row.protected_classes) if row.protected else None
    return replace(
        row,
        unprotected=accuracies_of(baseline, [named] * len(baseline)),
        unprotected_others=_others_of(results, baseline) if row.others else None,
    )


def _is_baseline(clean: Row, row: Row) -> bool:
    """Return whether a row is the same victim trained on the same images as another, clean, with none left out."""
    return clean.like == row.like and clean.protected_images == 0 and clean.train_images == row.train_images


def _auc(found: Sequence[FacePairs | None]) -> float | None:
    """Return the mean AUC over the runs; None unless all of them have one."""
    (mean,) = means([(of.auc if of is not None else None,) for of in found]) or (None,)
    return mean


def _separability(results: Sequence[RunResult]) -> Separability | None:
    found = [of.separability for of in results if of.separability is not None]
    if not found:
        return None
    train, held_out = (
        statistics.mean(values) for values in zip(*((of.train, of.held_out) for of in found), strict=True)
    )
    return Separability(train=round(train, 4), held_out=round(held_out, 4), images=found[0].images)


def _trip(result: RunResult) -> dict[str, Any] | None:
    trip = result.cell.get("images", {}).get("trip")
    return {**trip, "subsampling": SUBSAMPLING_NAME if trip["quality"] else None} if trip else None


def _others_of(protected: list[RunResult], clean: list[RunResult]) -> Accuracies | None:
    """Return the clean baseline's accuracies on the unprotected classes, each counted as often as in the turns."""
    by_seed = {result.training.seed: result for result in clean}
    pairs = [(by_seed[of.training.seed], of) for of in protected if of.training.seed in by_seed]
    if not pairs:
        return None
    every = set(range(len(clean[0].dataset.classes)))
    return accuracies_of([one for one, _ in pairs], [every - set(of.protected_classes) for _, of in pairs])


def _like(result: RunResult) -> str:
    training = {key: value for key, value in result.cell["training"].items() if key != "seed"}
    head = result.cell.get("frozen", {}).get("head")
    own = {"training": training} | ({"head": head} if head else {})
    own |= {key: result.cell[key] for key in ("pretrained", "refit") if key in result.cell}
    return hash_of({key: result.cell.get(key) for key in ("images", "joined", "defence")} | own)


def _summed(tables: Iterable[Confusion]) -> Confusion:
    return tuple(tuple(map(sum, zip(*rows, strict=True))) for rows in zip(*tables, strict=True))


def _name(row: Row, rows: Sequence[Row]) -> str:
    """Return a short name of a row: its noise, and the other labels that tell it apart."""
    parts = [row.labels.get("noise", "clean")]
    for key in dict.fromkeys(key for one in rows for key in one.labels):
        values = {one.labels.get(key) for one in rows}
        value = row.labels.get(key)
        if key == "model" and len({one.training.model for one in rows}) > 1:
            parts.append(row.training.model)
        elif key not in ("noise", "model", "trigger", "joined") and value is not None and len(values) > 1:
            parts.append(f"{NAMES.get(key, key)} {value}".strip())
    parts += ["white-box"] if row.white_box else []
    return ", ".join(parts)
