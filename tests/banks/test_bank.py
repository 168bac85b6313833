"""A bank gives back what was saved, and one that is not whole is refused in one sentence."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save

from tests.conftest import make_bank, make_result
from unlearn_cli.banks.bank import Bank, load_bank, save_bank
from unlearn_cli.banks.card import CARD_SCHEMA, Card, add_results, card_path, read_card, write_card
from unlearn_cli.banks.catalog import choose
from unlearn_cli.banks.provenance import Provenance
from unlearn_cli.errors import BankError


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    noise = np.arange(-8, 4, dtype=np.int8).reshape(2, 3, 1, 2)
    provenance = Provenance(classes=("ä", "b"), epsilon=8, scale=2, seed=3, hyperparameters={"step": 0.8})
    sha256 = save_bank(tmp_path / "a.safetensors", noise, provenance)
    bank = load_bank(tmp_path / "a.safetensors", sha256)
    assert bank.provenance == provenance
    np.testing.assert_array_equal(bank.noise, noise)


def test_a_bank_names_the_networks_that_took_part_or_says_nothing() -> None:
    plain = Provenance(classes=("a",), epsilon=8, scale=2)
    assert "teachers" not in plain.to_json()
    taught = replace(plain, teachers={"sface": "0" * 64})
    assert Provenance.from_json(taught.to_json()) == taught
    for wrong in ({"sface": "0"}, {"sface": None}, ["sface"]):
        with pytest.raises(BankError, match="its teachers"):
            Provenance.from_json(json.dumps({**json.loads(plain.to_json()), "teachers": wrong}))


def test_the_same_bank_is_the_same_bytes(tmp_path: Path) -> None:
    first, second = make_bank(tmp_path / "a.safetensors"), make_bank(tmp_path / "b.safetensors")
    assert first.path.read_bytes() == second.path.read_bytes()


def refused(path: Path, data: bytes, *, because: str) -> None:
    path.write_bytes(data)
    with pytest.raises(BankError, match=because) as caught:
        load_bank(path)
    assert caught.value.exit_code == 3
    assert "\n" not in str(caught.value)


def raw(noise: Any, **changes: Any) -> bytes:
    provenance = json.loads(Provenance(classes=("cat", "dog"), epsilon=8, scale=4).to_json())
    return save({"noise": noise}, metadata={"unlearn": json.dumps({**provenance, **changes})})


GOOD = np.full((2, 3, 4, 4), 8, np.int8)


@pytest.mark.parametrize(
    ("noise", "changes", "because"),
    [
        (GOOD + np.int8(1), {}, "reaches 9 levels, more than its bound of 8"),
        (np.full((2, 3, 4, 4), -128, np.int8), {}, "reaches 128 levels"),
        (GOOD.astype(np.int16), {}, "int16, not int8"),
        (GOOD[:, :2], {}, "shape"),
        (GOOD[:1], {}, "has 1 patterns for 2 classes"),
        (GOOD, {"schema": 3}, "update unlearn"),
        (GOOD, {"schema": None}, "not have a schema number"),
        (GOOD, {"epsilon": 0}, "epsilon"),
        (GOOD, {"epsilon": 8.0}, "epsilon"),
        (GOOD, {"epsilon": True}, "epsilon"),
        (GOOD, {"seed": float("nan")}, "not finite"),
        (GOOD, {"classes": ["cat", "cat"]}, "same class name"),
        (GOOD, {"classes": "catdog"}, "list of names"),
        (GOOD, {"frame": "sideways"}, "frame"),
        (GOOD, {"strength": "mighty"}, "strength is 'mighty'"),
        (GOOD, {"dataset": "faces"}, "dataset is not a JSON object"),
        (GOOD, {"hyperparameters": None}, "hyperparameters is not a JSON object"),
    ],
)
def test_a_wrong_bank_is_refused(tmp_path: Path, noise: Any, changes: dict[str, Any], because: str) -> None:
    load_good = tmp_path / "good.safetensors"
    load_good.write_bytes(raw(GOOD))
    load_bank(load_good)
    refused(tmp_path / "bad.safetensors", raw(noise, **changes), because=because)


def test_files_that_are_no_banks_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "bad.safetensors"
    refused(path, b"", because="damaged")
    refused(path, b"\xff" * 100, because="damaged")
    refused(path, save({"noise": GOOD}), because="not a noise bank")
    with pytest.raises(BankError, match="No such file"):
        load_bank(tmp_path / "missing.safetensors")


@given(data=st.data())
def test_a_damaged_bank_is_refused_or_within_its_bound(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    whole = raw(GOOD)
    path = tmp_path_factory.mktemp("damaged") / "bank.safetensors"
    if data.draw(st.booleans()):
        path.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
        with pytest.raises(BankError):
            load_bank(path)
    else:
        at = data.draw(st.integers(0, len(whole) - 1))
        path.write_bytes(whole[:at] + bytes([whole[at] ^ data.draw(st.integers(1, 255))]) + whole[at + 1 :])
        try:
            bank = load_bank(path)
        except BankError:
            return
        assert np.abs(bank.noise.astype(int)).max() <= bank.provenance.epsilon


def test_a_shipped_bank_must_be_the_one_that_was_shipped(bank: Bank) -> None:
    with pytest.raises(BankError, match="SHA-256"):
        load_bank(bank.path, "0" * 64)


def test_measuring_changes_the_card_and_not_the_bank(bank: Bank) -> None:
    before = bank.path.read_bytes()
    write_card(bank.path, Card(bank_sha256=bank.sha256))
    add_results(bank.path, bank.sha256, [make_result(0.5, command="a"), make_result(0.6, command="b")])
    add_results(bank.path, bank.sha256, [make_result(0.7, command="a")])
    assert [result.protected.final for result in read_card(bank.path).results] == [0.6, 0.7]
    add_results(bank.path, "of another file", [make_result(0.1, command="c")])
    assert [result.protected.final for result in read_card(bank.path).results] == [0.1]
    assert bank.path.read_bytes() == before


@pytest.mark.parametrize("card", [[], {}, {"results": 5}, {"results": ["a"]}, {"made": "by hand"}, {"bank": 1}])
def test_a_card_of_another_make_is_refused(bank: Bank, card: object) -> None:
    content = {"bank_sha256": bank.sha256, **card} if isinstance(card, dict) and card else card
    card_path(bank.path).write_text(json.dumps(content))
    with pytest.raises(BankError, match="Restore or delete"):
        read_card(bank.path)


def test_a_card_of_another_file_says_nothing(bank: Bank) -> None:
    write_card(bank.path, Card(bank_sha256="another", results=(make_result(0.5),)))
    assert read_card(bank.path, bank.sha256) == Card(bank=bank.path.stem, bank_sha256=bank.sha256)


def test_a_card_is_read_as_it_was_written_and_sentences_of_older_ones_are_passed_over(bank: Bank) -> None:
    card = Card(bank="mine", bank_sha256=bank.sha256, results=(make_result(0.5), make_result(0.2, defence="gray")))
    write_card(bank.path, card)
    assert read_card(bank.path) == card
    content = json.loads(card_path(bank.path).read_text())
    assert "sentence" not in json.dumps(content)
    content["results"][0]["sentence"] = "Measured: this and that."
    card_path(bank.path).write_text(json.dumps(content | {"limits": ["It fades."], "schema": 1}))
    assert read_card(bank.path).results == card.results


def test_noise_that_asks_to_be_laid_otherwise_is_refused(tmp_path: Path) -> None:
    fields = ({"frame": "texture"}, {"form": "sample-wise", "schema": 2}, {"uniform": 3, "schema": 2})
    for field in fields:
        (tmp_path / "bank.safetensors").write_bytes(raw(GOOD, **field))
        with pytest.raises(BankError, match="evaluate"):
            choose("cat", str(tmp_path / "bank.safetensors"))


def test_a_card_with_a_number_that_is_none_is_refused(bank: Bank) -> None:
    card_path(bank.path).write_text('{"accuracy": NaN}')
    with pytest.raises(BankError, match="not finite"):
        read_card(bank.path)


def test_a_card_of_a_newer_version_is_not_rewritten(tmp_path: Path) -> None:
    bank = make_bank(tmp_path / "bank.safetensors")
    write_card(bank.path, Card(bank_sha256=bank.sha256))
    newer = card_path(bank.path).read_text().replace(f'"schema": {CARD_SCHEMA}', f'"schema": {CARD_SCHEMA + 1}')
    card_path(bank.path).write_text(newer)
    with pytest.raises(BankError, match=r"newer version.*update unlearn"):
        add_results(bank.path, bank.sha256, [make_result(0.5)])
    assert card_path(bank.path).read_text() == newer


def test_results_that_are_added_at_once_are_all_kept(tmp_path: Path) -> None:
    bank = make_bank(tmp_path / "bank.safetensors")
    commands = [str(number) for number in range(8)]

    def add(command: str) -> None:
        add_results(bank.path, bank.sha256, [make_result(0.5, command=command)])

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(add, commands))
    assert sorted(result.command for result in read_card(bank.path).results) == commands
