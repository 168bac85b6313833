"""The command in this process, for what needs PyTorch: loading it takes seconds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from unlearn_cli.cli.app import app

Run = Callable[..., Any]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Return the command in this process, which has PyTorch loaded, in a folder with an album of three classes."""
    random = np.random.default_rng(0)
    for label, name in enumerate(("dawn", "day", "night")):
        (tmp_path / "album" / name).mkdir(parents=True)
        for i in range(10):
            levels = random.integers(0, 120, (20, 20, 3)) + 60 * label
            Image.fromarray(levels.astype(np.uint8)).save(tmp_path / "album" / name / f"{i}.png")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["unlearn", "generate"])

    def invoke(*arguments: object) -> Any:
        return CliRunner().invoke(app, [str(argument) for argument in arguments])

    return invoke
