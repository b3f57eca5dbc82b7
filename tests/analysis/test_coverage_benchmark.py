"""The benchmark's simulations are what they say: known rates, known correlation, the same records as a store's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from advassay.analysis.conclusions import conclusions
from advassay.analysis.intervals import pooled_icc
from advassay.records import open_records
from advassay.spec.attack_spec import Arm
from benchmarks.coverage import RATES, Scenario, covered, simulated
from benchmarks.in_memory import simulated_records
from tests.simulate import COHORTS, make_store


@pytest.mark.parametrize("spread", [False, True])
def test_simulated_curves_have_the_rates_and_the_correlation_they_name(spread: bool) -> None:
    points = simulated(Scenario(60, 6, 0.3, spread), np.random.default_rng(0), 400)
    rates = points.rate.reshape(-1, len(RATES))
    assert rates.mean(0) == pytest.approx(RATES, abs=0.01)
    assert (np.diff(rates, axis=1) >= 0).all()  # image by image the curve rises
    assert pooled_icc(points)[0] == pytest.approx(0.3, abs=0.02)


def test_the_usual_case_is_covered() -> None:
    assert [c.passes for c in covered(Scenario(100, 5, 0.2), 500, seed=1) if 0.3 <= c.rate <= 0.7] == [True] * 3


def test_records_in_memory_conclude_what_the_store_would(tmp_path: Path) -> None:
    cohorts, arms = COHORTS[-2:], {"A": Arm(epsilons=(0.01, 0.05, 0.2), step_sizes=(0.01,), steps=12)}
    store = make_store(tmp_path / "s", cohorts, arms, gallery=False, seed=5, arm_dose={"A": 0.0})
    assert conclusions(open_records(store)) == conclusions(simulated_records(cohorts, arms, {"A": 0.0}, 5))
