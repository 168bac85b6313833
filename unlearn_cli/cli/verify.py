"""``unlearn verify``: check that every photo has a protected copy, and measure how much it was changed."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from unlearn_cli.cli.answer import answer, entry
from unlearn_cli.cli.closing import NAMED
from unlearn_cli.cli.console import Steps, err, exits, plain, set_limits
from unlearn_cli.cli.summary import FIGURES, print_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from unlearn_cli.photos.fit import Found
    from unlearn_cli.photos.verdicts import Pair


CARRIES_NOISE = ("protected", "weak")
"""The verdicts on copies that are as they were written, with the noise."""

EXAMPLES = """\
unlearn verify selfies
unlearn verify selfies selfies-protected --json > checked.json"""


@exits()
def verify(
    originals: Annotated[
        Path, typer.Argument(metavar="ORIGINALS", help="The folder or URL of originals, or one photo.")
    ],
    protected: Annotated[
        Path | None,
        typer.Argument(
            metavar="[PROTECTED]",
            help="The folder or URL of their copies, or one copy.  [default: ORIGINALS-protected]",
            show_default=False,
        ),
    ] = None,
    bank: Annotated[list[str] | None, typer.Option(help="Also look for the noise of this .safetensors file.")] = None,
    key_file: Annotated[
        Path | None,
        typer.Option(help="File with the key whose pattern to look for.  [default: UNLEARN_KEY, or your own]"),
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option(
            "--jobs",
            "-j",
            min=1,
            max=256,
            help="Number of photos that are compared at once.  [default: one for each core]",
        ),
    ] = None,
    measure: Annotated[
        bool,
        typer.Option(
            "--measure", help="Also measure how visible the changes are, and look for the noise in every copy; slow."
        ),
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object with the result for every pair instead.")
    ] = False,
    verbose: Annotated[
        bool | None, typer.Option("--verbose/--quiet", "-v/-q", help="Print every photo, or only failures.")
    ] = None,
) -> None:
    """Compare protected copies with their originals, and check that the noise is in them.

    A copy and its original that are still the files that the manifest records need no more than that. In any other copy
    it looks for the noise, and finds the bank, class and epsilon that fit best. Photos in which no face was found are
    protected, but weak: they are named and counted apart. With --measure it also measures PSNR, SSIM, CIEDE2000 and
    FLIP. Exits with 1 unless every photo has a protected copy that is unchanged since it was written, and every
    lossless copy is within its bound.
    """
    import os
    from functools import partial

    from unlearn_cli.banks.catalog import open_bank, shipped_banks
    from unlearn_cli.banks.keys import known_key
    from unlearn_cli.photos.scan import both_of
    from unlearn_cli.photos.urls import shown, url_of
    from unlearn_cli.photos.verdicts import GOOD
    from unlearn_cli.photos.verdicts import verify as check

    answer.expect("verify", wanted=as_json)
    set_limits()
    named_banks = [open_bank(name) for name in bank or []]
    for own in named_banks:
        own.check_applicable()  # Noise that protect cannot apply cannot be looked for either.
    banks = [*(open_bank(entry.name) for entry in shipped_banks()), *named_banks]
    pairs: list[Pair] = []
    named: Counter[str] = Counter()
    if protected is None:
        originals, protected = both_of(originals)
    remote = url_of(originals) is not None or url_of(protected) is not None
    # While one photo travels, another is compared.
    jobs = jobs or (os.cpu_count() or 1) * (2 if remote else 1)
    options = {"jobs": jobs, "key": known_key(key_file), "measure": measure}
    with Steps("Verifying", None) as steps:
        compare = _of_urls() if remote else partial(check, on_total=steps.expect)
        for pair in compare(originals, protected, banks, **options):
            pairs.append(pair)
            path = pair.original or pair.protected
            steps.step(path.name if path else "")
            named[pair.verdict] += 1
            if _is_named(pair, named, verbose=verbose):
                reason = f": {pair.reason}" if pair.reason else ""
                steps.say(f"{pair.verdict}: {plain(shown(path) if path else '')}{plain(reason)}")
    if named["weak"] > NAMED and verbose is None:
        err().print(f"weak: {named['weak'] - NAMED} more photos (-v names all)")
    if as_json:
        answer.give(dict(_counts(pairs)), [_as_json(pair) for pair in pairs])
    elif verbose is not False:
        print_rows(_rows(pairs))
        if any(pair.quality and pair.quality.flip is None for pair in pairs):
            text = (
                "FLIP was not measured, because the extra 'measure' is not installed. "
                "In unlearn's source folder, run: pip install '.[measure]'"
            )
            err().print(plain(text))
    if any(pair.verdict not in GOOD for pair in pairs):
        raise typer.Exit(1)


def _of_urls() -> Callable[..., Generator[Pair, None, None]]:
    """Return the comparison of photos in object storage, which other runs need not load."""
    from unlearn_cli.photos.bulk.compare import compare_bulk

    return compare_bulk


def _is_named(pair: Pair, named: Counter[str], *, verbose: bool | None) -> bool:
    """Return whether a pair gets a line of its own: any with ``-v``, the bad ones, and the first weak ones."""
    from unlearn_cli.photos.verdicts import GOOD

    few = pair.verdict == "weak" and verbose is None and named["weak"] <= NAMED
    return verbose is True or pair.verdict not in GOOD or few


def _rows(pairs: list[Pair]) -> list[tuple[str, str]]:
    import statistics

    rows = [(verdict, f"{count} of {len(pairs)}") for verdict, count in _counts(pairs).most_common()]
    good = [pair.reason for pair in pairs if pair.verdict in CARRIES_NOISE]
    for name, counts in (("why weak", Counter(map(_why_weak, good))), ("note", Counter(map(_note, good)))):
        rows += [(name, f"{count}: {text}") for text, count in counts.most_common() if text]
    fits = Counter(
        _described(pair.fit)
        for pair in pairs
        if pair.fit is not None and pair.verdict in (*CARRIES_NOISE, "altered", "over its bound")
    )
    rows += [("noise", f"{count}: {text}") for text, count in fits.most_common()]
    if made := sum(pair.made_for_it and pair.verdict != "not protected" for pair in pairs):
        rows.append(("noise", f"{made}: made for each photo (sample-wise), according to the manifest"))
    lossless = [pair.linf for pair in pairs if pair.linf is not None and pair.lossless]
    # A copy that somebody has edited may differ in everything, which says nothing about the noise.
    lossy = [pair for pair in pairs if pair.linf is not None and not pair.lossless and pair.verdict in CARRIES_NOISE]
    if lossless:
        rows.append(("lossless files", f"{len(lossless)}: changed by at most {max(lossless):g} of 255 levels"))
    if lossy:
        rows.append(("lossy files", _lossy(lossy)))
    for name, (row, worst, form, choose) in FIGURES.items():
        values = [getattr(pair.quality, name) for pair in pairs if pair.quality is not None]
        finite = [value for value in values if value is not None and value != float("inf")]
        if finite and name != "linf":
            median = form.format(statistics.median(finite))
            rows.append((row, f"{median} (median of the photos), {worst} {form.format(choose(finite))}"))
    return rows


def _lossy(pairs: list[Pair]) -> str:
    """Return by how much lossy copies were changed, and how much of it is the noise, where that is known of all."""
    most = max(pair.linf or 0 for pair in pairs)
    bounds = [pair.fit.epsilon for pair in pairs if pair.fit is not None]
    why = "compression changes pixels too"
    if len(bounds) == len(pairs):
        why = f"the noise itself changed at most {round(max(bounds))}; the rest is the file's compression"
    return f"{len(pairs)}: changed by up to {most:g} levels ({why})"


def _described(fit: Found) -> str:
    epsilon = round(fit.epsilon)
    weaker = f" (only the bank's own epsilon {fit.bank_epsilon} was measured)" if epsilon < fit.bank_epsilon else ""
    return f"bank {fit.bank}, class {fit.class_name}, epsilon {epsilon}{weaker}"


def _counts(pairs: list[Pair]) -> Counter[str]:
    return Counter(pair.verdict for pair in pairs)


def _why_weak(reason: str) -> str:
    from unlearn_cli.photos.outcome import doubts_in

    return "; ".join(doubts_in(reason))


def _note(reason: str) -> str:
    """Return what the reason of a good verdict says besides the doubts."""
    from unlearn_cli.photos.outcome import DOUBTS

    return "; ".join(part for part in reason.split("; ") if part not in DOUBTS)


def _as_json(pair: Pair) -> dict[str, Any]:
    from unlearn_cli.photos.verdicts import CODES

    values = asdict(pair)
    if pair.quality is not None and pair.quality.psnr == float("inf"):
        values["quality"]["psnr"] = None
    source, output, verdict = (values.pop(name) for name in ("original", "protected", "verdict"))
    return entry(source, output, verdict, **{**values, "code": pair.code or CODES.get(pair.verdict)})
