"""``unlearn banks``: list the noise banks, show where one comes from and what was measured with it, and mix banks."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from unlearn_cli.cli.console import command_line, exits, out, plain, print_json, print_table
from unlearn_cli.cli.help import Command, Group

if TYPE_CHECKING:
    from unlearn_cli.banks.bank import Bank
    from unlearn_cli.banks.card import Card

app = typer.Typer(cls=Group, help="List and show the noise banks.")

BRIEF = ("bank", "classes", "noise", "made with", "images", "made")
"""The rows that tell where a bank comes from, unless everything is wanted."""

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object instead.")]


@app.command("list", cls=Command, epilog="unlearn banks list\nunlearn banks list --json")
@exits()
def list_banks(as_json: AsJson = False) -> None:
    """List the shipped banks and the classes that they protect."""
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
    columns = ("bank", "classes", "strength", "patterns", "epsilon", "image size")
    rows = [
        (
            entry.name,
            ", ".join(entry.offered),
            entry.strength or "",
            str(len(bank.noise)),
            f"{bank.provenance.epsilon} of 255",
            f"{bank.provenance.scale} px",
        )
        for entry, bank in entries
    ]
    print_table(columns, rows)


@app.command(
    "show",
    cls=Command,
    epilog="unlearn banks show person\nunlearn banks show mine.safetensors --all",
)
@exits()
def show_bank(
    name: Annotated[str, typer.Argument(help="A shipped bank's name, or a .safetensors file.")],
    everything: Annotated[
        bool, typer.Option("--all", help="Show every result with its conditions, and how the bank was made.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show what a bank is and how well it was measured to protect, the worst result first."""
    from unlearn_cli.banks.card import read_card
    from unlearn_cli.banks.catalog import open_bank
    from unlearn_cli.cli.measured import limits_of, unmeasured

    bank = open_bank(name)
    card = read_card(bank.path, bank.sha256)
    if as_json:
        print_json({"provenance": asdict(bank.provenance), "card": asdict(card), "sha256": bank.sha256})
        return
    _print_provenance(bank, everything=everything)
    if not card.results:
        out().print(plain(unmeasured(bank.path, bank.provenance.frame)))
    elif everything:
        _print_results(card)
    else:
        _print_worst(card)
    for line in limits_of(bank.provenance, card.made):
        out().print(f"- {plain(line)}")
    if everything and card.made.command:
        out().print(f"Made with: {plain(card.made.command)}")
    elif card.results:
        out().print(
            f"All {len(card.results)} results, and how the bank was made: unlearn banks show {plain(name)} --all"
        )


def _print_provenance(bank: Bank, *, everything: bool) -> None:
    from unlearn_cli.cli.summary import print_rows

    of = bank.provenance
    classes = f"{of.family} ({len(of.classes)} patterns)" if of.family else ", ".join(of.classes)
    size = "x".join(str(side) for side in bank.noise.shape[2:])
    rows = {
        "bank": bank.name,
        "classes": classes,
        "noise": f"{of.form}, {size} px, at most {of.epsilon} of 255 levels",
        "frame": f"'{of.frame}', made for models that take images of {of.scale} px",
        "method": f"{of.method}, transformations '{of.through}', surrogate {of.surrogate}, seed {of.seed}",
        **({"made with": f"{', '.join(of.teachers)}: no judges of this noise"} if of.teachers else {}),
        "settings": ", ".join(f"{key} {value}" for key, value in of.hyperparameters.items()),
        "images": f"{of.dataset.get('images', '?')} of {of.dataset.get('name', '?')}; "
        f"their licence: {of.dataset.get('licence') or 'none'}",
        "dataset": ", ".join(f"{key}: {value}" for key, value in of.dataset.items()),
        "made": of.date,
        "versions": ", ".join(f"{key} {value}" for key, value in of.versions.items()),
        "SHA-256": bank.sha256,
    }
    print_rows((name, text) for name, text in rows.items() if everything or name in BRIEF)


def _print_worst(card: Card) -> None:
    from unlearn_cli.cli.card_table import WORST_COLUMNS, worst_rows

    tables = list(worst_rows(card))
    if not tables:
        out().print("Only networks that took part in making the noise were measured, which says nothing about others.")
        return
    out().print("\nHow many of 100 new photos without noise are named correctly, the worst attacker first.")
    for form, rows in tables:
        out().print(f"With {form}:")
        print_table(WORST_COLUMNS, rows)


def _print_results(card: Card) -> None:
    from unlearn_cli.cli.card_table import COLUMNS, block, table_rows

    if not out().is_terminal:
        print_table(COLUMNS, table_rows(card))
        return
    from rich.padding import Padding

    out().print("\nAccuracy of attackers, the worst result first (method: docs/results)")
    for row in table_rows(card):
        first, *others = block(row)
        out().print(f"\n[bold]{plain(first)}[/]", soft_wrap=False)
        for line in others:  # Breaks between words alone, unlike a table of narrow columns.
            out().print(Padding(plain(line), (0, 0, 0, 2)), soft_wrap=False)
    out().print()


@app.command(
    "mix",
    cls=Command,
    epilog="unlearn banks mix a.safetensors b.safetensors -o both.safetensors\n"
    "unlearn banks mix a.safetensors b.safetensors --by-colour -o both.safetensors",
)
@exits()
def mix(
    names: Annotated[list[str], typer.Argument(metavar="BANK", help="Shipped banks' names or .safetensors files.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write the new bank to.")] = Path(
        "mixture.safetensors"
    ),
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing bank.")] = False,
    add_uniform: Annotated[
        int, typer.Option(min=0, max=127, help="Also add uniform random noise of up to this many pixel levels.")
    ] = 0,
    by_colour: Annotated[
        bool,
        typer.Option(
            "--by-colour",
            help="Make one pattern for each class instead: the first bank's colours with the second's brightness.",
        ),
    ] = False,
    gain: Annotated[
        float | None, typer.Option(min=0, help="With --by-colour: multiply the brightness by this.  [default: 1.5]")
    ] = None,
    epsilon: Annotated[
        int | None,
        typer.Option(
            min=1, max=127, help="With --by-colour: bound of the new noise, in pixel levels.  [default: the larger one]"
        ),
    ] = None,
) -> None:
    """Combine banks of the same classes: each image gets the pattern of one of them, chosen at random, or all get the
    colours of one bank with the brightness of another.
    """
    from unlearn_cli.banks.catalog import check_output, open_bank
    from unlearn_cli.errors import UsageError

    check_output(output, overwrite=overwrite)
    banks = [open_bank(name) for name in names]
    if by_colour:
        from unlearn_cli.noise.combine import GAIN, write_combined

        if add_uniform:
            raise UsageError("--by-colour adds no uniform noise. Use only one of the two options.")
        by = GAIN if gain is None else gain
        provenance = write_combined(output, banks, command_line(), gain=by, epsilon=epsilon)
    elif gain is not None or epsilon is not None:
        raise UsageError("--gain and --epsilon need --by-colour.")
    else:
        from unlearn_cli.noise.mixture import write_mixture

        provenance = write_mixture(output, banks, add_uniform, command_line())
    patterns = len(provenance.classes) * provenance.variants
    out().print(f"Wrote {plain(str(output))}: {patterns} patterns, {provenance.variants} for each class.")
