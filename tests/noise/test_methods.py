"""The methods to compare with, and mixtures: each is what its paper says, within the bound."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conftest import make_bank
from unlearn_cli.banks.bank import Bank, load_bank, save_bank
from unlearn_cli.banks.catalog import surrogate_path
from unlearn_cli.banks.provenance import SPAN, Form
from unlearn_cli.errors import BankError, UsageError
from unlearn_cli.evaluation.protect_set import protect_set
from unlearn_cli.noise.baselines import AR_MARGIN, _run, ar_coefficients
from unlearn_cli.noise.events import Finished, Iterated, SurrogateEpoch
from unlearn_cli.noise.make import make_noise
from unlearn_cli.noise.mixture import mix, write_mixture
from unlearn_cli.noise.settings import Baseline, ErrorMax
from unlearn_cli.training.datasets import DatasetSpec, ImageSet, load_dataset

CPU = torch.device("cpu")


def grey_set(size: int = 32, count: int = 12) -> ImageSet:
    images = torch.full((count, 3, size, size), 128, dtype=torch.uint8)
    return ImageSet(images, torch.arange(count) % 3, ("a", "b", "c"), "grey", "none")


def made(data: ImageSet, settings: Baseline) -> np.ndarray[tuple[int, ...], np.dtype[np.int8]]:
    (finished,) = make_noise(data, settings, CPU)
    assert isinstance(finished, Finished)
    assert finished.stop == "nothing to search"
    assert finished.surrogate is None
    return finished.noise


@pytest.mark.parametrize("method", ["random", "lsp", "ar"])
@settings(max_examples=4)  # a pixel at a time, an autoregressive process takes its time
@given(epsilon=st.integers(1, 127), seed=st.integers(0, 2**32), size=st.sampled_from([16, 20]))
def test_baselines_keep_to_their_bound_and_are_made_of_their_seed(
    method: Literal["random", "lsp", "ar"], epsilon: int, seed: int, size: int
) -> None:
    data = grey_set(size)
    wanted = Baseline(method=method, epsilon=epsilon, seed=seed)
    sample_wise = replace(wanted, form="sample-wise")
    for of, count in ((wanted, 3), (sample_wise, 12)):
        noise = made(data, of)
        assert noise.shape == (count, 3, size, size)
        assert 0 < np.abs(noise.astype(int)).max() <= epsilon
    np.testing.assert_array_equal(noise, made(data, sample_wise))
    assert (made(data, replace(wanted, seed=seed + 1)) != made(data, wanted)).any()


def test_random_noise_is_uniform() -> None:
    noise = made(grey_set(count=300), Baseline(method="random", form="sample-wise", epsilon=3))
    shares = np.unique(noise, return_counts=True)[1] / noise.size
    assert shares == pytest.approx([1 / 7] * 7, abs=0.005)


def test_lsp_is_blocks_that_a_linear_classifier_tells_apart() -> None:
    data = grey_set(count=120)
    noise = made(data, Baseline(method="lsp", form="sample-wise")).astype(float)
    blocks = noise.reshape(-1, 3, 4, 8, 4, 8)
    assert (blocks == blocks[:, :, :, :1, :, :1]).all()
    # Least squares onto one-hot labels, on one half, tested on the other.
    features = np.c_[blocks[:, :, :, 0, :, 0].reshape(120, -1), np.ones(120)]
    labels = data.labels.numpy()
    weights = np.linalg.lstsq(features[:60], np.eye(3)[labels[:60]], rcond=None)[0]
    assert ((features[60:] @ weights).argmax(1) == labels[60:]).mean() > 0.95


def test_ar_is_a_mixture_of_the_pixels_before() -> None:
    random = np.random.default_rng(0)
    coefficients = ar_coefficients(random, 32)
    assert coefficients.sum(1) == pytest.approx([1, 1, 1])
    field = _run(random.standard_normal((2, 3, 32 + AR_MARGIN, 32 + AR_MARGIN)), np.stack([coefficients] * 2))
    for y, x in ((2, 2), (10, 20), (35, 35)):
        window = field[:, :, y - 2 : y + 1, x - 2 : x + 1].reshape(2, 3, 9)
        assert field[:, :, y, x] == pytest.approx((window[..., :8] * coefficients).sum(-1))
    # The whole noise has the strength that it is meant to have.
    data = grey_set()
    noise = made(data, Baseline(method="ar", form="sample-wise", epsilon=127)).astype(float)
    assert np.sqrt(np.square(noise).mean()) == pytest.approx(255 / np.sqrt(3072), rel=0.1)


@pytest.fixture(scope="module")
def images(cifar10: Path) -> ImageSet:
    return load_dataset(DatasetSpec(source="cifar10", data_dir=cifar10), "all").first(400)


@pytest.mark.parametrize("form", ["class-wise", "sample-wise"])
def test_error_max_makes_a_trained_surrogate_fail(images: ImageSet, form: Form, tmp_path: Path) -> None:
    wanted = ErrorMax(
        form=form, surrogate="resnet10-w16", surrogate_epochs=8, through="none",
        noise_share=1.0, noise_steps=5, max_iterations=4, epsilon=16, batch_size=50, learning_rate=0.05,
    )  # fmt: skip
    events = list(make_noise(images, wanted, CPU, checkpoint=tmp_path))
    trained = [event.error for event in events if isinstance(event, SurrogateEpoch)]
    attacked = [event.error for event in events if isinstance(event, Iterated)]
    assert len(trained) == 8
    assert trained[-1] < trained[0]
    assert attacked[-1] > trained[-1] + 0.2
    assert isinstance(events[-1], Finished)
    assert 0 < np.abs(events[-1].noise.astype(int)).max() <= 16
    # It goes on where it was, which is at its end.
    again = list(make_noise(images, wanted, CPU, checkpoint=tmp_path))[-1]
    assert isinstance(again, Finished)
    np.testing.assert_array_equal(again.noise, events[-1].noise)


def mixture(tmp_path: Path, uniform: int = 0) -> tuple[Bank, Bank, Bank]:
    first = make_bank(tmp_path / "first.safetensors", classes=("a", "b", "c"))
    turned = replace(first.provenance, classes=("c", "b", "a"))
    save_bank(tmp_path / "second.safetensors", np.ascontiguousarray(-first.noise[::-1]), turned)
    second = load_bank(tmp_path / "second.safetensors")
    noise, provenance = mix([first, second], uniform)
    save_bank(tmp_path / "mixture.safetensors", noise, provenance)
    return first, second, load_bank(tmp_path / "mixture.safetensors")


def laid(data: ImageSet, bank: Bank) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    difference: np.ndarray[tuple[int, ...], np.dtype[np.int64]] = (
        protect_set(data, bank).images.numpy().astype(int) - data.images.numpy()
    )
    return difference


def test_a_mixture_lays_one_of_its_banks_patterns_on_each_image(tmp_path: Path) -> None:
    first, _, bank = mixture(tmp_path)
    data = grey_set(count=60)
    differences = laid(data, bank)
    chosen = [
        1 if (difference == first.noise[label]).all() else 2 if (difference == -first.noise[label]).all() else 0
        for difference, label in zip(differences, data.labels.tolist(), strict=True)
    ]
    assert set(chosen) == {1, 2}
    assert 15 < chosen.count(1) < 45
    assert bank.provenance.schema == 2
    with pytest.raises(BankError, match="mixture"):
        bank.check_applicable()


def test_uniform_noise_is_added_within_the_bound(tmp_path: Path) -> None:
    bank = mixture(tmp_path, uniform=4)[2]
    differences = laid(grey_set(count=60), bank)
    assert np.abs(differences).max() == 8
    assert len(np.unique(differences.reshape(60, -1), axis=0)) == 60


def test_uniform_noise_that_is_not_clipped_reaches_beyond_the_bound(tmp_path: Path) -> None:
    """As in the paper's table 5; the mixture's bound says so."""
    first = mixture(tmp_path)[0]
    noise, provenance = mix([first], 8, clipped=False)
    save_bank(tmp_path / "wide.safetensors", noise, provenance)
    bank = load_bank(tmp_path / "wide.safetensors")
    assert (provenance.epsilon, mix([first], 8)[1].epsilon) == (16, 8)
    differences = laid(grey_set(count=60), bank)
    assert 12 < np.abs(differences).max() <= 16


def test_what_cannot_be_mixed_says_so(tmp_path: Path) -> None:
    first, _, mixed = mixture(tmp_path)
    other = make_bank(tmp_path / "other.safetensors", classes=("a", "b"))
    for banks, because in (([first], "at least two banks"), ([first, other], "differ"), ([mixed, first], "mixture")):
        with pytest.raises(UsageError, match=because):
            mix(banks)
    # A mixture that is refused leaves the files of the bank that it would have replaced.
    surrogate_path(first.path).write_bytes(b"a network")
    with pytest.raises(UsageError):
        write_mixture(first.path, [first, other], 0, "")
    assert surrogate_path(first.path).read_bytes() == b"a network"


def test_noise_for_faces_is_not_measured_on_whole_images_also_in_a_mixture(tmp_path: Path) -> None:
    whole = make_bank(tmp_path / "whole.safetensors", classes=("a", "b", "c"))
    save_bank(tmp_path / "face.safetensors", whole.noise, replace(whole.provenance, frame="face", span=SPAN))
    face = load_bank(tmp_path / "face.safetensors")
    write_mixture(tmp_path / "both.safetensors", [face, face], 0, "")
    for bank in (face, load_bank(tmp_path / "both.safetensors")):
        with pytest.raises(UsageError, match="evaluate people"):
            protect_set(grey_set(count=6), bank)


def test_a_patch_lies_somewhere_on_each_image(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(1, 9, (3, 3, 8, 8)).astype(np.int8)
    provenance = replace(make_bank(tmp_path / "x.safetensors", classes=("a", "b", "c")).provenance, frame="patch")
    save_bank(tmp_path / "patch.safetensors", noise, provenance)
    bank = load_bank(tmp_path / "patch.safetensors")
    data = grey_set(count=40)
    places = set()
    for difference, label in zip(laid(data, bank), data.labels.tolist(), strict=True):
        rows, columns = difference.any(0).any(1).nonzero()[0], difference.any(0).any(0).nonzero()[0]
        assert len(rows) == len(columns) == 8
        np.testing.assert_array_equal(difference[:, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1], noise[label])
        places.add((rows[0], columns[0]))
    assert len(places) > 20
    with pytest.raises(BankError, match="frame 'patch'"):
        bank.check_applicable()
    with pytest.raises(BankError, match="larger than its images"):
        save_bank(tmp_path / "large.safetensors", noise, replace(provenance, scale=7))


def test_a_sample_wise_bank_lies_on_its_own_images_only(tmp_path: Path, images: ImageSet) -> None:
    from unlearn_cli.training.datasets import digest

    few = images.first(30)
    noise = np.random.default_rng(0).integers(-8, 9, (30, 3, 32, 32)).astype(np.int8)
    provenance = make_bank(tmp_path / "x.safetensors", classes=few.classes).provenance
    own = replace(provenance, form="sample-wise", dataset={"name": "few", "sha256": digest(few)})
    save_bank(tmp_path / "own.safetensors", noise, own)
    bank = load_bank(tmp_path / "own.safetensors")
    expected = np.clip(few.images.numpy().astype(int) + noise, 0, 255)
    np.testing.assert_array_equal(protect_set(few, bank).images.numpy(), expected)
    with pytest.raises(UsageError, match="train-size=30"):
        protect_set(images.first(40), bank)
    with pytest.raises(BankError, match="has noise for 30 images"):
        bank.check_applicable()
