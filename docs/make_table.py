"""Write the table of what does not help and what does, from the cards of the banks: ``python docs/make_table.py``.

It stands in the README and in docs/results/person.md. A test fails when the table is not what this script writes, for
example after a bank was made or measured anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import get_args

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
HEAD = "| | against | recognised, of 100 new photos |\n|---|---|---|\n"
DEFAULT: Strength = "medium"
FORMS = {
    "personal": "with your own pattern (`--preset personal`)",
    "sample-wise": "at `--strength max --form sample-wise`",
}
"""The forms of noise that hinder recognisers, and how the table names them."""
TOOK_PART = " (which took part in making the noise)"
LIGHTS = ("🟢 helps", "🟡 helps little", "🔴 does not help")


def results_of(strength: Strength, form: str = "class-wise") -> list[Result]:
    """Return what was measured with the bank for people of a strength, and says something about other attackers."""
    bank = choose("person", strength=strength).bank
    return that_count(result for result in read_card(bank.path, bank.sha256).results if result.form == form)


def recogniser(result: Result) -> str:
    """Return the name of the recogniser that was asked; nothing where a network was trained."""
    name = recogniser_of(result)
    return RECOGNISERS.get(name, name)


def attack(result: Result) -> str:
    """Return the kind of attack: the name of a trained attacker, "recogniser", or "none" for a plain training."""
    if recogniser(result):
        return "recogniser"
    name = attacker(result).removeprefix("a model ")
    return "none" if name == ATTACKS["none"] else name


def worst_by_attack(strength: Strength, form: str = "class-wise") -> dict[str, Result]:
    """Return the worst result of each kind of attack among those with most seeds."""
    return worst_by(results_of(strength, form), attack)


def lines() -> Iterator[tuple[Result, str]]:
    """Yield each result of the table with what it protects against."""
    strengths = get_args(Strength)
    found = {strength: worst_by_attack(strength) for strength in strengths}
    for strength in strengths:
        how = f"at `--strength {strength}`{' (the default)' if strength == DEFAULT else ''}"
        if "none" in found[strength]:
            yield found[strength]["none"], f"a model trained from scratch, {how}"
    others = {kind: (strength, of) for strength in (*strengths, DEFAULT) for kind, of in found[strength].items()}
    for kind, (strength, result) in others.items():
        where = "" if strength == DEFAULT else f", at `--strength {strength}`"
        if kind == "recogniser":
            names = {recogniser(of) for of in results_of(strength)} - {""}
            yield result, f"face search: recognisers that already know faces ({', '.join(sorted(names))}){where}"
        elif kind != "none":
            yield result, f"a model {kind}{where}"


def against_recognisers() -> Iterator[tuple[Result, str]]:
    """Yield what the noise does that hinders recognisers: to them, and, with a pattern of one's own, to models that are
    trained on the photos. One row stands for all of the same light, with the figures of the worst.
    """
    for form, how in FORMS.items():
        found = results_of("max", form)
        trained = worst_by_attack("max", form).values() if form == "personal" else ()
        asked = [of for of in found if recogniser(of)]
        worst = {recogniser(of): of for of in sorted(asked, key=lambda of: of.protected.final)}
        for light in range(len(LIGHTS)):
            same = sorted(name for name, of in worst.items() if light_of(of) == light)
            if same := sorted(same, key=lambda name: not worst[name].white_box):
                names = (f"{name}{TOOK_PART if worst[name].white_box else ''}" for name in same)
                yield most(worst[name] for name in same), f"face search with {', '.join(names)}, {how}"
            if models := [of for of in trained if not recogniser(of) and light_of(of) == light]:
                ways = sorted(attacker(of).removeprefix("a model ").removeprefix("trained ") for of in models)
                yield most(models), f"a model trained {', or '.join(ways)}; {how}"


def most(results: Iterable[Result]) -> Result:
    """Return the result in which most photos of the protected people were recognised."""
    return max(results, key=lambda of: of.protected.final)


def light_of(result: Result) -> int:
    """Return the place of a result's light in ``LIGHTS``."""
    left = result.protected.final / max(result.clean.final, 1e-9)
    return (left >= LITTLE_PROTECTION) + (left >= NO_PROTECTION)


def table() -> str:
    """Return the table, with the worst attacker at the top: the one that the noise hinders least."""
    rows = []
    for result, against in (*lines(), *against_recognisers()):
        light, protected, clean = light_of(result), *(round(100 * of.final) for of in (result.protected, result.clean))
        row = f"| {LIGHTS[light]} | {against} | **{protected}** ({clean} without protection) |\n"
        rows.append((light, result.protected.final, row))
    return HEAD + "".join(row for *_, row in sorted(rows, reverse=True))


def page(text: str) -> str:
    """Return a page with the table as the cards have it now."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return before + BEGIN + table() + END + after


if __name__ == "__main__":
    for path in PAGES:
        path.write_text(page(path.read_text(encoding="utf-8")), encoding="utf-8")
