"""The colours of one bank with the brightness of another: one pattern for each class, within the bound."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.conftest import RunUnlearn, make_bank
from unlearn_cli.banks.bank import Bank, load_bank, save_bank
from unlearn_cli.banks.catalog import surrogate_path
from unlearn_cli.errors import BankError, UsageError
from unlearn_cli.noise.combine import combine, write_combined
from unlearn_cli.noise.surrogate import load_surrogate, save_surrogate
from unlearn_cli.pixels import LUMA
from unlearn_cli.training.models import build_model

CPU = torch.device("cpu")
NAMES = ("a", "b", "c")


def with_noise(like: Bank, noise: NDArray[np.int8], path: Path) -> Bank:
    save_bank(path, noise, like.provenance)
    return load_bank(path)


def brightness(noise: NDArray[np.generic]) -> NDArray[np.float64]:
    """Return the brightness ``[K, H, W]`` of noise ``[K, 3, H, W]``."""
    luma: NDArray[np.float64] = np.einsum("c,kchw->khw", LUMA, noise.astype(np.float64))
    return luma


def with_network(bank: Bank, name: str, seed: int = 0) -> torch.nn.Module:
    """Put an untrained network beside a bank, and return it."""
    network = build_model(name, len(bank.classes), bank.provenance.scale, seed)
    digest = hashlib.sha256(bank.noise.tobytes()).hexdigest()
    save_surrogate(torch.nn.ModuleDict({name: network}), digest, len(bank.classes), bank.provenance.scale, bank.path)
    return network


@pytest.fixture
def two(tmp_path: Path) -> tuple[Bank, Bank]:
    """Return two banks of the same classes in different orders."""
    first = make_bank(tmp_path / "first.safetensors", classes=NAMES)
    noise = np.random.default_rng(1).integers(-8, 9, first.noise.shape).astype(np.int8)
    save_bank(tmp_path / "second.safetensors", noise, replace(first.provenance, classes=NAMES[::-1]))
    return first, load_bank(tmp_path / "second.safetensors")


def test_small_noise_has_the_colours_of_one_and_the_brightness_of_the_other(
    two: tuple[Bank, Bank], tmp_path: Path
) -> None:
    first, second = (with_noise(bank, bank.noise // 3, tmp_path / f"{bank.name}3.safetensors") for bank in two)
    noise, provenance = combine((first, second))
    assert (provenance.classes, provenance.epsilon, provenance.variants) == (NAMES, 8, 1)
    mine, of_second = brightness(noise), brightness(second.noise[::-1])
    np.testing.assert_allclose(mine, 1.5 * of_second, atol=0.5)
    colours = [one - brightness(one)[:, None] for one in (noise, first.noise)]
    np.testing.assert_allclose(colours[0], colours[1], atol=1)
    parts = [provenance.hyperparameters[name] for name in ("colours", "brightness")]
    assert [part["name"] for part in parts] == ["first3", "second3"]


@given(seed=st.integers(0, 2**32), epsilon=st.integers(1, 127), bound=st.none() | st.integers(1, 127))
def test_the_sum_keeps_to_the_bound(
    tmp_path_factory: pytest.TempPathFactory, seed: int, epsilon: int, bound: int | None
) -> None:
    folder = tmp_path_factory.mktemp("bound")
    bank = make_bank(folder / "first.safetensors", epsilon=epsilon, classes=NAMES, size=8)
    noise = np.random.default_rng(seed).integers(-epsilon, epsilon + 1, bank.noise.shape).astype(np.int8)
    combined, provenance = combine((bank, with_noise(bank, noise, folder / "second.safetensors")), epsilon=bound)
    assert np.abs(combined.astype(int)).max() <= provenance.epsilon == (bound or epsilon)


def test_banks_of_two_bounds_have_the_larger_one_and_no_strength(two: tuple[Bank, Bank], tmp_path: Path) -> None:
    first, second = two
    weaker, stronger = (
        replace(first.provenance, strength="high"),
        replace(second.provenance, strength="max", epsilon=16),
    )
    save_bank(first.path, first.noise, weaker)
    save_bank(second.path, 2 * second.noise, stronger)
    for order in (slice(None), slice(None, None, -1)):
        banks = [load_bank(path) for path in (first.path, second.path)][order]
        noise, provenance = combine(banks, gain=0.5)
        assert (provenance.epsilon, provenance.strength) == (16, None)
        assert np.abs(noise).max() > 8
    assert provenance.hyperparameters["gain"] == 0.5
    assert combine([banks[0], banks[0]])[1].strength == banks[0].provenance.strength
    assert combine([banks[0], banks[0]], epsilon=3)[1].strength is None
    # Without its brightness, noise in grey is nothing.
    assert np.abs(brightness(combine(two, gain=0, epsilon=100)[0])).max() <= 0.5
    with pytest.raises(UsageError, match="multiply"):
        combine(two, gain=float("nan"))


def test_the_networks_of_both_banks_make_noise_for_single_photos(two: tuple[Bank, Bank], tmp_path: Path) -> None:
    first, second = two
    for bank, name in ((first, "resnet10-w16"), (second, "vgg11-w16")):
        with_network(bank, name)
    write_combined(tmp_path / "both.safetensors", two, "a command")
    both = load_bank(tmp_path / "both.safetensors")
    assert set(load_surrogate(both, CPU)) == {"resnet10-w16", "vgg11-w16"}
    both.check_applicable()
    # Of two networks of one name, the colours' is taken.
    kept, _ = with_network(first, "resnet10-w16", 1), with_network(second, "resnet10-w16", 2)
    write_combined(tmp_path / "both.safetensors", two, "a command")
    (network,) = load_surrogate(load_bank(tmp_path / "both.safetensors"), CPU).values()
    weights, wanted = network.state_dict(), kept.state_dict()
    assert all(torch.allclose(weights[name], wanted[name], atol=1e-2) for name in wanted)
    surrogate_path(second.path).unlink()
    write_combined(tmp_path / "both.safetensors", two, "a command")
    with pytest.raises(BankError, match="without a network"):
        load_surrogate(load_bank(tmp_path / "both.safetensors"), CPU)


def test_the_command_writes_a_bank_that_protect_applies(two: tuple[Bank, Bank], unlearn: RunUnlearn) -> None:
    first, second = (str(bank.path) for bank in two)
    done = unlearn("banks", "mix", first, second, "--by-colour", "-o", "both.safetensors")
    assert (done.returncode, "3 patterns, 1 for each class" in done.stdout) == (0, True)
    shown = unlearn("banks", "show", "both.safetensors", "--all")
    assert "the colours of one bank with the brightness of another" in shown.stdout
    for wrong, because in (
        ((first, "--by-colour"), "needs two banks"),
        ((first, second, first, "--by-colour"), "needs two banks"),
        ((first, second, "--by-colour", "--add-uniform", "2"), "Use only one"),
        ((first, second, "--gain", "2"), "need --by-colour"),
        ((first, second, "--epsilon", "2"), "need --by-colour"),
        ((first, second, "--by-colour", "--gain", "inf"), "multiply"),
    ):
        failed = unlearn("banks", "mix", *wrong, "-o", "wrong.safetensors")
        assert (failed.returncode, because in failed.stderr) == (2, True)


def test_banks_of_other_classes_or_for_other_squares_are_refused(two: tuple[Bank, Bank], tmp_path: Path) -> None:
    first = two[0]
    with pytest.raises(UsageError, match="differ"):
        combine((first, make_bank(tmp_path / "other.safetensors")))
    wider = [replace(first.provenance, frame="face", span=span) for span in (1.6, 2.0)]
    for span, provenance in zip("ab", wider, strict=True):
        save_bank(tmp_path / f"{span}.safetensors", first.noise, provenance)
    with pytest.raises(UsageError, match="frames"):
        combine([load_bank(tmp_path / f"{span}.safetensors") for span in "ab"])


def test_the_images_and_the_licences_of_both_are_told(two: tuple[Bank, Bank], tmp_path: Path) -> None:
    first, second = two
    assert combine(two)[1].dataset == {}
    for bank, licence, images in ((first, "free", 10), (second, "none", 20)):
        dataset = {"name": "photos", "licence": licence, "images": images}
        save_bank(bank.path, bank.noise, replace(bank.provenance, dataset=dataset))
    told = combine([load_bank(bank.path) for bank in two])[1].dataset
    assert told == {"name": "photos", "licence": "free and none", "images": 20}
