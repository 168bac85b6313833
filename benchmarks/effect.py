"""Measure what each kind of noise does to a victim: all methods in one table, with small networks on CIFAR-10.

Makes the banks with the command line, trains every victim on each, and prints the tables of
docs/results/methods.md. Each bank and each result is kept, so that an interrupted run goes on.

usage: python benchmarks/effect.py [--seeds 3] [--only NAME,...] [--table]      two hours on two cores, for all
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

import torch

from unlearn_cli.banks.bank import load_bank
from unlearn_cli.banks.provenance import Form
from unlearn_cli.evaluation.protect_set import protect_set
from unlearn_cli.training.datasets import DatasetSpec, load_dataset
from unlearn_cli.training.train import EpochEnded, TrainingSettings, train_victim

DATA = Path("data")
OUT = Path("build/effect")
IMAGES, EPOCHS = 10_000, 12
SMALL = "resnet10-w16"
SLOW = "--set surrogate-steps=80 --set max-iterations=4 --set precision=bf16"

BANKS = {
    "random-cw": "--method random",
    "random-sw": "--method random --form sample-wise",
    "error-max-cw": "--method error-max",
    "error-max-sw": "--method error-max --form sample-wise",
    "lsp-cw": "--method lsp",
    "lsp-sw": "--method lsp --form sample-wise",
    "ar-cw": "--method ar",
    "ar-sw": "--method ar --form sample-wise",
    "error-min-cw": "",
    "error-min-plain-cw": "--through none",
    "error-min-sw": f"--form sample-wise {SLOW}",
    "patch16": "--set patch=16",
    "fgsm": "--set solver=fgsm",
    "cw-margin": "--set solver=cw",
    "error-min-vgg": "--surrogate vgg11-w16",
    "error-min-ensemble": "--surrogate resnet10-w16,vgg11-w16",
    "other-seed": "--seed 1",
    "mixture": "MIX error-min-cw,other-seed",
    "uniform": "MIX error-min-cw --add-uniform 8",
}
"""The options of ``unlearn generate --dataset cifar10``, or banks to mix, for each row of the table."""

FITTED = "error-min-fitted"
"""The row for the noise of ``unlearn protect --form sample-wise``, made with the class-wise bank's surrogate."""

ROWS: list[tuple[str, str]] = [("clean", SMALL), *((name, SMALL) for name in BANKS if name != "other-seed")]
ROWS += [(FITTED, SMALL)]
ROWS += [(name, "vgg11-w16") for name in ("clean", "error-min-cw", "error-min-vgg", "error-min-ensemble")]


def make(name: str) -> Path:
    path, options = OUT / f"{name}.safetensors", BANKS[name].split()
    if path.exists():
        return path
    if options[:1] == ["MIX"]:
        parts = [str(make(part)) for part in options[1].split(",")]
        command = ["banks", "mix", *parts, *options[2:]]
    else:
        command = ["generate", "--dataset", "cifar10", "--data-dir", str(DATA), "--train-size", str(IMAGES), *options]
    subprocess.run([sys.executable, "-m", "unlearn_cli", *command, "-o", str(path)], check=True)
    return path


def measure(name: str, victim: str, seed: int) -> None:
    cell = OUT / f"{name}-{victim}-{seed}.json"
    if cell.exists():
        return
    spec = DatasetSpec(source="cifar10", data_dir=DATA)
    train, test = load_dataset(spec, "train").first(IMAGES), load_dataset(spec, "test")
    if name != "clean":
        form: Form | None = "sample-wise" if name == FITTED else None
        bank = load_bank(make("error-min-cw" if name == FITTED else name))
        train = protect_set(train, bank, form)
    settings = TrainingSettings(model=victim, epochs=EPOCHS, seed=seed)
    curve = [
        event.clean_accuracy
        for event in train_victim(train, test, settings, torch.device("cpu"))
        if isinstance(event, EpochEnded)
    ]
    cell.write_text(json.dumps({"final": curve[-1], "peak": max(curve), "curve": curve}))
    print(f"{name} on {victim}, seed {seed}: final {curve[-1]:.1%}, peak {max(curve):.1%}", flush=True)


def table() -> None:
    print("| noise | victim | final | best epoch | seeds | made in |\n|---|---|---|---|---|---|")
    for name, victim in ROWS:
        cells = [json.loads(path.read_text()) for path in sorted(OUT.glob(f"{name}-{victim}-[0-9].json"))]
        if not cells:
            continue
        final, peak = (
            f"{statistics.mean(values):.1%}" + (f" ({min(values):.1%} to {max(values):.1%})" if values[1:] else "")
            for values in ([cell[key] for cell in cells] for key in ("final", "peak"))
        )
        card = OUT / f"{name}.json"
        made = json.loads(card.read_text())["made"] if card.exists() else {}
        seconds = f"{made['seconds']:.0f} s" if made.get("iterations") else ""
        print(f"| {name} | {victim} | {final} | {peak} | {len(cells)} | {seconds} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", help="names of rows, separated by commas")
    parser.add_argument("--table", action="store_true", help="print what is there, and train nothing")
    arguments = parser.parse_args()
    OUT.mkdir(parents=True, exist_ok=True)
    only = arguments.only.split(",") if arguments.only else None
    if not arguments.table:
        for seed in range(arguments.seeds):
            for name, victim in ROWS:
                if only is None or name in only:
                    measure(name, victim, seed)
    table()


if __name__ == "__main__":
    main()
