from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import confint_proportions_2indep, proportion_confint

from advassay.analysis.differences import holm, paired_difference
from advassay.analysis.intervals import (
    BOOTSTRAP,
    WILSON,
    WILSON_EFFECTIVE,
    Counts,
    bootstrap,
    counts,
    effective_n,
    intervals,
    pooled_icc,
    resampled_rates,
    wilson,
)


def clustered(
    rng: np.random.Generator, rate: float, icc: float, patients: int, size: int
) -> tuple[np.ndarray, np.ndarray]:
    """(image,) bool with a beta-binomial patient effect: exactly this rate and intraclass correlation."""
    share = np.full(patients, rate)
    if icc > 0:
        share = rng.beta(rate * (1 - icc) / icc, (1 - rate) * (1 - icc) / icc, patients)
    return rng.random(patients * size) < np.repeat(share, size), np.repeat(np.arange(patients), size)


@given(st.integers(0, 50), st.integers(1, 50), st.sampled_from([0.8, 0.95, 0.99]))
def test_wilson_is_statsmodels_wilson(events: int, n: int, level: float) -> None:
    events = min(events, n)
    expected = proportion_confint(events, n, 1 - level, "wilson")
    low, high = wilson(np.array([events]), np.array([n]), level)
    assert (low[0], high[0]) == pytest.approx(expected, abs=1e-12)


def test_without_images_there_is_no_interval() -> None:
    low, high = wilson(np.array([0]), np.array([0]))
    assert np.isnan([low[0], high[0]]).all()


def test_counts_sum_by_patient_and_ignore_what_is_not_included() -> None:
    events = np.array([[1, 1, 0, 1]], bool)
    included = np.array([[1, 0, 1, 1]], bool)
    found = counts(events, included, np.array([0, 0, 1, 1]))
    assert found.events.tolist() == [[1.0, 1.0]]
    assert found.images.tolist() == [[1.0, 2.0]]
    assert (found.n[0], found.total[0], found.patients[0]) == (3, 2, 2)


@pytest.mark.parametrize("icc", [0.0, 0.2, 0.4])
def test_the_pooled_icc_finds_the_true_one(icc: float) -> None:
    rng = np.random.default_rng(1)
    draws = [clustered(rng, 0.4, icc, 100, 5) for _ in range(40)]
    events, patients = np.stack([e for e, _ in draws]), draws[0][1]
    assert pooled_icc(counts(events, np.ones_like(events), patients)) == pytest.approx(icc, abs=0.03)


@given(st.integers(2, 12), st.integers(1, 6), st.integers(0, 10_000))
@settings(deadline=None)
def test_effective_n_lies_between_patients_and_images(patients: int, size: int, seed: int) -> None:
    events, of = clustered(np.random.default_rng(seed), 0.5, 0.3, patients, size)
    n = effective_n(counts(events[None], np.ones((1, len(of)), bool), of))[0]
    assert patients - 1e-9 <= n <= patients * size + 1e-9


def test_copies_of_one_image_count_once() -> None:
    events = np.repeat(np.arange(30) < 12, 8)[None]
    points = counts(events, np.ones_like(events), np.repeat(np.arange(30), 8))
    assert pooled_icc(points) == pytest.approx(1)
    assert effective_n(points)[0] == pytest.approx(30)


def test_the_method_follows_the_rule() -> None:
    rng = np.random.default_rng(0)
    many, of = clustered(rng, 0.5, 0.2, 40, 3)
    none = np.zeros_like(many)
    points = counts(np.stack([many, none, ~none]), np.ones((3, 120), bool), of)
    assert intervals(points)[2] == [BOOTSTRAP, WILSON_EFFECTIVE, WILSON_EFFECTIVE]
    alone = counts(many[None], np.ones((1, 120), bool), np.arange(120))
    assert intervals(alone)[2] == [WILSON]
    few, of_few = clustered(rng, 0.5, 0.2, 19, 5)
    assert intervals(counts(few[None], np.ones((1, 95), bool), of_few))[2] == [WILSON_EFFECTIVE]


def test_with_all_events_and_unknown_correlation_only_patients_count() -> None:
    events = np.ones((1, 100), bool)
    low, _, _ = intervals(counts(events, events, np.repeat(np.arange(25), 4)))
    assert low[0] == pytest.approx(proportion_confint(25, 25, 0.05, "wilson")[0])


def test_events_of_few_patients_are_not_left_to_the_bootstrap() -> None:
    events = (np.arange(200) < 12)[None]  # all of the first three of 50 patients
    low, high, method = intervals(counts(events, np.ones((1, 200), bool), np.repeat(np.arange(50), 4)))
    assert method == [WILSON_EFFECTIVE]
    assert (low[0], high[0]) == pytest.approx(proportion_confint(3, 50, 0.05, "wilson"))


def test_resampled_rates_have_the_variance_of_whole_patients() -> None:
    events, of = clustered(np.random.default_rng(2), 0.4, 0.4, 60, 5)
    points = counts(events[None], np.ones((1, 300), bool), of)
    by_patient = points.events[0] / 5
    sample = resampled_rates(points, replicates=4000)[:, 0]
    assert sample.mean() == pytest.approx(points.rate[0], abs=0.005)
    assert sample.std() == pytest.approx(by_patient.std() / np.sqrt(60), rel=0.05)


def test_the_bootstrap_is_seeded_and_does_not_depend_on_the_other_points() -> None:
    events, of = clustered(np.random.default_rng(3), 0.4, 0.2, 40, 3)
    points = counts(np.stack([events, ~events]), np.ones((2, 120), bool), of)
    first = Counts(points.events[:1], points.images[:1])
    assert bootstrap(points)[0][0] == pytest.approx(bootstrap(first)[0][0], rel=1e-9)
    assert bootstrap(points, seed=1)[0][0] != bootstrap(points, seed=2)[0][0]


@pytest.mark.parametrize(("rate", "icc"), [(0.15, 0.4), (0.5, 0.0), (0.8, 0.2)])
def test_ninety_five_of_a_hundred_intervals_hold_the_truth(rate: float, icc: float) -> None:
    rng = np.random.default_rng(4)
    held = 0
    for _ in range(400):
        events, of = clustered(rng, rate, icc, 40, 5)
        low, high, _ = intervals(counts(events[None], np.ones((1, 200), bool), of), seed=int(rng.integers(1 << 30)))
        held += low[0] <= rate <= high[0]
    # 400 simulations: 0.95 ± 0.033 is three standard errors
    assert 0.917 <= held / 400 <= 0.983


def test_a_paired_difference_is_gained_minus_lost_and_shrinks_with_agreement() -> None:
    rng = np.random.default_rng(5)
    before = rng.random(200) < 0.4
    after = before | (rng.random(200) < 0.1)
    paired = paired_difference(after, before, np.arange(200))
    low, high = confint_proportions_2indep(after.sum(), 200, before.sum(), 200, method="newcomb", compare="diff")
    assert paired.estimate == pytest.approx(after.mean() - before.mean())
    assert paired.high - paired.low < 0.7 * (high - low)
    assert paired.low > 0


def test_no_change_at_all_still_leaves_room() -> None:
    same = np.ones(50, bool)
    paired = paired_difference(same, same, np.arange(50))
    assert paired.estimate == 0
    assert paired.high == pytest.approx(proportion_confint(0, 50, 0.05, "wilson")[1])


def test_holm_is_statsmodels_holm() -> None:
    rng = np.random.default_rng(6)
    for n in range(1, 9):
        p = np.round(rng.random(n) ** 3, 2)  # with ties
        assert holm(p) == pytest.approx(multipletests(p, method="holm")[1])
