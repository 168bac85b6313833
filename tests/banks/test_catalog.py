"""A class name finds its pattern over the shipped banks, by any sensible word for it."""

from __future__ import annotations

import json

import numpy as np
import pytest

from unlearn_cli.banks.bank import Bank
from unlearn_cli.banks.card import read_card
from unlearn_cli.banks.catalog import ALIASES, choose, open_bank, shipped_banks, shipped_folder, write_index
from unlearn_cli.errors import BankError, UsageError


def test_the_shipped_banks_are_whole_and_have_measured_cards() -> None:
    assert {entry.name for entry in shipped_banks()} >= {"cifar10", "person"}
    for entry in shipped_banks():
        bank = open_bank(entry.name)
        card = read_card(bank.path)
        assert bank.classes == entry.classes
        assert card.bank_sha256 == bank.sha256
        assert card.made.command.startswith(("unlearn generate ", "unlearn banks mix "))
        assert all(0 <= result.protected.final <= 1 for result in card.results)
        assert card.results
        assert bank.provenance.dataset["licence"]


def test_the_index_is_what_the_folder_holds(tmp_path_factory: pytest.TempPathFactory) -> None:
    copy = tmp_path_factory.mktemp("pretrained")
    for path in shipped_folder().glob("*.safetensors"):
        (copy / path.name).write_bytes(path.read_bytes())
    write_index(copy)
    assert json.loads((copy / "index.json").read_text()) == json.loads((shipped_folder() / "index.json").read_text())


@pytest.mark.parametrize(
    ("word", "bank", "name"),
    [
        ("automobile", "cifar10", "automobile"),
        ("car", "cifar10", "automobile"),
        ("Plane", "cifar10", "airplane"),
        ("person", "person", "id024"),
        ("SELFIE", "person", "id024"),
        ("id031", "person", "id031"),
    ],
)
def test_names_and_what_people_call_them(word: str, bank: str, name: str) -> None:
    choice = choose(word)
    assert (choice.bank.name, choice.bank.classes[choice.index]) == (bank, name)


def test_a_person_always_gets_the_same_pattern() -> None:
    first, second = choose("person"), choose("me", "person")
    np.testing.assert_array_equal(first.bank.noise[first.index], second.bank.noise[second.index])


def test_every_alias_leads_to_something_that_is_shipped() -> None:
    offered = {name for entry in shipped_banks() for name in entry.offered}
    assert set(ALIASES.values()) <= offered


def test_an_unknown_class_lists_what_there_is_and_suggests_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"Did you mean 'horse'\?.*person, airplane"):
        choose("hose")


def test_a_bank_of_ones_own_is_named_by_its_file(bank: Bank) -> None:
    assert choose("dog", str(bank.path)).index == 1
    with pytest.raises(UsageError, match="cat, dog"):
        choose("ship", str(bank.path))


@pytest.mark.parametrize(
    ("strength", "name"),
    [(None, "person"), ("low", "person-low"), ("medium", "person"), ("high", "person-high")],
)
def test_a_person_s_noise_comes_in_strengths(strength: str | None, name: str) -> None:
    choice = choose("selfie", strength=strength)
    assert (choice.bank.name, choice.keyed) == (name, True)
    assert choice.bank.provenance.strength == (strength or "medium")


def test_stronger_is_more_noise() -> None:
    weak, usual, strong, most = (
        float(np.abs(choose("person", strength=strength).bank.noise.astype(float)).mean())
        for strength in ("low", "medium", "high", "max")
    )
    assert weak < 0.8 * usual < 0.8 * strong < 0.8 * most


def test_a_strength_that_there_is_not_is_refused(bank: Bank) -> None:
    with pytest.raises(UsageError, match=r"'cifar10' has only one strength: leave out --strength"):
        choose("cat", strength="low")
    with pytest.raises(UsageError, match="leave out either --bank or --strength"):
        choose("dog", str(bank.path), "low")
    with pytest.raises(UsageError, match="leave out either"):
        choose("person", "person-high", "low")
    assert choose("person", "person-high", "high").bank.name == "person-high"


def test_an_unknown_bank_lists_the_shipped_ones() -> None:
    with pytest.raises(BankError, match="person-low, person, person-high, person-max, cifar10"):
        open_bank("cifar")
