"""Recipes come to the cells that their experiments have."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from unlearn_cli.errors import UsageError, WorkError
from unlearn_cli.evaluation.ad_hoc import ad_hoc
from unlearn_cli.evaluation.cell import Cell, Images, Library, NoisePlan, hash_of, identity
from unlearn_cli.evaluation.face_pairs import embed, read_pairs
from unlearn_cli.evaluation.recipe import SCALES, Planned, Source, chosen_cells, plan
from unlearn_cli.evaluation.recipe_file import load_recipe, recipe_names
from unlearn_cli.noise.settings import ErrorMin
from unlearn_cli.training.datasets import DatasetSpec
from unlearn_cli.training.models import build_model

SOURCE = Source(folder=Path("people"), pairs=Path("pairs.csv"))
EXPERIMENTS = {
    "table1-svhn", "table1-cifar10", "table1-cifar100", "table1-imagenet", "figure1", "table2", "figure2", "figure5",
    "table3", "figure6", "figure3-ship", "figure3-imagenet", "table5", "face-recognition", "figure7", "figure8",
    "figure9",
}  # fmt: skip


def planned(name: str, scale: str = "paper", seeds: int = 1) -> list[Planned]:
    return plan(load_recipe(name), SCALES[scale], SOURCE, range(seeds))


def test_every_experiment_of_the_paper_has_a_recipe() -> None:
    assert set(recipe_names()) == EXPERIMENTS


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("name", sorted(EXPERIMENTS))
def test_every_recipe_begins_with_a_clean_baseline(name: str, scale: str) -> None:
    cells = planned(name, scale)
    assert cells[0].cell.noise is None
    assert any(one.cell.noise is not None for one in cells)
    assert {one.cell.training.epochs for one in cells} == ({1} if scale == "tiny" else {cells[0].cell.training.epochs})


def test_table_1_has_four_networks_and_both_forms() -> None:
    cells = planned("table1-cifar10")
    assert len(cells) == 12
    assert {one.cell.training.epochs for one in cells} == {60}
    clean, one = chosen_cells(cells, "model=resnet18,form=class-wise")
    assert (clean.cell.noise, clean.cell.training) == (None, one.cell.training)
    assert one.reported == 0.1642
    assert one.cell.noise is not None
    assert isinstance(one.cell.noise.settings, ErrorMin)
    assert one.cell.noise.settings.surrogate == "resnet18"
    # On a CPU the two large networks are left out.
    assert {one.cell.training.model for one in planned("table1-cifar10", "cpu")} == {"resnet10-w16", "vgg11-w16"}


def test_table_2_has_shares_with_and_without_the_protected_part() -> None:
    cells = planned("table2")
    assert len(chosen_cells(cells, "keep=clean")) == 4 + 1
    assert len(chosen_cells(cells, "form=sample-wise,poison_rate=0.2|1.0")) == 2 + 1
    assert len(chosen_cells(cells, "noise=clean")) == 1
    assert sum(one.cell.noise is None for one in cells) == 1


def test_seeds_multiply() -> None:
    assert len(planned("figure8", seeds=3)) == 6
    assert {one.cell.training.seed for one in planned("figure8", seeds=3)} == {0, 1, 2}


@pytest.mark.parametrize(
    ("text", "because"),
    [
        ("colour=red", "no key 'colour'"),
        ("noise=fog", "No run has noise=fog"),
        ("clean", "no key 'clean'"),
        ("noise=clean,noise=fog", "a key twice"),
    ],
)
def test_cells_that_are_not_there_are_told(text: str, because: str) -> None:
    with pytest.raises(UsageError, match=because):
        chosen_cells(planned("figure1"), text)


def test_recipes_say_what_they_need() -> None:
    with pytest.raises(UsageError, match="no recipe 'figure99'"):
        load_recipe("figure99")
    with pytest.raises(UsageError, match="--dataset folder:PATH"):
        plan(load_recipe("face-recognition"), SCALES["tiny"], Source())
    with pytest.raises(UsageError, match="pairs=FILE"):
        plan(load_recipe("face-recognition"), SCALES["tiny"], Source(folder=Path("people")))


def test_a_value_may_have_commas_and_a_training_is_there_once() -> None:
    assert len(chosen_cells(planned("figure5"), "noise=class-wise,protect_classes=bird,cat")) == 2
    protected = Cell(images=Images(spec=DatasetSpec(source="cifar10")), noise=NoisePlan(bank="cifar10"))
    twice = ad_hoc(protected, noise="x", models=["a"], augments=["none"], defences=["jpeg", "jpeg:10"], seeds=1)
    assert (len(twice), len(chosen_cells(twice, None))) == (4, 2)


def test_baselines_are_shared_between_recipes() -> None:
    people = [planned(name)[0].cell for name in ("face-recognition", "figure7")]
    assert people[0] == people[1]
    assert planned("figure1")[0].cell == planned("table2")[0].cell == planned("figure2")[0].cell


def test_people_who_are_judged_never_make_the_noise() -> None:
    from fnmatch import fnmatchcase

    for name in ("face-recognition", "figure7"):
        made_on = next(
            one.cell.noise.made_on for one in planned(name) if one.cell.noise is not None and one.cell.noise.made_on
        )
        people = [f"id{number:03}" for number in range(158)]
        makers = {person for person in people if any(fnmatchcase(person, glob) for glob in made_on.spec.classes)}
        judged = {
            person
            for person in people
            if any(fnmatchcase(person, glob) for glob in planned(name)[0].cell.images.spec.classes)
        }
        assert makers
        assert not makers & judged
        assert not makers & {f"id{number}" for number in range(120, 158)}


def test_ad_hoc_cells_have_a_baseline_for_each_network_and_defence() -> None:
    protected = Cell(
        images=Images(spec=DatasetSpec(source="cifar10")), noise=NoisePlan(bank="cifar10"), poison_rate=0.5
    )
    cells = ad_hoc(
        protected,
        noise="cifar10",
        models=["resnet18", "vgg11"],
        augments=["standard"],
        defences=["none", "jpeg"],
        seeds=2,
    )
    assert len(cells) == 16
    assert sum(one.cell.noise is None for one in cells) == 8
    assert {one.cell.poison_rate for one in cells if one.cell.noise is None} == {1.0}
    names = {hash_of(identity(one.cell, Library())) for one in cells}
    assert len(names) == 16
    assert cells[3].labels == {"noise": "cifar10", "model": "resnet18", "defence": "jpeg:10", "poison_rate": "0.5"}


def test_features_are_what_the_last_layer_sees() -> None:
    model = build_model("resnet10-w16", 5, 32, 0).eval()
    images = torch.randint(0, 256, (7, 3, 32, 32), dtype=torch.uint8)
    features = embed(model, images, batch_size=3)
    assert features.shape == (7, 128)
    last = [module for module in model.modules() if isinstance(module, torch.nn.Linear)][-1]
    assert torch.allclose(last(features), model(images.float()), atol=1e-4)


def test_pairs_are_a_csv_file(tmp_path: Path) -> None:
    path = tmp_path / "pairs.csv"
    for rows, because in (
        ([["a", "b"], ["1", "2"]], "first, second, same"),
        ([["first", "second", "same"], ["1", "2", "1"]], "of two people"),
    ):
        with path.open("w", newline="") as file:
            csv.writer(file).writerows(rows)
        with pytest.raises(WorkError, match=because):
            read_pairs(path)
    path.write_text("first,second,same\na.jpg,b.jpg,1\na.jpg,c.jpg,0\n")
    assert read_pairs(path) == [("a.jpg", "b.jpg", True), ("a.jpg", "c.jpg", False)]


def test_a_smaller_scale_keeps_what_a_recipe_is_about() -> None:
    (_, paper), (_, tiny) = planned("figure8"), planned("figure8", "tiny")
    assert paper.cell.trigger
    assert (
        replace(tiny.cell, images=paper.cell.images, training=paper.cell.training, noise=paper.cell.noise) == paper.cell
    )
