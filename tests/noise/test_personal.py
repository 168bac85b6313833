"""A personal bank: one pattern fitted to some photos of a person, for all the others."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from tests.conftest import RunUnlearn
from unlearn_cli.banks.bank import Bank, load_bank
from unlearn_cli.banks.catalog import STUDENT, choose, shipped_folder
from unlearn_cli.banks.keys import Key, identity_pattern
from unlearn_cli.errors import WorkError
from unlearn_cli.faces import TEMPLATE_SIDE
from unlearn_cli.noise.face_noise import SIDE
from unlearn_cli.noise.personal import Fitting, Start, make_personal_bank
from unlearn_cli.noise.shift import ShiftSettings
from unlearn_cli.photos.decode import decode
from unlearn_cli.photos.face_pixels import read_faces
from unlearn_cli.photos.protection import Protection, face_squares
from unlearn_cli.photos.protector import Protector
from unlearn_cli.training.student import load_student
from unlearn_cli.training.trip import TRIPS, arrive

KEY = Key(bytes(range(32)))


@pytest.fixture
def people(shared: Path) -> Path:
    return shared / "datasets" / "faces" / "identities"


@pytest.fixture
def album(tmp_path: Path, people: Path) -> tuple[Path, Path]:
    """Return folders with six portraits of a person to fit a pattern to, and three others."""
    photos = sorted((people / "id130").iterdir())
    for name, some in (("known", photos[:6]), ("later", photos[6:9])):
        (tmp_path / name).mkdir()
        for source in some:
            Image.open(source).convert("RGB").save(tmp_path / name / f"{source.stem}.png")
    return tmp_path / "known", tmp_path / "later"


def fitted(faces: np.ndarray, path: Path, steps: int, epsilon: int = 16, key: Key = KEY) -> tuple[Bank, list[Fitting]]:
    bank = choose("person", strength="max").bank
    start, settings = Start(identity_pattern(bank.noise, key), bank.name), ShiftSettings(epsilon=epsilon, steps=steps)
    events = list(make_personal_bank(path, faces, start, settings, torch.device("cpu"), "a test"))
    return load_bank(path), [event for event in events if isinstance(event, Fitting)]


@cache
def student() -> torch.nn.Module:
    return load_student(shipped_folder() / STUDENT)


def seen(path: Path) -> torch.Tensor:
    """Return what the student sees in a photo after the trip ``aligned``: its features, one after the other."""
    (crop,) = arrive(path, TRIPS["aligned"], TEMPLATE_SIDE, ["same jitter"])
    with torch.no_grad():
        return torch.cat(student()(torch.from_numpy(crop.copy()).permute(2, 0, 1)[None].float()), 1)[0]


def test_it_moves_photos_that_it_was_not_fitted_to(album: tuple[Path, Path], tmp_path: Path) -> None:
    """Further than the pattern of the key that the search began with, through a platform's JPEG."""
    known, later = album
    faces, _ = read_faces(known, SIDE)
    bank, steps = fitted(faces, tmp_path / "me.safetensors", steps=25)
    assert steps[-1].cosine < 0.5 < steps[0].cosine
    key_file = tmp_path / "my.key"
    key_file.write_text(KEY.secret.hex())
    protectors = {
        "mine": Protector(bank=str(bank.path)),
        "key": Protector(strength="max", key_file=key_file),
    }
    near = {}
    for name, protector in protectors.items():
        cosines = []
        for path in sorted(later.iterdir()):
            copy = tmp_path / f"{name}-{path.name}"
            copy.write_bytes(protector.protect(path.read_bytes()))
            change = np.asarray(Image.open(copy)).astype(int) - np.asarray(Image.open(path)).astype(int)
            assert 1 <= np.abs(change).max() <= 16
            cosines.append(float(F.cosine_similarity(seen(path), seen(copy), 0)))
        near[name] = np.mean(cosines)
    assert near["mine"] < near["key"] - 0.2


@pytest.mark.parametrize("epsilon", [3, 16])
def test_the_bank_says_how_it_was_made_and_stays_within_its_bound(people: Path, tmp_path: Path, epsilon: int) -> None:
    faces, _ = read_faces(people / "id003", SIDE)
    bank, _ = fitted(faces[:2], tmp_path / "me.safetensors", steps=2, epsilon=epsilon)
    of = bank.provenance
    assert (of.epsilon, of.frame, of.anchor, of.classes, of.family) == (epsilon, "face", "landmarks", ("person",), None)
    assert 1 <= np.abs(bank.noise.astype(int)).max() <= epsilon
    assert set(of.teachers) == {"sface", "dlib", "mobilefacenet"}
    assert of.dataset["images"] == 2
    assert str(people) not in of.to_json()
    again, _ = fitted(faces[:2], tmp_path / "again.safetensors", steps=2, epsilon=epsilon)
    other, _ = fitted(faces[:2], tmp_path / "other.safetensors", steps=2, epsilon=epsilon, key=Key(bytes(32)))
    assert np.array_equal(again.noise, bank.noise)
    assert not np.array_equal(other.noise, bank.noise)


def test_faces_are_read_in_order_and_photos_without_one_are_named(album: tuple[Path, Path]) -> None:
    known, _ = album
    Image.new("RGB", (300, 200), (120, 130, 140)).save(known / "wall.png")
    (known / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 not a photo")
    looked: list[Path] = []
    faces, without = read_faces(known, SIDE, looked.append)
    assert faces.shape == (6, SIDE, SIDE, 3)
    assert [path.name for path in without] == ["broken.jpg", "wall.png"]
    assert len(looked) == 8
    for path in known.glob("0*.png"):
        path.unlink()
    with pytest.raises(WorkError, match="No face was found in any of the 2 photos"):
        read_faces(known, SIDE)


def test_the_pattern_lies_turned_with_the_face(album: tuple[Path, Path], tmp_path: Path) -> None:
    known, later = album
    faces, _ = read_faces(known, SIDE)
    bank, _ = fitted(faces[:2], tmp_path / "me.safetensors", steps=1)
    photo = decode(next(later.iterdir()).read_bytes())
    of = Protection.of(choose("person", str(bank.path)), "person")
    (square,) = face_squares(photo, of.span or 0, of.anchor)
    assert square.turn != 1
    assert of.key_fingerprint is None


def test_the_command_makes_a_bank_that_protects_without_a_class(
    album: tuple[Path, Path], tmp_path: Path, unlearn: RunUnlearn
) -> None:
    for path in sorted(album[0].iterdir())[2:]:
        path.unlink()
    made = unlearn("generate", "--preset", "personal", "known", "-o", "me.safetensors")
    assert made.returncode == 0, made.stderr
    assert "unlearn protect PHOTOS --bank me.safetensors" in made.stdout
    assert "There are only 2 faces" in made.stderr
    done = unlearn("protect", "later", "--bank", "me.safetensors", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["counts"]["protected"] == 3
    checked = unlearn("verify", "later", "later-protected", "--bank", "me.safetensors")
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("--preset", "personal"), "belong together"),
        (("--preset", "personal", "nowhere"), "There is no file or folder"),
        (("--preset", "personal", "later", "--epsilon", "17"), "at most 16 levels"),
        (("later",), "--dataset folder:PATH"),
    ],
)
def test_wrong_requests_get_one_sentence(
    album: tuple[Path, Path], unlearn: RunUnlearn, given: tuple[str, ...], said: str
) -> None:
    refused = unlearn("generate", *given)
    assert refused.returncode == 2
    assert said in " ".join(refused.stderr.split())
    assert "Traceback" not in refused.stderr


def test_a_pattern_whose_start_is_not_shipped_any_more_still_protects(
    people: Path, tmp_path: Path, unlearn: RunUnlearn
) -> None:
    """It only has no figures to show."""
    faces, _ = read_faces(people / "id003", SIDE)
    start = Start(np.zeros((3, 40, 40), np.int8), "a bank of another version")
    settings = ShiftSettings(epsilon=16, steps=1)
    list(make_personal_bank(tmp_path / "me.safetensors", faces[:1], start, settings, torch.device("cpu"), "a test"))
    (tmp_path / "in").mkdir()
    Image.open(next((people / "id003").iterdir())).save(tmp_path / "in" / "a.png")
    done = unlearn("protect", "in", "--bank", "me.safetensors")
    assert done.returncode == 0, done.stderr
    assert "have not been measured" in " ".join((done.stdout + done.stderr).split())
