"""The attacker that asks a recogniser: what its heads answer, and that nothing is computed twice."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from unlearn_cli.banks.catalog import STUDENT, shipped_folder
from unlearn_cli.errors import UsageError
from unlearn_cli.evaluation.attackers.frozen import HEADS, Head, answers, verify_features
from unlearn_cli.evaluation.attackers.parse import _has_dlib, parse_attackers
from unlearn_cli.evaluation.attackers.recognisers import Features, Images, Remembered, fingerprint, open_recogniser
from unlearn_cli.files import sha256_of
from unlearn_cli.training.student import load_student

PEOPLE, SIZE = 6, 32


def features(draw: np.random.Generator, labels: NDArray[np.int64], spread: float, shift: float = 0.0) -> Features:
    """Return directions of people with some spread; ``shift`` moves each person towards the next."""
    middles = np.random.default_rng(5).normal(size=(PEOPLE, SIZE))
    moved = (1 - shift) * middles[labels] + shift * middles[(labels + 1) % PEOPLE]
    found = moved + spread * draw.normal(size=(len(labels), SIZE))
    directions: Features = (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)
    return directions


@pytest.mark.parametrize("head", HEADS)
@given(seed=st.integers(0, 50))
def test_every_head_names_clean_photos_and_follows_features_that_were_moved(head: Head, seed: int) -> None:
    """Known photos whose features were moved to another person make clean photos be named as somebody else."""
    draw = np.random.default_rng(seed)
    labels, right = np.repeat(np.arange(PEOPLE), 8), np.arange(PEOPLE).repeat(3)
    asked = features(draw, right, 0.3)
    assert (answers(features(draw, labels, 0.3), labels, asked, head) == right).mean() > 0.9
    named = answers(features(draw, labels, 0.3, shift=1.0), labels, asked, head)
    assert (named == right).mean() < 0.1
    assert (named == (right - 1) % PEOPLE).mean() > 0.9


def test_ridge_gives_a_person_with_few_photos_the_same_weight() -> None:
    draw = np.random.default_rng(1)
    labels = np.repeat([0, 1], [200, 3])
    asked = features(draw, np.repeat([0, 1], 40), 0.6)
    named = answers(features(draw, labels, 0.6), labels, asked, "ridge")
    assert (named[40:] == 1).mean() > 0.8


@given(seed=st.integers(0, 20), more=st.integers(0, 60))
def test_ridge_is_the_same_in_a_larger_space(seed: int, more: int) -> None:
    """Features of more dimensions than photos are solved in another form, with the same answers."""
    draw = np.random.default_rng(seed)
    labels, right = np.repeat(np.arange(PEOPLE), 8), np.arange(PEOPLE).repeat(9)
    known, asked = features(draw, labels, 1.0), features(draw, right, 1.0)
    turn = np.linalg.qr(draw.normal(size=(SIZE + more, SIZE)))[0].T.astype(np.float32)
    assert (
        answers(known @ turn, labels, asked @ turn, "ridge") == answers(known, labels, asked, "ridge")
    ).mean() > 0.98


def test_verification_counts_pairs_of_the_people_only() -> None:
    draw = np.random.default_rng(2)
    labels, right = np.repeat(np.arange(PEOPLE), 4), np.arange(PEOPLE)
    found = verify_features(features(draw, labels, 0.3), labels, features(draw, right, 0.3), right, (1, 2, 3))
    assert found is not None
    assert (found.pairs, found.auc > 0.9) == (12 * 3, True)
    assert verify_features(features(draw, labels, 0.3), labels, features(draw, right, 0.3), right, (1,)) is None


class _Counting:
    name, fingerprint, normalises = "counting", "f" * 64, False

    def __init__(self) -> None:
        self.asked = 0

    def embed(self, images: Images) -> Features:
        self.asked += len(images)
        return images.reshape(len(images), -1)[:, :4].astype(np.float32)


def test_features_are_computed_once_and_outlive_the_process() -> None:
    images = np.random.default_rng(0).integers(0, 256, (5, 112, 112, 3)).astype(np.uint8)
    first = _Counting()
    found = Remembered(first).embed(images[[0, 1, 2, 0]])
    np.testing.assert_array_equal(found, first.embed(images[[0, 1, 2, 0]]))
    later = _Counting()
    np.testing.assert_array_equal(Remembered(later).embed(images)[:3], found[:3])
    assert later.asked == 2


def test_attackers_are_named_or_refused(tmp_path: Path) -> None:
    assert parse_attackers(["scratch-grey", "scratch"]).defences == ("gray", "none")
    assert parse_attackers([], ["gray"]).defences == ("gray",)
    assert parse_attackers(["frozen:dlib"] if _has_dlib() else [], ["none"]).defences == (
        () if _has_dlib() else ("none",)
    )
    assert set(parse_attackers(["all"]).defences) == {"none", "gray", "color-jitter", "pipeline", "reweight"}
    (tmp_path / "other.onnx").write_bytes(b"no network")
    for name, says in (
        ("scratches", "There is no attacker"),
        ("frozen:", "There is no recogniser"),
        ("frozen:vgg", "There is no recogniser"),
        (f"frozen:{tmp_path / 'missing.onnx'}", "cannot be read"),
        (f"frozen:{tmp_path / 'other.onnx'}", "no ONNX network|needs the extra"),
    ):
        with pytest.raises(UsageError, match=says):
            parse_attackers([name])


def test_the_students_features_are_those_that_it_expects_of_its_teachers() -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 112, 112, 3)).astype(np.uint8)
    student = load_student(shipped_folder() / STUDENT)
    expected = torch.cat(student(torch.from_numpy(images).permute(0, 3, 1, 2).float()), dim=1).numpy()
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    recogniser = open_recogniser("student")
    np.testing.assert_allclose(recogniser.embed(images), expected, atol=1e-5)
    assert recogniser.fingerprint == fingerprint("student") == sha256_of(shipped_folder() / STUDENT)
    assert "student" in parse_attackers(["all"]).recognisers


def test_a_path_may_contain_an_equals_sign(tmp_path: Path) -> None:
    path = tmp_path / "run=3" / "arc.onnx"
    path.parent.mkdir()
    path.write_bytes(b"some network")
    assert fingerprint(str(path)) == fingerprint(f"mobilenet_v2={path.rename(path.with_suffix('.pth'))}")


def test_dlib_tells_people_apart(shared: Path) -> None:
    """Aligned faces of one person are closer than those of two, as dlib's own threshold of 0.6 has it."""
    pytest.importorskip("dlib", reason="the extra 'recognisers' is not installed")
    from dataclasses import replace

    from unlearn_cli.training.trip import TRIPS, arrive

    trip = replace(TRIPS["aligned"], jitter=0, zoom=(1, 1), turn=0)
    folders = sorted((shared / "datasets" / "faces" / "identities").iterdir())[:4]
    photos = [photo for folder in folders for photo in sorted(folder.iterdir())[:3]]
    images = np.stack([arrive(photo, trip, 112, ["a"])[0] for photo in photos])
    found = open_recogniser("dlib").embed(images)
    cosines, same = found @ found.T, np.repeat(np.arange(4), 3)[:, None] == np.repeat(np.arange(4), 3)
    pairs = ~np.eye(12, dtype=bool)
    assert cosines[same & pairs].mean() > cosines[~same].mean() + 0.03
