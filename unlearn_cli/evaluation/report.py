"""Makes the report: the results of all finished runs as one JSON document (docs/reference/report.md)."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from unlearn_cli import __version__
from unlearn_cli.evaluation.ad_hoc import RANDOM
from unlearn_cli.evaluation.cell import hash_of
from unlearn_cli.evaluation.metrics import Figure, figure
from unlearn_cli.evaluation.recipe import Planned
from unlearn_cli.evaluation.run import Result
from unlearn_cli.training.trip import SUBSAMPLING_NAME

REPORT_SCHEMA = 2
LABELS_NOT_SHOWN = ("form", "method")
NAMES = {"poison_rate": "share", "protect_classes": "only", "keep": "train on", "augment": "", "defence": "against"}
"""The names of labels, as a reader of the report sees them."""


@dataclass(frozen=True)
class About:
    """The head of a report: what it measures, and with which command."""

    title: str
    source: str
    text: str
    scale: str
    command: str


def make_report(about: About, planned: Sequence[Planned], results: Mapping[int, Result]) -> dict[str, Any]:
    """Return the report of those planned runs (by their index) that have a result.

    Runs that differ only in their seed form one row. The first row is the worst case for the user: the
    protected row with the highest peak of clean accuracy, which is what a scraper can still get.
    """
    groups: dict[tuple[tuple[str, str], ...], list[int]] = {}
    for index, one in enumerate(planned):
        group = groups.setdefault(tuple(sorted(one.labels.items())), []) if index in results else []
        if index in results and all(results[index]["hash"] != results[other]["hash"] for other in group):
            group.append(index)
    found = [[results[i] for i in group] for group in groups.values()]
    rows = [_row([planned[i] for i in group], of) for group, of in zip(groups.values(), found, strict=True)]
    for index, row in enumerate(rows):
        row["name"] = _name(row, rows)
        if row["protected_images"] and (clean := baseline(rows, row)) is not None:
            of = found[rows.index(clean)]
            named = set(row["protected_classes"]) if row["protected"] else None
            row["unprotected"] = _accuracies(of, [named] * len(of))
            row["unprotected_others"] = _others_of(found[index], of) if row["others"] else None
    rows.sort(key=lambda row: (_is_control(row), -(row["protected"] or row)["peak"]["mean"]))
    first = next(iter(results.values()), None)
    return {
        "schema": REPORT_SCHEMA,
        "title": about.title,
        "source": about.source,
        "about": about.text,
        "scale": about.scale,
        "command": about.command,
        "missing": len(planned) - len(results),
        "dataset": first["dataset"] if first else None,
        "chance": 1 / len(first["dataset"]["classes"]) if first else None,
        "rows": rows,
        "versions": first["versions"] if first else {"unlearn": __version__},
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _row(planned: list[Planned], results: list[Result]) -> dict[str, Any]:
    """Return the row of runs that differ in their seed, or that protect different classes in turn."""
    first, data = results[0], results[0]["dataset"]
    own = [set(result["protected_classes"]) for result in results]
    every = set(range(len(data["classes"])))
    groups: dict[str, list[set[int] | None]] = {"all": [None] * len(results)}
    if all(own) and own[0] != every:
        groups |= {"protected": [*own], "others": [every - of for of in own]}
    accuracies = {name: _accuracies(results, labels) for name, labels in groups.items()}
    whole = accuracies["all"]
    assert whole is not None  # Loading has refused a test set without images.
    noise = first["noise"]
    training = statistics.mean(result["seconds"] for result in results)
    return {
        "labels": {key: value for key, value in planned[0].labels.items() if key not in LABELS_NOT_SHOWN},
        "reported": planned[0].reported,
        "cells": [result["hash"] for result in results],
        "seeds": len({_seed(result) for result in results}),
        **whole,
        "protected": accuracies.get("protected"),
        "others": accuracies.get("others"),
        "train_final": round(statistics.mean(result["epochs"][-1]["train"] for result in results), 4),
        "protected_classes": sorted(set().union(*own)),
        "unprotected": None,
        "unprotected_others": None,
        "train_images": data["train_images"],
        "protected_images": first["protected_images"],
        "noise": noise,
        "seconds": {
            "training": round(training, 1),
            "noise": noise["seconds"] if noise else None,
            "noise_share_of_training": round(noise["seconds"] / training, 3) if noise and noise["seconds"] else None,
        },
        "confusion": _summed([result["confusion"] for result in results]),
        "trigger": _means([result["trigger"] for result in results]) if first["trigger"] else None,
        "auc": _means([[result["verification"]["auc"]] for result in results])[0] if first["verification"] else None,
        "verification": [result["verification"] for result in results] if first["verification"] else None,
        "trip": _trip(first["cell"]),
        "like": _like(first["cell"]),
        "training": first["cell"]["training"],
        "defence": first["cell"]["defence"],
        "hardware": first["hardware"],
    }


def _trip(cell: Mapping[str, Any]) -> dict[str, Any] | None:
    trip = cell.get("images", {}).get("trip")
    return {**trip, "subsampling": SUBSAMPLING_NAME if trip["quality"] else None} if trip else None


def _others_of(protected: list[Result], clean: list[Result]) -> dict[str, Any] | None:
    """Return the clean baseline's accuracies on the unprotected classes, each counted as often as in the turns."""
    by_seed = {_seed(result): result for result in clean}
    pairs = [(by_seed[_seed(result)], result) for result in protected if _seed(result) in by_seed]
    if not pairs:
        return None
    every = set(range(len(clean[0]["dataset"]["classes"])))
    return _accuracies([one for one, _ in pairs], [every - set(of["protected_classes"]) for _, of in pairs])


def _like(cell: Mapping[str, Any]) -> str:
    """Return a hash that is the same for rows that may be compared: they differ only in protection and seed."""
    training = {key: value for key, value in cell["training"].items() if key != "seed"}
    return hash_of({**{key: cell.get(key) for key in ("images", "joined", "defence")}, "training": training})


def _means(of: list[list[float | None]]) -> list[float | None]:
    """Return the mean over the results, for each column; None where a result has no value."""
    return [
        None
        if any(value is None for value in values)
        else round(statistics.mean(v for v in values if v is not None), 4)
        for values in zip(*of, strict=True)
    ]


def _accuracies(results: list[Result], labels: list[set[int] | None]) -> dict[str, Any] | None:
    """Return the final and the peak accuracy on the test images of each result's classes, and the mean curve.

    None instead of a set of classes means all classes. The results of one seed are pooled, weighted by their test
    images. Return None if there are no such images.
    """
    counts = results[0]["dataset"]["test_images_by_class"]
    named: set[int] = set().union(*(range(len(counts)) if of is None else of for of in labels))
    among = sum(counts[label] for label in named)
    if among == 0:
        return None
    seeds: dict[int, list[tuple[Result, set[int] | None]]] = {}
    for result, of in zip(results, labels, strict=True):
        seeds.setdefault(_seed(result), []).append((result, of))
    curves = [_curve(pooled) for pooled in seeds.values()]
    return {
        "final": _told(figure([curve[-1] for curve in curves], among)),
        "peak": _told(figure([max(curve) for curve in curves], among)),
        "curve": [round(statistics.mean(values), 4) for values in zip(*curves, strict=True)],
        "test_images": among,
    }


def _seed(result: Result) -> int:
    seed: int = result["cell"]["training"]["seed"]
    return seed


def _curve(pooled: list[tuple[Result, set[int] | None]]) -> list[float]:
    """Return the accuracy after each epoch on the test images of all results' classes together."""
    counts = pooled[0][0]["dataset"]["test_images_by_class"]
    right, among = [0.0] * len(pooled[0][0]["epochs"]), 0
    for result, labels in pooled:
        images = sum(counts) if labels is None else sum(counts[label] for label in labels)
        among += images
        for index, epoch in enumerate(result["epochs"]):
            if labels is None:
                right[index] += epoch["clean"] * images
            else:
                right[index] += sum((epoch["by_class"][label] or 0.0) * counts[label] for label in labels)
    return [share / among for share in right]


def _told(of: Figure) -> dict[str, Any]:
    return {
        "mean": round(of.mean, 4),
        "low": round(of.low, 4),
        "high": round(of.high, 4),
        "per_seed": [round(value, 4) for value in of.per_seed],
    }


def _summed(tables: list[list[list[int]]]) -> list[list[int]]:
    return [[sum(cells) for cells in zip(*rows, strict=True)] for rows in zip(*tables, strict=True)]


def worst(report: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the protected row with the highest peak of clean accuracy; None if there is no protected row."""
    rows: list[dict[str, Any]] = [row for row in report["rows"] if not _is_control(row)]
    return rows[0] if rows else None


def _is_control(row: Mapping[str, Any]) -> bool:
    """Return whether a row is only for comparison: its images are clean or carry random noise."""
    return bool(row["protected_images"] == 0 or row["labels"].get("noise") == RANDOM)


def baseline(rows: Sequence[dict[str, Any]], row: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the clean row for a protected one: the same victim trained on the same images, with none left out.

    Return None if there is no such row.
    """
    for one in rows:
        if one["like"] == row["like"] and one["protected_images"] == 0 and one["train_images"] == row["train_images"]:
            return one
    return None


def _name(row: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> str:
    """Return a short name of a row: its noise, and the other labels that tell it apart."""
    parts = [str(row["labels"].get("noise", "clean"))]
    for key in dict.fromkeys(key for one in rows for key in one["labels"]):
        values = {one["labels"].get(key) for one in rows}
        value = row["labels"].get(key)
        if key == "model" and len({one["training"]["model"] for one in rows}) > 1:
            parts.append(row["training"]["model"])
        elif key not in ("noise", "model", "trigger") and value is not None and len(values) > 1:
            parts.append(f"{NAMES.get(key, key)} {value}".strip())
    return ", ".join(parts)


def recorded(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return what a bank's card keeps for each protected row that has a clean baseline, with a one-sentence summary."""
    found = []
    for row in report["rows"]:
        clean = row["unprotected"]
        if clean is None or _is_control(row):
            continue
        random = next((one for one in report["rows"] if one["labels"] == {**row["labels"], "noise": RANDOM}), None)
        measured = {"clean": clean, "protected": row["protected"] or row}
        measured |= {"random": random["protected"] or random} if random is not None else {}
        everybody = {**measured, "others": row["others"], "clean_others": row["unprotected_others"]}
        of_noise = (row["noise"] or {}).get("form", "class-wise")
        form = "sample-wise" if row["labels"].get("noise", "").endswith("(sample-wise)") else of_noise
        short = {name: _short(of) for name, of in everybody.items() if of is not None}
        found.append(
            {
                "sentence": _sentence(report, row, measured, form),
                "form": form,
                **short,
                "labels": row["labels"],
                "seeds": row["seeds"],
                "dataset": {key: value for key, value in report["dataset"].items() if key != "test_images_by_class"},
                "trip": row["trip"],
                "training": row["training"],
                "defence": row["defence"],
                "cells": row["cells"],
                "command": report["command"],
                "hardware": row["hardware"],
                "versions": report["versions"],
                "date": report["date"],
            }
        )
    return found


def _short(accuracies: Mapping[str, Any]) -> dict[str, Any]:
    figures = {key: accuracies[key] for key in ("final", "peak")}
    intervals = {f"{key}_interval": [of["low"], of["high"]] for key, of in figures.items()}
    return {key: of["mean"] for key, of in figures.items()} | intervals


def _sentence(
    report: Mapping[str, Any], row: Mapping[str, Any], measured: Mapping[str, Mapping[str, Any]], form: str
) -> str:
    if row["protected"] is not None:
        return _sentence_on_some(report, row, measured)
    training, classes = row["training"], len(report["dataset"]["classes"])
    how = " (noise made for each image)" if form == "sample-wise" else ""
    all_protected = row["protected_images"] == row["train_images"]
    against = f" against {row['defence']}" if row["defence"] != "none" else ""
    share = "all images protected" if all_protected else f"{row['protected_images']} of them protected"
    return (
        f"Measured: {training['model']} trained {training['epochs']} epochs{against} on {row['train_images']} "
        f"images{how} of {report['dataset']['name']}, {share}{_after(row)}, ends at {_figure(row['final'])} clean "
        f"accuracy (peak {row['peak']['mean']:.1%}); on the same images unprotected at "
        f"{measured['clean']['final']['mean']:.1%}{_with_random(measured)}. {_seeds(row)}, {classes} classes."
    )


def _sentence_on_some(
    report: Mapping[str, Any], row: Mapping[str, Any], measured: Mapping[str, Mapping[str, Any]]
) -> str:
    """Return the sentence for a row where only some classes are protected."""
    training, of = row["training"], report["dataset"]
    some, every = len(row["protected_classes"]), len(of["classes"])
    whom = row["labels"].get("protect_classes", str(some))
    against = f" against {row['defence']}" if row["defence"] != "none" else ""
    others = f"; of the others' {row['others']['final']['mean']:.1%}" if row["others"] else ""
    if row["unprotected_others"] is not None:
        others += f", and {row['unprotected_others']['final']['mean']:.1%}"
    return (
        f"Measured: {training['model']} trained {training['epochs']} epochs{against} on {of['train_images']} images at "
        f"{of['image_size']} px of {of['name']}{_after(row)}, {whom} protected among {every} classes, names "
        f"{_figure(row['protected']['final'])} of their clean photos rightly (peak "
        f"{row['protected']['peak']['mean']:.1%}), and {measured['clean']['final']['mean']:.1%} where nobody is "
        f"protected{_with_random(measured)}{others}. {_seeds(row)}."
    )


def _figure(of: Mapping[str, Any]) -> str:
    return f"{of['mean']:.1%} ({100 * of['low']:.1f} to {100 * of['high']:.1f})"


def _with_random(measured: Mapping[str, Mapping[str, Any]]) -> str:
    return f", {measured['random']['final']['mean']:.1%} with random noise" if "random" in measured else ""


def _after(row: Mapping[str, Any]) -> str:
    trip = row["trip"]
    if not trip:
        return ""
    encoded = f"JPEG {trip['quality']} {trip['subsampling']}" if trip["quality"] else "no JPEG"
    return f" after the trip '{trip['name']}' ({encoded}, crop to the {trip['crop']})"


def _seeds(row: Mapping[str, Any]) -> str:
    return "One seed" if row["seeds"] == 1 else f"{row['seeds']} seeds"
