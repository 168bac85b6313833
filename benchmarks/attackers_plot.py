"""Plot what each attacker recognises, the worst first, from the cards: ``python benchmarks/attackers_plot.py``.

It writes docs/results/attackers.png, and into docs/results/person.md two tables: the same figures with their 95 %
intervals, and what else is known of each at the default strength. A test fails when they are not what this script
writes. Of a recogniser's three ways to name a photo the one
that names most is taken, with noise on the photos that it knows.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from matplotlib.figure import Figure

from unlearn_cli.banks.card import Accuracy, Result, read_card
from unlearn_cli.banks.catalog import choose
from unlearn_cli.banks.provenance import Strength
from unlearn_cli.cli.measured import that_count

RESULTS = Path(__file__).parents[1] / "docs" / "results"
PLOT, PAGE = RESULTS / "attackers.png", RESULTS / "person.md"
BEGIN, END = "<!-- written by benchmarks/attackers_plot.py -->\n", "<!-- end of attackers -->\n"
SHOWN: tuple[tuple[Strength, str, str], ...] = (
    ("low", "class-wise", "#9ecae1"),
    ("medium", "class-wise", "#4292c6"),
    ("high", "class-wise", "#08519c"),
    ("max", "class-wise", "#fd8d3c"),
    ("max", "sample-wise", "#a63603"),
    ("max", "personal", "#756bb1"),
)
"""The strength, form and colour of each bar."""
TURNS = "38 people, 19 at a time"
TRAINED = {
    "none": "trained from scratch",
    "gray": "trained in grey",
    "color-jitter": "trained with changes of colour",
    "pipeline": "trained with grey and changes of colour",
}
RECOGNISERS = {
    "face_recognition_sface_2021dec": "SFace",
    "dlib": "dlib",
    "facenet": "FaceNet",
    "mobileface": "MobileFace",
    "student": "our own",
}


def attacker_of(result: Result) -> str | None:
    """Return the name of a result's attacker; None where it is not one of the table."""
    kind, _, network = str(result.training["model"]).partition(":")
    trip = str((result.trip or {}).get("name"))
    if kind == "frozen":
        known = result.labels.get("protected", "known") == "known"
        return f"knows faces: {RECOGNISERS.get(network, network)}" if known else None
    if kind == "fine-tune":
        name, _, part = network.rpartition(":")
        return f"{name}, {'last layer' if part == 'last' else 'all of it'} trained on"
    if kind != "resnet10-w16" or result.defence not in TRAINED or trip not in ("face", "aligned"):
        return None
    if result.labels.get("protect_classes") != TURNS:
        return None  # Earlier trainings had other groups, or another detector.
    how = TRAINED[result.defence] + (", aligned" if trip == "aligned" else "")
    share = result.labels.get("reweight")
    return f"{how}, last layer refitted on {share}" if share else how


def worst(strength: Strength, form: str) -> Iterator[tuple[str, Result]]:
    """Yield each attacker and its result; the one that counts, with most seeds and then the worst, comes last."""
    bank = choose("person", strength=strength).bank
    results = that_count(of for of in read_card(bank.path, bank.sha256).results if of.form == form)
    for result in sorted(results, key=lambda of: (of.seeds, of.protected.final)):
        if (name := attacker_of(result)) is not None:
            yield name, result


Columns = dict[tuple[Strength, str], dict[str, Result]]


def measured() -> tuple[list[str], Columns, dict[str, float]]:
    """Return the attackers, the worst first, their results by strength and form, and their accuracy on clean photos."""
    columns: Columns = {(strength, form): dict(worst(strength, form)) for strength, form, _ in SHOWN}
    clean: dict[str, float] = {}
    for of in columns.values():
        for name, result in of.items():
            clean[name] = max(result.clean.final, clean.get(name, 0.0))
    highest = {name: max(of[name].protected.final for of in columns.values() if name in of) for name in clean}
    return sorted(clean, key=lambda name: -highest[name]), columns, clean


def tables() -> str:
    """Return both tables."""
    names, columns, clean = measured()
    rows = [["attacker", "nobody protected", *(f"{strength}, {form}" for strength, form, _ in SHOWN)]]
    for name in names:
        cells = [with_interval(of[name]) if name in of else "-" for of in columns.values()]
        rows.append([name, f"{100 * clean[name]:.1f} %", *cells])
    others = [["attacker", "seeds", "other people (nobody protected)", "worst person", "AUC (nobody protected)"]]
    medium = columns["medium", "class-wise"]
    others += [[name, *others_of(medium[name])] for name in names if name in medium]
    between = "\nThe same attackers at `medium`; a dash stands where an earlier version recorded nothing:\n\n"
    return markdown(rows) + between + markdown(others)


def markdown(rows: list[list[str]]) -> str:
    """Return a table, of which the first row is the head."""
    lines = [f"| {' | '.join(row)} |\n" for row in rows]
    return lines[0] + "|---" * len(rows[0]) + "|\n" + "".join(lines[1:])


def page(text: str) -> str:
    """Return the page with the tables as the cards have them now."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return before + BEGIN + tables() + END + after


def with_interval(result: Result) -> str:
    """Return the accuracy on the protected people in per cent with its interval; white-box results are marked."""
    of = result.protected
    interval = ""
    if of.final_interval is not None:
        low, high = of.final_interval
        interval = f" ({100 * low:.0f} to {100 * high:.0f})"
    return f"{100 * of.final:.1f} %{interval}{' ‡' if result.white_box else ''}"


def others_of(result: Result) -> list[str]:
    """Return the seeds, how the other people and the worst protected person fared, and the AUC of a recogniser."""
    worst_class = result.worst_class
    person = "-"
    if worst_class is not None:
        person = f"{worst_class.name}: {100 * worst_class.final:.0f} % of {worst_class.test_images} photos"
    auc = f"{result.auc:.3f} ({result.clean_auc:.3f})" if None not in (result.auc, result.clean_auc) else "-"
    return [str(result.seeds), f"{_percent(result.others)} ({_percent(result.clean_others)})", person, auc]


def _percent(of: Accuracy | None) -> str:
    return "-" if of is None else f"{100 * of.final:.1f} %"


def plot() -> None:
    """Write a bar for each attacker and bank, the worst attacker at the top."""
    names, columns, clean = measured()
    figure = Figure(figsize=(9, 0.55 * len(names) + 1.2), layout="constrained")
    axes, height = figure.subplots(), 0.8 / len(SHOWN)
    for index, (strength, form, colour) in enumerate(SHOWN):
        of = columns[strength, form]
        rows = [(row, 100 * of[name].protected.final) for row, name in enumerate(names) if name in of]
        places = [row + (index - (len(SHOWN) - 1) / 2) * height for row, _ in rows]
        bars = axes.barh(places, [share for _, share in rows], height, color=colour, label=f"{strength}, {form}")
        for bar, (row, _) in zip(bars, rows, strict=True):
            bar.set_hatch("////" if of[names[row]].white_box else "")
    for row, name in enumerate(names):
        axes.plot(
            [100 * clean[name]] * 2, [row - 0.45, row + 0.45], "k:", label="nobody protected" if row == 0 else None
        )
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_xlim(0, 100)
    axes.set_xlabel("recognised, of 100 clean photos (hatched: took part)")
    figure.legend(loc="outside upper center", ncols=4, frameon=False)
    figure.savefig(PLOT, dpi=110)


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    plot()
