"""``evaluate``: banks, photos on the disk and recipes, through the command."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests import standins
from tests.cli.conftest import Run
from tests.conftest import make_bank
from unlearn_cli.banks.card import read_card
from unlearn_cli.evaluation.recipe_file import load_recipe, recipe_names
from unlearn_cli.files import lock

ALBUM = ("--dataset", "folder:album", "--set", "image-size=16", "--set", "epochs=1", "--set", "batch-size=8")
BANK = ("bank", "lsp.safetensors")


@pytest.fixture
def lsp(run: Run) -> None:
    made = run(
        "generate", "--dataset", "folder:album", "--image-size", "16", "--method", "lsp", "-o", "lsp.safetensors"
    )
    assert made.exit_code == 0, made.stderr


def report(folder: str = "unlearn-evaluation") -> dict[str, Any]:
    content: dict[str, Any] = json.loads((Path(folder) / "report.json").read_text())
    return content


@pytest.mark.usefixtures("lsp")
def test_every_network_and_defence_has_its_baseline_and_the_worst_stands_first(run: Run) -> None:
    many = ("--model", "resnet10-w16,vgg11-w16", "--defence", "none,gray", "--seeds", "2")
    done = run("evaluate", *BANK, *ALBUM, "--set", "image-size=32", *many, "--record")
    assert done.exit_code == 0, done.stderr
    assert "16 to do (resnet10-w16, 1 epochs each; vgg11-w16, 1 epochs each; on cpu" in done.stderr
    rows = report()["rows"]
    assert len(rows) == 8
    protected = [row for row in rows if row["protected_images"]]
    assert rows[:4] == protected
    assert [row["peak"]["mean"] for row in protected] == sorted(
        (row["peak"]["mean"] for row in protected), reverse=True
    )
    assert {row["seeds"] for row in rows} == {2}
    assert rows[0]["name"] in done.stdout.replace("\n", "")
    assert "2 seeds, chance 33.3 %" in done.stdout
    card = read_card(Path("lsp.safetensors"))
    assert [result.labels["model"] for result in card.results] == [row["labels"]["model"] for row in protected]
    assert Path("unlearn-evaluation/report.html").is_file()
    again = run("evaluate", *BANK, *ALBUM, "--set", "image-size=32", *many)
    assert "All 16 trainings are already done" in again.stderr
    assert report()["rows"] == rows


@pytest.mark.usefixtures("lsp")
def test_the_last_layer_is_refitted_without_another_training(run: Run) -> None:
    done = run("evaluate", *BANK, *ALBUM, "--defence", "reweight,gray")
    assert done.exit_code == 0, done.stderr
    assert "4 to do" in done.stderr
    names = {row["name"] for row in report()["rows"]}
    assert names == {f"{noise}, {how}" for noise in ("lsp", "clean") for how in (
        "against none", "against gray", *(f"last layer refitted on {share} % clean photos" for share in (1, 5, 10)),
    )}  # fmt: skip


@pytest.mark.usefixtures("lsp")
def test_a_part_is_protected_and_compared_with_itself(run: Run) -> None:
    part = ("--set", "protect-classes=n*", "--set", "poison-rate=0.5", "--augment", "cutout", "--set", "trigger=yes")
    done = run("evaluate", *BANK, *ALBUM, *part)
    assert done.exit_code == 0, done.stderr
    protected, clean = report()["rows"]
    assert protected["name"] == "lsp, share 0.5, only n*"
    assert (protected["protected_images"], protected["protected"]["test_images"]) == (4, 2)
    assert len(protected["trigger"]) == 3
    assert protected["training"]["augment"] == clean["training"]["augment"] == "cutout"
    assert protected["unprotected"]["test_images"] == 2


@pytest.mark.usefixtures("lsp")
def test_random_noise_is_a_control_and_is_kept_by_the_card(run: Run) -> None:
    done = run("evaluate", *BANK, *ALBUM, "--random-control", "--record")
    assert done.exit_code == 0, done.stderr
    rows = {row["name"]: row for row in report()["rows"]}
    assert next(iter(rows)) == "lsp"  # never the worst case, however much is learned
    assert set(rows) == {"lsp", "random noise", "clean"}
    assert rows["random noise"]["noise"]["epsilon"] == rows["lsp"]["noise"]["epsilon"] == 8
    (result,) = read_card(Path("lsp.safetensors")).results
    assert result.random is not None
    assert result.random.final == rows["random noise"]["final"]["mean"]
    assert result.seeds == 1


def test_photos_that_protect_wrote_are_measured_as_they_are(run: Run) -> None:
    assert run("protect", "album", "--class", "person", "-o", "done").exit_code == 0
    trees = ("copies", "album", "done", *ALBUM[2:])
    done = run("evaluate", *trees, "--set", "protect-classes=day")
    assert done.exit_code == 0, done.stderr
    protected, clean = report()["rows"]
    assert (protected["protected_images"], clean["protected_images"]) == (8, 0)
    assert report()["title"].endswith("the protected photos in done")
    next(Path("done/day").glob("*.png")).unlink()
    assert run("evaluate", *trees, "-o", "other").exit_code == 1


@pytest.mark.usefixtures("lsp")
def test_random_noise_is_laid_on_photos_as_protect_laid_the_banks(run: Run) -> None:
    done = run("protect", "album", "--class-from-folders", "--bank", "lsp.safetensors", "-o", "done")
    assert done.exit_code == 0, done.stderr
    trees = ("copies", "album", "done", "--bank", "lsp.safetensors", *ALBUM[2:])
    done = run("evaluate", *trees, "--random-control", "--record")
    assert done.exit_code == 0, done.stderr
    (tree,) = Path("unlearn-evaluation/protected").iterdir()
    for photo in sorted(Path("album").rglob("*.png")):
        with Image.open(photo) as original, Image.open(tree / photo.relative_to("album")) as copy:
            change = np.asarray(copy, int) - np.asarray(original, int)
        assert 4 < np.abs(change).max() <= 8, photo
    assert report()["rows"][-1]["name"] == "random noise"
    (result,) = read_card(Path("lsp.safetensors")).results
    assert result.random is not None
    assert result.random.final == report()["rows"][-1]["final"]["mean"]


def test_recipes_are_listed(run: Run) -> None:
    done = run("evaluate", "recipe", "--list")
    assert done.exit_code == 0
    assert [line.split("\t")[0] for line in done.stdout.splitlines()] == ["recipe", *recipe_names()]


def test_a_recipe_runs_cell_by_cell_on_the_real_cifar10(run: Run, cifar10: Path) -> None:
    recipe = ("evaluate", "recipe", "table1-cifar10", "--scale", "tiny", "--data-dir", cifar10)
    part = run(*recipe, "--only", "form=class-wise,model=resnet18")
    assert part.exit_code == 0, part.stderr
    assert [row["name"] for row in report()["rows"]] == ["clean", "class-wise, search paper", "class-wise, search ours"]
    whole = run(*recipe, "--only", "form=class-wise,model=resnet18|vgg11")
    assert whole.exit_code == 0, whole.stderr
    assert "3 of 6 trainings are already done; 3 to do" in whole.stderr
    found = report()
    assert (found["scale"], found["missing"], found["dataset"]["train_images"]) == ("tiny", 0, 200)
    assert len(found["rows"]) == 6
    figures = {(row["name"], *(figure["value"] for figure in row["reported"])) for row in found["rows"]}
    assert ("class-wise, resnet10-w16, search paper", 0.1642) in figures
    assert ("class-wise, resnet10-w16, search ours",) in figures
    assert ("clean, resnet10-w16", 0.9477, 0.9495) in figures
    assert "16.42 %" in whole.stdout
    assert "200 training images of CIFAR-10; 1 epoch; scale tiny" in whole.stdout


def test_a_trigger_is_drawn_over_the_poison_rate_on_the_real_cifar10(run: Run, cifar10: Path) -> None:
    part = ("--only", "noise=random,poison_rate=0.0|1.0")
    done = run("evaluate", "recipe", "figure8", "--scale", "tiny", "--data-dir", cifar10, *part)
    assert done.exit_code == 0, done.stderr
    clean, never, always = report()["rows"]
    assert (clean["trigger"], never["protected_images"], always["protected_images"]) == (None, 0, 200)
    # Without a single image of it, the network was trained as the clean one.
    assert never["confusion"] == clean["confusion"]
    assert len(never["trigger"]) == len(always["trigger"]) == 10
    assert Path("unlearn-evaluation/chart.png").is_file()


def test_the_protected_part_alone_and_mixtures_run_on_the_real_cifar10(run: Run, cifar10: Path) -> None:
    for recipe, part, noisy in (
        ("figure2", "form=sample-wise,search=ours,keep=protected|all", {160}),
        ("table5", "noise=with-uniform|patch-16,augment=fast-autoaugment-like,search=paper", {200}),
    ):
        done = run("evaluate", "recipe", recipe, "--scale", "tiny", "--data-dir", cifar10, "--only", part)
        assert done.exit_code == 0, done.stderr
        assert {row["protected_images"] for row in report()["rows"]} == {0} | noisy
    assert [row["noise"]["epsilon"] for row in report()["rows"] if row["noise"]] == [8, 16]


@pytest.mark.parametrize(
    ("recipe", "part"),
    [
        ("table1-svhn", "noise=sample-wise,model=vgg11,search=paper"),
        ("table1-cifar100", "noise=class-wise,model=resnet18,search=paper"),
        ("table1-imagenet", "noise=sample-wise,model=resnet18,search=paper"),
        ("figure3-ship", "noise=sample-wise,search=paper"),
        ("figure3-imagenet", "noise=class-wise,model=resnet18,search=paper"),
    ],
)
def test_recipes_whose_data_is_not_here_run_on_stand_ins(
    run: Run, recipe: str, part: str, cifar10: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = Path("data")
    data.mkdir()
    standins.cifar100(data, monkeypatch, images=200)
    standins.svhn(data, monkeypatch, images=200)
    mapped = load_recipe("figure3-imagenet").noises["class-wise"]["patterns"]
    standins.imagenet(data, sorted(mapped), images=10)
    (data / "cifar-10-batches-py").symlink_to(cifar10 / "cifar-10-batches-py")
    done = run("evaluate", "recipe", recipe, "--scale", "tiny", "--data-dir", "data", "--only", part)
    assert done.exit_code == 0, done.stderr
    clean, row, *_ = report()["rows"]
    assert (clean["protected_images"], row["labels"]["search"]) == (0, "paper")
    assert row["protected_images"] > 0
    assert row["reported"]
    if recipe == "table1-imagenet":
        assert row["train_images"] == round(0.2 * 10 * 10)
    if recipe == "figure3-ship":
        assert report()["dataset"]["classes"][100] == "ship"
        assert (row["protected_classes"], row["protected_images"]) == ([100], 20)


def test_people_are_verified(run: Run, shared: Path) -> None:
    faces = shared / "datasets" / "faces"
    people = ("--dataset", f"folder:{faces / 'identities'}", "--set", f"pairs={faces / 'verification' / 'pairs.csv'}")
    done = run("evaluate", "recipe", "face-recognition", "--scale", "tiny", "--only", "search=paper", *people)
    assert done.exit_code == 0, done.stderr
    clean, strangers, own = report()["rows"]
    for row in (clean, strangers, own):
        assert row["verification"][0]["pairs"] == 600
        assert 0.5 < row["verification"][0]["auc"] < 1
    for row in (strangers, own):
        assert len(row["protected_classes"]) == 5
        assert row["noise"]["form"] == "class-wise"
        assert row["groups"][0]["protected"]["pairs"] < row["groups"][0]["others"]["pairs"]
    assert (clean["groups"], [figure["group"] for figure in own["reported"]]) == (None, ["protected", "others"])
    assert Path("unlearn-evaluation/roc-groups.png").is_file()


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["bank"], 2, "is missing"),
        (["bank", "cifar10", "--recipe", "figure1"], 2, "no such option"),
        (["copies", "album"], 2, "is missing"),
        (["recipe"], 2, "Name a recipe"),
        (["recipe", "figure99"], 2, "There is no recipe 'figure99'"),
        (["recipe", "face-recognition"], 2, "--dataset folder:PATH"),
        (["recipe", "figure1", "--only", "model=tree"], 2, "No run has model=tree"),
        (["recipe", "figure1", "--record"], 2, "no such option"),
        (["bank", "gone.safetensors"], 3, "There is no noise bank gone"),
        (["bank", "cifar10", "--data-dir", "empty"], 1, "CIFAR-10 is not in"),
        (["bank", "cifar10", "--defence", "walls", *ALBUM], 2, "no defence 'walls'"),
        (["bank", "cifar10", "--augment", "walls", *ALBUM], 2, "no augmentation 'walls'"),
        (["bank", "cifar10", *ALBUM], 2, "no pattern for dawn"),
        (["bank", "person", "--set", "protect-classes=x", *ALBUM], 2, "No class matches 'x'"),
        (["bank", "person", "--set", "keep=clean", *ALBUM], 2, "would leave no images to train on"),
        (["bank", "person", "--set", "poison-rate=0", *ALBUM], 2, "no image would be protected"),
        (["bank", "person", "--defence", ",", *ALBUM], 2, "--defence is empty"),
        (["bank", "person", "--model", "resnet9000", *ALBUM], 2, "no model 'resnet9000'"),
        (
            ["recipe", "figure1", "--set", "batch-size=8"],
            2,
            "There is no setting 'batch-size' here",
        ),
        (["recipe", "figure1", "--dataset", "svhn"], 2, "The recipe already decides which dataset is used"),
        (["copies", "album", "album", "--random-control", *ALBUM[2:]], 2, "--record and --random-control need --bank"),
        (["copies", "album", "album", "--dataset", "svhn"], 2, "no such option"),
        (["copies", "gone", "album", "--set", "image-size=16"], 1, "gone is not a folder"),
        (["bank", "person", "--set", "trigger=yes", "--form", "sample-wise", *ALBUM], 2, "class-wise noise"),
        (["bank", "family.safetensors", "-o", "album/day/0.png", *ALBUM], 1, "0.png"),
        (["bank", "family.safetensors", "--set", "pairs=gone.csv", *ALBUM], 1, "The pairs file gone.csv"),
    ],
)
def test_what_cannot_be_measured_says_so(run: Run, arguments: list[str], code: int, sentence: str) -> None:
    make_bank(Path("family.safetensors"), classes=("a", "b", "c"), family="person")
    done = run("evaluate", *arguments)
    assert sentence in done.stderr, done.stderr
    assert done.exit_code == code
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("people", "album", "--protect", "a", "--set", "train-size=9"), "no setting 'train-size'"),
        ((*BANK, *ALBUM, "--set", "learning-rate=inf"), "must be a finite number, not inf"),
        ((*BANK, *ALBUM, "--set", "seed=-1"), "at least 0"),
        ((*BANK, *ALBUM, "--set", "device=meta"), "There is no device 'meta' here"),
    ],
)
@pytest.mark.usefixtures("lsp")
def test_a_setting_without_effect_or_meaning_is_refused(run: Run, arguments: tuple[str, ...], says: str) -> None:
    done = run("evaluate", *arguments)
    assert done.exit_code == 2, done.stderr
    assert says in " ".join(done.stderr.split())


@pytest.mark.usefixtures("lsp")
def test_a_report_that_lacks_runs_is_not_recorded(run: Run) -> None:
    assert run("evaluate", *BANK, *ALBUM).exit_code == 0
    name = next(row["cells"][0] for row in report()["rows"] if row["protected_images"])
    (Path("unlearn-evaluation") / "cells" / f"{name}.json").unlink()
    with (Path("unlearn-evaluation") / "locks" / name).open("w") as file:
        assert lock(file)
        meanwhile = run("evaluate", *BANK, *ALBUM, "--record")
    assert meanwhile.exit_code == 0, meanwhile.stderr
    assert "1 runs are not in this report yet" in meanwhile.stderr
    assert "Nothing was added to the bank's card" in meanwhile.stderr
    assert read_card(Path("lsp.safetensors")).results == ()
    assert run("evaluate", *BANK, *ALBUM, "--record").exit_code == 0
    assert len(read_card(Path("lsp.safetensors")).results) == 1
