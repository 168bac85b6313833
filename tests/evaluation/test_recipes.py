"""Recipes come to the cells that their experiments have."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest
import torch

from unlearn_cli.cli.evaluate_options import ScaleName
from unlearn_cli.errors import UsageError, WorkError
from unlearn_cli.evaluation.ad_hoc import ad_hoc
from unlearn_cli.evaluation.cell import Cell, Images, Library, NoisePlan, hash_of, identity
from unlearn_cli.evaluation.face_pairs import embed, read_pairs
from unlearn_cli.evaluation.plans import Victims, plan_bank
from unlearn_cli.evaluation.published import FILE as PUBLISHED
from unlearn_cli.evaluation.published import Published, published
from unlearn_cli.evaluation.recipe import SEARCHES, Planned, Source, chosen_cells, plan
from unlearn_cli.evaluation.recipe_file import load_recipe, recipe_names
from unlearn_cli.evaluation.scale import SCALES, Scale
from unlearn_cli.noise.settings import ErrorMin
from unlearn_cli.training.datasets import DatasetSpec
from unlearn_cli.training.fast import FAST_SMALL_TRAINING, FAST_TRAINING
from unlearn_cli.training.models import build_model
from unlearn_cli.training.train import TrainingSettings

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


def labels_of(name: str, scale: str = "paper") -> list[dict[str, str]]:
    return [one.labels for one in planned(name, scale)]


def test_table_1_has_four_networks_both_forms_and_both_searches() -> None:
    cells = planned("table1-cifar10")
    assert len(cells) == 4 * (1 + 2 * 2)
    assert {one.cell.training.epochs for one in cells} == {60}
    clean, paper, ours = chosen_cells(cells, "model=resnet18,form=class-wise")
    assert (clean.cell.noise, clean.cell.training) == (None, paper.cell.training)
    assert (clean.cell.training.learning_rate, clean.cell.training.gradient_clip) == (0.025, 5.0)
    assert [one.labels["search"] for one in (paper, ours)] == ["paper", "ours"]
    for one, through, batch in ((paper, "none", 512), (ours, "augment", 128)):
        assert one.cell.noise is not None
        settings = one.cell.noise.settings
        assert isinstance(settings, ErrorMin)
        assert (settings.surrogate, settings.through, settings.batch_size) == ("resnet18", through, batch)
    # On a CPU the two large networks are left out.
    assert {one.cell.training.model for one in planned("table1-cifar10", "cpu")} == {"resnet10-w16", "vgg11-w16"}


def test_only_noise_that_is_searched_for_has_a_search() -> None:
    for labels in labels_of("figure1"):
        assert ("search" in labels) == labels["noise"].startswith("error-")
    assert all(labels["search"] in SEARCHES for labels in labels_of("table5") if labels["noise"] != "clean")
    # Images that are left out take their noise with them.
    assert all("search" not in labels for labels in labels_of("table2") if labels.get("keep") == "clean")


def test_the_papers_search_keeps_the_papers_values_at_full_size() -> None:
    for name, form, goal, steps in (
        ("table1-cifar10", "sample-wise", 0.01, 10),
        ("table1-cifar100", "class-wise", 0.1, 20),
    ):
        (one,) = {
            one.cell.noise.settings
            for one in planned(name)
            if one.cell.noise is not None and one.labels["search"] == "paper" and one.labels["form"] == form
        }
        assert isinstance(one, ErrorMin)
        assert (one.goal, one.surrogate_steps, one.epsilon, one.step, one.max_iterations) == (goal, steps, 8, 0.8, 100)


def test_every_dataset_has_its_own_augmentation_and_weight_decay() -> None:
    found = {name: planned(f"table1-{name}")[0].cell.training for name in ("svhn", "cifar10", "cifar100", "imagenet")}
    assert {name: of.augment for name, of in found.items()} == {
        "svhn": "none", "cifar10": "standard", "cifar100": "rotation", "imagenet": "resized-crop",
    }  # fmt: skip
    assert {name: of.weight_decay for name, of in found.items()} == {
        "svhn": 5e-4, "cifar10": 5e-4, "cifar100": 5e-5, "imagenet": 5e-5,
    }  # fmt: skip
    networks = {one.labels["model"]: one.cell.training.model for one in planned("table1-imagenet")}
    assert networks["resnet18"] == "torchvision:resnet18"
    assert build_model(networks["resnet18"], 3, 224, 0).network.conv1.kernel_size == (7, 7)  # type: ignore[union-attr]


def test_table_2_has_shares_with_and_without_the_protected_part() -> None:
    cells = planned("table2")
    assert len(chosen_cells(cells, "keep=clean")) == 5 + 1
    assert len(chosen_cells(cells, "form=sample-wise,search=paper,poison_rate=0.2|1.0")) == 2 + 1
    assert len(chosen_cells(cells, "noise=clean")) == 1
    assert sum(one.cell.noise is None for one in cells) == 1


def test_seeds_multiply() -> None:
    once = len(planned("figure8"))
    assert len(planned("figure8", seeds=3)) == 3 * once
    assert {one.cell.training.seed for one in planned("figure8", seeds=3)} == {0, 1, 2}


def reported(name: str, **labels: str) -> list[float]:
    """Return what the paper reports for runs with these labels and no others besides their form, method and search."""
    runs = [
        one
        for one in planned(name)
        if {key: value for key, value in one.labels.items() if key not in ("form", "method", "search", "model")}
        == labels
        and one.labels["model"] == "resnet18"
        and one.labels.get("search") != "ours"
    ]
    (run,) = runs
    return [round(100 * figure.value, 2) for figure in run.reported]


def test_the_papers_figures_stand_beside_exactly_their_own_runs() -> None:
    assert reported("table1-cifar10", noise="class-wise") == [16.42]
    assert reported("table1-cifar10", noise="clean") == [94.77, 94.95]
    assert reported("table1-imagenet", noise="clean", train_share="0.2") == [60.42]
    assert reported("table1-imagenet", noise="clean") == [76.52]
    assert reported("table2", noise="class-wise", poison_rate="0.2") == [94.24]
    assert reported("table2", noise="class-wise", poison_rate="0.2", keep="clean") == [93.75]
    assert reported("table2", noise="class-wise", poison_rate="0.9") == []
    assert reported("figure6", noise="clean", defence="none") == [94.95]
    (people,) = [one for one in planned("face-recognition") if one.reported]
    assert {figure.group: figure.value for figure in people.reported} == {"protected": 0.16, "others": 0.86}
    assert people.reported[0].told == "protected 16 % (50 of 10,575 people)"
    assert {figure.metric for one in planned("figure7") for figure in one.reported} == {"auc"}


def test_no_figure_of_the_paper_stands_beside_our_search_and_none_is_lost() -> None:
    shown: list[tuple[str, Published]] = []
    for name in recipe_names():
        for one in planned(name):
            assert not one.reported or one.labels.get("search") != "ours"
            shown += [(name, figure) for figure in one.reported]
    with PUBLISHED.open(newline="") as file:
        assert len(shown) == len(list(csv.DictReader(file)))


def test_the_papers_figures_are_those_that_were_read_from_it(shared: Path) -> None:
    read = json.loads((shared / "paper" / "reported.json").read_text())["experiments"]
    asked = 0
    for name, experiment in read.items():
        for row in experiment["rows"]:
            wanted = row.get("tool_labels")
            if row.get("percent") is None or wanted is None:
                continue
            wanted = {**wanted, "model": row["model"]}
            if name == "table1-imagenet" and row["form"] == "sample-wise":
                wanted["train_share"] = "0.2"
            if "augment" in row and row["augment"] == "fast-autoaugment":
                wanted["augment"] = "fast-autoaugment-like"
            figures = [round(100 * figure.value, 2) for figure in published(name, wanted)]
            assert row["percent"] in figures, (name, wanted)
            asked += 1
    assert asked == 101


def test_what_ships_is_our_own_search_on_all_images() -> None:
    for one in [one for name in recipe_names() for one in planned(name) if one.ships]:
        assert one.labels["search"] == "ours"
        assert one.labels["method"] == "error-min"
        assert (one.cell.poison_rate, one.cell.keep) == (1.0, "all")
    assert any(one.ships for one in planned("table1-cifar10"))
    assert not any(one.ships for one in planned("figure1") if one.labels["noise"].startswith(("error-max", "random")))


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
    assert len(chosen_cells(planned("figure5"), "noise=class-wise,protect_classes=bird,cat")) == 1 + 2
    protected = Cell(images=Images(spec=DatasetSpec(source="cifar10")), noise=NoisePlan(bank="cifar10"))
    twice = ad_hoc(protected, noise="x", models={"a": {}}, augments=["none"], defences=["jpeg", "jpeg:10"], seeds=1)
    assert (len(twice), len(chosen_cells(twice, None))) == (4, 2)


def test_baselines_are_shared_between_recipes() -> None:
    people = [planned(name)[0].cell for name in ("face-recognition", "figure7")]
    assert people[0] == people[1]
    assert planned("figure1")[0].cell == planned("table2")[0].cell == planned("figure2")[0].cell


def test_people_who_are_judged_never_make_the_noise() -> None:
    from fnmatch import fnmatchcase

    for name in ("face-recognition", "figure7"):
        (made_on,) = {
            one.cell.noise.made_on for one in planned(name) if one.labels["noise"] == "class-wise" and one.cell.noise
        }
        assert made_on is not None
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
        models={"resnet18": {}, "vgg11": {}},
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
    features = embed(model, images, most=3)
    assert features.shape == (7, 128)
    last = [module for module in model.modules() if isinstance(module, torch.nn.Linear)][-1]
    assert torch.allclose(last(features), model(images.float()), atol=1e-4)


def test_pairs_are_a_csv_file(tmp_path: Path) -> None:
    path = tmp_path / "pairs.csv"
    for rows, because in (
        ([["a", "b"], ["1", "2"]], "first, second, same"),
        ([["first", "second", "same"], ["1", "2", "1"]], "of two people"),
        ([["first", "second", "same"], ["1", "2", "1"], ["1", "3", "yes"]], "'yes'.*Write 1 for one person"),
    ):
        with path.open("w", newline="") as file:
            csv.writer(file).writerows(rows)
        with pytest.raises(WorkError, match=because):
            read_pairs(path)
    path.write_text("first,second,same\na.jpg,b.jpg,1\na.jpg,c.jpg,0\n", encoding="utf-8-sig")  # as Excel does
    assert read_pairs(path) == [("a.jpg", "b.jpg", True), ("a.jpg", "c.jpg", False)]


def test_a_policys_file_takes_the_place_of_changes_like_it_and_gets_the_papers_figures(tmp_path: Path) -> None:
    policy = tmp_path / "policy.json"
    policy.write_text('[[["Rotate", 1, 0]]]')
    recipe, scale = load_recipe("table3"), SCALES["paper"]
    found = plan(recipe, scale, Source(policy=policy))
    assert {one.labels.get("augment") for one in found} >= {"fast-autoaugment", "cutout"}
    assert "fast-autoaugment-like" not in {one.labels.get("augment") for one in found}
    own = [one for one in found if one.labels.get("augment") == "fast-autoaugment"]
    assert all(one.cell.training.augment == f"fast-autoaugment:{policy}" for one in own)
    reported = [of for one in own for of in one.reported]
    assert {round(100 * of.value, 2) for of in reported} >= {22.89, 42.7}
    assert not any(of.note for of in reported)
    names = {hash_of(identity(own[0].cell, Library()))}
    policy.rename(tmp_path / "moved.json")
    moved = [one for one in plan(recipe, scale, Source(policy=tmp_path / "moved.json")) if one.labels == own[0].labels]
    names.add(hash_of(identity(moved[0].cell, Library())))
    (tmp_path / "moved.json").write_text('[[["Rotate", 1, 1]]]')
    names.add(hash_of(identity(moved[0].cell, Library())))
    assert len(names) == 2  # Its content counts, and not its place.


def test_a_smaller_scale_keeps_what_a_recipe_is_about() -> None:
    for paper, tiny in zip(planned("figure8"), planned("figure8", "tiny"), strict=True):
        same = {"images": paper.cell.images, "training": paper.cell.training, "noise": paper.cell.noise}
        assert replace(tiny.cell, **same) == paper.cell  # type: ignore[arg-type]
        assert paper.cell.trigger == (paper.cell.noise is not None)


def test_at_laptop_scale_a_small_network_learns_all_images_in_its_own_way() -> None:
    cells = planned("table1-cifar10", "laptop")
    of = {one.cell.training.model: one.cell for one in cells}
    assert set(of) == {"fast-w32", "vgg11-w16"}
    assert {cell.images.train_size for cell in of.values()} == {None}
    for name, value in FAST_SMALL_TRAINING.items():
        assert getattr(of["fast-w32"].training, name) == value
    assert of["vgg11-w16"].training.schedule == "cosine"
    assert of["vgg11-w16"].training.label_smoothing == 0
    assert of["vgg11-w16"].training.weight_average == 0
    assert {settings.surrogate for settings in searches(cells)} == {"fast-w32"}


def searches(cells: list[Planned]) -> list[ErrorMin]:
    plans = [one.cell.noise for one in cells if one.cell.noise is not None]
    return [noise.settings for noise in plans if isinstance(noise.settings, ErrorMin)]


def test_without_fast_bf16_a_scale_computes_in_fp32(monkeypatch: pytest.MonkeyPatch) -> None:
    def precisions(scale: Scale) -> set[str]:
        cells = plan(load_recipe("table1-cifar10"), scale, SOURCE)
        victims = {one.cell.training.precision for one in cells if one.cell.training.model == "fast-w32"}
        return victims | {settings.precision for settings in searches(cells)}

    for has, precision in ((True, "bf16"), (False, "fp32")):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda has=has: {"avx512_bf16": has})
        assert precisions(SCALES["laptop"].on(torch.device("cpu"))) == {precision}


@pytest.mark.parametrize("scale", ["paper", "laptop", "cpu"])
def test_the_help_of_scale_says_what_it_trains(scale: str) -> None:
    first = planned("figure1", scale)[0].cell
    size = first.images.train_size
    images = "all" if size is None else str(size)
    said = f"{scale}: {first.training.model}, {images} images, {first.training.epochs} epochs;"
    assert said in get_args(ScaleName)[1].help


def test_a_banks_victims_train_as_their_scale_says_and_the_user_comes_first() -> None:
    def settings(**said: object) -> dict[str, TrainingSettings]:
        victims = Victims(
            scale=SCALES["laptop"],
            model="fast,fast-w32,resnet10-w16",
            augment="standard",
            defence="none",
            seeds=1,
            training=said,
        )
        cells, _ = plan_bank("cifar10", None, victims, DatasetSpec(source="cifar10"), None, lambda cell: cell)
        assert {one.cell.images.train_size for one in cells} == {None}
        return {one.cell.training.model: one.cell.training for one in cells}

    usual = settings()
    assert {name: getattr(usual["fast"], name) for name in FAST_TRAINING} == FAST_TRAINING
    assert {name: getattr(usual["fast-w32"], name) for name in FAST_SMALL_TRAINING} == FAST_SMALL_TRAINING
    assert usual["resnet10-w16"] == TrainingSettings(model="resnet10-w16", epochs=13)
    assert (settings(learning_rate=0.3)["fast"].learning_rate, settings(epochs=3)["fast"].epochs) == (0.3, 3)
