"""Putting a bank's card into words: a few lines after ``protect``, and a table in ``banks show``."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, TypeVar

from unlearn_cli.cli.closing import here

if TYPE_CHECKING:
    from pathlib import Path

    from unlearn_cli.banks.card import Accuracy, Card, Made, Result
    from unlearn_cli.banks.provenance import Provenance
    from unlearn_cli.photos.protection import Protection

Kind = TypeVar("Kind", bound=Hashable)

MOST_LINES = 4
"""The largest number of lines in which ``protect`` says how well its noise protects."""

ATTACKS = {
    "none": "trained from scratch",
    "gray": "trained without colours",
    "color-jitter": "trained with random changes of colour",
    "pipeline": "trained with random changes of colour and grey",
    "blur": "trained on blurred photos",
    "jpeg": "trained on strongly compressed photos",
    "bit-depth": "trained on photos with fewer colours",
    "adversarial": "trained to ignore small changes",
    "orthogonal-projection": "trained after an attempt to remove the noise",
    "ueraser-like": "trained on the hardest of several variants of each photo",
}
"""For each defence, how it changes the training, in everyday words."""

NO_PROTECTION, LITTLE_PROTECTION = 0.9, 0.5
"""The shares of the unprotected accuracy from which on the noise counts as no protection, and as little protection."""

NOTHING_HELPS = (
    "This does not stop a face search or any other model that is already trained, and it does not protect photos that "
    "you have already shared."
)
HINDERED = (
    "Some face searches fail much more often with this noise and others hardly, so do not rely on it. Photos that you "
    "have already shared are not protected."
)
WHOLE_PHOTO = (
    "The noise covers the whole photo: if somebody crops the photo, for example to a face, expect no protection."
)
WITH_FACES = "The noise is applied to faces: a photo in which no face is found is hardly protected."
LIMITS = {"image": WHOLE_PHOTO, "face": WITH_FACES}
"""The known limit of a bank's noise, by its frame."""

NOT_REACHED = (
    "The search for this noise did not reach its goal ({stop}, error rate {error:.3f}), so it may protect less."
)
TO_COMPARE = "This noise is only for comparison with other noise; it is not meant to protect."


def limits_of(provenance: Provenance, made: Made) -> Iterator[str]:
    """Yield what a user should know about the limits of a bank's noise, one sentence each, the most important first."""
    yield from warnings_of(provenance, made)
    if provenance.frame in LIMITS:
        yield LIMITS[provenance.frame]


def warnings_of(provenance: Provenance, made: Made) -> Iterator[str]:
    """Yield the reasons why this particular bank may protect less than others of its kind."""
    own = provenance.is_personal or provenance.method.startswith(("error-min", "a mixture"))
    if provenance.method and not own:
        yield TO_COMPARE
    if made.error is not None and made.stop != "goal reached":
        yield NOT_REACHED.format(stop=made.stop, error=made.error)


def that_count(results: Iterable[Result]) -> list[Result]:
    """Return the results from which something follows for other attackers.

    A network that took part in making the noise says nothing about others where it is hindered, or where no other was
    asked. Where it names more than every recogniser that took no part, with noise of the same form, it is an attacker
    like any other.
    """
    found = list(results)
    most: dict[str, float] = {}
    for of in found:
        if recogniser_of(of) and not of.white_box:
            most[of.form] = max(of.protected.final, most.get(of.form, 0.0))
    return [of for of in found if not of.white_box or of.protected.final > most.get(of.form, 1.0)]


def worst_first(results: Iterable[Result]) -> list[Result]:
    """Return the results, with those first in which most protected images were classified correctly.

    Those of networks that took part in making the noise, and say nothing about others, come last.
    """
    found = list(results)
    counting = that_count(found)
    return sorted(found, key=lambda result: (result not in counting, -result.protected.final))


RECOGNISERS = {
    "face_recognition_sface_2021dec": "SFace",
    "facenet": "FaceNet",
    "mobileface": "MobileFace",
    "student": "our own",
}
"""The names of recognisers whose files have other names."""


def attacker(result: Result) -> str:
    """Return what the attacker of a result is, the same whatever share of clean photos corrects a last layer."""
    if recogniser_of(result):
        return "a recogniser that already knows faces"
    how = re.sub(r"with \d+ % clean", "with some clean", how_trained(result))
    return f"a model {how}"


def worst_by(results: Iterable[Result], kind: Callable[[Result], Kind]) -> dict[Kind, Result]:
    """Return the worst result of each kind among those with most seeds, the worst kind first.

    Of plain trainings those count in which the fewest people protected their photos, which is hardest for the noise.
    """

    def rank(of: Result) -> tuple[float, ...]:
        plain = how_trained(of) == ATTACKS["none"]
        return -of.together if plain else 0, of.seeds, of.protected.final

    worst: dict[Kind, Result] = {}
    for result in results:
        name = kind(result)
        if name not in worst or rank(result) > rank(worst[name]):
            worst[name] = result
    return dict(sorted(worst.items(), key=lambda of: -of[1].protected.final))


def after_protecting(protections: Sequence[Protection]) -> list[str]:
    """Return at most four lines on how well the noise of these protections protects.

    The first one is on face searches, about which people ask first; the worst result follows. Raises ``BankError``
    for a damaged card, so it is called before any photo is protected.
    """
    from unlearn_cli.banks.bank import load_bank

    banks = {protection.bank_sha256: protection for protection in protections}.values()
    most = 2 if len(banks) == 1 else 1
    lines, limits, searches = [], [], HINDERED
    for protection in banks:
        provenance = load_bank(protection.bank_path).provenance
        card, results = _evidence(protection, provenance)
        searches = searches if _hinders_recognisers(protection, results) else NOTHING_HELPS
        lines += _figures(protection, results, provenance)[:most]
        limits += list(limits_of(provenance, card.made))[:1]
    names = ", ".join(f"'unlearn banks show {_shown(protection)}'" for protection in banks)
    room = MOST_LINES - 1 - bool(limits)
    *told, last = [searches, *lines[:room], *limits[:1]]
    return [*told, f"{last} For every attacker, run {names}."]


def _shown(protection: Protection) -> str:
    """Return how ``unlearn banks show`` finds a protection's bank: by its shipped name, or by its path."""
    from unlearn_cli.banks.catalog import shipped_folder

    shipped = protection.bank_path.parent == shipped_folder()
    return protection.bank if shipped else shlex.quote(here(protection.bank_path))


def unmeasured(bank: Path, frame: str) -> str:
    """Return how to measure a bank without results; one for faces is measured with people."""
    from unlearn_cli.banks.catalog import shipped_folder

    what, where = "bank", ""
    name = bank.stem if bank.parent == shipped_folder() else here(bank)
    if frame == "face":
        what = "people DIR --protect NAMES --bank"
        where = ": DIR has a folder of photos for each of many people, and NAMES are some of these folders"
    return (
        "This bank has not been measured. "
        f"To measure it, run 'unlearn evaluate {what} {shlex.quote(name)} --record'{where}."
    )


def _evidence(protection: Protection, provenance: Provenance) -> tuple[Card, list[Result]]:
    """Return a bank's card, and the results that say how well the noise of a protection protects.

    For a person's own pattern they are those of other patterns that were fitted in the same way.
    """
    from unlearn_cli.banks.card import read_card
    from unlearn_cli.banks.catalog import open_bank, shipped_banks

    card = read_card(protection.bank_path, protection.bank_sha256)
    form, measured = protection.form, card
    start = provenance.hyperparameters.get("start")
    # Another version of unlearn may not ship the bank that the search began with, and so knows no figures.
    if provenance.is_personal and not card.results and start in [entry.name for entry in shipped_banks()]:
        begun = open_bank(str(start))
        if begun.provenance.epsilon == provenance.epsilon:
            form, measured = "personal", read_card(begun.path, begun.sha256)
    return card, [result for result in measured.results if result.form == form]


def _figures(protection: Protection, found: Sequence[Result], provenance: Provenance) -> list[str]:
    """Return a sentence on the worst attack that was measured, and one on the attack without any defence."""
    if protection.pattern.epsilon != protection.bank_epsilon:
        return [
            f"Noise at epsilon {protection.pattern.epsilon} has not been measured; "
            "it is weaker than the bank's own noise and may protect less."
        ]
    results = worst_first(that_count(found))
    if not results and protection.form == "sample-wise":
        return [f"Sample-wise noise of the bank '{protection.bank}' has not been measured."]
    if not results:
        if provenance.is_personal:
            return [f"Patterns fitted at epsilon {provenance.epsilon} have not been measured, and may protect less."]
        return [unmeasured(protection.bank_path, provenance.frame)]
    plain = [result for result in results if result.defence == "none" and _is_from_scratch(result)]
    usual = max(plain, key=lambda result: result.seeds, default=None)  # the one with most seeds; of several, the worst
    worst = results[0] if results[0] is not usual else None
    of = "Measured with patterns made in the same way: " if provenance.is_personal else "Measured: "
    return [f"{of}{_sentence(result)}" for result in (worst, usual) if result is not None]


def _hinders_recognisers(protection: Protection, found: Sequence[Result]) -> bool:
    """Return whether some recogniser names much less than without protection, in each way that it was asked."""
    left: dict[str, float] = {}
    for result in that_count(found):
        if name := recogniser_of(result):
            share = result.protected.final / max(result.clean.final, 1e-9)
            left[name] = max(share, left.get(name, 0.0))
    whole = protection.pattern.epsilon == protection.bank_epsilon
    return whole and bool(left) and min(left.values()) < LITTLE_PROTECTION


def _sentence(result: Result) -> str:
    """Return a result in one sentence that needs no knowledge of the field."""
    how = how_trained(result)
    crowd, named, without = len(result.images.classes), _of_100(result.protected), _of_100(result.clean)
    people = "people" if result.trip and result.trip.get("crop") in ("face", "aligned") else "classes"
    if recogniser_of(result):
        who = f"a face recogniser that was trained on other people and compares faces with photos of {crowd} people"
        what = f"recognised the protected ones on {named} of 100 new photos"
    elif result.all_classes:
        who = f"a model {how}"
        what = f"on protected photos of {crowd} classes classified {named} of 100 new photos correctly"
    else:
        who = f"a model {how}"
        what = f"on photos of {crowd} {people} recognised the protected ones on {named} of 100 new photos"
    verdict = _verdict(result)
    return f"{who} {what}; {without} of 100 without protection{': ' + verdict if verdict else ''}."


def how_trained(result: Result) -> str:
    """Return how the model of a result was trained, in everyday words."""
    kind, _, network = str(result.training.get("model", "")).partition(":")
    if kind == "fine-tune":
        name, _, part = network.rpartition(":")
        return (
            f"that knew other pictures before ({name}, {'last layer' if part == 'last' else 'whole network'} trained)"
        )
    how = ATTACKS.get(result.defence.partition(":")[0], f"trained with the defence {result.defence}")
    if clean := result.labels.get("reweight"):
        return f"{how}, whose last layer was corrected with {clean}"
    return how


def _is_from_scratch(result: Result) -> bool:
    """Return whether a victim was trained from scratch, and nothing was done to it after that."""
    other = str(result.training.get("model", "")).startswith(("frozen:", "fine-tune:"))
    return not other and "reweight" not in result.labels


def recogniser_of(result: Result) -> str:
    """Return the name of the recogniser that was asked; nothing where a victim was trained."""
    kind, _, name = str(result.training.get("model", "")).partition(":")
    return name if kind == "frozen" else ""


def _verdict(result: Result) -> str:
    left = result.protected.final / max(result.clean.final, 1e-9)
    return "no protection" if left >= NO_PROTECTION else "little protection" if left >= LITTLE_PROTECTION else ""


def _of_100(accuracy: Accuracy) -> int:
    return round(100 * accuracy.final)
