"""What ``generate`` writes: a bank, its card, and its surrogate."""

from __future__ import annotations

from pathlib import Path

from unlearn_cli.cli.console import command_line, out, plain


def path(output: Path | None, name: str, overwrite: bool) -> Path:
    """The bank to write, where it can be written. Raises ``UsageError`` for what is there, or is no bank's name."""
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
    # Now, since it would be sad to find out at the end.
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=path.parent):
        return path


def mix(path: Path, names: list[str], uniform: int) -> None:
    """Write a mixture of banks. Raises ``UsageError`` for what cannot be mixed."""
    from unlearn_cli.banks.bank import save_bank
    from unlearn_cli.banks.card import new_card, write_card
    from unlearn_cli.banks.catalog import open_bank, surrogate_path
    from unlearn_cli.noise.mixture import mix

    surrogate_path(path).unlink(missing_ok=True)  # Of a bank that was replaced.
    noise, provenance = mix([open_bank(name) for name in names], uniform)
    sha256 = save_bank(path, noise, provenance)
    write_card(path, new_card(path.stem, sha256, provenance, {"command": command_line()}))
    out().print(f"{plain(str(path))}: {len(noise)} patterns, {provenance.variants} for each class.")
