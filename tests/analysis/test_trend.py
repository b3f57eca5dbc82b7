from __future__ import annotations

import numpy as np
import pytest
import statsmodels.api as sm

from advassay.analysis.intervals import counts
from advassay.analysis.trend import fit_trend

DOSE = np.array([0.02, 0.04, 0.08, 0.16])


def simulated(
    seed: int, slope: float, images: int = 90, patients: int = 30
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    of = rng.integers(0, patients, images)
    threshold = rng.logistic(size=images) + rng.normal(size=patients)[of]
    fallen = slope * np.log(DOSE / 0.05)[:, None] > threshold[None]
    present = rng.random(fallen.shape) < 0.9
    return fallen, present, of


@pytest.mark.parametrize("seed", range(3))
def test_slope_and_clustered_covariance_are_statsmodels(seed: int) -> None:
    fallen, present, of = simulated(seed, 0.8)
    trend = fit_trend(DOSE, counts(fallen, present, of))
    rows = np.argwhere(present)
    x = sm.add_constant(np.log(DOSE)[rows[:, 0]])
    model = sm.GLM(fallen[present].astype(float), x, family=sm.families.Binomial())
    fitted = model.fit(cov_type="cluster", cov_kwds={"groups": of[rows[:, 1]]})
    assert (trend.intercept, trend.slope) == pytest.approx(tuple(fitted.params), rel=1e-6)
    assert trend.covariance == pytest.approx(np.asarray(fitted.cov_params()), rel=1e-5)
    assert trend.n == present.sum()


def test_separated_data_have_no_slope() -> None:
    fallen = np.array([[False] * 20, [False] * 20, [True] * 20, [True] * 20])
    trend = fit_trend(DOSE, counts(fallen, np.ones_like(fallen), np.arange(20)))
    assert not trend.converged
    assert np.isnan(trend.standard_error)


def test_the_interval_holds_a_zero_slope_nineteen_times_of_twenty() -> None:
    held = 0
    for seed in range(300):
        rng = np.random.default_rng(seed)
        of = np.repeat(np.arange(40), 2)
        shared = rng.normal(size=40)[of]
        fallen = rng.random((4, 80)) < 1 / (1 + np.exp(-shared))[None]
        low, high = fit_trend(DOSE, counts(fallen, np.ones_like(fallen), of)).interval()
        held += low <= 0 <= high
    assert 0.91 <= held / 300 <= 0.985
