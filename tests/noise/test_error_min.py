"""Error-minimizing noise on real CIFAR-10: bounded, repeatable, and it does what its name says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from unlearn_cli.errors import UsageError
from unlearn_cli.noise.error_min import ErrorMinSettings, Estimated, Finished, Iterated, error_min
from unlearn_cli.victims.datasets import DatasetSpec, ImageSet, load_dataset

CPU = torch.device("cpu")
SETTINGS = ErrorMinSettings(surrogate="resnet10-w16", max_iterations=8, noise_share=1.0, stop_error=0.02)


@pytest.fixture(scope="module")
def images(cifar10: Path) -> ImageSet:
    return load_dataset(DatasetSpec(source="cifar10", data_dir=cifar10), "all").first(1000)


def search(images: ImageSet, settings: ErrorMinSettings) -> tuple[list[float], Finished]:
    events = list(error_min(images, settings, CPU))
    assert isinstance(events[0], Estimated)
    assert events[0].seconds > 0
    assert isinstance(events[-1], Finished)
    errors = [event.error for event in events if isinstance(event, Iterated)]
    assert len(errors) == events[-1].iterations
    return errors, events[-1]


@pytest.fixture(scope="module")
def found(images: ImageSet) -> tuple[list[float], Finished]:
    return search(images, SETTINGS)


def test_the_error_goes_down_within_the_bound(found: tuple[list[float], Finished]) -> None:
    errors, finished = found
    assert errors[-1] < errors[0] - 0.2
    assert finished.noise.dtype == np.int8
    assert finished.noise.shape == (10, 3, 32, 32)
    assert np.abs(finished.noise.astype(int)).max() <= 8
    # Signed: the official code's training lost all negative noise.
    assert 0.3 < (finished.noise < 0).mean() < 0.7


def test_the_same_seed_makes_the_same_bits_and_another_does_not(
    images: ImageSet, found: tuple[list[float], Finished]
) -> None:
    short = replace(SETTINGS, max_iterations=2)
    first, second, other = (search(images, replace(short, seed=seed))[1].noise for seed in (5, 5, 6))
    np.testing.assert_array_equal(first, second)
    assert (first != other).any()


def test_it_says_why_it_ended(images: ImageSet, found: tuple[list[float], Finished]) -> None:
    assert found[1].stop == "max_iterations reached"
    errors, finished = search(images, replace(SETTINGS, stop_error=0.95))
    assert finished.stop == "error below stop_error"
    assert len(errors) == 1


def test_epsilon_and_step_size_are_in_pixel_levels(images: ImageSet) -> None:
    _, finished = search(images, replace(SETTINGS, epsilon=3, step_size=3, max_iterations=1))
    assert np.abs(finished.noise.astype(int)).max() == 3


def test_plain_noise_is_finer_than_noise_made_through_the_augmentation(
    images: ImageSet, found: tuple[list[float], Finished]
) -> None:
    """The finding that the default rests on: flips and shifts leave only what is smooth."""

    def roughness(noise: np.ndarray[tuple[int, ...], np.dtype[np.int8]]) -> float:
        levels = noise.astype(float)
        return float(np.abs(np.diff(levels, axis=-1)).mean() / np.abs(levels).mean())

    _, plain = search(images, replace(SETTINGS, through="none"))
    assert roughness(found[1].noise) < 0.8 * roughness(plain.noise)


def test_every_class_gets_noise_however_small_the_share(images: ImageSet) -> None:
    few = images.first(20)
    _, finished = search(few, replace(SETTINGS, noise_share=0.05, max_iterations=1, batch_size=8))
    assert (np.abs(finished.noise.astype(int)).max(axis=(1, 2, 3)) > 0).all()
    with pytest.raises(UsageError, match="--train-size"):
        list(error_min(images.first(5), SETTINGS, CPU))


def test_an_unknown_surrogate_lists_what_there_is(images: ImageSet) -> None:
    with pytest.raises(UsageError, match="resnet18, resnet10-w16"):
        list(error_min(images, replace(SETTINGS, surrogate="resnet9000"), CPU))


def test_the_command_offers_what_noise_can_be_made_through() -> None:
    from typing import get_args, get_type_hints

    from unlearn_cli.cli.generate import generate
    from unlearn_cli.noise.transforms import THROUGH

    assert set(get_args(get_type_hints(generate)["through"])) == set(THROUGH)
