"""The network for computers without a GPU, and what its training has that others do not."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from unlearn_cli.training.datasets import ImageSet
from unlearn_cli.training.fast import FAST_TRAINING, LEAST_VARIANCE, FastNetwork, fit_to_images
from unlearn_cli.training.models import build_model
from unlearn_cli.training.train import Trained, TrainingSettings, train_network

SETTINGS = TrainingSettings(
    **{**FAST_TRAINING, "precision": "fp32", "model": "fast-w32", "batch_size": 32, "epochs": 2}
)


@pytest.fixture(scope="module")
def images() -> Tensor:
    """Return smooth images, whose pixels resemble their neighbours as those of photos do."""
    coarse = torch.rand((160, 3, 4, 4), generator=torch.Generator().manual_seed(0))
    return (F.interpolate(coarse, size=16, mode="bilinear") * 255).round().to(torch.uint8)


def fitted(images: Tensor) -> FastNetwork:
    network = build_model("fast-w32", 2, 16, 0)
    assert isinstance(network, FastNetwork)
    fit_to_images(network, images)
    return network


@pytest.mark.parametrize(("name", "size"), [("fast", 32), ("fast-w32", 16), ("fast-w32", 64)])
def test_it_takes_images_of_any_usual_size_and_starts_the_same_for_a_seed(name: str, size: int) -> None:
    levels = torch.randint(0, 256, (2, 3, size, size)).float()
    one, same, other = (build_model(name, 7, size, seed) for seed in (0, 0, 1))
    for network in (one, same, other):
        fit_to_images(network, levels)
    assert one.eval()(levels).shape == (2, 7)
    assert torch.equal(one(levels), same.eval()(levels))
    assert not torch.equal(one(levels), other.eval()(levels))


def test_its_first_layer_whitens_the_patches_of_its_training_images(images: Tensor) -> None:
    seen = fitted(images).whitening(images.float() / 127.5 - 1).transpose(0, 1).flatten(1)
    half, negative = seen.chunk(2)
    assert torch.equal(negative, -half)
    products = half @ half.T / half.shape[1]
    # A direction whose variance is not above the least one stays below 1, and none is above it.
    variances = products.diagonal()
    assert torch.allclose(products, torch.diag(variances), atol=0.02)
    assert variances[-1] > 0.99
    assert variances.max() < 1.01
    raw = F.unfold(images.float() / 127.5 - 1, 2).transpose(0, 1).flatten(1)
    least = torch.linalg.eigvalsh(raw @ raw.T / raw.shape[1])[0]
    assert torch.isclose(variances[0], least / (least + LEAST_VARIANCE), atol=0.02)


def test_training_changes_neither_the_first_layer_nor_a_scale_of_batch_norm(images: Tensor) -> None:
    network = fitted(images)
    network.requires_grad_(True)  # As a search does after it has improved the noise.
    names = {name for name, _ in network.named_parameters()}
    assert not any("whitening" in name for name in names)
    before = network.whitening.weight.clone()
    labels = (images[:, 0].float().mean((1, 2)) > 127).long()
    data = ImageSet(images, labels, ("dark", "bright"), "shades", "none")
    *ended, last = train_network(network, data, data, replace(SETTINGS, epochs=6))
    assert isinstance(last, Trained)
    assert last.epochs[-1].clean_accuracy > 0.75
    assert len(ended) == 6
    assert torch.equal(network.whitening.weight, before)
    scales = [value for name, value in network.named_buffers() if name.endswith("weight") and value.ndim == 1]
    assert len(scales) == 6
    assert all(bool((scale == 1).all()) for scale in scales)


def test_it_is_fitted_once(images: Tensor) -> None:
    network = fitted(images)
    before = network.whitening.weight.clone()
    fit_to_images(network, 255 - images // 2)
    assert torch.equal(network.whitening.weight, before)


def test_the_learning_rate_rises_and_falls(images: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    rates: list[float] = []

    class Watched(torch.optim.SGD):
        def step(self, closure: object = None) -> None:  # type: ignore[override]
            rates.append(self.param_groups[0]["lr"])
            super().step()

    monkeypatch.setattr(torch.optim, "SGD", Watched)
    data = ImageSet(images, torch.arange(160) % 2, ("even", "odd"), "halves", "none")
    list(train_network(fitted(images), data, data.first(10), replace(SETTINGS, epochs=4)))
    highest = rates.index(max(rates))
    assert highest in (4, 5)  # Of 20 steps, near 23 %.
    assert rates[: highest + 1] == sorted(rates[: highest + 1])
    assert rates[highest:] == sorted(rates[highest:], reverse=True)
    assert rates[0] == pytest.approx(0.2 * SETTINGS.learning_rate)
