"""The last layer fitted again on clean photos, and the noise alone: what is learned from each."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from unlearn_cli.evaluation.attackers.reweight import SHARES, _order, refit
from unlearn_cli.evaluation.attackers.separable import separability
from unlearn_cli.evaluation.defences.filters import gray
from unlearn_cli.evaluation.scenario import Scenario
from unlearn_cli.training.datasets import ImageSet

CLASSES, EACH, SIDE = 4, 40, 8


def images(seed: int) -> ImageSet:
    """Return images of classes that differ in the brightness of their quarters, which a linear layer can tell apart."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(CLASSES).repeat(EACH)
    levels = torch.randint(60, 100, (len(labels), 3, SIDE, SIDE), generator=generator)
    for label in range(CLASSES):
        top, left = divmod(label, 2)
        levels[labels == label, :, 4 * top : 4 * top + 4, 4 * left : 4 * left + 4] += 60
    return ImageSet(levels.to(torch.uint8), labels, tuple("abcd"), "quarters", "none")


def scenario(noise: Tensor, protected: Tensor | None = None) -> Scenario:
    train = images(0)
    mask = torch.ones(len(train), dtype=torch.bool) if protected is None else protected
    noisy = replace(train, images=(train.images.int() + noise * mask[:, None, None, None]).to(torch.uint8))
    return Scenario(noisy, images(1), mask, tuple(range(CLASSES)), None, train, noisy, None)


def by_class(seed: int = 0) -> Tensor:
    patterns = torch.randint(-8, 9, (CLASSES, 3, SIDE, SIDE), generator=torch.Generator().manual_seed(seed))
    return patterns[torch.arange(CLASSES).repeat(EACH)]


def by_image(seed: int = 0) -> Tensor:
    return torch.randint(-8, 9, (CLASSES * EACH, 3, SIDE, SIDE), generator=torch.Generator().manual_seed(seed))


class Pixels(nn.Sequential):
    """A victim with good features, whose last layer knows nothing."""

    def __init__(self) -> None:
        super().__init__(nn.AvgPool2d(4), nn.Flatten(), nn.Linear(12, CLASSES))


def test_a_refit_finds_what_the_last_layer_ignored_with_one_clean_photo_and_more() -> None:
    torch.manual_seed(0)
    found = refit(Pixels(), scenario(by_class()), 1, 0)
    assert found is not None
    assert [(one.share, one.images) for one in found] == [(0.01, 4), (0.05, 8), (0.1, 16)]
    assert found[-1].epoch.clean > 0.95
    for one in found:
        assert sum(map(sum, one.confusion)) == CLASSES * EACH
        assert sum(one.confusion[k][k] for k in range(CLASSES)) / (CLASSES * EACH) == pytest.approx(one.epoch.clean)


def test_it_uses_clean_photos_after_the_scrapers_filter() -> None:
    torch.manual_seed(0)
    network, of = Pixels(), scenario(by_image())
    other = replace(of, train=images(5), noisy=images(5))
    assert refit(network, of, 1, 0) == refit(network, other, 1, 0)
    filter_ = gray().fit
    assert filter_ is not None
    seen = []
    squeezed = replace(of, filter=lambda part: seen.append(len(part)) or filter_(of.noisy)(part))  # type: ignore[func-returns-value]
    assert refit(network, squeezed, 1, 0) is not None
    assert seen == [16]


def test_a_network_without_a_linear_last_layer_has_none() -> None:
    network = nn.Sequential(nn.Conv2d(3, CLASSES, SIDE), nn.Flatten())
    assert refit(network, scenario(by_class()), 1, 0) is None


@given(photos=st.integers(1, 60), views=st.integers(1, 3), seed=st.integers(0, 9))
def test_shares_contain_each_other_reach_every_class_and_have_all_views(photos: int, views: int, seed: int) -> None:
    labels = torch.randint(0, 3, (photos,), generator=torch.Generator().manual_seed(seed))
    order = _order(labels.repeat(views), views, seed)
    chosen = [set(order[share].tolist()) for share in SHARES]
    assert chosen[0] <= chosen[1] <= chosen[2]
    for share, mine in zip(SHARES, chosen, strict=True):
        photo = {index % photos for index in mine}
        assert len(mine) == views * len(photo)
        for label in labels.unique().tolist():
            count = int((labels == label).sum())
            assert sum(int(labels[index]) == label for index in photo) == max(1, round(share * count))


def test_class_wise_noise_is_separable_and_noise_of_each_image_is_not() -> None:
    found = separability(scenario(by_class()), 1, 0)
    assert found is not None
    assert (found.train, found.held_out, found.images) == (1.0, 1.0, CLASSES * EACH)
    found = separability(scenario(by_image()), 1, 0)
    assert found is not None
    assert found.train > 0.95  # There are more pixels than images.
    assert found.held_out < 0.5


def test_separability_needs_two_classes_with_noise() -> None:
    labels = torch.arange(CLASSES).repeat(EACH)
    assert separability(scenario(by_class(), labels == 2), 1, 0) is None
    assert separability(scenario(by_class(), torch.zeros(len(labels), dtype=torch.bool)), 1, 0) is None
    found = separability(scenario(by_class(), labels > 1), 1, 0)
    assert found is not None
    assert (found.held_out, found.images) == (1.0, 2 * EACH)
