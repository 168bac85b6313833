"""Turning a report into the results that a bank's card keeps."""

from __future__ import annotations

from dataclasses import asdict

from unlearn_cli.banks import card
from unlearn_cli.banks.card import Accuracy
from unlearn_cli.evaluation.ad_hoc import RANDOM
from unlearn_cli.evaluation.pooled import Accuracies
from unlearn_cli.evaluation.report import Report, Row


def for_card(report: Report) -> list[card.Result]:
    """Return what a bank's card keeps for each protected row that has a clean baseline.

    Of an attacker with a recogniser it keeps the rows in which the known photos carry the noise, as a scraper has them.
    """
    return [
        _result(report, row, row.unprotected)
        for row in report.rows
        if row.unprotected is not None and not row.is_control and row.labels.get("protected", "known") == "known"
    ]


def _result(report: Report, row: Row, clean: Accuracies) -> card.Result:
    assert report.dataset is not None
    random = next((one for one in report.rows if one.labels == {**row.labels, "noise": RANDOM}), None)
    images = {key: value for key, value in vars(report.dataset).items() if key != "test_images_by_class"}
    return card.Result(
        protected=_accuracy(row.decisive),
        clean=_accuracy(clean),
        random=_accuracy(random.decisive) if random is not None else None,
        others=_accuracy(row.others) if row.others is not None else None,
        clean_others=_accuracy(row.unprotected_others) if row.unprotected_others is not None else None,
        worst_class=row.worst_class,
        auc=row.auc if row.auc_unprotected is not None else None,
        clean_auc=row.auc_unprotected,
        form=_form(row),
        defence=row.defence,
        protected_classes=len(row.protected_classes),
        together=row.together,
        protected_images=row.protected_images,
        seeds=row.seeds,
        images=card.Images(**images),
        trip=row.trip,
        training=asdict(row.training),
        white_box=row.white_box,
        labels=row.labels,
        runs=row.cells,
        command=report.command,
        hardware=row.hardware,
        versions=report.versions,
        date=report.date,
    )


def _form(row: Row) -> card.ResultForm:
    if row.labels.get("noise", "").endswith("(personal)"):
        return "personal"
    made_for_each = row.labels.get("noise", "").endswith("(sample-wise)")
    return "sample-wise" if made_for_each or (row.noise and row.noise.form == "sample-wise") else "class-wise"


def _accuracy(of: Accuracies) -> Accuracy:
    return Accuracy(
        final=of.final.mean,
        peak=of.peak.mean,
        final_interval=(of.final.low, of.final.high),
        peak_interval=(of.peak.low, of.peak.high),
    )
