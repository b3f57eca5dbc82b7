"""Question 6: how its effect is counted, and its verdicts and intervals in simulated studies with a known truth."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from advassay.analysis.conclusions import judge
from advassay.analysis.conclusions.evidence import Evidence, features_as_planned, transfer_as_planned
from advassay.analysis.conclusions.transfer import judge_transfer, transfer_effect, value_of
from advassay.analysis.transfer_outcomes import CohortTransfer, TransferNetwork
from advassay.spec.analysis_plan import AnalysisPlan, Margins
from benchmarks.transfer_scenarios import (
    STUDIES,
    TransferScenario,
    TransferTruth,
    cohort_transfer,
    features_study,
    simulate,
    transfer_study,
)


def test_the_effect_is_counted_by_hand() -> None:
    networks = tuple(TransferNetwork(name, "vit", 80, True, seed) for seed, name in enumerate("ab"))
    shape = (2, 2, 1, 4)
    counted, attacked, noise = np.ones(shape, bool), np.zeros(shape, bool), np.zeros(shape, bool)
    attacked[0, 1, 0, :3] = True
    attacked[1, 0, 0, 0] = noise[1, 0, 0, 3] = True
    attacked[0, 0] = True  # a source alone is no transfer
    counted[1, 0, 0, 1] = False
    one = replace(_any_cohort(), networks=networks, epsilons=np.array([0.02]), image_ids=np.array(list("wxyz")),
                  patients=np.arange(4), counted=counted, attacked=attacked, noise=noise)  # fmt: skip
    value = value_of(one)
    assert value is not None
    assert value.value == pytest.approx((3 + 1 - 1) / (4 + 3))
    assert value.images == 4
    assert value_of(one, ("other architecture",)) is None


def _any_cohort() -> CohortTransfer:
    return cohort_transfer(np.random.default_rng(0), TransferTruth("X"))


def test_images_of_one_patient_are_no_more_than_one_patient_says() -> None:
    """Every image five times over, in its patient: the estimate stays and the interval does not shrink."""
    one = cohort_transfer(np.random.default_rng(1), TransferTruth("X", networks=2, images=40))
    five = replace(one, **{name: np.repeat(getattr(one, name), 5, axis=-1)
                           for name in ("image_ids", "patients", "counted", "attacked", "noise")})  # fmt: skip
    single, many = value_of(one), value_of(five)
    assert single is not None
    assert many is not None
    assert many.value == pytest.approx(single.value)
    assert many.variance == pytest.approx(single.variance)


def test_networks_that_differ_widen_the_interval_of_one_cohort() -> None:
    rng = np.random.default_rng(2)
    alike = value_of(cohort_transfer(rng, TransferTruth("X", networks=4, images=300, between_networks=0.0)))
    apart = value_of(cohort_transfer(rng, TransferTruth("X", networks=4, images=300, between_networks=0.2)))
    assert alike is not None
    assert apart is not None
    assert apart.variance > 5 * alike.variance


def test_it_can_say_supported_contradicted_and_undecided() -> None:
    rng = np.random.default_rng(3)
    verdicts = {
        effect: judge_transfer(transfer_study(rng, effect=effect, cohorts=5, images=images)).verdict
        for effect, images in ((0.3, 80), (0.0, 400), (0.06, 20))
    }
    assert verdicts == {0.3: "supported", 0.0: "contradicted", 0.06: "undecided"}
    assert judge_transfer(transfer_study(rng, effect=-0.3, cohorts=5, images=80)).verdict == "contradicted"


def test_the_margin_is_that_of_the_plan() -> None:
    study = transfer_study(np.random.default_rng(4), effect=0.0, cohorts=5, images=400)
    narrow = study.at(margins=Margins(transfer=0.001))
    assert (judge_transfer(study).verdict, judge_transfer(narrow).verdict) == ("contradicted", "undecided")
    assert judge_transfer(study).margin == 0.05
    assert "transfer" not in AnalysisPlan().model_dump_json()  # so plans without it keep their hash


def test_without_any_transfer_it_is_not_asked() -> None:
    assert 6 not in [one.number for one in judge(Evidence(AnalysisPlan(arm="A"), (), {}))]


@pytest.mark.parametrize("scenario", [one for one in STUDIES if one.studies], ids=lambda one: one.name)
def test_verdicts_and_intervals_are_as_often_true_as_they_say(scenario: TransferScenario) -> None:
    """Of both questions: false verdicts stay rare, intervals hold the truth, and large effects are found."""
    found = simulate(scenario, studies=scenario.studies, seed=5)
    assert found.false <= 0.065 + 2 * np.sqrt(0.065 * 0.935 / scenario.studies), found
    assert found.coverage >= 0.95 - 3 * np.sqrt(0.05 * 0.95 / scenario.studies), found
    assert found.true >= scenario.least_true, found
    assert found.opposite == 0 or scenario.null, found


def test_an_amplitude_that_was_added_later_is_not_judged_in_the_place_of_the_planned_one() -> None:
    grid = (0.01, 0.019, 0.04)  # the plan's amplitude is 0.02; 0.019 came later
    study = transfer_study(np.random.default_rng(7), effect=0.2, cohorts=1, images=60, epsilons=grid)
    (cohort,) = study.transfers
    kept = transfer_as_planned(cohort, np.array([0.01, 0.04]))
    assert kept.epsilons.tolist() == [0.01, 0.04]
    np.testing.assert_array_equal(kept.attacked, cohort.attacked[:, :, [0, 2]])
    assert (cohort.at(0.02), kept.epsilons[kept.at(0.02)]) == (1, 0.01)
    assert transfer_as_planned(cohort, np.array([0.5])) is cohort
    (features,) = features_study(np.random.default_rng(7), ratio=2.0, cohorts=1).features
    both = replace(features, rows=pl.concat([features.rows, features.rows.with_columns(epsilon=pl.lit(0.019))]))
    assert features_as_planned(both, np.array([0.02])).rows["epsilon"].unique().to_list() == [0.02]


def test_the_amplitude_is_the_one_nearest_to_the_plans() -> None:
    study = transfer_study(np.random.default_rng(6), effect=0.2, cohorts=3, images=60, epsilons=(0.01, 0.04))
    at = {epsilon: transfer_effect(study, epsilon=epsilon).estimate for epsilon in (0.01, 0.04)}
    assert judge_transfer(study.at(epsilon=0.03)).estimate == pytest.approx(at[0.04])
    assert judge_transfer(study.at(epsilon=0.012)).estimate == pytest.approx(at[0.01])
