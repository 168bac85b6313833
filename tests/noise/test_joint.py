"""A joint search: the bound, the classes without noise, the eye's limit, the same bits after an interruption."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from unlearn_cli.errors import UsageError, WorkError
from unlearn_cli.noise.events import Finished, Iterated
from unlearn_cli.noise.joint import JointSearch
from unlearn_cli.noise.make import make_noise
from unlearn_cli.noise.settings import Joint, make_settings
from unlearn_cli.noise.visibility import LARGEST, POWER, _hunt_lab, visibility
from unlearn_cli.training.datasets import DatasetSpec, ImageSet, load_dataset

CPU = torch.device("cpu")
SETTINGS = Joint(clean_classes=0.5, max_iterations=4, rounds=2, batch_size=32, surrogate="resnet10-w16")


@pytest.fixture(scope="module")
def images(cifar10: Path) -> ImageSet:
    return load_dataset(DatasetSpec(source="cifar10", data_dir=cifar10, first_classes=6), "all").first(160)


def search(images: ImageSet, settings: Joint, folder: Path | None = None) -> tuple[list[Iterated], Finished]:
    events = list(make_noise(images, settings, CPU, checkpoint=folder))
    finished = events[-1]
    assert isinstance(finished, Finished)
    return [event for event in events if isinstance(event, Iterated)], finished


def test_half_of_the_classes_get_noise_within_the_bound_that_is_quick_to_learn(images: ImageSet) -> None:
    epochs, finished = search(images, replace(SETTINGS, max_iterations=12))
    assert finished.noise.shape == (3, 3, 32, 32)
    assert np.abs(finished.noise.astype(int)).max() <= 8
    assert [one.iteration for one in epochs] == list(range(1, 13))
    # Its second surrogate learns from it within a few epochs what the images alone would take many for.
    assert epochs[-1].error < 0.6
    assert epochs[-1].error < epochs[0].error - 0.15


@pytest.mark.parametrize(("epochs", "rounds", "lengths"), [(4, 2, [2, 2]), (5, 4, [1, 1, 1, 2]), (2, 3, [1, 1])])
def test_every_round_has_its_surrogate(images: ImageSet, epochs: int, rounds: int, lengths: list[int]) -> None:
    running = JointSearch(images, replace(SETTINGS, max_iterations=epochs, rounds=rounds), CPU)
    begun = []
    running.ensemble.begin_again = lambda seed: begun.append((seed, running.epochs_done))  # type: ignore[method-assign]
    for _ in range(epochs):
        running.epoch()
    ends = [at for _, at in begun[1:]] + [epochs]
    assert [end - at for (_, at), end in zip(begun, ends, strict=True)] == lengths
    assert len({seed for seed, _ in begun}) == len(lengths)


def test_an_interrupted_search_ends_with_the_same_bits(
    images: ImageSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("unlearn_cli.noise.resume.SECONDS_BETWEEN", 0.0)
    monkeypatch.setattr("unlearn_cli.noise.resume.SHARE", 0.0)
    settings = replace(SETTINGS, visibility=0.02)
    _, whole = search(images, settings)
    events = make_noise(images, settings, CPU, checkpoint=tmp_path)
    while not (isinstance(event := next(events), Iterated) and event.iteration == 3):
        pass
    events.close()  # type: ignore[attr-defined]
    epochs, resumed = search(images, settings, tmp_path)
    assert len(epochs) == 1
    np.testing.assert_array_equal(resumed.noise, whole.noise)
    # The number of epochs decides how long a round is, and with it the noise from the first epoch on.
    for other in (replace(settings, visibility=0.03), replace(settings, max_iterations=8)):
        with pytest.raises(WorkError, match="other settings"):
            search(images, other, tmp_path)


def test_less_may_be_seen_of_it(images: ImageSet) -> None:
    free, _ = search(images, replace(SETTINGS, max_iterations=8))
    held, _ = search(images, replace(SETTINGS, max_iterations=8, visibility=0.02))
    assert free[-1].visibility is not None
    assert held[-1].visibility is not None
    assert held[-1].visibility < 0.7 * free[-1].visibility


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"form": "sample-wise"}, "joint"),
        ({"method": "error-max"}, "joint"),
        ({"patch": 8}, "joint"),
        ({"clean_classes": 0.9}, "clean-classes"),
    ],
)
def test_what_it_cannot_do_is_told(images: ImageSet, change: dict[str, object], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        list(make_noise(images, make_settings({"joint": True, "surrogate": "resnet10-w16", **change}), CPU))


def test_nothing_is_not_visible_and_more_is_more() -> None:
    grey = torch.full((2, 3, 8, 8), 120.0)
    seen = [visibility(grey, grey + levels).mean().item() for levels in (0, 2, 8, 16)]
    assert seen[0] == pytest.approx(0, abs=1e-6)
    assert seen == sorted(seen)
    # The same energy in fewer places is seen less.
    spots, veil = torch.zeros_like(grey), torch.full_like(grey, 4.0)
    spots[..., ::2] = 8.0
    assert (visibility(grey, grey + spots) < visibility(grey, grey + veil)).all()


def test_its_largest_distance_is_that_of_green_and_blue() -> None:
    colours = torch.tensor([[0.0, 255, 0], [0, 0, 255]])[:, :, None, None]
    green, blue = _hunt_lab(colours).squeeze().T
    distance = (green[0] - blue[0]).abs() + (green[1:] - blue[1:]).norm()
    assert distance.item() ** POWER == pytest.approx(LARGEST, abs=0.1)


@pytest.mark.parametrize("direction", [(1, 1, 1), (1, -0.4, -1), (0, 0, 1)])
def test_on_coarse_noise_it_is_flip_without_its_filter(direction: tuple[float, float, float]) -> None:
    flip = pytest.importorskip("flip_evaluator")
    draw = np.random.default_rng(0)
    before = np.full((240, 240, 3), (190, 140, 120), np.float32)
    blocks = np.kron(draw.choice([-8.0, 8.0], (4, 4)), np.ones((60, 60)))[..., None]
    after = (before + blocks * np.array(direction)).clip(0, 255).astype(np.float32)
    told = float(flip.evaluate(before / 255, after / 255, "LDR", applyMagma=False)[1])
    ours = visibility(*(torch.from_numpy(image).permute(2, 0, 1)[None] for image in (before, after))).item()
    assert ours == pytest.approx(told, rel=0.3)
