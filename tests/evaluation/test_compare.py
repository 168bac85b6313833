"""The evaluation, on real images: the shipped bank protects, and interrupted runs go on."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.conftest import make_bank
from unlearn_cli.banks.catalog import open_bank
from unlearn_cli.errors import UsageError, WorkError
from unlearn_cli.evaluation.compare import ArmEpoch, Compared, compare
from unlearn_cli.evaluation.protection import protect_set
from unlearn_cli.victims.datasets import DatasetSpec, ImageSet, load_dataset
from unlearn_cli.victims.train import TrainingSettings

CPU = torch.device("cpu")
TINY = TrainingSettings(model="resnet10-w16", epochs=2, batch_size=50, learning_rate=0.05)


@pytest.fixture(scope="module")
def sets(cifar10: Path) -> tuple[ImageSet, ImageSet]:
    spec = DatasetSpec(source="cifar10", data_dir=cifar10)
    return load_dataset(spec, "train").first(4000), load_dataset(spec, "test").first(2000)


def finish(events: Iterable[ArmEpoch | Compared]) -> Compared:
    last = list(events)[-1]
    assert isinstance(last, Compared)
    return last


def test_the_shipped_bank_takes_away_what_a_victim_could_learn(sets: tuple[ImageSet, ImageSet], tmp_path: Path) -> None:
    train, test = sets
    settings = replace(TINY, epochs=6, batch_size=64, learning_rate=0.1)
    result = finish(compare(open_bank("cifar10"), train, test, settings, tmp_path, CPU, "the command"))
    assert result.clean.final > 0.45
    assert result.protected.final < 0.25
    assert result.protected.train_final > 0.9  # it did learn: the noise
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["command"] == "the command"
    for arm in ("clean", "protected"):
        assert report[arm]["final"] == report[arm]["per_epoch"][-1]
        assert report[arm]["peak"] == max(report[arm]["per_epoch"])
        assert len(report[arm]["per_epoch"]) == 6


def test_an_interrupted_comparison_goes_on_at_its_last_epoch(sets: tuple[ImageSet, ImageSet], tmp_path: Path) -> None:
    train, test = (part.first(200) for part in sets)
    bank = open_bank("cifar10")
    whole = finish(compare(bank, train, test, TINY, tmp_path / "whole", CPU))
    events = compare(bank, train, test, TINY, tmp_path / "broken", CPU)
    seen = [next(events) for _ in range(3)]
    events.close()
    again = list(compare(bank, train, test, TINY, tmp_path / "broken", CPU))
    assert again[:3] == seen
    assert [event.arm for event in again if isinstance(event, ArmEpoch)] == ["clean"] * 2 + ["protected"] * 2
    last = finish(again)
    assert (last.clean.per_epoch, last.protected.per_epoch) == (whole.clean.per_epoch, whole.protected.per_epoch)


def test_a_folder_belongs_to_one_comparison(sets: tuple[ImageSet, ImageSet], tmp_path: Path) -> None:
    train, test = (part.first(100) for part in sets)
    finish(compare(open_bank("cifar10"), train, test, replace(TINY, epochs=1), tmp_path, CPU))
    other = make_bank(tmp_path / "other.safetensors", classes=train.classes)
    with pytest.raises(WorkError, match="another evaluation"):
        next(compare(other, train, test, replace(TINY, epochs=1), tmp_path, CPU))
    # Of the same name, size and classes, but other pixels.
    darker = replace(train, images=train.images // 2)
    with pytest.raises(WorkError, match="another evaluation"):
        next(compare(open_bank("cifar10"), darker, test, replace(TINY, epochs=1), tmp_path, CPU))


def test_images_are_protected_with_the_pattern_of_their_class(sets: tuple[ImageSet, ImageSet], tmp_path: Path) -> None:
    train = sets[0].first(300)
    bank = make_bank(tmp_path / "bank.safetensors", classes=tuple(reversed(train.classes)))
    before = train.images.clone()
    protected = protect_set(train, bank)
    assert torch.equal(train.images, before)
    order = [bank.classes.index(train.classes[label]) for label in train.labels.tolist()]
    expected = np.clip(train.images.numpy().astype(int) + bank.noise[order], 0, 255)
    np.testing.assert_array_equal(protected.images.numpy(), expected)


def test_a_family_gives_each_class_a_pattern_of_its_own(sets: tuple[ImageSet, ImageSet]) -> None:
    train = sets[0].first(100)
    grey = replace(train, images=torch.full_like(train.images, 128))
    protected = protect_set(grey, open_bank("person"))
    looks = {protected.images[i].numpy().tobytes() for i in range(100)}
    assert len(looks) == 10


def test_classes_without_a_pattern_are_named(sets: tuple[ImageSet, ImageSet], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no pattern for airplane"):
        protect_set(sets[0].first(100), make_bank(tmp_path / "bank.safetensors"))
