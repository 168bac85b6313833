"""Error-minimizing noise on real CIFAR-10: bounded, repeatable, and it does what its name says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from unlearn_cli.errors import UsageError, WorkError
from unlearn_cli.noise.alternating import AlternatingSearch
from unlearn_cli.noise.events import Estimated, Finished, Improving, Iterated
from unlearn_cli.noise.make import make_noise
from unlearn_cli.noise.settings import ErrorMax, ErrorMin, make_settings
from unlearn_cli.noise.timing import Speed, likely_iterations
from unlearn_cli.training.datasets import DatasetSpec, ImageSet, load_dataset

CPU = torch.device("cpu")
SETTINGS = ErrorMin(surrogate="resnet10-w16", max_iterations=8, noise_share=1.0, stop_error=0.02)
QUICK = replace(SETTINGS, surrogate_steps=3, batch_size=50)
"""For what holds of any search."""


@pytest.fixture(scope="module")
def images(cifar10: Path) -> ImageSet:
    return load_dataset(DatasetSpec(source="cifar10", data_dir=cifar10), "all").first(600)


def search(images: ImageSet, settings: ErrorMin, checkpoint: Path | None = None) -> tuple[list[float], Finished]:
    events = list(make_noise(images, settings, CPU, checkpoint=checkpoint))
    assert isinstance(events[0], Estimated)
    assert 0 < events[0].likely <= events[0].seconds
    assert isinstance(events[-1], Finished)
    errors = [event.error for event in events if isinstance(event, Iterated)]
    return errors, events[-1]


@pytest.fixture(scope="module")
def found(images: ImageSet) -> tuple[list[float], Finished]:
    return search(images, SETTINGS)


def test_the_error_goes_down_within_the_bound(found: tuple[list[float], Finished]) -> None:
    errors, finished = found
    assert len(errors) == finished.iterations
    assert errors[-1] < errors[0] - 0.2
    assert finished.noise.dtype == np.int8
    assert finished.noise.shape == (10, 3, 32, 32)
    assert np.abs(finished.noise.astype(int)).max() <= 8
    # Signed: the official code's training lost all negative noise.
    assert 0.3 < (finished.noise < 0).mean() < 0.7


def test_a_pass_tells_how_far_it_is(images: ImageSet) -> None:
    short = replace(QUICK, max_iterations=2, form="sample-wise", batch_size=20)
    events = list(make_noise(images.first(500), short, CPU))
    told = [event.iteration for event in events if isinstance(event, Improving)]
    shares = [event.share for event in events if isinstance(event, Improving)]
    assert told == [1] * 9 + [2] * 9
    assert shares[:9] == shares[9:] == sorted(shares[:9])
    assert 0.1 <= shares[0] < shares[8] < 1


def test_the_same_seed_makes_the_same_bits_and_another_does_not(images: ImageSet) -> None:
    short = replace(QUICK, max_iterations=2)
    first, second, other = (search(images.first(200), replace(short, seed=seed))[1].noise for seed in (5, 5, 6))
    np.testing.assert_array_equal(first, second)
    assert (first != other).any()


def test_it_says_why_it_ended(images: ImageSet, found: tuple[list[float], Finished]) -> None:
    assert found[1].stop == "max_iterations reached"
    errors, finished = search(images.first(300), replace(QUICK, stop_error=0.95))
    assert finished.stop == "goal reached"
    assert len(errors) == 1
    # A surrogate that learns nothing gives nothing to follow.
    errors, finished = search(images.first(300), replace(QUICK, learning_rate=0.0, patience=2, step_size=0.01))
    assert finished.stop == "stalled"
    assert 3 <= len(errors) < 8


def test_epsilon_and_step_size_are_in_pixel_levels(images: ImageSet) -> None:
    _, finished = search(images.first(300), replace(QUICK, epsilon=3, step_size=3, max_iterations=1))
    assert np.abs(finished.noise.astype(int)).max() == 3


def test_plain_noise_is_finer_than_noise_made_through_the_augmentation(
    images: ImageSet, found: tuple[list[float], Finished]
) -> None:
    """The finding that the default rests on: flips and shifts leave only what is smooth."""

    def roughness(noise: np.ndarray[tuple[int, ...], np.dtype[np.int8]]) -> float:
        levels = noise.astype(float)
        return float(np.abs(np.diff(levels, axis=-1)).mean() / np.abs(levels).mean())

    _, plain = search(images, replace(SETTINGS, through="none"))
    assert roughness(found[1].noise) < 0.8 * roughness(plain.noise)


SAMPLE_WISE = replace(QUICK, form="sample-wise", through="none", max_iterations=2, noise_steps=4)


def test_images_with_a_low_loss_take_no_more_steps(images: ImageSet) -> None:
    few = images.first(100)
    settings = (
        SAMPLE_WISE,
        replace(SAMPLE_WISE, skip_below=0.0),
        replace(SAMPLE_WISE, max_iterations=1, noise_steps=1),
        replace(SAMPLE_WISE, max_iterations=1, skip_below=1e9),
    )
    all_steps, without_limit, one_step, skipped_after_one = (search(few, each)[1].noise for each in settings)
    np.testing.assert_array_equal(all_steps, without_limit)
    assert (all_steps != one_step).any()
    np.testing.assert_array_equal(one_step, skipped_after_one)


def test_skipping_images_still_reaches_the_goal(images: ImageSet) -> None:
    # With fewer steps of the surrogate, whether it gets there differs from one CPU to the next.
    thorough = replace(SAMPLE_WISE, skip_below=0.5, max_iterations=8, noise_steps=20, surrogate_steps=12)
    errors, some = search(images.first(60), thorough)
    assert errors[-1] < 0.1
    assert np.abs(some.noise.astype(int)).max() == 8


def test_class_wise_noise_and_penalty_solvers_skip_no_image(images: ImageSet) -> None:
    assert "skip_below" in replace(QUICK, skip_below=0.1).unused
    assert "skip_below" in replace(SAMPLE_WISE, solver="adam", skip_below=0.1).unused
    once = replace(QUICK, max_iterations=1)
    plain, limited = (search(images.first(100), each)[1].noise for each in (once, replace(once, skip_below=9.0)))
    np.testing.assert_array_equal(plain, limited)


def test_every_class_gets_noise_however_small_the_share(images: ImageSet) -> None:
    few = images.first(20)
    for on in ("all", "noise-images"):
        settings = replace(SETTINGS, noise_share=0.05, max_iterations=1, batch_size=8, surrogate_on=on)
        _, finished = search(few, settings)
        assert (np.abs(finished.noise.astype(int)).max(axis=(1, 2, 3)) > 0).all()
    with pytest.raises(UsageError, match="--train-size"):
        list(make_noise(images.first(5), SETTINGS, CPU))


def test_a_search_takes_as_long_as_its_steps() -> None:
    speed, settings = (
        Speed(surrogate=0.001, noise=0.01),
        replace(SETTINGS, batch_size=100, surrogate_steps=5, noise_share=0.2),
    )
    assert speed.seconds(1000, settings, 3) == pytest.approx(3 * (5 * 100 * 0.001 + 200 * 0.01))
    # Where images are skipped, only the first pass takes all steps.
    sample_wise = replace(settings, form="sample-wise")
    every, some = (speed.seconds(1000, each, 3) for each in (sample_wise, replace(sample_wise, skip_below=0.1)))
    assert 1000 * 0.01 < some < every
    assert speed.seconds(1000, replace(settings, skip_below=0.1), 3) == speed.seconds(1000, settings, 3)
    # A batch is never larger than the set.
    assert speed.seconds(50, settings, 1) == pytest.approx(5 * 50 * 0.001 + 10 * 0.01)
    error_max = ErrorMax(form="sample-wise", surrogate_epochs=7)
    assert speed.seconds(1000, error_max, likely_iterations(error_max)) == pytest.approx(7 * 1000 * 0.001 + 1000 * 0.01)
    assert likely_iterations(replace(settings, through="none")) < likely_iterations(
        replace(settings, max_iterations=99)
    )


def test_the_share_of_the_images_is_the_same_in_every_class(images: ImageSet) -> None:
    """Stratified, as in the official code."""
    search = AlternatingSearch(images, replace(SETTINGS, noise_share=0.2), CPU)
    assert torch.bincount(images.labels[search.noise_images]).tolist() == [12] * 10


@pytest.mark.parametrize(
    ("changes", "because"),
    [
        ({"surrogate": "resnet9000"}, "resnet18, vgg11, resnet10-w16"),
        ({"surrogate": "resnet18,resnet18"}, "each named once"),
        ({"surrogate": "vit_b_16"}, "does not take images of 32 pixels"),
        ({"patch": 33}, "1 to 32 pixels"),
        ({"through": "walls"}, "no transformation 'walls'"),
        ({"through": "jpeg:95-50"}, "the lower first"),
        ({"through": "flip:3"}, "flip does not take numbers"),
        ({"through": ""}, "write --through none"),
        ({"method": "error-max", "solver": "adam"}, "penalty form"),
        ({"method": "lsp", "patch": 8}, "works without a search"),
    ],
)
def test_what_makes_no_sense_says_so(images: ImageSet, changes: dict[str, object], because: str) -> None:
    with pytest.raises(UsageError, match=because):
        list(make_noise(images, make_settings(changes, fitting={"surrogate": "resnet10-w16"}), CPU))


def test_a_diverged_search_says_so(images: ImageSet) -> None:
    with pytest.raises(WorkError, match="learning-rate"):
        search(images, replace(SETTINGS, learning_rate=1e30))


@pytest.mark.parametrize("through", ["none", "augment"])
def test_each_image_gets_noise_of_its_own(images: ImageSet, through: str) -> None:
    settings = replace(SETTINGS, form="sample-wise", batch_size=50, noise_steps=5, max_iterations=3, through=through)
    errors, finished = search(images.first(150), settings)
    assert finished.noise.shape == (150, 3, 32, 32)
    assert len(np.unique(finished.noise.reshape(150, -1), axis=0)) == 150
    assert errors[-1] < errors[0]
    assert np.abs(finished.noise.astype(int)).max() <= 8


def test_a_patch_is_as_small_as_it_was_asked_to_be(images: ImageSet) -> None:
    errors, finished = search(images.first(500), replace(QUICK, patch=16, max_iterations=3))
    assert finished.noise.shape == (10, 3, 16, 16)
    assert np.abs(finished.noise.astype(int)).max() > 0
    assert errors[-1] < errors[0]


def test_an_ensemble_is_fooled_together(images: ImageSet) -> None:
    _, finished = search(images.first(150), replace(QUICK, surrogate="resnet10-w16,vgg11-w16", max_iterations=2))
    assert finished.surrogate is not None
    assert list(finished.surrogate) == ["resnet10-w16", "vgg11-w16"]
    _, alone = search(images.first(150), replace(QUICK, max_iterations=2))
    assert (finished.noise != alone.noise).any()


@pytest.mark.parametrize("form", ["class-wise", "sample-wise"])
def test_an_interrupted_search_ends_with_the_same_bits(
    images: ImageSet, tmp_path: Path, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("unlearn_cli.noise.resume.SECONDS_BETWEEN", 0.0)
    monkeypatch.setattr("unlearn_cli.noise.resume.SHARE", 0.0)  # A slow disk makes it keep less often.
    few = images.first(80)
    settings = replace(QUICK, form=form, noise_steps=2, max_iterations=3, stop_error=0.0)  # type: ignore[arg-type]
    _, whole = search(few, settings)
    events = make_noise(few, settings, CPU, checkpoint=tmp_path)
    while not (isinstance(event := next(events), Iterated) and event.iteration == 1):
        pass
    events.close()  # type: ignore[attr-defined]
    errors, resumed = search(few, settings, tmp_path)
    assert len(errors) == 2
    np.testing.assert_array_equal(resumed.noise, whole.noise)
    assert resumed.surrogate is not None
    assert whole.surrogate is not None
    for name, value in whole.surrogate.state_dict().items():
        assert torch.equal(value, resumed.surrogate.state_dict()[name]), name
    # What is finished is not searched again, but may go further than it was meant to.
    assert search(few, settings, tmp_path)[0] == []
    further = replace(settings, max_iterations=4)
    errors, gone_on = search(few, further, tmp_path)
    assert len(errors) == 1
    np.testing.assert_array_equal(gone_on.noise, search(few, further)[1].noise)


def test_a_checkpoint_of_a_version_without_a_setting_goes_on(images: ImageSet, tmp_path: Path) -> None:
    few = images.first(60)
    search(few, replace(QUICK, max_iterations=1), tmp_path)
    (path,) = tmp_path.iterdir()
    content = torch.load(path, weights_only=False)
    del content["identity"]["settings"]["skip_below"]
    torch.save(content, path)
    assert len(search(few, replace(QUICK, max_iterations=2), tmp_path)[0]) == 1
    with pytest.raises(WorkError, match="other settings"):
        search(few, replace(QUICK, max_iterations=2, skip_below=0.5), tmp_path)


def test_a_checkpoint_of_another_search_or_damaged_is_refused(images: ImageSet, tmp_path: Path) -> None:
    few, settings = images.first(100), replace(QUICK, max_iterations=1)
    search(few, settings, tmp_path)
    for other_images, other in ((few, replace(settings, seed=1)), (images.first(90), settings)):
        with pytest.raises(WorkError, match="other settings or images"):
            search(other_images, other, tmp_path)
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(WorkError, match="damaged"):
        search(few, settings, tmp_path)
