"""The report says what the cells say, the worst first, and a browser shows it."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from unlearn_cli.evaluation.cell import Cell, NoisePlan
from unlearn_cli.evaluation.cell import Images as ImagesPlan
from unlearn_cli.evaluation.charts import learning_curves, over_axis, roc_curves
from unlearn_cli.evaluation.for_card import for_card
from unlearn_cli.evaluation.page import write_report
from unlearn_cli.evaluation.published import Published, told
from unlearn_cli.evaluation.recipe import Planned
from unlearn_cli.evaluation.report import About
from unlearn_cli.evaluation.report import make_report as report_of
from unlearn_cli.evaluation.result import Epoch, FacePairs, Images, NoiseUsed, RunResult
from unlearn_cli.training.datasets import DatasetSpec
from unlearn_cli.training.train import TrainingSettings

TABLE_1 = Published(metric="final", group="all", value=0.1642, relation="", note="", place="Table 1")
ABOUT = About("A <title>", "table 0", "What it is about.", "tiny", "unlearn evaluate --recipe x")
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def make_report(about: About, planned: Sequence[Planned], results: Mapping[int, RunResult]) -> dict[str, Any]:
    """Return the report as its file has it."""
    content: dict[str, Any] = json.loads(json.dumps(asdict(report_of(about, planned, results))))
    return content


def planned(noise: str, *reported: Published, ships: bool = True, **labels: str) -> Planned:
    cell = Cell(
        images=ImagesPlan(spec=DatasetSpec(source="cifar10")),
        noise=None if noise == "clean" else NoisePlan(bank="cifar10"),
    )
    return Planned(cell=cell, labels={"noise": noise, "model": "resnet18", **labels}, reported=reported, ships=ships)


def result(
    curve: list[list[float]],
    protected: list[int],
    images: int = 100,
    defence: str = "none",
    seed: int = 0,
    trigger: tuple[float, ...] | None = None,
    verification: FacePairs | None = None,
) -> RunResult:
    """Return a run on two classes with 30 and 10 test images; ``curve`` has each epoch's accuracies by class."""
    training = TrainingSettings(model="resnet10-w16", epochs=len(curve), seed=seed)
    used = NoiseUsed(
        name="mine", sha256="0", method="", form="class-wise", epsilon=8, through="", surrogate="", seconds=5.0
    )
    return RunResult(
        hash=f"{curve}",
        cell={"training": asdict(training), "defence": defence},
        dataset=Images(
            name="CIFAR-10",
            train_images=100,
            test_images=40,
            classes=("cat", "<dog>"),
            test_images_by_class=(30, 10),
            image_size=32,
            sha256="0",
        ),
        noise=used if protected else None,
        protected_images=images if protected else 0,
        protected_classes=tuple(protected),
        epochs=tuple(Epoch(train=0.9, clean=round((30 * a + 10 * b) / 40, 4), by_class=(a, b)) for a, b in curve),
        confusion=((20, 10), (5, 5)),
        trigger=trigger,
        verification=verification,
        seconds=50.0,
        hardware="two cores",
        versions={"torch": "2"},
    )


CLEAN = result([[0.5, 0.4], [0.8, 0.6]], [])


def test_seeds_are_one_row_and_the_worst_stands_first() -> None:
    cells = [planned("clean"), planned("weak"), planned("strong", TABLE_1), planned("strong", TABLE_1)]
    report = make_report(
        ABOUT,
        cells,
        {
            0: CLEAN,
            1: result([[0.6, 0.6], [0.5, 0.5]], [0, 1]),
            2: result([[0.3, 0.3], [0.1, 0.1]], [0, 1]),
            3: result([[0.2, 0.2], [0.2, 0.2]], [0, 1], seed=1),
        },
    )
    assert [row["name"] for row in report["rows"]] == ["weak", "strong", "clean"]
    weak, strong, clean = report["rows"]
    assert (strong["seeds"], strong["final"]["per_seed"], strong["final"]["mean"]) == (2, [0.1, 0.2], 0.15)
    assert (strong["peak"]["mean"], strong["curve"]) == (0.25, [0.25, 0.15])
    assert ([figure["value"] for figure in strong["reported"]], weak["reported"]) == ([0.1642], [])
    assert strong["confusion"] == [[40, 20], [10, 10]]
    assert strong["unprotected"]["final"]["mean"] == clean["final"]["mean"] == 0.75
    assert strong["seconds"]["noise_share_of_training"] == 0.1
    assert (report["chance"], report["missing"]) == (0.5, 0)


def test_a_recipes_rows_stay_in_order_and_only_what_ships_is_the_worst_case() -> None:
    """However much a victim learns from the paper's noise or another method's, that says nothing about ours."""
    cells = [planned("clean"), planned("error-max", ships=False), planned("ours"), planned("ours", search="x")]
    results = {
        0: CLEAN,
        1: result([[0.7, 0.7]], [0, 1]),
        2: result([[0.1, 0.1]], [0, 1]),
        3: result([[0.2, 0.2]], [0, 1], seed=1),
    }
    report = report_of(replace(ABOUT, in_order=True), cells, results)
    assert [row.labels.get("search", row.labels["noise"]) for row in report.rows] == ["clean", "error-max", "ours", "x"]
    assert report.worst is not None
    assert report.worst.final.mean == 0.2
    assert report.ran == "resnet10-w16; 100 training images of CIFAR-10; 2 epochs; scale tiny"
    assert report_of(replace(ABOUT, in_order=True), cells[:2], {0: CLEAN, 1: results[1]}).worst is None


def test_the_papers_figures_are_told_as_it_prints_them() -> None:
    auc = replace(TABLE_1, metric="auc", value=0.5321)
    below = replace(TABLE_1, metric="peak", value=0.23, relation="below")
    people = replace(TABLE_1, group="protected", value=0.16, note="50 of 10,575 people")
    assert told((TABLE_1, auc)) == "16.42 %; AUC 0.5321"
    assert told((below,)) == "best epoch below 23 %"
    assert told((people,)) == "protected 16 % (50 of 10,575 people)"
    assert told(()) == "-"


def test_an_experiment_over_an_axis_is_drawn_over_it(tmp_path: Path) -> None:
    cells = [planned("clean", TABLE_1), *(planned("noise", TABLE_1, poison_rate=rate) for rate in ("0.2", "1.0"))]
    results = {0: CLEAN, 1: result([[0.4, 0.4]], [0, 1]), 2: result([[0.1, 0.1]], [0, 1], seed=1)}
    drawn = report_of(replace(ABOUT, chart="poison_rate"), cells, results)
    write_report(drawn, tmp_path)
    assert (tmp_path / "chart.png").stat().st_size > 5000
    first = (tmp_path / "chart.png").read_bytes()
    assert over_axis([replace(row, reported=()) for row in drawn.rows], "poison_rate", 0.1) != first
    assert over_axis(drawn.rows, "epsilon", 0.1) is None
    write_report(report_of(ABOUT, cells, results), tmp_path)
    assert not (tmp_path / "chart.png").exists()


def test_charts_of_many_runs_grow_with_their_legends() -> None:
    """Where a legend left no room for the curves, matplotlib warned, which is an error here."""
    pairs = FacePairs(pairs=10, auc=0.9, false_positive_rate=(0.0, 0.5, 1.0), true_positive_rate=(0.0, 0.8, 1.0))
    heights = []
    for count in (2, 60):
        names = [f"a rather long name of run number {number}" for number in range(count)]
        runs = [planned(name) for name in names]
        results = {number: result([[0.5, 0.5]], [], verification=pairs) for number in range(count)}
        rows = report_of(ABOUT, runs, results).rows
        pictures = learning_curves(rows, 0.1), roc_curves(rows)
        heights.append([Image.open(io.BytesIO(picture)).height for picture in pictures])
    assert all(many > 1.5 * few for few, many in zip(*heights, strict=True))


def test_protected_classes_are_compared_with_the_same_classes_unprotected() -> None:
    report = make_report(
        ABOUT,
        [planned("clean"), planned("noise", protect_classes="<dog>"), planned("noise", protect_classes="cat")],
        {0: CLEAN, 1: result([[0.5, 0.3], [0.8, 0.0]], [1], 50)},
    )
    row = report["rows"][0]
    assert row["name"] == "noise, only <dog>"
    assert (row["protected"]["final"]["mean"], row["protected"]["peak"]["mean"]) == (0.0, 0.3)
    assert (row["others"]["final"]["mean"], row["unprotected"]["final"]["mean"]) == (0.8, 0.6)
    assert row["protected"]["test_images"] == 10
    assert report["missing"] == 1


def test_a_card_keeps_the_figures() -> None:
    cells = [planned("clean"), planned("cifar10 (sample-wise)")]
    report = report_of(ABOUT, cells, {0: CLEAN, 1: result([[0.3, 0.3], [0.1, 0.1]], [0, 1])})
    assert report.worst == report.rows[0]
    (kept,) = for_card(report)
    assert (kept.form, kept.defence, kept.seeds) == ("sample-wise", "none", 1)
    assert (kept.protected.final, kept.protected.peak) == (0.1, 0.3)
    assert kept.clean.final == kept.clean.peak == 0.75
    assert kept.protected.final_interval is not None
    low, high = kept.protected.final_interval
    assert 0 < low < 0.1 < high < 0.3
    assert (kept.protected_classes, kept.together, kept.all_classes) == (2, 2, True)


def test_the_page_is_one_file_and_a_browser_shows_it(tmp_path: Path) -> None:
    verification = FacePairs(pairs=4, auc=0.9, false_positive_rate=(0.0, 0.5, 1.0), true_positive_rate=(0.0, 1.0, 1.0))
    cells = [planned("clean"), planned("noise", protect_classes="<dog>")]
    results = {
        0: replace(CLEAN, verification=verification),
        1: result([[0.5, 0.3], [0.8, 0.0]], [1], 50, trigger=(0.9, 0.8), verification=verification),
    }
    path = write_report(report_of(ABOUT, cells, results), tmp_path)
    assert json.loads((tmp_path / "report.json").read_text())["schema"] == 3
    pictures = {file.name for file in tmp_path.glob("*.png")}
    assert pictures == {"learning-curves.png", "roc.png", "confusion.png"}
    page = path.read_text()
    assert "http" not in page.replace("http-equiv", "")
    assert "A &lt;title&gt;" in page
    found = next((there for name in BROWSERS if (there := shutil.which(name))), None)
    if found is None:
        pytest.skip("no browser is here")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        for width in (1200, 400):
            tab = browser.new_page(viewport={"width": width, "height": 800})
            tab.goto(path.as_uri())
            assert tab.locator("tbody tr").count() == 2
            assert "only <dog>" in tab.locator("tbody tr").first.inner_text()
            assert tab.evaluate("document.documentElement.scrollWidth") <= width
            loaded = tab.evaluate("[...document.images].map(i => i.complete && i.naturalWidth > 100 && !!i.alt)")
            assert loaded == [True] * 3
        browser.close()


def test_turns_are_pooled_image_by_image() -> None:
    """Two classes, of 30 and of 10 images, are protected each in its turn, with two seeds."""
    cells = [planned("clean")] + [planned("person", protect_classes="2 people, 1 at a time")] * 4
    results = {
        0: CLEAN,
        1: result([[0.4, 0.5], [0.1, 0.6]], [0]),
        2: result([[0.9, 0.8], [0.8, 0.5]], [1]),
        3: result([[0.4, 0.5], [0.3, 0.6]], [0], seed=1),
        4: result([[0.7, 0.8], [0.7, 0.5]], [1], seed=1),
    }
    report = make_report(ABOUT, cells, results)
    row = report["rows"][0]
    assert row["seeds"] == 2
    assert row["protected_classes"] == [0, 1]
    assert row["protected"]["final"]["per_seed"] == [(0.1 * 30 + 0.5 * 10) / 40, (0.3 * 30 + 0.5 * 10) / 40]
    assert row["protected"]["test_images"] == 40
    assert row["others"]["final"]["per_seed"] == [(0.6 * 10 + 0.8 * 30) / 40, (0.6 * 10 + 0.7 * 30) / 40]
    assert row["protected"]["peak"]["per_seed"] == [(0.4 * 30 + 0.8 * 10) / 40] * 2
    assert row["unprotected"]["final"]["per_seed"] == [(0.8 * 30 + 0.6 * 10) / 40]
    (card,) = for_card(report_of(ABOUT, cells, results))
    assert row["unprotected_others"]["final"]["per_seed"] == [(0.6 * 10 + 0.8 * 30) / 40]
    assert card.protected.final == row["protected"]["final"]["mean"]
    assert (card.protected_classes, card.together, card.seeds) == (2, 1, 2)
    assert card.protected.final == 0.275
    assert card.others is not None
    assert card.others.final == row["others"]["final"]["mean"]
    assert card.clean_others is not None
    assert card.clean_others.final == row["unprotected_others"]["final"]["mean"]


def test_pictures_of_others_stay_and_those_of_an_earlier_report_go(tmp_path: Path) -> None:
    for name in ("rocket.png", "confusion-of-mine.png", "roc.png"):
        (tmp_path / name).write_bytes(b"mine")
    cells = [planned("clean")]
    write_report(report_of(ABOUT, cells, {0: CLEAN}), tmp_path)
    # No report was here, so that all of them are the user's.
    assert {(tmp_path / name).read_bytes() for name in ("rocket.png", "confusion-of-mine.png", "roc.png")} == {b"mine"}
    write_report(report_of(ABOUT, cells, {0: CLEAN}), tmp_path)
    left = {file.name for file in tmp_path.glob("*.png")}
    assert left == {"rocket.png", "confusion-of-mine.png", "learning-curves.png", "confusion.png"}
