"""The report as one self-contained HTML page; its pictures are also written as files beside it."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from jinja2 import Environment, PackageLoader, select_autoescape

from unlearn_cli.banks.card import Worst
from unlearn_cli.evaluation.charts import confusion_matrices, learning_curves, over_axis, roc_by_group, roc_curves
from unlearn_cli.evaluation.metrics import Figure
from unlearn_cli.evaluation.published import told
from unlearn_cli.evaluation.report import Report, Row
from unlearn_cli.files import write_atomically
from unlearn_cli.training.train import TrainingSettings

PICTURE = re.compile(r"chart|learning-curves(-\d+)?|roc|roc-groups|confusion(-\d+)?|examples-\d+")
"""The names of a report's pictures, without the suffix."""
MOST_CURVES = 14
MOST_MATRICES = 12
"""The most rows in one picture; further ones get another picture."""


def write_report(report: Report, output: Path) -> Path:
    """Write ``report.json``, ``report.html`` and their PNG files into a folder, and return the path of the page.

    Pictures of an earlier report that this one does not have are deleted. Raises ``OSError`` if a file cannot be
    written.
    """
    had_report = (output / "report.json").is_file()
    text = json.dumps(asdict(report), indent=2, allow_nan=False, ensure_ascii=False)
    write_atomically(output / "report.json", text.encode() + b"\n")
    pictures = draw(report, output)
    for old in output.glob("*.png") if had_report else ():
        if PICTURE.fullmatch(old.stem) and old.stem not in pictures:
            old.unlink()
    for name, (_, data) in pictures.items():
        write_atomically(output / f"{name}.png", data)
    shown = [(title, base64.b64encode(data).decode()) for title, data in pictures.values()]
    environment = Environment(
        loader=PackageLoader("unlearn_cli.evaluation", "."), autoescape=select_autoescape(default=True)
    )
    environment.filters.update(percent=percent, told=told, fared=fared)
    page = environment.get_template("page.html.j2").render(
        report=report,
        rows=report.rows,
        worst=report.worst,
        pictures=shown,
        parts=any(row.protected for row in report.rows),
        verified=any(row.verification for row in report.rows),
        triggered=any(row.trigger for row in report.rows),
        trainings=dict.fromkeys(trained(row.training) for row in report.rows),
        trips={row.trip["name"]: row.trip for row in report.rows if row.trip},
    )
    path = output / "report.html"
    write_atomically(path, page.encode())
    return path


def percent(figure: Figure | float | None) -> str:
    """Return a share in percent, with its interval if it has one; a dash for None."""
    if figure is None:
        return "-"
    if isinstance(figure, Figure):
        return f"{100 * figure.mean:.1f} % ({100 * figure.low:.1f} to {100 * figure.high:.1f})"
    return f"{100 * figure:.1f} %"


def trained(by: TrainingSettings) -> str:
    """Return how victims were trained, in words; of what is not trained, that it is not."""
    if by.model.startswith("frozen:"):
        return f"{by.model}: used as it is"
    if by.model.endswith(":last"):
        return f"{by.model}: ridge regression on the features"
    parts = [
        f"SGD with momentum {by.momentum:g}{' (Nesterov)' if by.nesterov else ''}",
        f"weight decay {by.weight_decay:g}",
        f"largest learning rate {by.learning_rate:g}",
        f"a {by.schedule} schedule",
        f"batches of {by.batch_size}",
        f"{by.precision} arithmetic",
        f"label smoothing {by.label_smoothing:g}" if by.label_smoothing else "",
        "alternating flips" if by.alternate_flips else "",
        f"tested with a moving average of the weights ({by.weight_average:g})" if by.weight_average else "",
        f"gradients of at most {by.gradient_clip:g}" if by.gradient_clip else "",
    ]
    return f"{by.model}: {', '.join(part for part in parts if part)}"


def fared(worst: Worst | None) -> str:
    """Return how the protected class with the highest accuracy fared, with its test images; a dash for None."""
    return f"{worst.name}: {percent(worst.final)} of {worst.test_images}" if worst else "-"


def draw(report: Report, output: Path) -> dict[str, tuple[str, bytes]]:
    """Return the pictures of a report: from the file name without its suffix to the title and the PNG data."""
    rows, pictures = report.rows, {}
    if not rows or report.dataset is None or report.chance is None:
        return {}
    if report.chart and (drawn := over_axis(rows, report.chart, report.chance)):
        pictures["chart"] = ("Our figures, and the paper's with hollow markers", drawn)
    for name, some in _parts("learning-curves", rows, MOST_CURVES):
        title = "Learning curves, with the paper's figures as hollow markers" if report.source else "Learning curves"
        pictures[name] = (title, learning_curves(some, report.chance))
    if any(row.verification for row in rows):
        pictures["roc"] = ("Face verification (ROC curves)", roc_curves([row for row in rows if row.verification]))
    classes = report.dataset.classes
    if any(row.groups for row in rows):
        title = "Verification of the people in the test photos (ROC curves), protected and other people apart"
        pictures["roc-groups"] = (title, roc_by_group(rows))
    for name, some in _parts("confusion", [row for row in rows if len(row.confusion) == len(classes)], MOST_MATRICES):
        pictures[name] = ("Confusion matrices, in percent of each true class", confusion_matrices(some, classes))
    for index, row in enumerate(rows):
        sheet = output / "cells" / f"{row.cells[0]}.png"
        if sheet.is_file():
            title = f"Example images: {row.name}. Top: original; middle: noise x 10; bottom: protected"
            pictures[f"examples-{index + 1}"] = (title, sheet.read_bytes())
    return pictures


def _parts(name: str, rows: Sequence[Row], most: int) -> Iterator[tuple[str, Sequence[Row]]]:
    """Yield the rows of each picture with the picture's name, of which the second and later ones have a number."""
    for start in range(0, len(rows), most):
        yield name + (f"-{start // most + 1}" if start else ""), rows[start : start + most]
