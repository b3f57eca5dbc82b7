"""Question 7: verdicts and intervals of simulated studies with a known ratio."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from advassay.analysis.conclusions.evidence import Evidence
from advassay.analysis.conclusions.features import judge_features
from advassay.analysis.distance_in_features import CohortFeatures
from advassay.spec.analysis_plan import AnalysisPlan
from benchmarks.verdict_scenarios import CohortTruth, network


def study(
    rng: np.random.Generator, ratio: float, cohorts: int = 5, images: int = 40, networks: int = 2, between: float = 0.1
) -> Evidence:
    """Distances are log-normal about a network's own level; images share a part over networks."""
    packs, found = [], []
    for k in range(cohorts):
        pack = network(rng, CohortTruth(f"X-{k}", images=images))
        cohort = np.log(ratio) + between * rng.standard_normal()
        shared, frames = 0.3 * rng.standard_normal(images), []
        for j in range(networks):
            noise = shared + 0.3 * rng.standard_normal(images) - 0.3**2
            pixel = 0.1 * np.exp(0.2 * rng.standard_normal(images))
            feature = pixel.mean() * np.exp(cohort + 0.1 * rng.standard_normal() + noise)
            columns = {
                "network": [f"n{j}"] * images, "epsilon": [0.02] * images, "image_id": pack.image_ids.tolist(),
                "patient_id": [f"p{i}" for i in range(images)], "misled": [True] * images, "ssim": [0.9] * images,
                "pixel_l2": pixel, "pixel": pixel, "feature": feature, "pixel_noise": pixel,
                "feature_noise": feature / 3, "pixel_same": [0.9] * images, "feature_same": [0.8] * images,
            }  # fmt: skip
            frames.append(pl.DataFrame(columns))
        packs.append(pack)
        found.append(CohortFeatures(pack.header, pl.concat(frames)))
    return Evidence(AnalysisPlan(), tuple(packs), {}, features=tuple(found))


@pytest.mark.parametrize(
    ("ratio", "right", "least"),
    [(1.0, {"contradicted"}, 0.3), (3.0, {"supported"}, 0.95), (0.4, {"contradicted"}, 0.95)],
)
def test_verdicts_are_true_and_intervals_hold_the_truth(ratio: float, right: set[str], least: float) -> None:
    rng = np.random.default_rng([7, int(10 * ratio)])
    found = [judge_features(study(rng, ratio)) for _ in range(100)]
    false = np.mean([one.verdict not in right | {"undecided"} for one in found])
    held = np.mean([(one.low or 0) <= ratio <= (one.high or np.inf) for one in found])
    assert false <= 0.065 + 2 * np.sqrt(0.065 * 0.935 / 100)
    assert held >= 0.95 - 3 * np.sqrt(0.05 * 0.95 / 100)
    assert np.mean([one.verdict in right for one in found]) >= least


def test_one_cohort_of_several_networks_widens_by_how_much_these_differ() -> None:
    rng = np.random.default_rng(8)
    held = [judge_features(study(rng, 2.0, cohorts=1, networks=4, between=0.0)) for _ in range(100)]
    assert np.mean([(one.low or 0) <= 2.0 <= (one.high or np.inf) for one in held]) >= 0.88
    assert held[0].breadth == "in cohort X-0"
