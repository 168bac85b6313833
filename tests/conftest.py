"""Fixtures: the real data beside the checkout, and small things made of nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

from tests.command import run_command
from unlearn_cli.banks.bank import Bank, load_bank, save_bank
from unlearn_cli.banks.card import Accuracy, Images, Result
from unlearn_cli.banks.catalog import choose
from unlearn_cli.banks.keys import make_key
from unlearn_cli.banks.provenance import Provenance
from unlearn_cli.photos.apply import Pattern
from unlearn_cli.photos.protection import Protection

# Two shared cores say nothing about a test by taking long.
settings.register_profile("unlearn", deadline=None, derandomize=True)
settings.load_profile("unlearn")

ROOT = Path(__file__).resolve().parents[1]
SHARED = Path(os.environ.get("UNLEARN_SHARED", ROOT.parent / "shared"))

RunUnlearn = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(autouse=True, scope="session")
def _home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Give each test a home of its own, so that none finds or changes the key or the settings of whoever runs it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_DATA_HOME", str(tmp_path_factory.mktemp("data")))
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.mktemp("config")))
        for name in [name for name in os.environ if name.startswith("UNLEARN_") and name != "UNLEARN_SHARED"]:
            patch.delenv(name)
        make_key()  # Without a terminal, no key is made unnoticed.
        yield


@pytest.fixture(scope="session")
def shared() -> Path:
    """Return the folder with real photos and datasets, which is not part of the project."""
    if not SHARED.is_dir():
        pytest.skip("the real photos and datasets are not here (UNLEARN_SHARED names their folder)")
    return SHARED


@pytest.fixture(scope="session")
def photos(shared: Path) -> Path:
    return shared / "photos"


@pytest.fixture(scope="session")
def cifar10(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the real CIFAR-10, as torchvision reads it."""
    folder = tmp_path_factory.mktemp("cifar10")
    subprocess.run([sys.executable, shared / "datasets" / "unpack_cifar10.py", folder], check=True, timeout=300)
    return folder


@pytest.fixture
def unlearn(tmp_path: Path) -> RunUnlearn:
    """Return how to run the real command in a process of its own, in an empty folder, as a script would."""

    def run(*args: object, **env: str) -> subprocess.CompletedProcess[str]:
        return run_command([*map(str, args)], tmp_path, {**os.environ, "COLUMNS": "200", "NO_COLOR": "1", **env})

    return run


def make_bank(
    path: Path,
    *,
    epsilon: int = 8,
    classes: tuple[str, ...] = ("cat", "dog"),
    size: int = 32,
    family: str | None = None,
) -> Bank:
    """Return a bank of random noise that fills its bound."""
    random = np.random.default_rng(0)
    noise = random.integers(-epsilon, epsilon + 1, (len(classes), 3, size, size)).astype(np.int8)
    save_bank(path, noise, Provenance(classes=classes, epsilon=epsilon, scale=size, family=family))
    return load_bank(path)


@pytest.fixture
def bank(tmp_path: Path) -> Bank:
    return make_bank(tmp_path / "bank.safetensors")


def protection_of(pattern: Pattern, name: str = "test") -> Protection:
    """Return the protection that a run is given for its class."""
    return Protection(pattern, name, name, "0" * 64, pattern.epsilon)


@pytest.fixture(scope="session")
def cat() -> Protection:
    """Return a shipped pattern that takes no key and goes over the whole photo."""
    return Protection.of(choose("cat"), "cat")


def make_result(
    final: float, *, clean: float = 0.7, defence: str = "none", seeds: int = 1, command: str = ""
) -> Result:
    """Return a result of two classes, both protected, with the victim's accuracy at the end."""
    return Result(
        protected=Accuracy(final=final, peak=final),
        clean=Accuracy(final=clean, peak=clean),
        defence=defence,
        protected_classes=2,
        together=2,
        protected_images=100,
        seeds=seeds,
        images=Images(name="pets", train_images=100, test_images=40, classes=("cat", "dog"), image_size=32, sha256="0"),
        training={"model": "resnet10-w16", "epochs": 12},
        command=command or f"{final} {defence} {seeds}",
    )
