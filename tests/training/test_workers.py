"""Two processes that share a search see the gradients of one, and make noise as strong."""

from __future__ import annotations

import json
import os
import runpy
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from tests.conftest import ROOT
from unlearn_cli.banks.bank import load_bank
from unlearn_cli.banks.card import read_card
from unlearn_cli.cli.app import app

GRADIENTS = """
import sys, torch
from unlearn_cli.noise.alternating import AlternatingSearch
from unlearn_cli.noise.settings import ErrorMin
from unlearn_cli.training.datasets import ImageSet
from unlearn_cli.training.workers import join_workers, leave_workers

workers, device = join_workers("cpu")
generator = torch.Generator().manual_seed(0)
images = torch.randint(0, 256, (101, 3, 16, 16), generator=generator, dtype=torch.uint8)
data = ImageSet(images, torch.arange(101) % 4, tuple("abcd"), "noise", "none")
found = {}
for form, through, solver in (
    ("class-wise", "augment", "pgd"), ("sample-wise", "photo", "pgd"), ("sample-wise", "none", "lbfgs")
):
    settings = ErrorMin(
        form=form, through=through, solver=solver, surrogate="resnet10-w16", batch_size=25, noise_share=1.0,
        noise_steps=2,
    )
    search = AlternatingSearch(data, settings, device, workers)
    seen, together = [], search.form.together
    def record(gradient):
        gradient = together(gradient)
        if gradient.dim():
            seen.append(gradient.clone())
        return gradient
    search.form.together = record
    # The surrogate's own step, with the batch norms' statistics frozen as they began.
    networks = search.ensemble.networks
    networks.train = lambda mode=True: torch.nn.Module.train(networks, False)
    search.train_surrogate(3)
    weights = torch.cat([p.detach().reshape(-1) for p in networks.parameters()])
    # A whole pass: its last batch has one image, which only one worker has.
    error = search.improve_noise()
    found[f"{form} {solver}"] = {
        "weights": weights, "gradient": seen[0], "error": error, "noise": torch.from_numpy(search.levels())
    }
if workers.rank == 0:
    torch.save(found, sys.argv[1])
leave_workers()
"""


def run_two(*command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    arguments = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", f"--master-port={port}", *command]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.run(arguments, cwd=cwd, env=environment, capture_output=True, text=True, timeout=300, check=False)


def test_two_processes_have_the_gradients_of_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    (tmp_path / "gradients.py").write_text(GRADIENTS)
    monkeypatch.setattr(sys, "argv", ["gradients.py", str(tmp_path / "1.pt")])
    runpy.run_path(str(tmp_path / "gradients.py"))
    done = run_two("gradients.py", str(tmp_path / "2.pt"), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = [torch.load(tmp_path / f"{processes}.pt", weights_only=True) for processes in (1, 2)]
    for name, one in found[0].items():
        two = found[1][name]
        assert torch.allclose(one["weights"], two["weights"], atol=1e-5), name
        assert one["noise"].shape == two["noise"].shape == ((4 if "class" in name else 101), 3, 16, 16)
        # Signs of gradients of nearly zero may differ, and the later steps with them.
        assert (one["noise"] == two["noise"]).float().mean() > 0.9, name
        assert one["error"] == pytest.approx(two["error"], abs=0.05)
    one, two = (part["class-wise pgd"]["gradient"] for part in found)
    assert one.abs().max() > 0
    assert torch.allclose(one, two, atol=1e-3 * one.abs().max().item())


def test_two_processes_make_a_bank_as_strong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    for label, name in enumerate("ab"):
        (tmp_path / "album" / name).mkdir(parents=True)
        for i in range(30):
            levels = random.integers(0, 200, (16, 16, 3)) + 40 * label
            Image.fromarray(levels.astype(np.uint8)).save(tmp_path / "album" / name / f"{i:02}.png")
    options = [
        "generate",
        "--dataset",
        "folder:album",
        "--image-size",
        "16",
        "--set",
        "noise-share=1",
        "--set",
        "batch-size=20",
    ]
    options += ["--surrogate", "resnet10-w16", "--set", "max-iterations=3", "--set", "learning-rate=0.02", "--json"]
    monkeypatch.chdir(tmp_path)
    alone = CliRunner().invoke(app, [*options, "-o", "1.safetensors"])
    assert alone.exit_code == 0, alone.stderr
    together = run_two("-m", "unlearn_cli", *options, "-o", "2.safetensors", cwd=tmp_path)
    assert together.returncode == 0, together.stderr
    errors = []
    for processes, said in ((1, alone.stdout), (2, together.stdout)):
        last = json.loads(said.splitlines()[-1])
        assert (last["event"], last["bank"]) == ("finished", f"{processes}.safetensors")
        assert said.count('"estimated"') == 1
        bank = load_bank(tmp_path / f"{processes}.safetensors")
        assert 0 < np.abs(bank.noise.astype(int)).max() <= 8
        errors.append(read_card(bank.path).made.error)
    assert errors[1] == pytest.approx(errors[0], abs=0.15)
    # And they train victims together.
    victims = ["evaluate", "bank", "2.safetensors", *options[1:3], "--set", "image-size=16"]
    victims += ["--set", "batch-size=16", "--set", "epochs=6"]
    done = run_two("-m", "unlearn_cli", *victims, "--set", "learning-rate=0.05", "-o", "shared", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "shared" / "report.json").read_text())["rows"]
    assert [row["protected_images"] for row in rows] == [48, 0]
    assert rows[1]["train_final"] > 0.8
    assert done.stdout.count("Report:") == 1
