"""Noise that is made for a photo: with the surrogate beside the bank, within the bound, each photo by itself."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from typer.testing import CliRunner

from tests.conftest import RunUnlearn
from unlearn_cli.banks.bank import Bank, load_bank, save_bank
from unlearn_cli.banks.catalog import surrogate_path
from unlearn_cli.banks.provenance import Provenance
from unlearn_cli.cli.app import app
from unlearn_cli.errors import BankError
from unlearn_cli.evaluation.protect_set import protect_set
from unlearn_cli.noise.events import Finished
from unlearn_cli.noise.make import make_noise
from unlearn_cli.noise.settings import ErrorMin
from unlearn_cli.noise.surrogate import PhotoNoise, load_surrogate, save_surrogate
from unlearn_cli.training.datasets import DatasetSpec, ImageSet, load_dataset

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def images(cifar10: Path) -> ImageSet:
    return load_dataset(DatasetSpec(source="cifar10", data_dir=cifar10, first_classes=2), "all").first(300)


@pytest.fixture(scope="module")
def own(images: ImageSet, tmp_path_factory: pytest.TempPathFactory) -> Bank:
    """Return a bank of two classes with its surrogate."""
    settings = ErrorMin(surrogate="resnet10-w16", noise_share=1.0, max_iterations=6, batch_size=64)
    *_, finished = make_noise(images, settings, CPU)
    assert isinstance(finished, Finished)
    assert finished.surrogate is not None
    path = tmp_path_factory.mktemp("own") / "own.safetensors"
    save_bank(path, finished.noise, Provenance(classes=images.classes, epsilon=8, scale=32, through="augment"))
    save_surrogate(finished.surrogate, hashlib.sha256(finished.noise.tobytes()).hexdigest(), 2, 32, path)
    return load_bank(path)


def test_it_makes_the_surrogate_name_a_photo_as_the_class(own: Bank, images: ImageSet) -> None:
    maker = PhotoNoise(own, 8, CPU)
    (network,) = load_surrogate(own, CPU).values()
    few, wanted = images.images[:40], 1 - images.labels[:40]  # the class that each is not of

    def loss(levels: torch.Tensor) -> float:
        with torch.no_grad():
            return F.cross_entropy(network(levels.float()), wanted).item()

    noise = maker.make(few, wanted)
    assert noise.dtype == torch.int8
    assert noise.abs().max() <= 8
    assert loss((few.float() + noise).clamp(0, 255)) < 0.7 * loss(few)


def test_a_photos_noise_does_not_depend_on_its_neighbours(own: Bank, images: ImageSet) -> None:
    maker = PhotoNoise(own, 8, CPU)
    together = maker.make(images.images[:6], images.labels[:6])
    alone = maker.make(images.images[2:3], images.labels[2:3])[0]
    # The arithmetic of another batch size may turn the sign of a gradient of nearly zero.
    assert (together[2] == alone).float().mean() > 0.9


def test_threads_share_the_work(own: Bank, images: ImageSet) -> None:
    maker = PhotoNoise(own, 4, CPU)
    found: dict[int, np.ndarray[tuple[int, ...], np.dtype[np.int8]]] = {}

    def work(i: int) -> None:
        found[i] = maker.of(images.images[i].permute(1, 2, 0).numpy(), int(images.labels[i]))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == list(range(8))
    assert all(0 < np.abs(noise.astype(int)).max() <= 4 for noise in found.values())
    assert len({noise.tobytes() for noise in found.values()}) == 8


def test_what_is_no_surrogate_of_this_bank_is_refused(own: Bank, tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    save_bank(path, np.ascontiguousarray(-own.noise), own.provenance)
    with pytest.raises(BankError, match="no network beside it"):
        load_surrogate(load_bank(path), CPU)
    data = surrogate_path(own.path).read_bytes()
    surrogate_path(path).write_bytes(data)
    with pytest.raises(BankError, match="belongs to another bank"):
        load_surrogate(load_bank(path), CPU)
    for broken in (data[:5000], b"nothing", own.path.read_bytes()):
        surrogate_path(path).write_bytes(broken)
        with pytest.raises(BankError, match="damaged"):
            load_surrogate(load_bank(path), CPU)


def test_an_evaluation_lays_what_protect_would(own: Bank, images: ImageSet) -> None:
    few = images.first(10)
    difference = protect_set(few, own, "sample-wise", CPU).images.int() - few.images.int()
    assert 0 < difference.abs().max() <= 8
    assert len(torch.unique(difference.reshape(10, -1), dim=0)) == 10


def test_protect_makes_noise_for_each_photo(own: Bank, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)

    def unlearn(*arguments: object) -> Any:
        """Run the command in this process, which has PyTorch loaded."""
        return CliRunner().invoke(app, [str(argument) for argument in arguments])

    (tmp_path / "in").mkdir()
    random = np.random.default_rng(0)
    for i, mode in enumerate(["RGB", "L", "RGBA", "RGB"]):
        small = Image.fromarray(random.integers(0, 256, (6, 8, 3)).astype(np.uint8))
        small.resize((200, 150), Image.Resampling.BICUBIC).convert(mode).save(tmp_path / "in" / f"{i}.png")
    arguments = ("protect", "in", "--class", "airplane", "--bank", own.path, "--form", "sample-wise", "--epsilon", "6")
    done = unlearn(*arguments)
    assert done.exit_code == 0, done.stderr
    assert "has not been measured" in done.stderr
    noises = set()
    for i in range(4):
        pair = [np.asarray(Image.open(tmp_path / f / f"{i}.png").convert("RGB")) for f in ("in", "in-protected")]
        difference = pair[1].astype(int) - pair[0]
        assert 0 < np.abs(difference).max() <= 6
        noises.add(difference.tobytes())
    assert len(noises) == 4
    # A rerun has nothing to do, also when the last record of a photo was lost as its run was killed.
    assert "up to date: 4" in unlearn(*arguments).stdout
    manifest = tmp_path / "in-protected.jsonl"
    lines = manifest.read_text().splitlines()
    assert sum('"begun"' in line for line in lines) == 4
    before = (tmp_path / "in-protected" / "3.png").read_bytes()
    manifest.write_text("\n".join(line for line in lines if '"begun"' in line or "3.png" not in line) + "\n")
    again = unlearn(*arguments)
    assert again.exit_code == 0, again.stderr
    assert (tmp_path / "in-protected" / "3.png").read_bytes() == before
    checked = unlearn("verify", "in", "in-protected")
    assert checked.exit_code == 0, checked.stdout
    assert "4: made for each photo (sample-wise)" in checked.stdout
    # The form is part of what a copy was made with.
    other = unlearn(*arguments[:6], "--epsilon", "6")
    assert other.exit_code == 0
    assert "4 of 4" in other.stdout


def test_without_pytorch_or_surrogate_it_says_what_to_do(own: Bank, unlearn: RunUnlearn, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    Image.new("RGB", (50, 50), (90, 90, 90)).save(tmp_path / "in" / "a.png")
    save_bank(tmp_path / "lone.safetensors", own.noise, own.provenance)
    arguments = ["protect", "in", "--class", "airplane", "--bank", "lone.safetensors", "--form", "sample-wise"]
    done = unlearn(*arguments)
    assert done.returncode == 3
    assert "no network beside it" in done.stderr
    code = "import sys; sys.modules['torch'] = None\nfrom unlearn_cli.cli.app import app\napp(sys.argv[1:])"
    without = subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert without.returncode == 1
    assert "pip install '.[train]'" in without.stderr
    assert not (tmp_path / "in-protected").exists()
