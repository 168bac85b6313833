"""Noise that is made for each face: ``protect --form sample-wise`` with a bank for people."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from tests.conftest import RunUnlearn
from unlearn_cli.banks.catalog import STUDENT, choose, shipped_folder
from unlearn_cli.banks.keys import Key
from unlearn_cli.faces import TEMPLATE_SIDE
from unlearn_cli.noise.face_noise import FaceNoise
from unlearn_cli.photos.anchored import Anchored
from unlearn_cli.photos.decode import Photo, decode
from unlearn_cli.photos.encode import Writing
from unlearn_cli.photos.folder import protect_folder
from unlearn_cli.photos.outcome import Options
from unlearn_cli.photos.protection import Protection, face_squares, pixels_under
from unlearn_cli.photos.scan import Where
from unlearn_cli.photos.wanted import made_for_each
from unlearn_cli.training.student import load_student
from unlearn_cli.training.trip import TRIPS, arrive

KEY = Key(bytes(range(32)))


@pytest.fixture
def album(tmp_path: Path, shared: Path) -> Path:
    """Return a folder with four portraits of a person, and a wall."""
    folder = tmp_path / "in"
    folder.mkdir()
    for source in sorted((shared / "datasets" / "faces" / "identities" / "id003").iterdir())[:4]:
        Image.open(source).convert("RGB").save(folder / f"{source.stem}.png")
    Image.new("RGB", (200, 200), (120, 130, 140)).save(folder / "wall.png")
    return folder


def protection(steps: int = 12) -> Protection:
    of = Protection.of(choose("person"), "person", key=KEY)
    maker = FaceNoise(of.pattern.noise, of.pattern.epsilon, torch.device("cpu"), steps=steps)
    return made_for_each(of, maker, 0)


def seen(path: Path) -> torch.Tensor:
    """Return what the student sees in a photo after the trip ``aligned``: its features, one after the other."""
    (crop,) = arrive(path, TRIPS["aligned"], TEMPLATE_SIDE, ["same jitter"])
    with torch.no_grad():
        found = load_student(shipped_folder() / STUDENT)(torch.from_numpy(crop.copy()).permute(2, 0, 1)[None].float())
    return torch.cat(found, 1)[0]


def test_protected_faces_look_like_somebody_else_to_the_student(album: Path, tmp_path: Path) -> None:
    """Through a platform's JPEG and an alignment of another detector's."""
    pattern_alone = Protection.of(choose("person"), "person", key=KEY)
    options = Options(writing=Writing(format="png"))
    for name, of in (("made", protection()), ("pattern", pattern_alone)):
        for done in protect_folder(album, of, Where(output=tmp_path / name), options):
            assert done.status == "protected", done.reason
            before, after = (
                np.asarray(Image.open(path)).astype(int) for path in (done.source, tmp_path / name / done.source.name)
            )
            assert np.abs(after - before).max() <= 8
    names = [path.name for path in album.iterdir() if path.stem != "wall"]
    near = {
        folder: np.mean(
            [float(F.cosine_similarity(seen(album / name), seen(tmp_path / folder / name), 0)) for name in names]
        )
        for folder in ("made", "pattern")
    }
    assert near["made"] < 0.6 < near["pattern"]


def test_each_face_gets_its_own_noise_and_the_rest_the_keys_pattern(album: Path) -> None:
    of = protection(steps=3)
    photos: list[Photo] = [decode(path.read_bytes()) for path in sorted(album.iterdir())]
    noises = [noise for photo in photos if isinstance(noise := of.noise_for(photo), Anchored)]
    assert [len(noise.own) for noise in noises] == [1, 1, 1, 1, 0]
    assert not np.array_equal(noises[0].own[0].noise, noises[1].own[0].noise)
    assert all(noise.beneath is of.pattern for noise in noises)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "CMYK", "I;16"])
@pytest.mark.parametrize("times", [1, 7])
def test_a_face_is_seen_the_same_in_every_mode_and_size(album: Path, mode: str, times: int, tmp_path: Path) -> None:
    source = Image.open(album / "000.png").convert("RGB" if mode in ("RGB", "RGBA", "CMYK") else "L")
    small = saved(source, tmp_path / "small.png")
    (square,) = face_squares(small, 1.6, "landmarks")
    image = source.resize((source.width * times, source.height * times), Image.Resampling.BICUBIC)
    image = Image.fromarray(np.asarray(image).astype(np.uint16) * 257) if mode == "I;16" else image.convert(mode)
    path = tmp_path / ("large.tif" if mode in ("CMYK", "I;16") else "large.png")
    image.save(path)
    large = decode(path.read_bytes())
    grown = type(square)(square.centre * times, square.side * times, square.turn)
    one, other = pixels_under(square, small, 160).astype(int), pixels_under(grown, large, 160).astype(int)
    assert np.abs(one - other).mean() < 4


def saved(image: Image.Image, path: Path) -> Photo:
    image.save(path)
    return decode(path.read_bytes())


def test_the_command_line_makes_them_and_knows_them_again(album: Path, tmp_path: Path, unlearn: RunUnlearn) -> None:
    (tmp_path / "my.key").write_text(KEY.secret.hex())
    command = ("protect", "in", "--class", "person", "--form", "sample-wise", "--key-file", "my.key")
    done = unlearn(*command)
    assert done.returncode == 0, done.stderr
    records = [json.loads(line) for line in (tmp_path / "in-protected.jsonl").read_text().splitlines()]
    assert {record["form"] for record in records if "form" in record} == {"sample-wise"}
    again = unlearn(*command)
    assert "up to date: 5" in again.stdout + again.stderr
    checked = unlearn("verify", "in", "in-protected", "--key-file", "my.key")
    assert checked.returncode == 0, checked.stdout + checked.stderr
