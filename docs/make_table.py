"""Write the table of what does not help and what does, from the cards of the banks: ``python docs/make_table.py``.

It stands in the README and in docs/results/person.md. A test fails when the table is not what this script writes, for
example after a bank was made or measured anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from unlearn_cli.banks.card import Result, read_card
from unlearn_cli.banks.catalog import choose
from unlearn_cli.banks.provenance import Strength
from unlearn_cli.cli.measured import (
    ATTACKS,
    LITTLE_PROTECTION,
    NO_PROTECTION,
    RECOGNISERS,
    attacker,
    recogniser_of,
    that_count,
    worst_by,
)

ROOT = Path(__file__).parents[1]
PAGES = (ROOT / "README.md", ROOT / "docs" / "results" / "person.md")
BEGIN, END = "<!-- written by docs/make_table.py -->\n", "<!-- end -->\n"
COLUMNS: dict[str, tuple[Strength, str]] = {
    "low": ("low", "class-wise"),
    "**medium** (the default)": ("medium", "class-wise"),
    "high": ("high", "class-wise"),
    "max": ("max", "class-wise"),
    "max, noise for each face": ("max", "sample-wise"),
    "max, your own pattern": ("max", "personal"),
}
"""The strength and form of each column, by its title."""
DEFAULT = "**medium** (the default)"
LIGHTS = ("🟢", "🟡", "🔴")
"""The signs for noise that helps, helps little, and does not help."""
TOOK_PART, NOT_MEASURED = " ‡", "-"
RECOGNISER = "recogniser"
LEAST, MOST = "the recogniser that it hinders least", "the recogniser that it hinders most, of those asked"
"""The two rows of recognisers, which would be one row each otherwise."""
MANY, FEW = 19, 5
"""How many people protect their photos in the rows of trained models, and in one more row."""
IF_FEW = f", where {FEW} people protect theirs"


def results_of(strength: Strength, form: str = "class-wise") -> list[Result]:
    """Return what was measured with the bank for people of a strength, and says something about other attackers."""
    bank = choose("person", strength=strength).bank
    return that_count(result for result in read_card(bank.path, bank.sha256).results if result.form == form)


def attack(result: Result) -> str:
    """Return the kind of attack: the name of a trained attacker, "recogniser", or "none" for a plain training."""
    if recogniser_of(result):
        return RECOGNISER
    name = attacker(result).removeprefix("a model ")
    return "none" if name == ATTACKS["none"] else name


def worst_by_attack(strength: Strength) -> dict[str, Result]:
    """Return the worst result of each kind of attack among those with most seeds, for docs/explanation/limits.md."""
    return worst_by(results_of(strength), attack)


def column(strength: Strength, form: str) -> dict[str, Result]:
    """Return the results of one column by the titles of their rows.

    Trained models are those of the same trainings in each column where there are such: ``MANY`` people, cropped faces.
    """
    results = results_of(strength, form)
    asked = worst_by((of for of in results if recogniser_of(of)), recogniser_of)
    rows = {f"face search: {LEAST}": max, f"face search: {MOST}": min} if asked else {}
    found = {row: pick(asked.values(), key=left_of) for row, pick in rows.items()}
    trained = [of for of in results if not recogniser_of(of) and not is_aligned_training(of)]
    alike = worst_by((of for of in trained if of.together == MANY), attack)
    others = {kind: of for kind, of in worst_by(trained, attack).items() if kind != "none"}
    few = worst_by((of for of in trained if of.together == FEW and attack(of) == "none"), attack)
    found |= {row_of(kind): of for kind, of in (others | alike).items()}
    return found | {row_of(kind) + IF_FEW: of for kind, of in few.items()}


def is_aligned_training(result: Result) -> bool:
    """Return whether a model was trained from scratch on aligned faces, which was not done with all strengths."""
    name = str((result.trip or {}).get("name", ""))
    return name.startswith("aligned") and not str(result.training["model"]).startswith("fine-tune")


def row_of(kind: str) -> str:
    """Return the title of the row of a kind of training."""
    return f"a model {ATTACKS['none'] if kind == 'none' else kind}"


def left_of(result: Result) -> float:
    """Return the share of the unprotected accuracy that is left."""
    return result.protected.final / max(result.clean.final, 1e-9)


def light_of(result: Result) -> str:
    """Return the sign of a result."""
    left = left_of(result)
    return LIGHTS[(left >= LITTLE_PROTECTION) + (left >= NO_PROTECTION)]


def cell(result: Result | None) -> str:
    """Return a result as the table has it: of 100 photos, and in brackets without protection."""
    if result is None:
        return NOT_MEASURED
    protected, clean = (round(100 * of.final) for of in (result.protected, result.clean))
    name = recogniser_of(result)
    who = f" {RECOGNISERS.get(name, name)}" if name else ""
    return f"{light_of(result)} {protected}{who}{TOOK_PART if result.white_box else ''} ({clean})"


def table() -> str:
    """Return the table, with the attacker at the top against which the default helps least."""
    columns = {title: column(*of) for title, of in COLUMNS.items()}
    names = dict.fromkeys(name for of in columns.values() for name in of)
    head = f"| recognised, of 100 new photos | {' | '.join(columns)} |\n|---|{'---|' * len(columns)}\n"
    rows = (
        f"| {name} | {' | '.join(cell(of.get(name)) for of in columns.values())} |\n"
        for name in sorted(names, key=order(columns), reverse=True)
    )
    return head + "".join(rows)


def order(columns: Mapping[str, Mapping[str, Result]]) -> Callable[[str], tuple[int, float]]:
    """Return by what rows are sorted: the default's sign and figure, or where it has none, the worst of the others."""

    def worst(name: str) -> tuple[int, float]:
        default = columns[DEFAULT].get(name)
        results: Iterable[Result] = [default] if default else [of[name] for of in columns.values() if name in of]
        return max((LIGHTS.index(light_of(of)), of.protected.final) for of in results)

    return worst


def page(text: str) -> str:
    """Return a page with the table as the cards have it now."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return before + BEGIN + table() + END + after


if __name__ == "__main__":
    for path in PAGES:
        path.write_text(page(path.read_text(encoding="utf-8")), encoding="utf-8")
