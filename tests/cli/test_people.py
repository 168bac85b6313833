"""``evaluate people`` at the command line."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from torchvision.models._api import get_model

from tests.cli.conftest import Run
from unlearn_cli.banks.bank import save_bank
from unlearn_cli.banks.catalog import choose


@pytest.fixture
def crowd(shared: Path, tmp_path: Path) -> Path:
    """Return a folder of four people with five photos each."""
    for person in sorted((shared / "datasets" / "faces" / "identities").iterdir())[:4]:
        (tmp_path / "crowd" / person.name).mkdir(parents=True)
        for photo in sorted(person.iterdir())[:5]:
            shutil.copy(photo, tmp_path / "crowd" / person.name)
    return tmp_path / "crowd"


def test_the_command_tells_the_story(crowd: Path, tmp_path: Path, run: Run) -> None:
    done = run(
        "evaluate", "people", str(crowd), "--protect", "id000,id003", "--groups-of", "1", "--scale", "tiny",
        "--seeds", "1", "--random-control", "-o", "ev",
    )  # fmt: skip
    assert done.exit_code == 0, done.stderr
    report = json.loads((tmp_path / "ev" / "report.json").read_text())
    rows = {row["labels"]["noise"]: row for row in report["rows"]}
    row, clean, random = rows["person"], rows["clean"], rows["random noise"]
    assert row["labels"]["protect_classes"] == random["labels"]["protect_classes"] == "2 people, 1 at a time"
    assert (len(row["cells"]), len(clean["cells"]), len(random["cells"])) == (2, 1, 2)
    assert random["cells"] != row["cells"]
    assert row["trip"]["name"] == "face"
    assert (tmp_path / "ev" / "report.html").is_file()
    trees = list((tmp_path / "ev" / "protected").iterdir())
    assert len(trees) == 2
    for tree in trees:
        with Image.open(next((tree / "id003").glob("*.jpg"))) as photo:
            assert photo.size == (250, 250)


def test_a_recogniser_is_asked_with_every_head_and_gallery(crowd: Path, tmp_path: Path, run: Run) -> None:
    pytest.importorskip("dlib", reason="the extra 'recognisers' is not installed")
    done = run(
        "evaluate", "people", str(crowd), "--protect", "id000,id003", "--scale", "tiny", "--attacker", "frozen:dlib",
        "-o", "ev",
    )  # fmt: skip
    assert done.exit_code == 0, done.stderr
    report = json.loads((tmp_path / "ev" / "report.json").read_text())
    rows = [row["labels"] for row in report["rows"] if row["protected_images"]]
    asked = {(row["head"], row["protected"]) for row in rows}
    assert asked == {(head, of) for head in ("centroid", "neighbour", "ridge") for of in ("known", "asked", "both")}
    assert {row["trip"]["name"] for row in report["rows"]} == {"aligned"}
    assert report["dataset"]["image_size"] == 112
    for row in report["rows"]:
        assert row["unprotected"] is not None or not row["protected_images"]
        assert 0 <= row["auc"] <= 1
        assert (row["auc_unprotected"] is None) == (not row["protected_images"])
    assert run("evaluate", "people", "crowd", "--protect", "id000", "--attacker", "moon").exit_code == 2


def test_fine_tuning_and_a_refit_have_their_rows(crowd: Path, tmp_path: Path, run: Run) -> None:
    """Pretrained weights that took part in making the noise are marked, and are never the worst case."""
    network, file = "shufflenet_v2_x0_5", tmp_path / "small.pth"
    torch.save(get_model(network, weights=None).state_dict(), file)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    shipped = choose("person").bank
    save_bank(tmp_path / "taught.safetensors", shipped.noise, replace(shipped.provenance, teachers={network: digest}))
    attackers = ("--attacker", f"reweight,fine-tune:{network}={file}")
    done = run(
        "evaluate", "people", str(crowd), "--protect", "id000,id003", "--scale", "tiny", "--seeds", "1",
        "--bank", "taught.safetensors", *attackers, "-o", "ev", "--record",
    )  # fmt: skip
    assert done.exit_code == 0, done.stderr
    assert "6 to do (resnet10-w16, 1 epochs each" in done.stderr
    assert f"fine-tune:{network}:whole, 1 epochs each" in done.stderr
    report = json.loads((tmp_path / "ev" / "report.json").read_text())
    rows = [row for row in report["rows"] if row["protected_images"]]
    assert all(row["unprotected"] for row in rows)
    assert [row["white_box"] for row in rows] == [False] * 4 + [True] * 2
    assert {row["labels"].get("reweight") for row in rows[:4]} == {None} | {
        f"{share} % clean photos" for share in (1, 5, 10)
    }
    assert len({row["cells"][0] for row in rows[:4]}) == 1
    assert {row["labels"]["model"] for row in rows[4:]} == {f"fine-tune:{network}:{part}" for part in ("last", "whole")}
    assert {row["trip"]["name"] for row in rows[4:]} == {"aligned"}
    assert rows[0]["separability"] is not None
    for row in rows:  # The worst person is the one whose clean photos were recognised most often.
        shares = [of[label] / sum(of) for label, of in enumerate(row["confusion"]) if label in (0, 3)]
        assert row["worst_class"]["final"] == pytest.approx(max(shares), abs=1e-3)
        assert row["worst_class"]["name"] in ("id000", "id003")
    assert "worst class" in done.stdout
    assert "The noise alone (taught): a linear classifier" in done.stdout
    assert "White-box" in done.stdout
    assert f"{network}: no judges of this noise" in run("banks", "show", "taught.safetensors").stdout
    card = json.loads((tmp_path / "taught.json").read_text())
    assert [result["white_box"] for result in card["results"]].count(True) == 2
    assert [result["worst_class"] for result in card["results"]] == [row["worst_class"] for row in rows]
    again = run(
        "evaluate", "people", str(crowd), "--protect", "id000,id003", "--scale", "tiny", "--seeds", "1",
        "--bank", "taught.safetensors", *attackers, "-o", "ev", "--only", "reweight=5 % clean photos",
    )  # fmt: skip
    assert again.exit_code == 0, again.stderr
    assert len(json.loads((tmp_path / "ev" / "report.json").read_text())["rows"]) == 2
    assert "already done" in again.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["people", "crowd"], "--protect"),
        (["people", "crowd", "--protect", "nobody"], "Nobody"),
        (["people", "crowd", "--protect", "id000", "--trip", "moon"], "moon"),
        (["people", "crowd", "--protect", "id000", "--record"], "name the --bank"),
        (["people", "crowd", "--protect", "id000", "--set", "keep=clean"], "There is no setting 'keep' here"),
        (["bank", "cifar10", "--set", "trip=face"], "folder of photos"),
        (["bank", "cifar10", "--set", "one-key=yes"], "no setting 'one-key'"),
    ],
)
def test_what_makes_no_sense_is_one_sentence(crowd: Path, arguments: list[str], says: str, run: Run) -> None:
    done = run("evaluate", *arguments)
    assert done.exit_code == 2
    assert says in done.stderr


def test_a_bank_for_faces_is_one_of_people(crowd: Path, tmp_path: Path, run: Run) -> None:
    small = ("--image-size", "16", "--method", "random", "-o", "mine.safetensors")
    made = run("generate", "--dataset", "folder:crowd", "--set", "frame=face", *small)
    assert made.exit_code == 0, made.stderr
    done = run("protect", crowd / "id000", "--class", "person", "--bank", "mine.safetensors", "-o", "done")
    assert done.exit_code == 0, done.stderr
    assert len(list((tmp_path / "done").iterdir())) == 5
