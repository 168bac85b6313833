"""The charts of a report as PNG files, which can be read in print and with any kind of colour vision."""

from __future__ import annotations

import io
import math
import textwrap
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from unlearn_cli.evaluation.published import Metric
from unlearn_cli.evaluation.report import NAMES, Row
from unlearn_cli.evaluation.result import FacePairs

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""The palette of Okabe and Ito (2008), whose colours differ for any kind of colour vision."""
DASHES: tuple[Any, ...] = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))
MARKERS = "os^DvP*X"
MOST_CLASSES_NAMED = 20
MATRICES_ABREAST = 3
AXIS_NAMES = {"poison_rate": "share of the training images that is protected", "epsilon": "epsilon (pixel levels)"}
LEGEND_LINES, LEGEND_LINE = 6, 0.17
"""A chart has room for so many lines of its legend, and grows by the height in inches of each further one."""
RC: dict[Any, Any] = {"font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "savefig.dpi": 150}


def learning_curves(rows: Sequence[Row], chance: float) -> bytes:
    """Draw the clean accuracy after each epoch.

    Where only some classes are protected, draw the accuracy on those, beside that of the same classes unprotected.
    """
    with mpl.rc_context(RC):
        named = sum(2 if row.protected and row.unprotected else 1 for row in rows)
        chart = Figure(figsize=(7, _with_legend(4.6, math.ceil(named / 2))), layout="constrained")
        axes = chart.add_subplot()
        for index, row in enumerate(rows):
            name = row.name + (" (protected classes)" if row.protected else "")
            _line(axes, row.decisive.curve, index, name)
            _reported(axes, row, index)
            if row.protected and row.unprotected:
                without = f"{row.name}: the same classes, unprotected"
                _line(axes, row.unprotected.curve, index, without, faint=True)
        axes.axhline(100 * chance, color="#777777", linewidth=0.8)
        _note(axes, "chance", 100 * chance)
        axes.set(xlabel="epoch", ylabel="clean test accuracy (%)", ylim=(0, 100))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        if all(len(row.decisive.curve) == 1 for row in rows):
            # One epoch has no curve: its points would lie on the axis, one over another.
            axes.set(xlim=(0.5, 1.5), xticks=[1])
        axes.grid(axis="y", color="#DDDDDD", linewidth=0.6)
        chart.legend(loc="outside lower center", frameon=False, fontsize=8, ncols=2)
        return _png(chart)


def _reported(axes: Axes, row: Row, index: int) -> None:
    """Draw the paper's accuracies of a row behind its last epoch, with hollow markers."""
    group = "protected" if row.protected else "all"
    found = [of.value for of in row.reported if of.metric in ("final", "peak") and of.group in ("all", group)]
    axes.plot(
        [len(row.decisive.curve)] * len(found),
        [100 * value for value in found],
        color=COLORS[index % len(COLORS)],
        marker=MARKERS[index % len(MARKERS)],
        markersize=9,
        markerfacecolor="none",
        linestyle="none",
    )


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


def over_axis(rows: Sequence[Row], axis: str, chance: float) -> bytes | None:
    """Draw one figure of each row over an axis of the experiment, and hollow markers for what the paper reports.

    Rows that differ only in this axis are a line. A row without it, such as a clean baseline, is a horizontal line.
    The figure is how often the trigger works if that was measured, else the clean accuracy. Return None if no row has
    the axis.
    """
    metric: Metric = "trigger" if any(row.trigger for row in rows) else "final"
    lines: dict[str, list[Row]] = {}
    for row in rows:
        if axis in row.labels:
            lines.setdefault(_without(row, axis), []).append(row)
    if not lines:
        return None
    with mpl.rc_context(RC):
        chart = Figure(figsize=(7, 4.6), layout="constrained")
        axes = chart.add_subplot()
        for index, (name, line) in enumerate(lines.items()):
            _points(axes, line, axis, metric, index, name)
        for row in rows if metric == "final" else ():
            if axis not in row.labels:
                _level(axes, row)
        axes.axhline(100 * chance, color="#777777", linewidth=0.8)
        _note(axes, "chance", 100 * chance)
        what = "classified as the trigger's class (%)" if metric == "trigger" else "clean test accuracy (%)"
        axes.set(xlabel=AXIS_NAMES.get(axis, axis), ylabel=what, ylim=(0, 100))
        axes.grid(axis="y", color="#DDDDDD", linewidth=0.6)
        chart.legend(loc="outside lower center", frameon=False, fontsize=8, ncols=2)
        return _png(chart)


def _without(row: Row, axis: str) -> str:
    """Return the name of a row without an axis, with the words of the report."""
    kept = {key: value for key, value in row.labels.items() if key not in (axis, "noise", "model", "trigger")}
    return ", ".join([row.labels["noise"], *(f"{NAMES.get(key, key)} {value}".strip() for key, value in kept.items())])


def _level(axes: Axes, row: Row) -> None:
    """Draw a row's figure as a horizontal line, and the paper's as a dotted one."""
    axes.axhline(100 * row.final.mean, color="#777777", linestyle="--", linewidth=1)
    _note(axes, row.name, 100 * row.final.mean)
    for of in row.reported:
        axes.axhline(100 * of.value, color="#777777", linestyle=":", linewidth=1)
        _note(axes, f"{row.name}: the paper's figure", 100 * of.value)


def _points(axes: Axes, line: Sequence[Row], axis: str, metric: Metric, index: int, name: str) -> None:
    """Draw one line with our figures, and the paper's figures of the same rows with hollow markers."""
    color, marker = COLORS[index % len(COLORS)], MARKERS[index % len(MARKERS)]
    ours = [(float(row.labels[axis]), value) for row in line if (value := row.figure(metric)) is not None]
    style: dict[str, Any] = {"color": color, "marker": marker, "markersize": 5}
    axes.plot(
        [x for x, _ in ours], [100 * y for _, y in ours], linestyle=DASHES[index % len(DASHES)], label=name, **style
    )
    paper = [(float(row.labels[axis]), of.value) for row in line for of in row.reported if of.metric == metric]
    if paper:
        hollow = {**style, "markersize": 8, "markerfacecolor": "none", "linestyle": "none"}
        axes.plot([x for x, _ in paper], [100 * y for _, y in paper], label=f"{name}: the paper's figures", **hollow)


def _note(axes: Axes, text: str, height: float) -> None:
    """Write a word above the right end of a horizontal line."""
    axes.annotate(
        text, (1, height), xycoords=("axes fraction", "data"), textcoords="offset points", xytext=(0, 2), ha="right",
        color="#555555", fontsize=8,
    )  # fmt: skip


def confusion_matrices(rows: Sequence[Row], classes: Sequence[str]) -> bytes:
    """Draw, as small multiples, how the clean test images of each class were classified, in percent.

    Each row of a matrix sums to 100.
    """
    with mpl.rc_context(RC):
        count, columns = len(classes), min(len(rows), MATRICES_ABREAST)
        lines = math.ceil(len(rows) / columns)
        side = 1.6 + 0.17 * min(count, 15)
        chart = Figure(figsize=(side * columns, (side + 0.2) * lines), layout="constrained")
        shown = chart.subplots(lines, columns, sharex=True, sharey=True, squeeze=False)
        for axes, row in zip(shown.flat, rows, strict=False):
            _matrix(axes, row, classes)
        for axes in shown.flat[len(rows) :]:
            axes.set_axis_off()
        chart.supxlabel("classified as", fontsize=9)
        chart.supylabel("true class", fontsize=9)
        return _png(chart)


def _matrix(axes: Axes, row: Row, classes: Sequence[str]) -> None:
    shares = [[100 * cell / max(1, sum(line)) for cell in line] for line in row.confusion]
    axes.imshow(shares, cmap="Greys", vmin=0, vmax=100)
    if len(classes) <= MOST_CLASSES_NAMED:
        axes.set_xticks(range(len(classes)), classes, rotation=90, fontsize=7)
        axes.set_yticks(range(len(classes)), classes, fontsize=7)
        for y, line in enumerate(shares):
            for x, share in enumerate(line):
                color = "white" if share > 50 else "black"
                axes.text(x, y, f"{share:.0f}", ha="center", va="center", fontsize=5, color=color)
    axes.set_title("\n".join(textwrap.wrap(row.name, 42)), fontsize=7)


def roc_curves(rows: Sequence[Row]) -> bytes:
    """Draw the ROC curves of face verification, one for each row of the report, from its first result."""
    return _roc([(row.name, row.verification[0]) for row in rows if row.verification])


def roc_by_group(rows: Sequence[Row]) -> bytes:
    """Draw the ROC curves of verification among the test photos, for the protected people and for the others."""
    curves = []
    for row in rows:
        if row.groups:
            curves += [(f"{row.name}, protected people", row.groups[0].protected)]
            curves += [(f"{row.name}, other people", row.groups[0].others)]
    return _roc(curves)


def _roc(curves: Sequence[tuple[str, FacePairs]]) -> bytes:
    with mpl.rc_context(RC):
        chart = Figure(figsize=(5.6, _with_legend(4.2, len(curves))), layout="constrained")
        axes = chart.add_subplot()
        for index, (name, of) in enumerate(curves):
            axes.plot(
                of.false_positive_rate,
                of.true_positive_rate,
                color=COLORS[index % len(COLORS)],
                linestyle=DASHES[index % len(DASHES)],
                label=f"{name}: AUC {of.auc:.3f}",
            )
        axes.plot([0, 1], [0, 1], color="#777777", linewidth=0.8)
        axes.set(xlabel="false positive rate", ylabel="true positive rate", xlim=(0, 1), ylim=(0, 1), aspect="equal")
        chart.legend(loc="outside lower center", frameon=False, fontsize=8)
        return _png(chart)


def _with_legend(height: float, lines: int) -> float:
    """Return a chart's height in inches with so many lines in the legend below it."""
    return height + LEGEND_LINE * max(0, lines - LEGEND_LINES)


def _png(chart: Figure) -> bytes:
    buffer = io.BytesIO()
    chart.savefig(buffer, format="png")
    return buffer.getvalue()
