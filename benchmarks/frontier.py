"""Plot protection against visibility: a point for each report of `unlearn evaluate people --bank`.

    for bank in person-low person person-high; do
      unlearn evaluate people ...  --bank $bank -o build/evaluation/people
      cp build/evaluation/people/report.json build/evaluation/frontier/$bank.json
    done
    python benchmarks/frontier.py ../shared build/evaluation/frontier/*.json -o docs/results/frontier.png

FLIP is measured as in benchmarks/visible.py, on the square around the face at 250 px. A table is printed too.
"""

from __future__ import annotations

import argparse
import itertools
import json
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from visible import box_of, face, photos, protected, quality_of

TARGETS = ((0.12, 0.10, "asked of high"), (0.10, 0.25, "asked of medium"), (0.08, 0.20, "the goal"))


@dataclass(frozen=True)
class Point:
    """One way to protect people: how visible the noise is, and how well it protects."""

    name: str
    flip: float
    row: dict[str, Any]
    """The protected row of the report."""

    @property
    def accuracy(self) -> dict[str, float]:
        """Return the accuracy on the protected people after the last epoch: mean, low, high."""
        found: dict[str, float] = self.row["protected"]["final"]
        return found


def measured(path: Path, shared: Path) -> Point:
    report = json.loads(path.read_text())
    row = next(row for row in report["rows"] if row["protected"])
    words = shlex.split(report["command"])
    options = dict(itertools.pairwise(words))
    epsilon = options.get("--epsilon")
    written = protected(options["--bank"], int(epsilon) if epsilon else None)
    flips: list[float] = []
    for name, data in photos(shared / "datasets" / "faces" / "identities", 1, 38):
        box = box_of(data)
        flip = quality_of(face(data, box), face(written(data, name), box)).flip
        assert flip is not None, "FLIP needs the extra 'measure'"
        flips.append(flip)
    return Point(row["labels"]["noise"], float(np.mean(flips)), row)


def plot(points: list[Point], out: Path) -> None:
    chart = Figure(figsize=(7, 4.6), layout="constrained")
    axes = chart.add_subplot()
    for number, point in enumerate(points):
        of = point.accuracy
        error = [[100 * (of["mean"] - of["low"])], [100 * (of["high"] - of["mean"])]]
        axes.errorbar(point.flip, 100 * of["mean"], error, fmt="o", color="#0072B2", capsize=2, linewidth=0.8)
        above = 5 + 9 * (number % 2)  # Names of neighbouring points would overlap.
        axes.annotate(point.name, (point.flip, 100 * of["mean"]), (4, above), textcoords="offset points", fontsize=7)
    for flip, wanted, name in TARGETS:
        axes.plot(flip, 100 * wanted, "*", color="#D55E00")
        axes.annotate(name, (flip, 100 * wanted), (4, -9), textcoords="offset points", fontsize=7, color="#D55E00")
    control = points[0].row["unprotected"]["final"]["mean"]
    axes.axhline(100 * control, color="#777777", linewidth=0.8)
    axes.annotate("nobody protected", (0, 100 * control), (2, -9), textcoords="offset points", fontsize=7)
    axes.set(
        xlabel="FLIP on the face",
        ylabel="protected people named rightly (%)",
        xlim=(0, 1.15 * points[-1].flip),
        ylim=(0, 100),
    )
    axes.grid(color="#DDDDDD", linewidth=0.6)
    chart.savefig(out, dpi=130)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shared", type=Path)
    parser.add_argument("reports", type=Path, nargs="+")
    parser.add_argument("-o", "--output", type=Path, required=True)
    args = parser.parse_args()
    points = sorted((measured(path, args.shared) for path in args.reports), key=lambda point: point.flip)
    print("| pattern | FLIP at 250 px | protected people | at the best epoch | test photos, seeds |")
    print("|---|---|---|---|---|")
    for point in points:
        of, row = point.accuracy, point.row
        print(
            f"| {point.name} | {point.flip:.3f} | {of['mean']:.1%} ({of['low']:.1%} to {of['high']:.1%}) | "
            f"{row['protected']['peak']['mean']:.1%} | {row['protected']['test_images']}, {row['seeds']} |"
        )
    plot(points, args.output)


if __name__ == "__main__":
    main()
