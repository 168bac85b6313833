"""Datasets become one tensor, with splits that never overlap and errors that say what to do."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from tests import standins
from unlearn_cli.errors import UsageError, WorkError
from unlearn_cli.training.datasets import DatasetSpec, load_dataset
from unlearn_cli.training.folders import Split, read_squares

SPLITS: tuple[Split, ...] = ("all", "train", "test")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Return a folder with three classes, 10 photos each of its own brightness, which tells it apart."""
    for label, name in enumerate(["a0", "a1", "b0"]):
        (tmp_path / name).mkdir()
        for i in range(10):
            Image.new("RGB", (40, 30), (label * 80, i * 20, 0)).save(tmp_path / name / f"{i}.png")
    return tmp_path


def folder(tree: Path, **options: object) -> DatasetSpec:
    return DatasetSpec(**{"source": f"folder:{tree}", "image_size": 16, **options})  # type: ignore[arg-type]


def test_a_folder_is_split_without_overlap(tree: Path) -> None:
    spec = folder(tree)
    whole, train, test = (load_dataset(spec, split) for split in SPLITS)
    assert (len(whole), len(train), len(test)) == (30, 24, 6)
    assert whole.images.shape == (30, 3, 16, 16)
    assert whole.classes == ("a0", "a1", "b0")
    seen = {tuple(image[:, 8, 8].tolist()) for image in train.images}
    assert seen.isdisjoint({tuple(image[:, 8, 8].tolist()) for image in test.images})


def test_classes_are_chosen_by_pattern(tree: Path) -> None:
    data = load_dataset(folder(tree, classes=("a*",)), "all")
    assert data.classes == ("a0", "a1")
    assert data.labels.bincount().tolist() == [10, 10]


def test_the_middle_square_is_cut_and_resized(tmp_path: Path) -> None:
    for name in ("x", "y"):
        (tmp_path / name).mkdir()
        picture = np.zeros((100, 200, 3), np.uint8)
        picture[25:75, 75:125] = 255
        for i in range(5):
            Image.fromarray(picture).save(tmp_path / name / f"{i}.png")
    data = load_dataset(folder(tmp_path, crop=50), "all")
    assert (data.images == 255).all()
    assert (load_dataset(folder(tmp_path, crop=None), "all").images[0, 0, 0] == 0).all()


def test_the_first_images_are_the_same_number_of_each_class(tree: Path) -> None:
    data = load_dataset(folder(tree), "all").first(7)
    assert data.labels.bincount().tolist() == [3, 2, 2]


@pytest.mark.parametrize(
    ("changes", "error", "because"),
    [
        ({"source": "mnist"}, UsageError, "no dataset 'mnist'"),
        ({"image_size": None}, UsageError, "image-size"),
        ({"download": True}, UsageError, "--download"),
        ({"source": "folder:/nowhere", "image_size": None}, WorkError, "one subfolder"),
        ({"classes": ("b*",)}, WorkError, "too few classes: 1 match, but at least 2"),
        ({"source": "cifar10"}, UsageError, "always have 32 pixels"),
        ({"source": "cifar10", "image_size": 32, "data_dir": Path("/nowhere")}, WorkError, "--data-dir"),
    ],
)
def test_what_cannot_be_loaded_says_what_to_do(
    tree: Path, changes: dict[str, object], error: type[Exception], because: str
) -> None:
    with pytest.raises(error, match=because):
        load_dataset(folder(tree, **changes), "train")


def test_classes_with_too_few_images_are_named(tree: Path) -> None:
    for number in range(4, 10):
        (tree / "a1" / f"{number}.png").unlink()
    with pytest.raises(WorkError, match=r"too few images: a1\. Each needs at least 5"):
        load_dataset(folder(tree), "test")


def test_hidden_files_are_left_out_and_photos_of_phones_are_not(tree: Path) -> None:
    heif = pytest.importorskip("pillow_heif", reason="the extra 'heic' is not installed")
    heif.register_heif_opener()
    Image.new("RGB", (40, 30), (9, 9, 9)).save(tree / "a0" / "0.HEIC")
    Image.new("RGB", (40, 30), (9, 9, 9)).save(tree / "a0" / ".thumbnail.png")
    (tree / ".cache").mkdir()
    (tree / "a0" / "notes.txt").write_text("no image")
    data = load_dataset(folder(tree), "all")
    assert data.classes == ("a0", "a1", "b0")
    assert len(data) == 31
    assert (data.images[0] - 9).abs().max() <= 2


def test_a_missing_package_is_not_a_photos_fault(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ModuleNotFoundError("No module named 'dlib'")

    monkeypatch.setattr("unlearn_cli.training.datasets.middle_square", fail)
    with pytest.raises(ModuleNotFoundError):
        load_dataset(folder(tree), "all")


def test_damaged_images_are_named_all_at_once(tree: Path) -> None:
    for name in ("3.png", "1.png"):
        (tree / "a0" / name).write_bytes(b"nothing")
    with pytest.raises(WorkError, match=r"1\.png, .*3\.png"):
        load_dataset(folder(tree), "all")


def test_cifar10_is_the_real_one(cifar10: Path) -> None:
    spec = DatasetSpec(source="cifar10", data_dir=cifar10)
    train, test = load_dataset(spec, "train"), load_dataset(spec, "test")
    assert (len(train), len(test)) == (50_000, 10_000)
    assert train.images.dtype == torch.uint8
    assert train.labels.bincount().tolist() == [5000] * 10
    assert train.classes[0] == "airplane"
    # The published per-channel means of CIFAR-10.
    means = train.images.float().mean(dim=(0, 2, 3)) / 255
    assert means.tolist() == pytest.approx([0.4914, 0.4822, 0.4465], abs=1e-4)


def test_imagenet_is_a_users_copy_in_folders(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    root = tmp_path_factory.mktemp("imagenet")
    for part in ("train", "val"):
        (root / part).symlink_to(tree)
    spec = DatasetSpec(source="imagenet", data_dir=root, first_classes=2)
    train, test = load_dataset(spec, "all"), load_dataset(spec, "test")
    assert train.classes == test.classes == ("a0", "a1")
    assert (len(train), len(test)) == (20, 20)  # their own split: nothing is set aside
    assert train.size == 224
    assert train.name == "ImageNet"
    with pytest.raises(UsageError, match="do not allow unlearn to download"):
        load_dataset(DatasetSpec(source="imagenet", download=True), "all")


def test_classes_get_new_names(tree: Path) -> None:
    data = load_dataset(folder(tree, class_map=(("b0", "night"), ("a1", "day"), ("a0", "night"))), "all")
    assert data.classes == ("night", "day")
    assert data.labels.bincount().tolist() == [20, 10]
    with pytest.raises(UsageError, match="names 'c9'"):
        load_dataset(folder(tree, class_map=(("c9", "night"),)), "all")


def test_cifar100_is_read_by_torchvision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = standins.cifar100(tmp_path, monkeypatch)
    data = load_dataset(DatasetSpec(source="cifar100", data_dir=tmp_path, first_classes=5), "train")
    assert data.classes == tuple(names[:5])
    assert data.labels.tolist() == [0, 1, 2, 3, 4]
    assert data.images[1].reshape(-1).tolist() == [value % 256 for value in range(3072, 2 * 3072)]
    with pytest.raises(UsageError, match="at least 2"):
        load_dataset(DatasetSpec(source="cifar100", data_dir=tmp_path, classes=("nothing*",)), "train")


def test_svhn_is_read_by_torchvision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = standins.svhn(tmp_path, monkeypatch)
    data = load_dataset(DatasetSpec(source="svhn", data_dir=tmp_path), "all")
    assert data.classes == tuple("0123456789")
    assert torch.equal(data.images[3], torch.from_numpy(pixels[:, :, :, 3]).permute(2, 0, 1))
    assert data.labels[:10].tolist() == [2, 3, 4, 5, 6, 7, 8, 9, 0, 1]


def test_a_missing_detector_is_not_blamed_on_the_photos(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "good.png")

    def read(_path: Path, _keys: Sequence[str]) -> Sequence[NDArray[np.uint8]]:
        raise WorkError("The detector's file is missing.")

    with pytest.raises(WorkError, match="detector's file"):
        read_squares([(tmp_path / "good.png", "0")], read, 8)
