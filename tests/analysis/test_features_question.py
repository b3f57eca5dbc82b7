"""Question 7: how networks of one cohort and what cannot be measured enter its interval."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from advassay.analysis.conclusions.features import judge_features
from benchmarks.transfer_scenarios import FeatureTruth, features_study


def test_the_verdicts_are_those_of_the_ratio() -> None:
    rng = np.random.default_rng(7)
    verdicts = {ratio: judge_features(features_study(rng, ratio=ratio)).verdict for ratio in (3.0, 0.4)}
    assert verdicts == {3.0: "supported", 0.4: "contradicted"}


def test_one_cohort_of_several_networks_widens_by_how_much_these_differ() -> None:
    rng = np.random.default_rng(8)
    held = [
        judge_features(
            features_study(rng, ratio=2.0, cohorts=1, between_cohorts=0.0, truth=FeatureTruth(networks=4))
        )
        for _ in range(100)
    ]  # fmt: skip
    assert np.mean([(one.low or 0) <= 2.0 <= (one.high or np.inf) for one in held]) >= 0.88
    assert held[0].breadth == "in cohort X-0"


def test_a_class_without_a_second_image_leaves_the_answer_and_says_what_is_not_known() -> None:
    study = features_study(np.random.default_rng(9), ratio=3.0, cohorts=1)
    (cohort,) = study.features
    alone = cohort.rows.with_columns(feature_same=None, pixel_same=None)
    found = judge_features(replace(study, features=(replace(cohort, rows=alone),)))
    assert found.verdict == "supported"
    assert "another image of the class: not known" in found.reason
