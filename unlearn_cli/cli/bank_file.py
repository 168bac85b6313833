"""Writes bank files: a bank, its card and, from ``generate``, its surrogate."""

from __future__ import annotations

from pathlib import Path

from unlearn_cli.cli.console import command_line, out, plain


def path(output: Path | None, name: str, overwrite: bool) -> Path:
    """Return the path of the bank to write, after a check that it can be written.

    Raises ``UsageError`` if the path is not a bank's or is a folder, or if a file is there and ``overwrite`` is not
    set, and ``OSError`` if the folder cannot be written.
    """
    import tempfile

    from unlearn_cli.banks.card import card_path
    from unlearn_cli.banks.catalog import SURROGATE_SUFFIX, surrogate_path
    from unlearn_cli.errors import UsageError

    path = output or Path(f"{name}.safetensors")
    if path.suffix != ".safetensors" or path.name.endswith(SURROGATE_SUFFIX):
        raise UsageError(f"A bank is a .safetensors file: name it {path.name.split('.')[0]}.safetensors.")
    if path.is_dir():
        raise UsageError(f"{path} is a folder. Name another --output.")
    for there in (path, card_path(path), surrogate_path(path)):
        if there.exists() and not overwrite:
            raise UsageError(f"{there} is already there. Name another --output, or add --overwrite.")
    # Try to write now: the bank is written only after a long search.
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=path.parent):
        return path


def mix(path: Path, names: list[str], uniform: int) -> None:
    """Write a mixture of banks, and print a summary. Raises ``UsageError`` for banks that cannot be mixed."""
    from unlearn_cli.banks.bank import save_bank
    from unlearn_cli.banks.card import new_card, write_card
    from unlearn_cli.banks.catalog import open_bank, surrogate_path
    from unlearn_cli.noise.mixture import mix

    surrogate_path(path).unlink(missing_ok=True)  # It may belong to a bank that is being replaced.
    noise, provenance = mix([open_bank(name) for name in names], uniform)
    sha256 = save_bank(path, noise, provenance)
    write_card(path, new_card(path.stem, sha256, provenance, {"command": command_line()}))
    out().print(f"{plain(str(path))}: {len(noise)} patterns, {provenance.variants} for each class.")
