"""Showing what was measured with a bank: the worst result of each attacker, and all results with their conditions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from unlearn_cli.cli.measured import RECOGNISERS, attacker, recogniser_of, that_count, worst_by, worst_first

if TYPE_CHECKING:
    from unlearn_cli.banks.card import Accuracy, Card, Result

FORMS = {
    "sample-wise": ", noise made for each photo",
    "personal": ", a pattern fitted to other photos of each person",
}
"""For each form of noise but the bank's own pattern, what the table says of it."""
FORM_NAMES = {
    "class-wise": "the bank's pattern",
    "sample-wise": "noise made for each photo (protect --form sample-wise)",
    "personal": "a pattern fitted to the person (generate --preset personal)",
}
WORST_COLUMNS = ("attacker", "protected", "unprotected", "seeds")
COLUMNS = (
    "training",
    "photos",
    "protected",
    "accuracy",
    "unprotected",
    "random noise",
    "other classes",
    "worst class",
    "AUC",
    "seeds",
)


def worst_rows(card: Card) -> Iterator[tuple[str, list[tuple[str, ...]]]]:
    """Yield for each form of noise its name, and a row of ``WORST_COLUMNS`` for each attacker, the worst first.

    The figures are how many of 100 clean images of the protected classes were classified correctly.
    """
    for form, name in FORM_NAMES.items():
        worst = worst_by((of for of in that_count(card.results) if of.form == form), _attacker_and_network)
        rows = [
            (who, *(f"{100 * accuracy.final:.0f}" for accuracy in (of.protected, of.clean)), str(of.seeds))
            for who, of in worst.items()
        ]
        if rows:
            yield name, rows


def _attacker_and_network(result: Result) -> str:
    """Return what the attacker of a result is, with the name of its network."""
    if name := recogniser_of(result):
        took_part = ", which took part in making the noise" if result.white_box else ""
        return f"face search with {RECOGNISERS.get(name, name)}{took_part}"
    who, network = attacker(result).removeprefix("a model "), str(result.training.get("model", ""))
    return who if network.startswith("fine-tune:") else f"{who} ({network})"


def table_rows(card: Card) -> Iterator[tuple[str, ...]]:
    """Yield a row of ``COLUMNS`` for each result of a card, the worst first."""
    for result in worst_first(card.results):
        images = result.images
        defence = f", {result.defence}" if result.defence != "none" else ""
        form = FORMS.get(result.form, "")
        some = f"{result.protected_classes} of {len(images.classes)} classes"
        turns = f", {result.together} at a time" if result.together < result.protected_classes else ""
        others = f"{_percent(result.others)} ({_percent(result.clean_others)} unprotected)" if result.others else "-"
        yield (
            _attack(result) + defence,
            f"{images.train_images} of {images.name}, {images.image_size} px{_trip(result)}{form}",
            "all" if result.all_classes else some + turns,
            f"{_with_interval(result.protected)}, best epoch {100 * result.protected.peak:.1f} %",
            _percent(result.clean),
            _percent(result.random),
            others,
            _worst(result),
            _auc(result),
            str(result.seeds),
        )


def block(row: tuple[str, ...]) -> tuple[str, str, str]:
    """Return a row of ``COLUMNS`` as three lines: the attack, what it reached, and on which photos."""
    training, photos, protected, accuracy, clean, noise, others, worst, auc, seeds = row
    more = [("random noise", noise), ("other classes", others), ("worst class", worst), ("AUC", auc)]
    reached = [
        f"accuracy {accuracy}",
        f"unprotected {clean}",
        *(f"{name} {text}" for name, text in more if text != "-"),
    ]
    return training, "; ".join(reached), f"{photos}; protected: {protected}; seeds: {seeds}"


def _attack(result: Result) -> str:
    model, labels = result.training.get("model"), result.labels
    told = [str(model)]
    if recogniser_of(result):
        told += [str(labels.get("head")), f"protected: {labels.get('protected', 'known')}"]
    else:
        told += [f"{result.training.get('epochs')} epochs"]
    told += [f"last layer refitted on {labels['reweight']}"] if "reweight" in labels else []
    return ", ".join(told + (["white-box: it took part in making the noise"] if result.white_box else []))


def _trip(result: Result) -> str:
    trip = result.trip
    if not trip:
        return ""
    encoded = f", JPEG {trip['quality']}" if trip.get("quality") else ""
    found = f", faces found by {trip['detector']}" if trip.get("detector") else ""
    return f", trip '{trip['name']}'{encoded}{found}"


def _auc(result: Result) -> str:
    if result.auc is None or result.clean_auc is None:
        return "-"
    return f"{result.auc:.3f} ({result.clean_auc:.3f} unprotected)"


def _worst(result: Result) -> str:
    worst = result.worst_class
    return f"{worst.name} with {100 * worst.final:.1f} % of {worst.test_images} images" if worst else "-"


def _percent(of: Accuracy | None) -> str:
    return "-" if of is None else f"{100 * of.final:.1f} %"


def _with_interval(of: Accuracy) -> str:
    if of.final_interval is None:
        return _percent(of)
    low, high = of.final_interval
    return f"{_percent(of)} ({100 * low:.1f} to {100 * high:.1f})"
