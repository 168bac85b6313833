"""Protecting people's photos with a bank that goes with faces: real files, real detector."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from unlearn_cli.banks.bank import load_bank, save_bank
from unlearn_cli.banks.catalog import Choice
from unlearn_cli.banks.provenance import Provenance
from unlearn_cli.errors import BankError
from unlearn_cli.photos.encode import Writing
from unlearn_cli.photos.fit import Fit
from unlearn_cli.photos.folder import protect_folder
from unlearn_cli.photos.outcome import NO_FACE, Options, PhotoDone
from unlearn_cli.photos.protection import Protection
from unlearn_cli.photos.scan import Where
from unlearn_cli.photos.verdicts import verify

PNG = Options(writing=Writing(format="png"))


@pytest.fixture
def bank(tmp_path: Path) -> Path:
    """Return a bank of three smooth random patterns."""
    draw = np.random.default_rng(0)
    small = [Image.fromarray(draw.integers(0, 256, (6, 6, 3)).astype(np.uint8)) for _ in range(3)]
    noise = np.stack([np.asarray(image.resize((24, 24), Image.Resampling.BICUBIC)) for image in small])
    levels = np.rint((noise.astype(float) - 128) / 16).clip(-8, 8).astype(np.int8).transpose(0, 3, 1, 2)
    of = Provenance(classes=("a", "b", "c"), epsilon=8, scale=24, frame="face", span=1.6, family="person")
    save_bank(tmp_path / "faces.safetensors", np.ascontiguousarray(levels), of)
    return tmp_path / "faces.safetensors"


@pytest.fixture
def album(tmp_path: Path, shared: Path) -> Path:
    """Return a portrait, two people side by side, and a wall."""
    people = sorted((shared / "datasets" / "faces" / "identities").iterdir())
    one, other = (Image.open(sorted(people[i].iterdir())[0]).convert("RGB") for i in (0, 42))
    folder = tmp_path / "album"
    folder.mkdir()
    one.save(folder / "one.png")
    two = Image.new("RGB", (500, 250))
    two.paste(one.resize((180, 180)), (20, 40))
    two.paste(other, (250, 0))
    two.save(folder / "two.png")
    Image.new("RGB", (200, 200), (120, 130, 140)).save(folder / "wall.png")
    return folder


def protect(album: Path, bank: Path, output: Path, **more: object) -> dict[str, PhotoDone]:
    of = Protection.of(Choice(load_bank(bank), 1), "person")
    of = type(of)(**{**of.__dict__, **more})
    return {done.source.stem: done for done in protect_folder(album, of, Where(output=output), PNG)}


def test_the_noise_is_strongest_where_the_face_is_and_the_manifest_counts_faces(
    album: Path, bank: Path, tmp_path: Path
) -> None:
    done = protect(album, bank, tmp_path / "out")
    assert {name: photo.faces for name, photo in done.items()} == {"one": 1, "two": 1, "wall": 0}
    records = {Path(r["input"]).stem: r for r in map(json.loads, (tmp_path / "out.jsonl").read_text().splitlines())}
    assert records["wall"]["faces"] == 0
    assert records["wall"]["reason"] == NO_FACE
    assert records["one"]["faces"] == 1
    assert "reason" not in records["one"] or not records["one"]["reason"]
    assert protect(album, bank, tmp_path / "out")["one"].status == "unchanged"
    again = protect(album, bank, tmp_path / "all", faces="all")
    assert again["two"].faces == 2
    one, every = (np.asarray(Image.open(tmp_path / name / "two.png")).astype(int) for name in ("out", "all"))
    differing = np.argwhere((one != every).any(axis=2))
    assert differing[:, 1].max() < 250, "only the smaller face, on the left, differs"


def test_verify_finds_the_pattern_in_the_face(album: Path, bank: Path, tmp_path: Path) -> None:
    protect(album, bank, tmp_path / "out")
    (tmp_path / "out.jsonl").unlink()
    pairs = {
        pair.original.stem: pair
        for pair in verify(album, tmp_path / "out", [load_bank(bank)])
        if pair.original is not None
    }
    for pair in pairs.values():
        assert pair.verdict == ("weak" if pair.original is not None and pair.original.stem == "wall" else "protected")
        assert pair.fit is not None
        assert pair.fit.class_name == "person"
        assert isinstance(pair.fit, Fit)
        assert pair.fit.correlation > 0.9


def test_a_bank_says_how_far_it_goes_around_a_face(bank: Path, tmp_path: Path) -> None:
    of = load_bank(bank)
    assert of.provenance.span == 1.6
    of.check_applicable()
    for frame, span in (("face", None), ("image", 1.6), ("face", 0.0), ("face", 11)):
        wrong = Provenance(classes=("a",), epsilon=8, scale=24, frame=frame, span=span)
        with pytest.raises(BankError, match="span"):
            save_bank(tmp_path / "wrong.safetensors", np.zeros((1, 3, 8, 8), np.int8), wrong)
