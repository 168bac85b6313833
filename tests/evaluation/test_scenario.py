"""What a victim is given: who is protected, who is not, and nothing of one in the other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tests.conftest import make_bank
from unlearn_cli.banks.bank import Bank, load_bank, save_bank
from unlearn_cli.banks.provenance import Provenance
from unlearn_cli.errors import UsageError, WorkError
from unlearn_cli.evaluation.cell import Cell, Images, Library, NoisePlan, hash_of, identity, protected_labels
from unlearn_cli.evaluation.protect_set import for_images, protect_set, renamed
from unlearn_cli.evaluation.scenario import Scenario, build, check, choose_protected, join
from unlearn_cli.training.datasets import DatasetSpec, ImageSet, digest
from unlearn_cli.training.train import TrainingSettings

CPU = torch.device("cpu")
CLASSES = ("cat", "cow", "dog")


def images(count: int = 60, classes: tuple[str, ...] = CLASSES, size: int = 16) -> ImageSet:
    generator = torch.Generator().manual_seed(count)
    pixels = torch.randint(20, 230, (count, 3, size, size), generator=generator, dtype=torch.uint8)
    return ImageSet(pixels, torch.arange(count) % len(classes), classes, "noise", "none")


class Given(Library):
    """A library of images that are there already."""

    def train(self, of: Images) -> ImageSet:
        return images(60) if of.spec.source == "first" else images(20, ("ship",))

    def test(self, of: Images) -> ImageSet:
        return images(30) if of.spec.source == "first" else images(10, ("ship",))


CELL = Cell(
    images=Images(spec=DatasetSpec(source="first")),
    noise=NoisePlan(bank="bank"),
    training=TrainingSettings(model="resnet10-w16", epochs=1),
)

CELL_WITHOUT = replace(CELL, noise=None)

Build = Callable[..., Scenario]


@pytest.fixture
def scenario(tmp_path: Path) -> Build:
    bank = make_bank(tmp_path / "bank.safetensors", classes=(*CLASSES, "ship"), size=16)
    return lambda **changes: build(replace(CELL, **changes), Given(), lambda plan, on: bank, CPU)


@given(st.floats(0, 1), st.integers(0, 3))
def test_a_share_of_every_class_is_protected(rate: float, seed: int) -> None:
    data = images(90)
    mask = choose_protected(data, [0, 2], rate, seed)
    for label, wanted in ((0, round(30 * rate)), (1, 0), (2, round(30 * rate))):
        assert int(mask[data.labels == label].sum()) == wanted
    smaller = choose_protected(data, [0, 2], rate / 2, seed)
    assert not bool((smaller & ~mask).any())


def test_what_is_not_protected_is_untouched_to_the_bit(scenario: Build) -> None:
    found = scenario(poison_rate=0.4, protect_classes=("cat", "d*"))
    assert int(found.protected.sum()) == 16
    same = (found.train.images == found.original.images).flatten(1).all(1)
    assert torch.equal(same, ~found.protected)
    assert set(found.train.labels[found.protected].tolist()) == {0, 2} == set(found.protected_classes)
    assert torch.equal(found.test.images, images(30).images)


def test_clean_images_alone_are_those_that_the_other_training_has_clean(scenario: Build) -> None:
    both, alone = scenario(poison_rate=0.8), scenario(poison_rate=0.8, keep="clean")
    assert len(alone.train) == 12
    assert torch.equal(alone.train.images, both.train.images[~both.protected])
    assert not bool(alone.protected.any())
    with pytest.raises(UsageError, match="would leave no images to train on"):
        scenario(keep="clean")


def test_protected_images_alone_are_those_of_the_other_training(scenario: Build) -> None:
    both, alone = scenario(poison_rate=0.4), scenario(poison_rate=0.4, keep="protected")
    assert len(alone.train) == 24
    assert bool(alone.protected.all())
    assert torch.equal(alone.train.images, both.train.images[both.protected])
    assert torch.equal(alone.original.images, both.original.images[both.protected])


def test_a_trigger_is_tested_on_a_network_that_never_saw_it(scenario: Build) -> None:
    found = scenario(poison_rate=0.0, trigger=True)
    assert not bool(found.protected.any())
    assert found.bank is not None
    assert found.protected_classes == (0, 1, 2)


def sample_wise(path: Path, data: ImageSet) -> Bank:
    noise = np.random.default_rng(1).integers(-8, 9, tuple(data.images.shape)).astype(np.int8)
    provenance = Provenance(
        classes=data.classes, epsilon=8, scale=data.size, form="sample-wise", dataset={"sha256": digest(data)}
    )
    save_bank(path, noise, provenance)
    return load_bank(path)


def test_noise_for_images_of_another_set_goes_with_them(tmp_path: Path) -> None:
    """As with CIFAR-10's ships in CIFAR-100, whose noise was made on all of CIFAR-10."""
    made_on = images(40)
    bank = sample_wise(tmp_path / "own.safetensors", made_on)
    some = made_on.at(made_on.labels == 1)
    joined = join(
        images(20, ("fox", "hen")), replace(some, labels=torch.zeros(len(some), dtype=torch.int64), classes=("cow",))
    )
    only = joined.labels == 2
    found = protect_set(joined, for_images(bank, made_on, joined, only), only=only)
    expected = np.clip(some.images.numpy().astype(int) + bank.noise[(made_on.labels == 1).numpy()], 0, 255)
    np.testing.assert_array_equal(found.images[only].numpy(), expected)
    assert torch.equal(found.images[~only], joined.images[~only])
    with pytest.raises(UsageError, match="no noise for some of the protected images"):
        for_images(bank, made_on, joined, ~only)


def test_patterns_go_to_the_classes_that_they_are_renamed_to(tmp_path: Path) -> None:
    bank = make_bank(tmp_path / "bank.safetensors", classes=("wagon", "zebra", "ox"), size=16)
    found = renamed(bank, {"ox": "cow", "wagon": "cat"})
    assert found.classes == ("cow", "cat")
    np.testing.assert_array_equal(found.noise, bank.noise[[2, 0]])
    with pytest.raises(UsageError, match="no pattern for yak"):
        renamed(bank, {"yak": "cow"})


def test_a_share_of_the_training_images_has_all_classes() -> None:
    library, whole = Library(), images(60)
    library._sets[CELL.images.spec, "train"] = whole
    part = library.train(replace(CELL.images, train_share=0.2))
    assert torch.bincount(part.labels).tolist() == [4, 4, 4]
    assert hash_of(identity(CELL_WITHOUT, library)) != hash_of(
        identity(replace(CELL_WITHOUT, images=replace(CELL.images, train_share=0.2)), library)
    )


def test_what_a_run_does_not_have_is_not_in_its_hash() -> None:
    """Results of earlier versions keep their names."""
    found = identity(CELL_WITHOUT, Library())
    assert "gradient_clip" not in found["training"]
    assert "train_share" not in found["images"]
    clipped = replace(CELL_WITHOUT, training=replace(CELL.training, gradient_clip=5.0))
    assert identity(clipped, Library())["training"]["gradient_clip"] == 5.0


def test_the_baseline_has_no_noise(scenario: Build) -> None:
    found = scenario(noise=None)
    assert torch.equal(found.train.images, images(60).images)
    assert (found.protected_classes, found.bank) == ((), None)


def test_a_class_of_another_dataset_joins(scenario: Build) -> None:
    found = scenario(joined=Images(spec=DatasetSpec(source="other")), protect_classes=("ship",))
    assert found.train.classes == (*CLASSES, "ship")
    assert (len(found.train), len(found.test), int(found.protected.sum())) == (80, 40, 20)
    assert bool((found.train.labels[found.protected] == 3).all())
    with pytest.raises(UsageError, match="cannot be combined"):
        join(images(), images())


def test_classes_that_are_not_there_are_named() -> None:
    assert protected_labels(CLASSES, ("c*",)) == [0, 1]
    with pytest.raises(UsageError, match="No class matches 'x'"):
        protected_labels(CLASSES, ("cat", "x"))


def test_a_filter_is_applied_to_every_image(scenario: Build) -> None:
    found = scenario(defence="gray")
    for part in (found.train, found.test):
        assert torch.equal(part.images[:, 0], part.images[:, 2])


def put(path: Path, seed: int, change: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 200, (16, 16, 3)) + change
    Image.fromarray(pixels.astype(np.uint8)).save(path)


def test_photos_that_were_protected_on_the_disk_are_used_as_they_are(tmp_path: Path, bank: Bank) -> None:
    """Also from folders in folders, and where the copy has another suffix, behind the old one or in its place."""
    for name in ("cat", "dog"):
        for i in range(10):
            clean, copy = [("a.bmp", "a.bmp.png"), ("k.bmp", "k.png"), ("z.png", "z.png")][i % 3]
            put(tmp_path / "clean" / name / f"{i // 3}" / clean, i)
            put(tmp_path / "done" / name / f"{i // 3}" / copy, i, change=5)
    spec = DatasetSpec(source=f"folder:{tmp_path / 'clean'}", image_size=16)
    cell = Cell(images=Images(spec=spec), protected_tree=tmp_path / "done", protect_classes=("dog",))
    found = build(cell, Library(), lambda plan, on: bank, CPU)
    difference = found.train.images.int() - found.original.images.int()
    assert len(found.train) == 16
    assert bool((difference[found.protected] == 5).all())
    assert not bool(difference[~found.protected].any())
    assert found.protected_classes == (1,)
    # One of two photos with one name in different folders is lost: the others must not take its place.
    (tmp_path / "done" / "dog" / "1" / "z.png").unlink()
    with pytest.raises(WorkError, match=r"1 of one are missing in the other, such as dog/1/z\.png"):
        build(cell, Library(), lambda plan, on: bank, CPU)
    put(tmp_path / "done" / "dog" / "1" / "z.png", 0)
    put(tmp_path / "done" / "dog" / "1" / "new.png", 0)
    with pytest.raises(WorkError, match=r"such as dog/1/new\.png"):
        build(cell, Library(), lambda plan, on: bank, CPU)


@pytest.mark.parametrize(
    ("changes", "because"),
    [
        ({"defence": "walls"}, "no defence"),
        ({"training": TrainingSettings(augment="walls")}, "no augmentation"),
        ({"training": TrainingSettings(model="walls")}, "no model 'walls'"),
        ({"training": TrainingSettings(model="squeezenet1_1"), "pairs": Path("x")}, "does not take|linear layer"),
        ({"protect_classes": ("fox",)}, "No class matches 'fox'"),
        ({"keep": "clean"}, "would leave no images to train on"),
        ({"poison_rate": 0.01}, "no image would be protected"),
        ({"noise": NoisePlan(bank="cifar10", fitted=True), "trigger": True, "protect_classes": ("cat",)}, "class-wise"),
        ({"noise": NoisePlan(bank="cifar10")}, "no pattern for cow"),
        ({"noise": None, "protected_tree": Path("x"), "trigger": True}, "it works only with 'unlearn evaluate bank'"),
    ],
)
def test_what_cannot_be_measured_is_told_before_anything_is_trained(changes: dict[str, object], because: str) -> None:
    good = replace(CELL, noise=NoisePlan(bank="cifar10"), protect_classes=("cat",))
    check(good, Given())
    if changes.keys() == {"noise"}:
        changes = {**changes, "protect_classes": ()}
    with pytest.raises(UsageError, match=because):
        check(replace(good if "keep" not in changes else CELL, **changes), Given())  # type: ignore[arg-type]


def test_images_are_protected_with_the_pattern_of_their_class(tmp_path: Path) -> None:
    train = images(30)
    bank = make_bank(tmp_path / "bank.safetensors", classes=tuple(reversed(CLASSES)), size=16)
    before = train.images.clone()
    protected = protect_set(train, bank)
    assert torch.equal(train.images, before)
    order = [bank.classes.index(train.classes[label]) for label in train.labels.tolist()]
    expected = np.clip(train.images.numpy().astype(int) + bank.noise[order], 0, 255)
    np.testing.assert_array_equal(protected.images.numpy(), expected)


def test_a_family_gives_each_class_a_pattern_of_its_own(tmp_path: Path) -> None:
    train = images(30)
    grey = replace(train, images=torch.full_like(train.images, 128))
    bank = make_bank(tmp_path / "family.safetensors", classes=("a", "b", "c"), family="person")
    protected = protect_set(grey, bank, only=train.labels != 1)
    looks = {
        label: {image.numpy().tobytes() for image in protected.images[train.labels == label]} for label in range(3)
    }
    assert [len(look) for look in looks.values()] == [1, 1, 1]
    assert looks[0] != looks[2]
    assert looks[1] == {grey.images[0].numpy().tobytes()}


def test_classes_without_a_pattern_are_named(bank: Bank) -> None:
    with pytest.raises(UsageError, match="no pattern for cow"):
        protect_set(images(30), bank)
    # Who is not protected needs none.
    protect_set(images(30), bank, only=images(30).labels != 1)
