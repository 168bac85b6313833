"""The figures that the paper reports, which stand beside ours: the rows of ``published.csv``."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal, cast

FILE = Path(__file__).with_suffix(".csv")

Metric = Literal["final", "peak", "auc", "trigger", "noise_time"]
"""The quantity that a figure is about: the clean accuracy after the last epoch or at the best one, the AUC of face
verification, how often a trigger works, or the time to make the noise as a share of a training's."""
Group = Literal["all", "protected", "others"]
"""The test images that a figure is about: all, or those of the protected classes, or of the other classes."""

ABOUT_THE_FIGURE = ("experiment", "metric", "group", "percent", "relation", "note", "place")
"""The columns of the file that are no axes of an experiment."""


@dataclass(frozen=True, kw_only=True)
class Published:
    """One figure of the paper."""

    metric: Metric
    group: Group
    value: float
    """A share, from 0 to 1."""
    relation: str
    """How the paper puts it, where it gives no exact figure: ``about``, ``below`` or ``above``."""
    note: str
    place: str
    """Where it stands in the paper."""

    @property
    def told(self) -> str:
        """Return the figure in words, as a cell of a table."""
        what = {"final": "", "peak": "best epoch ", "auc": "AUC ", "trigger": "trigger ", "noise_time": "noise in "}
        of = {"all": "", "protected": "protected ", "others": "others "}[self.group]
        number = f"{self.value:.4f}" if self.metric == "auc" else f"{100 * self.value:.2f}".removesuffix(".00") + " %"
        unit = " of a training" if self.metric == "noise_time" else ""
        note = f" ({self.note})" if self.note else ""
        relation = f"{self.relation} " if self.relation else ""
        return f"{of}{what[self.metric]}{relation}{number}{unit}{note}"


def published(experiment: str, axes: Mapping[str, str]) -> tuple[Published, ...]:
    """Return the paper's figures of an experiment whose axes are exactly these, in the order of the file."""
    return tuple(figure for of, figure in _figures() if of == {"experiment": experiment, **axes})


def told(figures: tuple[Published, ...]) -> str:
    """Return several figures in words; a dash without any."""
    return "; ".join(figure.told for figure in figures) or "-"


@cache
def _figures() -> list[tuple[dict[str, str], Published]]:
    with FILE.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return [(_axes(row), _figure(row)) for row in rows]


def _axes(row: Mapping[str, str]) -> dict[str, str]:
    axes = {key: value for key, value in row.items() if value and key not in ABOUT_THE_FIGURE}
    return {"experiment": row["experiment"], **axes}


def _figure(row: Mapping[str, str]) -> Published:
    return Published(
        metric=cast("Metric", row["metric"]),
        group=cast("Group", row["group"]),
        value=round(float(row["percent"]) / 100, 6),
        relation=row["relation"],
        note=row["note"],
        place=row["place"],
    )
