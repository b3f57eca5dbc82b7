"""Thresholds by hand; the curve against an independent maximum; pooling against statsmodels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize
from scipy import stats as sps
from statsmodels.stats.meta_analysis import combine_effects

from advassay.analysis import epsilon50
from advassay.analysis.dose_response.epsilon50 import epsilon50_of
from advassay.analysis.dose_response.epsilon50_tables import _pooled, epsilon50_text
from advassay.analysis.dose_response.log_logistic import fit
from advassay.analysis.dose_response.pooling import pool
from advassay.analysis.dose_response.thresholds import Thresholds, distinct_doses, thresholds
from advassay.analysis.outcome_arrays import load_outcomes
from advassay.analysis.success_curves import RunSubset
from advassay.records import open_records
from advassay.spec.attack_spec import Arm
from tests.simulate import Cohort, make_store

DOSES = np.array([0.0005, 0.001, 0.0025, 0.005, 0.01, 0.02])


def data(category: np.ndarray, patients: np.ndarray | None = None, doses: np.ndarray = DOSES) -> Thresholds:
    patients = np.arange(len(category)) if patients is None else patients
    return Thresholds(doses, category.astype(np.int64), patients, np.ones(len(category), bool))


def drawn(log_epsilon: np.ndarray) -> Thresholds:
    return data(np.searchsorted(np.log(DOSES), log_epsilon))


def test_readings_of_the_dose_differ_where_success_is_lost_again(tmp_path: Path) -> None:
    cohort = Cohort("c", "X-ray", patients=30, lost_again=0.3)
    arm = Arm(epsilons=(0.02, 0.05, 0.1), step_sizes=("epsilon/4",), steps=4)
    pack = load_outcomes(open_records(make_store(tmp_path / "s", (cohort,), {"A": arm}, gallery=False)).runs[0])
    fallen = pack.last[:, -1][:, pack.attackable.all(0)]
    monotone, recorded = (thresholds(pack, "last", dose) for dose in ("monotone", "as recorded"))
    for image in range(fallen.shape[1]):
        column = fallen[:, image].tolist()
        assert monotone.category[image] == (column.index(True) if True in column else 3)
        assert recorded.category[image] == next(j for j in range(4) if all(column[j:]))
    assert (monotone.category <= recorded.category).all()
    assert (monotone.category != recorded.category).any()


def test_amplitudes_that_sign_steps_cannot_reach_are_one_dose(tmp_path: Path) -> None:
    arm = Arm(epsilons=(0.02, 0.04, 0.06, 0.1, 0.2), step_sizes=(0.01, "epsilon/4"), steps=5)
    run = open_records(make_store(tmp_path / "s", (Cohort("c", "X-ray"),), {"A": arm}, gallery=False)).runs[0]
    doses, at = distinct_doses(load_outcomes(run, "0.01"))
    assert doses.tolist() == pytest.approx([0.02, 0.04, 0.05])
    assert at.tolist() == [0, 1, 2]
    assert distinct_doses(load_outcomes(run, "epsilon/4"))[0].tolist() == [0.02, 0.04, 0.06, 0.1, 0.2]


def test_the_curve_is_the_penalised_maximum_found_by_another_optimiser() -> None:
    rng = np.random.default_rng(4)
    found = drawn(np.log(0.003) + 0.7 * rng.standard_normal(200))
    x = rng.random(200) < 0.4
    curve = fit(found, x[:, None].astype(float))

    def loss(theta: np.ndarray) -> float:
        z = (np.log(DOSES)[None, :] - theta[0] - theta[4] * x[:, None]) / np.exp(theta[1])
        share = 1 / (1 + np.exp(-theta[2])) * (1 / (1 + np.exp(-z))) ** np.exp(theta[3])
        p = np.diff(np.c_[np.zeros(200), share, np.ones(200)], axis=1)[np.arange(200), found.category]
        middle = np.log(DOSES[[0, -1]]).mean()
        mean = np.array([middle, np.log(0.5), 3.0, 0.0, 0.0])
        sd = np.array([5.0, 1.0, 2.0, 0.7, 2.0])
        return float(-np.log(p).sum() + 0.5 * (((theta - mean) / sd) ** 2).sum())

    other = optimize.minimize(loss, curve.theta + 0.3, method="Nelder-Mead", options={"maxiter": 20_000, "xatol": 1e-8})
    assert loss(curve.theta) <= other.fun + 1e-7
    assert curve.theta == pytest.approx(other.x, abs=2e-3)


@given(st.floats(-1, 1), st.floats(0.1, 2), st.floats(0.3, 5), st.floats(-1, 1))
@settings(max_examples=40, deadline=None)
def test_the_gradient_of_epsilon50_is_its_difference_quotient(m: float, s: float, a: float, f: float) -> None:
    curve = fit(drawn(np.log(0.003) + np.linspace(-1, 1, 20)))
    curve = replace(curve, theta=np.array([m, np.log(s), a, f]))
    _, gradient = curve.log_epsilon()
    for k in range(4):
        step = np.zeros(4)
        step[k] = 1e-6
        up, down = (replace(curve, theta=curve.theta + sign * step).log_epsilon()[0] for sign in (1, -1))
        assert gradient[k] == pytest.approx((up - down) / 2e-6, rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("never", [0.0, 0.1])
def test_epsilon50_counts_images_that_never_fall_among_all(never: float) -> None:
    rng = np.random.default_rng(0)
    logs = np.log(0.003) + 0.7 * rng.standard_normal(20_000)
    logs[rng.random(20_000) < never] = np.inf
    truth = 0.003 * np.exp(0.7 * sps.norm.ppf(0.5 / (1 - never)))
    found = epsilon50_of(drawn(logs))
    assert found.estimate == pytest.approx(truth, rel=0.03)
    assert found.curve is not None
    assert found.curve.ever == pytest.approx(1 - never, abs=0.02)


@pytest.mark.parametrize(("share", "text"), [(0.3, "> 0.02"), (0.0, "> 0.02")])
def test_an_asymptote_below_one_half_puts_epsilon50_above_the_grid(share: float, text: str) -> None:
    rng = np.random.default_rng(1)
    logs = np.where(rng.random(500) < share, np.log(0.002) + 0.3 * rng.standard_normal(500), np.inf)
    found = epsilon50_of(drawn(logs))
    assert (found.side, epsilon50_text(found)) == ("above", text)


def test_a_curve_that_does_not_fit_is_printed_as_the_amplitudes_that_bracket_it() -> None:
    """Half of the images fall at one amplitude, half far above: no log-logistic curve, but a plain bracket."""
    rng = np.random.default_rng(2)
    early = rng.random(4_000) < 0.45
    logs = np.where(early, np.log(0.0008) + 0.05 * rng.standard_normal(4_000), np.log(0.012))
    found = epsilon50_of(drawn(logs))
    assert found.fit_p is not None
    assert found.fit_p < 0.01
    assert not found.trusted
    assert epsilon50_text(found) == "between 0.01 and 0.02"
    low, high = found.interval()
    assert low <= 0.012 <= high


def test_separated_images_give_a_finite_interval_inside_the_gap() -> None:
    found = epsilon50_of(data(np.full(30, 3)))
    assert found.side == "inside"
    assert 0.0025 < found.estimate < 0.005
    assert np.isfinite(found.variance)


def test_a_steep_curve_between_two_doses_is_printed_as_these_two() -> None:
    """No image falls at 0.0025 and all fall at 0.005: where between them ε50 lies, no curve can tell."""
    rng = np.random.default_rng(6)
    found = epsilon50_of(drawn(np.log(0.004) + 0.05 * rng.standard_normal(4_000)))
    assert (found.side, found.trusted) == ("inside", False)
    assert epsilon50_text(found) == "between 0.0025 and 0.005"
    assert found.variance >= np.log(2) ** 2 / 12
    shallow = epsilon50_of(drawn(np.log(0.004) + 0.7 * rng.standard_normal(100)))
    assert shallow.trusted


def test_an_epsilon50_beyond_the_grid_by_few_images_is_bounded_only_with_confidence() -> None:
    """4 of 6 fall at the smallest dose: that it is ε50 or more is not shown, that the third dose is (6 of 6) is."""
    few, many = epsilon50_of(data(np.array([0, 0, 0, 0, 1, 2]))), epsilon50_of(data(np.zeros(60)))
    assert (few.side, few.known) == ("below", (np.log(0.0025), "at most"))
    assert many.known == (np.log(0.0005), "at most")


def test_a_patient_with_most_images_leaves_the_variance_unknown() -> None:
    """Kish's number of 100 images of one patient and 25 of as many others is 125² / 10,025 = 1.56."""
    rng = np.random.default_rng(8)
    patients = np.r_[np.zeros(100, int), 1 + np.arange(25)]
    logs = np.log(0.003) + 0.7 * rng.standard_normal(26)[patients] + 0.1 * rng.standard_normal(125)
    found = epsilon50_of(data(np.searchsorted(np.log(DOSES), logs), patients))
    assert found.patients == pytest.approx(125**2 / 10_025)
    assert np.isnan(found.variance)
    assert (found.trusted, found.known) == (False, None)
    assert epsilon50_text(found) == "< 0.0005 to > 0.02"


@pytest.mark.parametrize(("large", "single"), [(60, 60), (30, 70)])
def test_one_large_patient_leaves_the_interval_of_epsilon50_its_coverage(large: int, single: int) -> None:
    """Images of a patient share half of the variance; before, these intervals held the truth in 61 and 89%."""
    patients = np.r_[np.zeros(large, int), 1 + np.arange(single)]
    held = 0
    for seed in range(150):
        rng = np.random.default_rng(seed)
        own, common = rng.standard_normal(large + single), rng.standard_normal(single + 1)[patients]
        logs = np.log(0.0025) + 0.7 * np.sqrt(0.5) * (common + own)
        low, high = epsilon50_of(data(np.searchsorted(np.log(DOSES), logs), patients)).interval()
        held += low <= 0.0025 <= high
    assert held >= 0.92 * 150


def test_images_of_one_patient_make_the_interval_wider_not_narrower() -> None:
    rng = np.random.default_rng(5)
    patient = np.repeat(np.arange(30), 10)
    logs = np.log(0.003) + 0.7 * rng.standard_normal(30)[patient] + 0.1 * rng.standard_normal(300)
    category = np.searchsorted(np.log(DOSES), logs)
    together, apart = fit(data(category, patient)), fit(data(category))
    (log, gradient), (same, _) = together.log_epsilon(), apart.log_epsilon()
    assert together.variance(gradient) > 3 * apart.variance(gradient)
    assert log == same


@given(st.integers(3, 12), st.floats(0, 1), st.integers(0, 10_000))
@settings(max_examples=60, deadline=None)
def test_pooling_is_paule_mandel_with_hartung_knapp(k: int, tau: float, seed: int) -> None:
    """Against statsmodels where its iteration converges (Q = k − 1), and against that equation everywhere."""
    rng = np.random.default_rng(seed)
    v = rng.uniform(0.01, 0.2, k)
    y = 1 + tau * rng.standard_normal(k) + np.sqrt(v) * rng.standard_normal(k)
    ours, theirs = pool(y, v).weighted, combine_effects(y, v, method_re="iterated", use_t=True, atol=1e-10)
    q_at_ours, q_at_theirs = (
        float(((y - np.average(y, weights=1 / (v + t))) ** 2 / (v + t)).sum()) for t in (ours.tau2, theirs.tau2)
    )
    assert q_at_ours == pytest.approx(k - 1, rel=1e-5) or (ours.tau2 == 0 and q_at_ours <= k - 1)
    if theirs.tau2 > 0 and q_at_theirs != pytest.approx(k - 1, rel=1e-4):
        return
    if theirs.tau2 <= 0 and ours.tau2 > 0:
        return
    assert ours.tau2 == pytest.approx(max(theirs.tau2, 0), abs=1e-5)
    assert ours.beta[0] == pytest.approx(theirs.mean_effect_re, abs=1e-4)
    plain, hksj = theirs.sd_eff_w_re, theirs.sd_eff_w_re_hksj  # the factor is never below 1
    assert ours.error(np.ones(1)) == pytest.approx(max(plain, hksj), rel=1e-3)


def test_units_of_equal_precision_have_one_fit_and_uneven_ones_the_wider_of_two() -> None:
    """By hand: y = (3, 0, 6), v = (1, 9, 9). Equal weights: mean 3, s² = 9 above the mean v = 19/3, error √(9/3).
    Weighted: Q = 0 + 1 + 1 = k − 1 at τ² = 0, weights 1, 1/9, 1/9, error √(9/11).
    """
    even = pool(np.array([0.0, 3.0, 6.0]), np.full(3, 2.0))
    assert even.weighted.error(np.ones(1)) == pytest.approx(even.equal.error(np.ones(1)))
    assert even.weighted.tau2 == pytest.approx(even.equal.tau2) == pytest.approx(7.0)
    uneven = pool(np.array([3.0, 0.0, 6.0]), np.array([1.0, 9.0, 9.0]))
    assert uneven.equal.tau2 == pytest.approx(9 - 19 / 3)
    assert uneven.equal.error(np.ones(1)) == pytest.approx(np.sqrt(3))
    estimate, low, high = uneven.interval(np.ones(1))
    assert uneven.weighted.error(np.ones(1)) == pytest.approx(np.sqrt(9 / 11))
    assert (estimate, high - low) == pytest.approx((3.0, 2 * sps.t.ppf(0.975, 2) * np.sqrt(3)))


def test_one_precise_cohort_among_uncertain_ones_does_not_decide_alone() -> None:
    """600 studies without a mean effect: the weighted fit alone rejects in 13%, the wider of both in 5% at most."""
    rng = np.random.default_rng(3)
    v = np.array([0.001, 0.1, 0.1, 0.1])
    rejected = np.zeros(2)
    for _ in range(600):
        found = pool(0.3 * rng.standard_normal(4) + np.sqrt(v) * rng.standard_normal(4), v)
        quantile = sps.t.ppf(0.975, found.freedom)
        estimate, error = float(found.weighted.beta[0]), found.weighted.error(np.ones(1))
        _, low, high = found.interval(np.ones(1))
        rejected += (abs(estimate) > quantile * error, low > 0 or high < 0)
    assert rejected[0] > 0.08 * 600
    assert rejected[1] <= 0.055 * 600


def test_units_without_variance_that_agree_have_no_error_and_no_division_by_zero() -> None:
    found = pool(np.full(3, 1.5), np.zeros(3))
    assert found.interval(np.ones(1)) == pytest.approx((1.5, 1.5, 1.5), abs=1e-5)


def test_a_unit_of_a_value_and_a_bound_is_no_value() -> None:
    """Joined cohorts, one inside the grid and one above it: the unit's mean lies above that of value and bound."""
    y, v = np.array([1.0, 1.2, 0.8, 1.0, 1.4]), np.full(4, 0.04)
    found = pool(y, v, None, ["value"] * 4 + ["at least"], np.array([0, 1, 2, 3, 3]))
    plain = pool(np.array([1.0, 1.2, 0.8, 1.2]), v)
    assert found.equal.beta[0] > plain.equal.beta[0]
    assert found.freedom < plain.freedom == 3
    assert (found.k, found.equal.known[:3].tolist()) == (4, [1.0, 1.0, 1.0])


def test_a_value_beyond_the_grid_moves_the_mean_but_brings_no_certainty() -> None:
    y, v = np.array([1.0, 1.2, 0.8, 1.1]), np.full(4, 0.01)
    without = pool(y, v)
    bound = pool(np.r_[y, 0.5], np.r_[v, np.nan], None, ["value"] * 4 + ["at most"])
    far = pool(np.r_[y, 1.5], np.r_[v, np.nan], None, ["value"] * 4 + ["at most"])
    for name in ("weighted", "equal"):
        beta = [float(getattr(found, name).beta[0]) for found in (without, bound, far)]
        assert beta[1] < beta[0]
        assert beta[2] == pytest.approx(beta[0], abs=0.05)
    assert without.freedom <= far.freedom <= 4
    assert far.error(np.ones(1)) >= 0.8 * without.error(np.ones(1))


@pytest.mark.parametrize("values", [0, 1, 2])
def test_too_few_values_have_an_open_interval(values: int) -> None:
    found = pool(np.zeros(values), np.ones(values), np.c_[np.ones(values), np.arange(values)])
    _, low, high = found.interval(np.array([0.0, 1.0]))
    assert not np.isfinite(low)
    assert not np.isfinite(high)


def test_epsilon50_by_image_type_pools_cohorts_and_not_their_images(tmp_path: Path) -> None:
    """A cohort of 400 images counts as one, like that of 40."""
    large = Cohort("large", "X-ray", epsilon50=0.02, patients=400, images_per_patient=1, rise=0.0, slope=2.0)
    small = replace(large, name="small", epsilon50=0.08, patients=40)
    arm = Arm(epsilons=(0.005, 0.01, 0.02, 0.04, 0.08, 0.16), step_sizes=("epsilon/4",), steps=4)
    records = open_records(make_store(tmp_path / "s", (large, small), {"A": arm}, gallery=False))
    [row] = epsilon50(records, by="image_type").iter_rows(named=True)
    assert row["cohorts"] == 2
    assert row["estimate"] == pytest.approx(0.04, rel=0.15)


def _by_type(tmp_path: Path, *cohorts: Cohort) -> dict[str, Any]:
    records = open_records(make_store(tmp_path / "s", cohorts, {"A": SIX}, gallery=False))
    [row] = epsilon50(records, by="image_type").iter_rows(named=True)
    return row


SIX = Arm(epsilons=(0.005, 0.01, 0.02, 0.04, 0.08, 0.16), step_sizes=("epsilon/4",), steps=4)
ONE = Cohort("a", "X-ray", epsilon50=0.02, patients=100, images_per_patient=1, rise=0.0, slope=2.0)


def test_a_pooled_epsilon50_beyond_the_grids_is_said_to_be_and_has_no_number(tmp_path: Path) -> None:
    far = [replace(ONE, name=name, epsilon50=0.15 * factor) for name, factor in zip("abcdef", (0.8, 0.9, 0.7, 3, 4, 3))]  # noqa: B905
    row = _by_type(tmp_path, *far)
    assert (row["side"], row["estimate"], row["high"]) == ("above", None, None)
    assert row["text"].startswith("> 0.16 [0.")
    assert row["text"].endswith(", > 0.16]")
    assert row["text_255"].startswith("> 40.8 [")


def test_a_pooled_epsilon50_counts_shared_images_once(tmp_path: Path) -> None:
    alike = _by_type(tmp_path, *(replace(ONE, name=name, archive="one") for name in "abcd"))
    [alone] = epsilon50(open_records(make_store(tmp_path / "t", (ONE,), {"A": SIX}, gallery=False))).iter_rows(
        named=True
    )
    assert (alike["high"] - alike["low"]) > 0.9 * (alone["high"] - alone["low"])


def test_a_pooled_epsilon50_takes_what_is_known_of_each_cohort_and_not_its_share(tmp_path: Path) -> None:
    """By hand: in each of six cohorts 6 of 10 images are misclassified at 0.02, all of them from 0.04 on.

    Wilson's 95 % interval of 6 in 10 is 31 to 83 %: that half are misclassified at 0.02 is not shown. That of 10 in 10
    begins at 72 %: it is shown at 0.04. So each ε50 is at most 0.04, and six such bounds bound their median (sign test:
    1 / 64 is below 2.5 %) by the largest: at most 0.04, which is 10.2 grey levels. No number is an estimate.
    """
    cohorts = [Cohort(name, "X-ray", patients=10, images_per_patient=1, accuracy=1.0) for name in "abcdef"]
    arm = Arm(epsilons=(0.02, 0.04, 0.08), step_sizes=("epsilon/4",), steps=4)
    records = open_records(make_store(tmp_path / "s", tuple(cohorts), {"A": arm}, gallery=False))
    groups = []
    for run in records.runs:
        pack = load_outcomes(run)
        fallen = np.ones_like(pack.last)
        fallen[0, :, 6:] = False
        every = np.ones_like(pack.attackable)
        known = replace(pack, last=fallen, any=fallen, attackable=every, decided=every)
        groups.append([RunSubset(known, np.ones(10, bool), {})])
    row = _pooled(groups, "last", "monotone", 0.95)
    assert (row["text"], row["text_255"]) == ("at most 0.04", "at most 10.2")
    assert (row["side"], row["estimate"], row["low"]) == ("unknown", None, None)
    assert row["high"] == pytest.approx(0.04)
