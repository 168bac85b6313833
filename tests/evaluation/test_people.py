"""People among many: real files, each with their own pattern, in turns."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from unlearn_cli.banks.catalog import choose
from unlearn_cli.errors import UsageError, WorkError
from unlearn_cli.evaluation.cell import Cell, Images, Library
from unlearn_cli.evaluation.people import find_people, in_turns, own_choice, person_key, protect_folders
from unlearn_cli.evaluation.recipe import Planned
from unlearn_cli.evaluation.scenario import build, choose_protected
from unlearn_cli.photos.protection import Protection
from unlearn_cli.training.datasets import DatasetSpec, load_dataset
from unlearn_cli.training.trip import TRIPS


@pytest.fixture
def crowd(shared: Path, tmp_path: Path) -> Path:
    """Return a folder of six people with ten photos each."""
    root = tmp_path / "crowd"
    for person in sorted((shared / "datasets" / "faces" / "identities").iterdir())[:6]:
        (root / person.name).mkdir(parents=True)
        for photo in sorted(person.iterdir())[:10]:
            shutil.copy(photo, root / person.name)
    return root


def protections(names: list[str]) -> dict[str, Protection]:
    choice = choose("person")
    return {
        name: Protection.of(own_choice(choice, turn), "person", key=person_key(name, 0))
        for turn, name in enumerate(names)
    }


def test_each_gets_a_pattern_of_their_own_and_the_tree_is_made_once(crowd: Path, tmp_path: Path) -> None:
    names = find_people(crowd, ["id00[01]"])
    assert names == ["id000", "id001"]
    tree = protect_folders(crowd, protections(names), tmp_path / "out")
    assert {path.name for path in tree.iterdir() if path.is_dir()} == {"id000", "id001"}
    stamps = {path: path.stat().st_mtime_ns for path in tree.rglob("*.jpg")}
    assert len(stamps) == 20
    assert protect_folders(crowd, protections(names), tmp_path / "out") == tree
    assert stamps == {path: path.stat().st_mtime_ns for path in tree.rglob("*.jpg")}
    one, other = (protections(names)[name].pattern.noise.astype(float).ravel() for name in names)
    assert abs(np.corrcoef(one, other)[0, 1]) < 0.6


def test_a_photo_that_cannot_be_protected_is_told(crowd: Path, tmp_path: Path) -> None:
    (crowd / "id000" / "zzz.jpg").write_bytes(b"no photo")
    with pytest.raises(WorkError, match="zzz"):
        protect_folders(crowd, protections(["id000"]), tmp_path / "out")
    with pytest.raises(UsageError, match="Nobody"):
        find_people(crowd, ["id9*"])


def test_only_the_protected_people_of_a_turn_come_from_the_tree(crowd: Path, tmp_path: Path) -> None:
    names = ["id000", "id001", "id002", "id003"]
    tree = protect_folders(crowd, protections(names), tmp_path / "out")
    spec = DatasetSpec(source=f"folder:{crowd}", image_size=24, trip=TRIPS["face"], views=2)
    cell = Cell(images=Images(spec=spec), protected_tree=tree, protect_classes=tuple(names))
    planned = in_turns([Planned(cell=cell, labels={"noise": "person"})], names, 3)
    assert [one.cell.protect_classes for one in planned] == [("id000", "id001", "id002"), ("id003",)]
    assert len({tuple(one.labels.items()) for one in planned}) == 1
    clean = load_dataset(spec, "train")
    for one in planned:
        library = Library()
        scenario = build(one.cell, library, lambda *_: pytest.fail("no bank is asked for"), torch.device("cpu"))
        differs = (scenario.train.images != clean.images).flatten(1).any(1)
        wanted = torch.tensor([clean.classes[label] in one.cell.protect_classes for label in clean.labels])
        assert torch.equal(differs, wanted)
        assert torch.equal(scenario.protected, wanted)
        assert torch.equal(scenario.test.images, load_dataset(spec, "test").images)


def test_all_views_of_a_photo_are_protected_or_none(crowd: Path) -> None:
    spec = DatasetSpec(source=f"folder:{crowd}", image_size=16, trip=TRIPS["face"], views=3)
    data = load_dataset(spec, "train")
    assert len(data) == 3 * 6 * 8
    mask = choose_protected(data, [1, 2], 0.5, seed=0, views=3).reshape(3, -1)
    assert torch.equal(mask[0], mask[1])
    assert torch.equal(mask[0], mask[2])
    assert mask[0].sum() == 2 * 4
    one, two = data.images[0], data.images[len(data) // 3]
    assert (one != two).any(), "each view has a jitter of its own"
    plain = load_dataset(replace(spec, views=1), "train")
    assert torch.equal(plain.images, data.images[: len(plain)])
