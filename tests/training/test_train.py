"""A training that is interrupted ends as one that is not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from unlearn_cli.errors import UsageError, WorkError
from unlearn_cli.training import augmentations
from unlearn_cli.training.datasets import ImageSet
from unlearn_cli.training.models import build_model
from unlearn_cli.training.train import (
    EpochEnded,
    Precision,
    Trained,
    TrainingSettings,
    predict,
    train_network,
    train_victim,
)

CPU = torch.device("cpu")
SETTINGS = TrainingSettings(model="resnet10-w16", epochs=4, batch_size=32, learning_rate=0.05)


@pytest.fixture(scope="module")
def data() -> ImageSet:
    """Return images of two classes that differ in colour, under noise."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(160) % 2
    images = torch.randint(0, 160, (160, 3, 16, 16), generator=generator)
    images[labels == 1, 0] += 60
    return ImageSet(images.to(torch.uint8), labels, ("blue", "red"), "colours", "none")


def epochs(*arguments: Any) -> list[EpochEnded]:
    """Return what a whole training tells of its epochs; its last event has the same."""
    *ended, last = train_victim(*arguments)
    assert isinstance(last, Trained)
    assert list(last.epochs) == ended
    return [event for event in ended if isinstance(event, EpochEnded)]


def curve(epochs: list[EpochEnded]) -> list[tuple[int, float, float]]:
    return [(e.epoch, e.train_accuracy, e.clean_accuracy) for e in epochs]


@pytest.mark.parametrize("weight_average", [0.0, 0.5])
def test_an_interrupted_training_goes_on_to_the_same_bits(
    data: ImageSet, tmp_path: Path, weight_average: float
) -> None:
    settings = replace(SETTINGS, weight_average=weight_average, alternate_flips=weight_average > 0)
    whole = epochs(data, data, settings, CPU, tmp_path / "whole.pt")
    assert whole[-1].clean_accuracy > 0.9
    broken = train_victim(data, data, settings, CPU, tmp_path / "broken.pt")
    first = [next(broken), next(broken)]
    broken.close()
    rest = epochs(data, data, settings, CPU, tmp_path / "broken.pt")
    assert curve(rest) == curve(whole)
    assert rest[:2] == first
    one, other = (torch.load(tmp_path / f"{name}.pt", weights_only=True) for name in ("whole", "broken"))
    for part in ("model", "average") if weight_average else ("model",):
        assert all(torch.equal(one[part][key], other[part][key]) for key in one[part])


def test_alternating_flips_show_each_image_both_ways_in_two_epochs(
    data: ImageSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Tensor] = []
    flips = augmentations.flip_and_shift_by

    def recorded(images: Tensor, draws: Tensor) -> Tensor:
        seen.append(draws[2])
        return flips(images, draws)

    monkeypatch.setattr(augmentations, "flip_and_shift_by", recorded)
    monkeypatch.setattr(torch, "randperm", lambda count, **_: torch.arange(count))
    epochs(data, data, replace(SETTINGS, batch_size=len(data), alternate_flips=True), CPU)
    one, two, three, four = [draws < 0.5 for draws in seen]
    assert torch.equal(one, ~two)
    assert torch.equal(one, three)
    assert torch.equal(two, four)
    assert 0.3 < one.float().mean() < 0.7


def test_with_weight_average_a_moving_average_of_the_weights_is_what_is_tested(data: ImageSet) -> None:
    settings = replace(SETTINGS, model="fast-w32", batch_size=len(data), weight_average=0.25)
    network = build_model(settings.model, 2, data.size, 0)
    seen, told = [], []
    for event in train_network(network, data, data, settings):
        if isinstance(event, EpochEnded):  # Each epoch is one step.
            seen.append({name: value.detach().clone() for name, value in network.state_dict().items()})
            told.append(event.clean_accuracy)
    assert isinstance(event, Trained)
    mean = seen[0]
    for weights in seen[1:]:
        mean = {name: torch.lerp(mean[name].float(), weights[name].float(), 0.75) for name in mean}
    result = event.network.state_dict()
    counts = [name for name in mean if name.endswith("num_batches_tracked")]
    assert result.keys() == mean.keys()
    assert all(torch.allclose(result[name], mean[name], atol=1e-5) for name in mean if name not in counts)
    assert not torch.allclose(result["head.weight"], network.state_dict()["head.weight"])
    right = (predict(event.network, data.images) == data.labels).float().mean().item()
    assert told[-1] == pytest.approx(right)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_network_is_tested_with_the_numbers_that_it_is_trained_with(data: ImageSet, precision: Precision) -> None:
    seen: list[torch.dtype] = []
    network = build_model("fast-w32", 2, data.size, 0)
    last = next(part for part in network.modules() if isinstance(part, nn.Linear))
    last.register_forward_hook(lambda part, _, logits: None if part.training else seen.append(logits.dtype))
    next(train_network(network, data, data, replace(SETTINGS, model="fast-w32", precision=precision)))
    assert set(seen) == {torch.bfloat16 if precision == "bf16" else torch.float32}
    assert {weights.dtype for weights in network.parameters()} == {torch.float32}


def test_a_finished_training_is_not_done_again(data: ImageSet, tmp_path: Path) -> None:
    first = epochs(data, data, SETTINGS, CPU, tmp_path / "a.pt")
    before = (tmp_path / "a.pt").stat().st_mtime_ns
    assert epochs(data, data, SETTINGS, CPU, tmp_path / "a.pt") == first
    assert (tmp_path / "a.pt").stat().st_mtime_ns == before


def test_another_seed_is_another_training(data: ImageSet) -> None:
    one = next(train_victim(data, data, SETTINGS, CPU))
    other = next(train_victim(data, data, replace(SETTINGS, seed=1), CPU))
    assert isinstance(one, EpochEnded)
    assert isinstance(other, EpochEnded)
    assert one.train_accuracy != other.train_accuracy


def test_a_checkpoint_of_other_settings_or_damaged_is_refused(data: ImageSet, tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    next(train_victim(data, data, SETTINGS, CPU, path))
    with pytest.raises(WorkError, match="other settings"):
        next(train_victim(data, data, replace(SETTINGS, seed=1), CPU, path))
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(WorkError, match="damaged"):
        next(train_victim(data, data, SETTINGS, CPU, path))


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory."),
        MemoryError(),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 4000000000000000 bytes."),
        PermissionError(13, "Permission denied"),
    ],
)
def test_running_out_of_memory_is_no_damage(
    data: ImageSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    path = tmp_path / "a.pt"
    next(train_victim(data, data, SETTINGS, CPU, path))

    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(torch, "load", fail)
    with pytest.raises(type(error)) as raised:
        next(train_victim(data, data, SETTINGS, CPU, path))
    assert raised.value is error


def test_a_clipped_gradient_is_no_longer_than_it_may_be(data: ImageSet) -> None:
    """With a clip near zero nothing is learned; without one, everything is."""
    still = epochs(data, data, replace(SETTINGS, gradient_clip=1e-9, weight_decay=0.0), CPU)
    assert still[-1].clean_accuracy < 0.7
    assert epochs(data, data, replace(SETTINGS, gradient_clip=1e9), CPU)[-1].clean_accuracy > 0.9


def test_inception_resnet_has_the_published_shape() -> None:
    """The widths are those of figures 7 and 10 to 14 of its paper; three sizes of features are left of 112 pixels."""
    model = build_model("inception-resnet-v1", 5, 112, 0).eval()
    widths = []
    for module in model.modules():
        if type(module).__name__ in ("Residual", "Reduction"):
            module.register_forward_hook(lambda _, __, output: widths.append(tuple(output.shape[1:3])))
    assert model(torch.zeros(2, 3, 112, 112)).shape == (2, 5)
    assert widths == [(256, 11)] * 5 + [(896, 5)] * 11 + [(1792, 2)] * 6
    with pytest.raises(UsageError, match="does not take images of 40 pixels"):
        build_model("inception-resnet-v1", 5, 40, 0)


def test_timms_networks_are_victims_too() -> None:
    pytest.importorskip("timm", reason="timm is not installed: pip install 'unlearn[timm]'")
    model = build_model("timm:inception_resnet_v2", 5, 80, 0)
    assert model.eval()(torch.zeros(2, 3, 80, 80)).shape == (2, 5)
    with pytest.raises(UsageError, match="timm has no model 'walls'"):
        build_model("timm:walls", 5, 80, 0)
    with pytest.raises(UsageError, match="does not take images of 32 pixels"):
        build_model("timm:inception_resnet_v2", 5, 32, 0)


def test_a_training_that_diverges_says_so(data: ImageSet) -> None:
    with pytest.raises(WorkError, match=r"diverged.*smaller learning-rate"):
        epochs(data, data, replace(SETTINGS, learning_rate=1e30), CPU)
