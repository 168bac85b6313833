"""Each defence does what its source says."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from unlearn_cli.errors import UsageError
from unlearn_cli.evaluation.defences.defence import Filter
from unlearn_cli.evaluation.defences.filters import _directions
from unlearn_cli.evaluation.defences.table import parse_defence
from unlearn_cli.training.datasets import ImageSet
from unlearn_cli.training.models import build_model


@pytest.fixture(scope="module")
def data() -> ImageSet:
    """Return smooth images, half of which carry a faint pattern of their class."""
    generator = torch.Generator().manual_seed(0)
    images = F.interpolate(255 * torch.rand((120, 3, 4, 4), generator=generator), (16, 16), mode="bilinear")
    labels = torch.arange(120) % 3
    patterns = 6 * (2 * torch.randint(0, 2, (3, 3, 16, 16), generator=generator) - 1)
    images = (images + patterns[labels]).clamp(0, 255).round().to(torch.uint8)
    return ImageSet(images, labels, ("a", "b", "c"), "faint", "none")


def fitted(name: str, data: ImageSet) -> Filter:
    fit = parse_defence(name).fit
    assert fit is not None
    return fit(data)


def test_jpeg_is_the_file_format(data: ImageSet) -> None:
    done = fitted("jpeg:30", data)(data.images)
    buffer = io.BytesIO()
    Image.fromarray(data.images[7].permute(1, 2, 0).numpy()).save(buffer, "jpeg", quality=30, subsampling="4:2:0")
    np.testing.assert_array_equal(done[7].permute(1, 2, 0).numpy(), np.asarray(Image.open(buffer)))


def test_grey_is_pillows(data: ImageSet) -> None:
    done = fitted("gray", data)(data.images)
    grey = np.asarray(Image.fromarray(data.images[3].permute(1, 2, 0).numpy()).convert("L"), int)
    assert np.abs(done[3].numpy().astype(int) - grey).max() <= 1


def test_bit_depth_leaves_so_many_levels(data: ImageSet) -> None:
    done = fitted("bit-depth:2", data)(data.images)
    assert set(done.unique().tolist()) == {0, 85, 170, 255}
    assert (done.int() - data.images.int()).abs().max() <= 43


def test_blur_keeps_the_mean_and_takes_the_detail(data: ImageSet) -> None:
    grain = torch.randint(0, 256, (20, 3, 32, 32), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    done = fitted("blur", data)(grain).float()
    assert (done.mean((2, 3)) - grain.float().mean((2, 3))).abs().max() < 3
    detail: Callable[[Tensor], Tensor] = lambda images: images.diff(dim=3).abs().mean()  # noqa: E731
    assert detail(done) < 0.5 * detail(grain.float())


def test_projection_takes_out_the_classes_directions(data: ImageSet) -> None:
    done = fitted("orthogonal-projection", data)(data.images)
    weights = F.normalize(_directions(data), dim=1)
    assert (done.flatten(1) @ weights.T).abs().max() < 0.05
    # It is a projection: again changes nothing.
    assert torch.allclose(fitted("orthogonal-projection", data)(done), done, atol=0.05)

    # What told the classes apart is gone.
    def told_apart(images: Tensor) -> float:
        means = torch.stack([images[data.labels == label].flatten(1).mean(0) for label in range(3)])
        flat = images.flatten(1)
        return float((((flat[:, None] - means[None]) ** 2).sum(2).argmin(1) == data.labels).float().mean())

    assert told_apart(data.images.float()) > told_apart(done) + 0.1


@pytest.mark.parametrize("epsilon", [4, 8])
def test_adversarial_images_are_within_the_bound_and_harder(data: ImageSet, epsilon: int) -> None:
    harden = parse_defence(f"adversarial:{epsilon}").harden
    assert harden is not None
    model = build_model("resnet10-w16", 3, 16, 0)
    images = data.images[:32].float()
    before = model.eval()(images)
    attacked = harden(model, images, data.labels[:32], torch.Generator().manual_seed(0))
    assert model.training
    assert (attacked - images).abs().max() <= epsilon
    assert 0 <= attacked.min() <= attacked.max() <= 255
    after = model.eval()(attacked)
    assert F.cross_entropy(after, data.labels[:32]) > F.cross_entropy(before, data.labels[:32])
    assert all(parameter.grad is None for parameter in model.parameters())


def test_ueraser_takes_the_worst_of_its_choices(data: ImageSet, monkeypatch: pytest.MonkeyPatch) -> None:
    harden = parse_defence("ueraser-like").harden
    assert harden is not None
    model = build_model("resnet10-w16", 3, 16, 0)
    images, labels = data.images[:32].float(), data.labels[:32]
    hardened = harden(model, images, labels, torch.Generator().manual_seed(0))
    assert hardened.shape == images.shape
    assert 0 <= hardened.min() <= hardened.max() <= 255
    assert (hardened != images).flatten(1).any(1).all()
    monkeypatch.setattr("unlearn_cli.evaluation.defences.hardening.CHOICES", 1)
    first = harden(model, images, labels, torch.Generator().manual_seed(0))
    worst, of_first = (F.cross_entropy(model.eval()(of), labels, reduction="none") for of in (hardened, first))
    assert (worst >= of_first - 1e-5).all()
    assert (worst > of_first + 1e-3).sum() > len(images) / 2  # Four of five times another choice is worse.


def test_color_jitter_turns_colours_and_keeps_what_is_grey_grey(data: ImageSet) -> None:
    harden = parse_defence("color-jitter").harden
    assert harden is not None
    images = data.images[:32].float()
    model = build_model("resnet10-w16", 3, 16, 0)
    jittered = harden(model, images, data.labels[:32], torch.Generator().manual_seed(0))
    assert 0 <= jittered.min() <= jittered.max() <= 255
    shifts = (jittered - images).mean((2, 3))  # Each image by amounts of its own, and each channel.
    assert shifts.std(0).min() > 5
    assert (shifts - shifts.mean(1, keepdim=True)).abs().mean() > 1
    grey = harden(model, images[:, :1].expand(-1, 3, -1, -1), data.labels[:32], torch.Generator().manual_seed(0))
    assert (grey - grey[:, :1]).abs().max() < 0.01


@pytest.mark.parametrize(
    ("text", "because"),
    [
        ("walls", "There is no defence 'walls'"),
        ("jpeg:0", "from 1 to 95"),
        ("gray:3", "no defence"),
        ("", "no defence"),
    ],
)
def test_what_is_no_defence_says_so(text: str, because: str) -> None:
    with pytest.raises(UsageError, match=because):
        parse_defence(text)


def test_a_number_may_be_left_out() -> None:
    assert [parse_defence(name).name for name in ("jpeg", "adversarial", "none")] == [
        "jpeg:10",
        "adversarial:8",
        "none",
    ]
