"""``unlearn banks``: list the noise banks, show where one comes from and what was measured with it, and mix banks."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from unlearn_cli.cli.console import exits, out, plain, print_json

if TYPE_CHECKING:
    from unlearn_cli.banks.bank import Bank
    from unlearn_cli.photos.protection import Protection

app = typer.Typer(help="List and show the noise banks.", no_args_is_help=True)

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object instead.")]


@app.command("list")
@exits()
def list_banks(as_json: AsJson = False) -> None:
    """List the banks that were installed with unlearn, and the classes that they protect."""
    from rich.table import Table

    from unlearn_cli.banks.catalog import open_bank, shipped_banks

    entries = [(entry, open_bank(entry.name)) for entry in shipped_banks()]
    if as_json:
        listing = {
            entry.name: {
                "classes": entry.offered,
                "strength": entry.strength,
                "patterns": len(bank.noise),
                "sha256": bank.sha256,
            }
            for entry, bank in entries
        }
        print_json(listing)
        return
    table = Table("bank", "classes", "strength", "patterns", "epsilon", "made at")
    for entry, bank in entries:
        of = bank.provenance
        table.add_row(
            entry.name,
            ", ".join(entry.offered),
            entry.strength or "",
            str(len(bank.noise)),
            f"{of.epsilon} of 255",
            f"{of.scale} px",
        )
    out().print(table)


@app.command("show")
@exits()
def show_bank(
    name: Annotated[str, typer.Argument(help="A shipped bank's name, or a .safetensors file.")],
    as_json: AsJson = False,
) -> None:
    """Show where a bank's noise comes from and what was measured of it."""
    from unlearn_cli.banks.card import read_card
    from unlearn_cli.banks.catalog import open_bank

    bank = open_bank(name)
    card = read_card(bank.path, bank.sha256)
    if as_json:
        print_json({"provenance": asdict(bank.provenance), "card": card, "sha256": bank.sha256})
        return
    _print_provenance(bank)
    for line in [*measured(card), *card.get("limits", [])]:
        out().print(f"- {plain(line)}")
    if command := card.get("made", {}).get("command"):
        out().print(f"Made with: {plain(command)}")


def measured(card: dict[str, Any]) -> list[str]:
    """Return a sentence for each result on a bank's card, the worst result first."""
    return [result["sentence"] for result in _worst_first(card)]


def told(card: dict[str, Any], form: str) -> list[str]:
    """Return the sentences of at most two results of this form of noise.

    The first is the result with the most seeds among those without a defence (of several, the worst). The second is
    the worst among those with a defence.
    """
    results = [result for result in _worst_first(card) if result.get("form", "class-wise") == form]
    unhindered = [result for result in results if result.get("defence", "none") == "none"]
    hindered = [result for result in results if result not in unhindered]
    first = max(unhindered, key=lambda result: int(result.get("seeds", 1)), default=None)
    return [result["sentence"] for result in (first, *hindered[:1]) if result is not None]


def _worst_first(card: dict[str, Any]) -> list[dict[str, Any]]:
    results = [result for result in card.get("results", []) if "sentence" in result]
    return sorted(results, key=lambda result: float(result.get("protected", {}).get("final", 1)), reverse=True)


def _print_provenance(bank: Bank) -> None:
    from rich.table import Table

    of = bank.provenance
    table = Table(title=f"Noise bank {plain(bank.name)}", show_header=False, title_justify="left")
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    classes = f"{of.family} ({len(of.classes)} patterns)" if of.family else ", ".join(of.classes)
    size = "x".join(str(side) for side in bank.noise.shape[2:])
    rows = {
        "classes": classes,
        "noise": f"{of.form}, {size} px, at most {of.epsilon} of 255 levels",
        "applied by": f"frame '{of.frame}', made for models at {of.scale} px",
        "method": f"{of.method}, through '{of.through}', surrogate {of.surrogate}, seed {of.seed}",
        "settings": ", ".join(f"{key} {value}" for key, value in of.hyperparameters.items()),
        "dataset": ", ".join(f"{key}: {value}" for key, value in of.dataset.items()),
        "made": f"{of.date}, " + ", ".join(f"{key} {value}" for key, value in of.versions.items()),
        "SHA-256": bank.sha256,
    }
    for key, value in rows.items():
        table.add_row(key, plain(value))
    out().print(table)


@app.command("mix")
@exits()
def mix(
    names: Annotated[list[str], typer.Argument(metavar="BANK...", help="Shipped banks' names or .safetensors files.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The bank to write.")] = Path("mixture.safetensors"),
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a bank that is already there.")] = False,
    add_uniform: Annotated[
        int, typer.Option(min=0, max=127, help="Also add random noise, up to so many levels of 255.")
    ] = 0,
) -> None:
    """Mix banks of the same classes: each image gets the pattern of one of them."""
    from unlearn_cli.cli import bank_file

    bank_file.mix(bank_file.path(output, "mixture", overwrite), names, add_uniform)


def measured_and_limits(protections: dict[str, Protection]) -> list[str]:
    """Return sentences on what was measured with the banks and on their limits.

    It is called before any photo is protected, because reading a damaged card raises an error.
    """
    from unlearn_cli.banks.card import read_card

    lines: list[str] = []
    for protection in {protection.bank_sha256: protection for protection in protections.values()}.values():
        card = read_card(protection.bank_path, protection.bank_sha256)
        weaker = f"Nothing was measured at epsilon {protection.pattern.epsilon}, weaker than the bank's."
        figures = told(card, protection.form) or [_unmeasured(card, protection.form)]
        if protection.pattern.epsilon != protection.bank_epsilon:
            figures = [weaker]
        lines += [*figures, *card.get("limits", [])]
    return [*lines, "Nothing here helps against models that are already trained or photos that are already shared."]


def _unmeasured(card: dict[str, Any], form: str) -> str:
    if form == "class-wise":
        return "Nothing was measured of this bank. 'unlearn evaluate bank FILE --record' does."
    return f"Nothing was measured of {form} noise by the bank '{card.get('bank', '')}'."
