"""Estimates how long the trainings of each recipe take at ``--scale cpu``, from the processor time of a few batches.

Run: ``OMP_NUM_THREADS=1 python benchmarks/recipe_times.py``. It needs no dataset: a training's time depends on the
number and size of the images alone, so noise stands in for them. Making the recipe's noise comes on top. The lines that
it prints are the ``time`` of the recipes' files.
"""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import torch

from unlearn_cli.evaluation.cell import Cell
from unlearn_cli.evaluation.estimate import passes
from unlearn_cli.evaluation.recipe import Source, plan
from unlearn_cli.evaluation.recipe_file import load_recipe, recipe_names
from unlearn_cli.evaluation.scale import SCALES
from unlearn_cli.training.datasets import ImageSet
from unlearn_cli.training.train import train_victim

BATCHES = 20
TEST_IMAGES = 10_000
FACES = (1800, 600)
"""Training and test photos, where a recipe needs a folder of people."""


def seconds_an_image(cell: Cell, size: int, known: dict[tuple[object, ...], float]) -> float:
    """Return the processor time that one image takes in one epoch."""
    key = (cell.training.model, size, cell.training.augment, cell.training.precision)
    if key not in known:
        count = BATCHES * cell.training.batch_size
        pixels = torch.randint(0, 256, (count, 3, size, size), dtype=torch.uint8)
        images = ImageSet(pixels, torch.arange(count) % 10, tuple("abcdefghij"), "noise", "none")
        taken = []
        for epochs in (1, 3):
            start = time.process_time()
            list(train_victim(images, images.first(1), replace(cell.training, epochs=epochs), torch.device("cpu")))
            taken.append(time.process_time() - start)
        known[key] = (taken[1] - taken[0]) / (2 * count)
    return known[key]


def main() -> None:
    known: dict[tuple[object, ...], float] = {}
    scale = SCALES["cpu"]
    for name in recipe_names():
        recipe = load_recipe(name)
        source = Source(folder=Path("people") if recipe.needs_folder else None, pairs=Path("p.csv"))
        total, cells = 0.0, {str(one.cell): one.cell for one in plan(recipe, scale, source)}.values()
        for cell in cells:
            size = cell.images.spec.image_size or 32
            train, test = FACES if recipe.needs_folder else (cell.images.train_size or 50_000, TEST_IMAGES)
            images = train * passes(cell.defence) + test / 3
            total += cell.training.epochs * images * seconds_an_image(cell, size, known)
        minutes = max(1, round(total / 60))
        told = f"{minutes} min" if minutes < 90 else f"{minutes / 60:.0f} h"
        print(f'{name}: time = "{told}: {len(cells)} trainings"', flush=True)


if __name__ == "__main__":
    main()
