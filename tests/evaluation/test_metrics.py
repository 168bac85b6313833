"""The counting agrees with scikit-learn's, and intervals hold what they say."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import confusion_matrix, roc_auc_score, roc_curve

from unlearn_cli.evaluation.metrics import confusion, figure, roc

Labels = np.ndarray[tuple[int], np.dtype[np.int64]]
Scores = np.ndarray[tuple[int], np.dtype[np.float64]]
Same = np.ndarray[tuple[int], np.dtype[np.bool_]]


@given(
    st.integers(2, 9).flatmap(
        lambda k: st.tuples(st.just(k), *[arrays(np.int64, 50, elements=st.integers(0, k - 1))] * 2)
    )
)
def test_confusion_counts_as_scikit_learn_does(drawn: tuple[int, Labels, Labels]) -> None:
    classes, predicted, labels = drawn
    expected = confusion_matrix(labels, predicted, labels=range(classes))
    np.testing.assert_array_equal(confusion(predicted, labels, classes), expected)


@given(
    arrays(np.float64, 60, elements=st.integers(-5, 5).map(float)),  # few values: ties
    arrays(np.bool_, 60).filter(lambda same: same.any() and not same.all()),
)
def test_roc_is_scikit_learns(scores: Scores, same: Same) -> None:
    curve = roc(scores, same)
    assert curve.auc == pytest.approx(roc_auc_score(same, scores))
    false, true, _ = roc_curve(same, scores, drop_intermediate=False)
    np.testing.assert_allclose(curve.false_positive_rate, false)
    np.testing.assert_allclose(curve.true_positive_rate, true)


def test_pairs_of_one_kind_have_no_roc() -> None:
    with pytest.raises(ValueError, match="two are needed"):
        roc(np.array([1.0, 2.0]), np.array([True, True]))


def test_one_seed_has_the_interval_of_wilson() -> None:
    found = figure([0.1], 100)
    np.testing.assert_allclose((found.low, found.high), (0.0552, 0.1744), atol=1e-4)


@given(st.floats(0, 1), st.integers(1, 10_000))
def test_an_interval_holds_its_mean_and_stays_a_share(share: float, images: int) -> None:
    found = figure([share], images)
    assert 0 <= found.low <= found.mean + 1e-12
    assert found.mean - 1e-12 <= found.high <= 1


def test_seeds_that_differ_widen_it() -> None:
    alike, apart = figure([0.5, 0.5, 0.5], 1000), figure([0.4, 0.5, 0.6], 1000)
    assert apart.high - apart.low > 2 * (alike.high - alike.low)
    # Student's t of two degrees of freedom: 4.303 times the standard error, beside the test set's.
    seeds, test_set = 4.303 * 0.1 / 3**0.5, 0.0309
    assert apart.high - apart.mean == pytest.approx((seeds**2 + test_set**2) ** 0.5, abs=2e-3)


def test_intervals_cover_what_they_promise() -> None:
    """The interval misses the true share of 0.15 in about one in twenty test sets of 200 images."""
    random = np.random.default_rng(0)
    hits = random.binomial(200, 0.15, 2000) / 200
    covered = [(found := figure([hit], 200)).low <= 0.15 <= found.high for hit in hits]
    assert 0.93 < np.mean(covered) < 0.97
