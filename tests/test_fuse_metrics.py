"""Scores as mergeable moments: against audmetric, against exact fractions, by hand, and merged against whole."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from math import sqrt

import audmetric
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from fuse.metrics import Moments

Float = NDArray[np.float64]
FIELDS = tuple(Moments.__dataclass_fields__)

# On a grid of 1/64, so that hypothesis can't win by subnormal numbers: what is tested is the merging.
VALUES = st.integers(-64, 64).map(lambda i: i / 64)


def pairs(least: int = 0, most: int = 31) -> st.SearchStrategy[Float]:
    """[T, 2, 2]: predictions and labels of two dimensions."""
    return st.integers(least, most).flatmap(lambda rows: hnp.arrays(np.float64, (rows, 2, 2), elements=VALUES))


def exact(p: Float, t: Float) -> dict[str, float]:
    """CCC, Pearson and RMSE in exact fractions, straight from their definitions."""
    ps, ts = [Fraction(float(x)) for x in p], [Fraction(float(x)) for x in t]
    n = len(ps)
    mean_p, mean_t = sum(ps) / n, sum(ts) / n
    var_p, var_t = sum((x - mean_p) ** 2 for x in ps) / n, sum((x - mean_t) ** 2 for x in ts) / n
    cov = sum((x - mean_p) * (y - mean_t) for x, y in zip(ps, ts, strict=True)) / n
    return {
        "ccc": float(2 * cov / (var_p + var_t + (mean_p - mean_t) ** 2)),
        "pearson": float(cov) / sqrt(float(var_p * var_t)),
        "rmse": sqrt(float(sum((x - y) ** 2 for x, y in zip(ps, ts, strict=True)) / n)),
    }


def same(a: Moments, b: Moments, tolerance: float = 1e-12) -> None:
    """Equal field by field. Sums of at most a few hundred numbers of size 1: float64 is good to far below 1e-12."""
    for field in FIELDS:
        x, y = getattr(a, field), getattr(b, field)
        if field in ("mean_p", "mean_t"):  # the mean of no row says nothing
            x, y = np.where(a.n > 0, x, 0), np.where(b.n > 0, y, 0)
        np.testing.assert_allclose(x, y, rtol=tolerance, atol=tolerance, err_msg=field)


def test_a_case_worked_by_hand() -> None:
    # p = 0, 1, 2: mean 1, m2 2.  t = 1, 1, 4: mean 2, m2 6.  products (-1)(-1) + 0 + (1)(2) = 3.
    moments = Moments.of([0.0, 1.0, 2.0], [1.0, 1.0, 4.0])
    assert (moments.n, moments.mean_p, moments.mean_t) == (3, 1, 2)
    assert (moments.m2_p, moments.m2_t, moments.c_pt) == (2, 6, 3)
    assert moments.ccc() == pytest.approx(6 / 11, rel=1e-15)  # 2 * 3 / (2 + 6 + 3 * 1)
    assert moments.pearson() == pytest.approx(3 / sqrt(12), rel=1e-15)
    assert moments.rmse() == pytest.approx(sqrt(5 / 3), rel=1e-15)  # 1, 0, 4
    assert moments.sign_agreement() == pytest.approx(2 / 3)  # 0 has no sign, so it agrees with 0 only


def test_two_dimensions_are_scored_apart() -> None:
    rng = np.random.default_rng(3)
    p, t = rng.normal(size=(29, 2)), rng.normal(size=(29, 2))
    both = Moments.of(p, t)
    for d in range(2):
        one = Moments.of(p[:, d], t[:, d])
        for name in ("ccc", "pearson", "rmse", "sign_agreement"):
            # numpy adds a column in another order than a vector.
            assert getattr(both, name)()[d] == pytest.approx(getattr(one, name)(), rel=1e-12), name


@pytest.mark.parametrize("rows", [2, 3, 101, 4999])
def test_scores_equal_audmetric(rows: int) -> None:
    rng = np.random.default_rng(rows)
    t = rng.normal(size=rows)
    p = 0.6 * t + 0.3 * rng.normal(size=rows) + 0.2
    moments = Moments.of(p, t)
    # The same float64 sums in another order.
    assert moments.ccc() == pytest.approx(audmetric.concordance_cc(t, p), rel=1e-12)
    assert moments.pearson() == pytest.approx(audmetric.pearson_cc(t, p), rel=1e-12)
    assert moments.rmse() == pytest.approx(sqrt(audmetric.mean_squared_error(t, p)), rel=1e-12)


@given(pairs(least=2))
def test_scores_equal_exact_fractions(data: Float) -> None:
    p, t = data[:, 0, 0], data[:, 1, 0]
    assume(np.ptp(p) > 0 and np.ptp(t) > 0)
    wanted, moments = exact(p, t), Moments.of(p, t)
    # atol: a covariance that is exactly 0 comes out as the rounding of a sum of 31 terms.
    for name in ("ccc", "pearson", "rmse"):
        assert getattr(moments, name)() == pytest.approx(wanted[name], rel=1e-12, abs=1e-13), name


def test_a_large_mean_with_a_tiny_variance_keeps_its_digits() -> None:
    # The textbook formula E[x^2] - E[x]^2 has no digit left here: 1e6^2 * 2^-53 is 1e-4, the variance 1e-6.
    rng = np.random.default_rng(11)
    t = 1e6 + 1e-3 * rng.normal(size=997)
    p = t + 5e-4 * rng.normal(size=997)
    naive = np.mean(p * p) - np.mean(p) ** 2
    assert abs(naive / np.var(p) - 1) > 0.1
    wanted = exact(p, t)
    for name in ("ccc", "pearson", "rmse"):
        # The stored means carry an error of 1e6 * 2^-53 = 1e-10 against a deviation of 1e-3: 1e-7 at the worst.
        assert getattr(Moments.of(p, t), name)() == pytest.approx(wanted[name], rel=1e-7), name
    cut = [0, 13, 13, 401, 997]
    merged = Moments.stack([Moments.of(p[a:b], t[a:b]) for a, b in pairwise(cut)]).merged()
    for name in ("ccc", "pearson", "rmse"):
        assert getattr(merged, name)() == pytest.approx(wanted[name], rel=1e-6), name


@given(pairs(), st.lists(st.integers(0, 31), max_size=6))
def test_merged_parts_equal_the_whole(data: Float, cuts: list[int]) -> None:
    p, t = data[:, 0], data[:, 1]
    edges = [0, *sorted(min(cut, len(p)) for cut in cuts), len(p)]
    parts = [Moments.of(p[a:b], t[a:b]) for a, b in pairwise(edges)]
    same(Moments.stack(parts).merged(), Moments.of(p, t))


@settings(max_examples=50)
@given(st.lists(pairs(most=7), min_size=1, max_size=5), st.data())
def test_weights_are_repeated_rows(groups: list[Float], data: st.DataObject) -> None:
    stacked = Moments.stack([Moments.of(g[:, 0], g[:, 1]) for g in groups])
    draws = data.draw(hnp.arrays(np.int64, (3, len(groups)), elements=st.integers(0, 3)))
    at_once = stacked.merged(draws)
    assert at_once.n.shape == (3, 2)
    for r, weights in enumerate(draws):
        repeated = np.concatenate([np.repeat(g, w, 0) for g, w in zip(groups, weights, strict=True)])
        whole = Moments.of(repeated[:, 0], repeated[:, 1])
        same(Moments(*(getattr(at_once, f)[r] for f in FIELDS)), whole)
        same(stacked.merged(weights), whole)


def test_merging_in_two_steps_equals_merging_at_once() -> None:
    rng = np.random.default_rng(5)
    parts = [Moments.of(rng.normal(size=(k, 2)), rng.normal(size=(k, 2))) for k in (3, 7, 2, 11, 5)]
    halves = [Moments.stack(parts[:2]).merged(), Moments.stack(parts[2:]).merged()]
    same(Moments.stack(halves).merged(), Moments.stack(parts).merged())


def test_the_ccc_of_a_split_is_not_the_mean_of_its_clips() -> None:
    rng = np.random.default_rng(2)
    t = np.stack([rng.normal(size=53) * 0.01 - 0.5, rng.normal(size=53) * 0.01 + 0.5])
    p = np.stack([np.full(53, -0.5), np.full(53, 0.5)]) + rng.normal(size=(2, 53)) * 0.01
    clips = Moments.stack([Moments.of(p[i], t[i]) for i in range(2)])
    assert abs(clips.ccc().mean()) < 0.3  # within a clip the predictions know nothing
    assert clips.merged().ccc() > 0.99  # but they know which clip it is
    assert clips.merged().ccc() == pytest.approx(audmetric.concordance_cc(t.ravel(), p.ravel()), rel=1e-12)


@pytest.mark.parametrize("constant", [0.1, 1 / 3, -0.7])
def test_a_constant_prediction_scores_0_and_is_flagged_also_when_merged(constant: float) -> None:
    rng = np.random.default_rng(1)
    labels = rng.normal(size=(103, 2))
    predictions = np.full((103, 2), constant)
    predictions[:, 1] = labels[:, 1]
    parts = Moments.stack([Moments.of(predictions[a:b], labels[a:b]) for a, b in ((0, 31), (31, 33), (33, 103))])
    for moments in (Moments.of(predictions, labels), parts.merged(), parts.merged([[2, 0, 5]])):
        np.testing.assert_array_equal(np.ravel(moments.ccc()), [0, pytest.approx(1, rel=1e-12)])
        np.testing.assert_array_equal(np.ravel(moments.constant_predictions()), [True, False])
        assert np.isnan(np.ravel(moments.pearson())[0])


def test_a_constant_label_scores_0_and_is_not_the_predictions_fault() -> None:
    moments = Moments.of([0.1, 0.4, 0.2], [0.3, 0.3, 0.3])
    assert moments.ccc() == 0
    assert np.isnan(moments.pearson())
    assert not moments.constant_predictions()


def test_nan_only_where_nothing_can_be_said() -> None:
    equal = Moments.of([0.3, 0.3, 0.3], [0.3, 0.3, 0.3])
    assert np.isnan(equal.ccc())  # the denominator is 0
    assert not equal.constant_predictions()
    apart = Moments.of([0.3, 0.3, 0.3], [0.1, 0.1, 0.1])
    assert apart.ccc() == 0
    one = Moments.of([0.3], [0.1])
    assert np.isnan(one.ccc())
    assert np.isnan(one.pearson())
    assert one.rmse() == pytest.approx(0.2)
    assert one.sign_agreement() == 1
    for none in (Moments.of(np.zeros((0, 2)), np.zeros((0, 2))), Moments.of([[9.0, 9.0]], [[0.0, 0.0]], [False])):
        for score in (none.ccc(), none.pearson(), none.rmse(), none.sign_agreement()):
            assert np.isnan(score).all()
    with_empty = Moments.stack([equal, apart]).merged([0, 0])
    assert with_empty.n == 0
    assert np.isnan(with_empty.ccc())


@given(pairs(least=1), st.data())
def test_masked_rows_may_hold_anything(data: Float, draw: st.DataObject) -> None:
    p, t = data[:, 0], data[:, 1]
    valid = draw.draw(hnp.arrays(np.bool_, len(p)))
    poisoned_p, poisoned_t = p.copy(), t.copy()
    poisoned_p[~valid], poisoned_t[~valid] = np.nan, -np.inf
    same(Moments.of(poisoned_p, poisoned_t, valid), Moments.of(p[valid], t[valid]))


def test_a_mask_can_differ_by_dimension() -> None:
    rng = np.random.default_rng(8)
    p, t, valid = rng.normal(size=(37, 2)), rng.normal(size=(37, 2)), rng.random((37, 2)) > 0.4
    p[~valid] = 1e300
    moments = Moments.of(p, t, valid)
    for d in range(2):
        kept = valid[:, d]
        assert moments.n[d] == kept.sum()
        assert moments.ccc()[d] == pytest.approx(audmetric.concordance_cc(t[kept, d], p[kept, d]), rel=1e-12)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_counted_value_that_is_not_finite_is_refused(bad: float) -> None:
    good, spoilt = np.array([0.1, 0.2, 0.3]), np.array([0.1, bad, bad])
    with pytest.raises(ValueError, match="predictions hold 2 values that are not finite"):
        Moments.of(spoilt, good)
    with pytest.raises(ValueError, match="labels hold 1 values that are not finite"):
        Moments.of(good, spoilt, [True, True, False])
    assert Moments.of(spoilt, good, [True, False, False]).n == 1


def test_shapes_that_do_not_fit_are_refused_with_all_shapes() -> None:
    with pytest.raises(ValueError, match=r"shape \(3, 2\), labels \(2, 3\)"):
        Moments.of(np.zeros((3, 2)), np.zeros((2, 3)))
    with pytest.raises(ValueError, match=r"both must be \[T\] or both"):
        Moments.of(np.zeros((3, 2, 1)), np.zeros((3, 2, 1)))
    with pytest.raises(ValueError, match=r"valid has shape \(5,\), wanted \(3, 2\) or \(3,\)"):
        Moments.of(np.zeros((3, 2)), np.zeros((3, 2)), np.ones(5, bool))


def test_sign_agreement_counts_rows_of_one_sign() -> None:
    predictions = [0.5, -0.5, 0.0, -0.0, 0.1, -1e-9]
    labels = [0.1, 0.1, 0.0, 0.0, 0.0, -1.0]  # agree, differ, agree, agree (-0 is 0), differ, agree
    assert Moments.of(predictions, labels).sign_agreement() == pytest.approx(4 / 6)
    parts = Moments.stack([Moments.of(predictions[:2], labels[:2]), Moments.of(predictions[2:], labels[2:])])
    assert parts.merged().sign_agreement() == pytest.approx(4 / 6)
    assert parts.merged([3, 1]).sign_agreement() == pytest.approx(6 / 10)


@given(pairs(least=2))
def test_ccc_is_symmetric_and_bounded_by_pearson(data: Float) -> None:
    p, t = data[:, 0, 0], data[:, 1, 0]
    assume(np.ptp(p) > 0 and np.ptp(t) > 0)
    moments = Moments.of(p, t)
    assert moments.ccc() == pytest.approx(Moments.of(t, p).ccc(), rel=1e-12, abs=1e-15)
    assert abs(moments.ccc()) <= abs(moments.pearson()) + 1e-12  # Lin 1989: |CCC| <= |r|, rounding apart
    assert moments.ccc() == pytest.approx(Moments.of(3 * p - 1, 3 * t - 1).ccc(), rel=1e-9, abs=1e-12)
