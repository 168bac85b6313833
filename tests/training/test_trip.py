"""The trip: a photo's copy meets what the photo meets, and what it meets is what the trip says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from unlearn_cli.errors import UsageError
from unlearn_cli.faces import TEMPLATE, Alignment
from unlearn_cli.training.datasets import DatasetSpec, load_dataset
from unlearn_cli.training.landmarks import find_landmarks
from unlearn_cli.training.trip import TRIPS, Trip, parse_trip
from unlearn_cli.training.trip import arrive as arrive_all


def arrive(path: Path, trip: Trip, size: int, key: str) -> NDArray[np.uint8]:
    (view,) = arrive_all(path, trip, size, [key])
    return view


@pytest.fixture(scope="module")
def face(shared: Path) -> Path:
    return shared / "datasets" / "faces" / "identities" / "id003" / "000.jpg"


@pytest.fixture
def stripes(tmp_path: Path) -> Path:
    """Return a wide photo, coloured in fine stripes, which only 4:4:4 keeps; lossless."""
    picture = np.zeros((300, 500, 3), np.uint8)
    picture[:, ::2] = (255, 0, 0)
    picture[:, 1::2] = (0, 0, 255)
    Image.fromarray(picture).save(tmp_path / "stripes.png")
    return tmp_path / "stripes.png"


def test_none_is_the_middle_square(stripes: Path) -> None:
    whole = arrive(stripes, TRIPS["none"], 300, "a")
    np.testing.assert_array_equal(whole, np.asarray(Image.open(stripes))[:, 100:400])


def test_a_platform_reduces_and_encodes_again(stripes: Path) -> None:
    small = arrive(stripes, Trip(name="x", long_side=250), 150, "a").astype(int)
    assert abs(small - [127, 0, 127]).max() < 40
    encoded = arrive(stripes, Trip(name="x", quality=75), 300, "a").astype(int)
    assert abs(encoded[:, :, 0] - encoded[:, :, 2]).max() < 100, "4:2:0 mixes what is beside each other"


def test_a_worse_quality_is_further_from_the_photo(face: Path) -> None:
    original = arrive(face, TRIPS["none"], 100, "a").astype(int)
    far = [
        np.abs(arrive(face, replace(TRIPS["none"], quality=quality), 100, "a").astype(int) - original).mean()
        for quality in (90, 50, 10)
    ]
    assert far == sorted(far)
    assert far[0] < far[-1]


def test_a_face_is_cut_out_and_jitter_is_the_photo_s_own(face: Path) -> None:
    trip = TRIPS["face"]
    one, again, other = (arrive(face, trip, 40, key) for key in ("a", "a", "b"))
    np.testing.assert_array_equal(one, again)
    assert (one != other).any()
    assert (arrive(face, replace(trip, seed=1), 40, "a") != one).any()
    # Of the whole photo, the face is about the middle 140 pixels.
    middle = Image.open(face).convert("RGB").crop((55, 55, 195, 195)).resize((40, 40))
    plain = arrive(face, replace(trip, quality=None, jitter=0, zoom=(1, 1)), 40, "a")
    assert np.corrcoef(np.asarray(middle).ravel(), plain.ravel())[0, 1] > 0.8


def test_without_a_face_it_is_the_middle(stripes: Path) -> None:
    trip = Trip(name="x", crop="face", detector="haar")
    np.testing.assert_array_equal(arrive(stripes, trip, 50, "a"), arrive(stripes, TRIPS["none"], 50, "a"))


def test_a_tree_of_photos_goes_on_a_trip(shared: Path) -> None:
    root = shared / "datasets" / "faces" / "identities"
    spec = DatasetSpec(source=f"folder:{root}", image_size=32, classes=("id00[01]",), trip=TRIPS["hard"])
    train, test = load_dataset(spec, "train"), load_dataset(spec, "test")
    plain = load_dataset(replace(spec, trip=None), "train")
    assert train.images.shape == plain.images.shape
    assert (train.labels == plain.labels).all()
    assert len(test) > 0
    assert (train.images != plain.images).any()


@pytest.mark.parametrize("text", ["x", "face:0", "face:99", "face:a", ""])
def test_what_is_no_trip_is_told(text: str) -> None:
    with pytest.raises(UsageError):
        parse_trip(text)


def test_another_quality_is_another_trip() -> None:
    assert parse_trip("face:50") == replace(TRIPS["face"], name="face:50", quality=50)


@pytest.mark.parametrize("detector", ["yunet", "dlib"])
def test_an_aligned_face_has_its_landmarks_where_recognisers_want_them(
    face: Path, tmp_path: Path, detector: Literal["yunet", "dlib"]
) -> None:
    """However the photo is turned and however large it is."""
    if detector == "dlib":
        pytest.importorskip("dlib", reason="the extra 'recognisers' is not installed")
    trip = replace(TRIPS["aligned"], detector=detector, jitter=0, zoom=(1, 1), turn=0)
    with Image.open(face) as photo:
        for name, degrees, side in (("as-it-is", 0, 500), ("tilted", 18, 500), ("large", 0, 1600)):
            photo.resize((side, side), Image.Resampling.BICUBIC).rotate(degrees).save(tmp_path / f"{name}.png")
            crop = arrive(tmp_path / f"{name}.png", trip, 112, "a")
            landmarks = find_landmarks(np.asarray(Image.fromarray(crop).resize((448, 448))), "yunet")
            assert landmarks is not None
            points = np.array(landmarks, np.complex128) / 4
            assert np.abs(points - TEMPLATE).mean() < 6, name
            assert abs(np.degrees(np.angle(Alignment.to(points).turn))) < 6, name


def test_alignment_leaves_a_little_jitter_that_is_the_photo_s_own(face: Path) -> None:
    trip = replace(TRIPS["aligned"], detector="yunet")
    one, again, other = (arrive(face, trip, 112, key).astype(int) for key in ("a", "a", "b"))
    np.testing.assert_array_equal(one, again)
    assert 0 < np.abs(one - other).mean() < 25


def test_without_a_face_to_align_it_is_the_middle(stripes: Path) -> None:
    trip = Trip(name="x", crop="aligned", detector="yunet")
    np.testing.assert_array_equal(arrive(stripes, trip, 50, "a"), arrive(stripes, TRIPS["none"], 50, "a"))
