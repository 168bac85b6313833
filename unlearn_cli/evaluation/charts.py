"""The charts of a report as PNG files, which can be read in print and with any kind of colour vision."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from unlearn_cli.evaluation.report import Row

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""The palette of Okabe and Ito (2008), whose colours differ for any kind of colour vision."""
DASHES: tuple[Any, ...] = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))
MARKERS = "os^DvP*X"
MOST_CLASSES_NAMED = 20
RC: dict[Any, Any] = {"font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "savefig.dpi": 150}


def learning_curves(rows: Sequence[Row], chance: float) -> bytes:
    """Draw the clean accuracy after each epoch.

    Where only some classes are protected, draw the accuracy on those, beside that of the same classes unprotected.
    """
    with mpl.rc_context(RC):
        chart = Figure(figsize=(7, 4.6), layout="constrained")
        axes = chart.add_subplot()
        for index, row in enumerate(rows):
            name = row.name + (" (protected classes)" if row.protected else "")
            _line(axes, row.decisive.curve, index, name)
            if row.protected and row.unprotected:
                without = f"{row.name}: the same classes, unprotected"
                _line(axes, row.unprotected.curve, index, without, faint=True)
        axes.axhline(100 * chance, color="#777777", linewidth=0.8)
        axes.annotate(
            "chance", (1, 100 * chance), textcoords="offset points", xytext=(0, 2), color="#555555", fontsize=8
        )
        axes.set(xlabel="epoch", ylabel="clean test accuracy (%)", ylim=(0, 100))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(axis="y", color="#DDDDDD", linewidth=0.6)
        chart.legend(loc="outside lower center", frameon=False, fontsize=8, ncols=2)
        return _png(chart)


def _line(axes: Axes, curve: Sequence[float], index: int, label: str, *, faint: bool = False) -> None:
    axes.plot(
        range(1, len(curve) + 1),
        [100 * share for share in curve],
        color="#999999" if faint else COLORS[index % len(COLORS)],
        linestyle=DASHES[index % len(DASHES)],
        marker=MARKERS[index % len(MARKERS)],
        markersize=4,
        linewidth=1.5,
        label=label,
    )


def confusion_matrix(row: Row, classes: Sequence[str]) -> bytes:
    """Draw how the clean test images of each class were classified, in percent; each row of the matrix sums to 100."""
    with mpl.rc_context(RC):
        count = len(classes)
        side = min(7.0, 1.8 + 0.36 * min(count, 15))
        chart = Figure(figsize=(side, side), layout="constrained")
        axes = chart.add_subplot()
        shares = [[100 * cell / max(1, sum(line)) for cell in line] for line in row.confusion]
        axes.imshow(shares, cmap="Greys", vmin=0, vmax=100)
        if count <= MOST_CLASSES_NAMED:
            axes.set_xticks(range(count), classes, rotation=90)
            axes.set_yticks(range(count), classes)
            for y, line in enumerate(shares):
                for x, share in enumerate(line):
                    color = "white" if share > 50 else "black"
                    axes.text(x, y, f"{share:.0f}", ha="center", va="center", fontsize=7, color=color)
        axes.set(xlabel="classified as", ylabel="true class", title=row.name)
        axes.title.set_fontsize(9)
        return _png(chart)


def roc_curves(rows: Sequence[Row]) -> bytes:
    """Draw the ROC curves of face verification, one for each row of the report, from its first result."""
    with mpl.rc_context(RC):
        chart = Figure(figsize=(5.6, 4.2), layout="constrained")
        axes = chart.add_subplot()
        for index, row in enumerate(rows):
            if row.verification is None:
                continue
            of = row.verification[0]
            axes.plot(
                of.false_positive_rate,
                of.true_positive_rate,
                color=COLORS[index % len(COLORS)],
                linestyle=DASHES[index % len(DASHES)],
                label=f"{row.name}: AUC {of.auc:.3f}",
            )
        axes.plot([0, 1], [0, 1], color="#777777", linewidth=0.8)
        axes.set(xlabel="false positive rate", ylabel="true positive rate", xlim=(0, 1), ylim=(0, 1), aspect="equal")
        chart.legend(loc="outside lower center", frameon=False, fontsize=8)
        return _png(chart)


def _png(chart: Figure) -> bytes:
    buffer = io.BytesIO()
    chart.savefig(buffer, format="png")
    return buffer.getvalue()
