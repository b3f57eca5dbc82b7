"""Planned chances are those that simulated studies have."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from advassay.analysis.conclusions.confidence import judge_confidence
from advassay.analysis.conclusions.image_type import judge_image_type
from advassay.analysis.conclusions.iterations import judge_iterations
from advassay.analysis.conclusions.study_power import Assumed, Design, shown, study_power, within
from advassay.errors import SpecError
from benchmarks.verdict_scenarios import GRID, CohortTruth, cohorts_of, network, study

DESIGN = Design(cohorts=(4, 4), images=100, doses=GRID, sizes=(100, 200, 400), seeds=3)
ASSUMED = Assumed(scale=0.39, ratio_of_types=2.0)
STUDIES = 60


def test_the_chance_of_question_2_is_that_of_simulated_studies() -> None:
    planned = study_power(DESIGN, ASSUMED)[1].power
    found = 0
    for i in range(STUDIES):
        rng = np.random.default_rng([2, i])
        made = cohorts_of({"X-ray": 4, "histology": 4}, rng, tau=0.3, ratio=2.0, images=105)
        found += judge_image_type(study([network(rng, c) for c in made])).verdict == "supported"
    assert found / STUDIES == pytest.approx(planned, abs=3 * np.sqrt(0.2 / STUDIES))


def test_the_chance_of_question_4_is_that_of_simulated_studies() -> None:
    design = Design(cohorts=(3, 0), images=100, doses=GRID)
    planned = study_power(design, replace(ASSUMED, ratio_of_confidence=1.5, between_ratios=0.0))[3].power
    found = 0
    for i in range(STUDIES):
        rng = np.random.default_rng([4, i])
        packs = [network(rng, CohortTruth(f"X{k}", images=105, confidence_shift=np.log(1.5))) for k in range(3)]
        found += judge_confidence(study(packs)).verdict == "supported"
    assert found / STUDIES == pytest.approx(planned, abs=0.2)


def test_images_that_are_said_to_be_enough_are_enough_and_fewer_are_not() -> None:
    design = Design(cohorts=(8, 0), images=20, doses=GRID)
    needed = study_power(design, target=0.8)[2].images
    assert needed is not None
    for images, enough in ((round(0.5 * needed), False), (2 * needed, True)):
        found = 0
        for i in range(12):
            rng = np.random.default_rng([3, images, i])
            packs = [network(rng, CohortTruth(f"X{k}", images=round(images / 0.95))) for k in range(8)]
            found += judge_iterations(study(packs)).verdict == "supported"
        assert (found >= 9) == enough


def test_more_of_anything_never_lowers_the_chance() -> None:
    few = study_power(DESIGN, ASSUMED)
    more = study_power(replace(DESIGN, images=400, seeds=6), ASSUMED)
    assert all(b.power >= a.power - 1e-12 for a, b in zip(few, more, strict=True))


def test_images_of_few_patients_count_as_fewer() -> None:
    alone, together = (study_power(replace(DESIGN, images_per_patient=m)) for m in (1, 10))
    assert all(b.power <= a.power for a, b in zip(alone, together, strict=True))


def test_what_no_number_of_images_can_reach_is_out_of_reach() -> None:
    found = study_power(Design(cohorts=(2, 2), images=50, doses=GRID), Assumed(between_cohorts=1.0))[1]
    assert found.images is None
    assert found.cohorts is not None
    assert study_power(Design(cohorts=(3, 0), images=50, doses=GRID))[4].power == 0


def test_chances_are_the_noncentral_t_and_the_room_within_the_margin() -> None:
    assert shown(0.0, 1.0, 10, 0.95) == pytest.approx(0.025, abs=1e-6)
    assert shown(1.0, 1e-3, 10, 0.95) == pytest.approx(1.0)
    assert within(1.0, 1.0, 10, 0.95) == 0.0
    assert within(1.0, 1e-3, 10, 0.95) == pytest.approx(1.0)


@pytest.mark.parametrize("target", [0.0, 1.0, -1.0])
def test_a_target_that_is_no_chance_is_refused(target: float) -> None:
    with pytest.raises(SpecError, match="target"):
        study_power(DESIGN, target=target)


def test_fewer_cohorts_than_declared_are_never_advised() -> None:
    """One cohort is judged without the spread between cohorts, which makes its chance look higher."""
    design = Design(cohorts=(3, 3), images=150, doses=GRID)
    spread = Assumed(change_per_doubling=0.05, between_slopes=0.05, between_ratios=0.3)
    one, six = (study_power(replace(design, cohorts=k), spread) for k in ((1, 0), (3, 3)))
    assert one[0].power > six[0].power
    for found, declared in zip(six[:4], (6, 3, 6, 6), strict=True):
        assert found.cohorts is None or found.cohorts >= declared
    alone = study_power(replace(design, cohorts=(1, 0)), spread)[0].cohorts
    assert alone is not None
    assert alone >= 2
    enough = six[0].cohorts
    assert enough is not None
    assert study_power(replace(design, cohorts=(enough, 0)), spread)[0].power >= 0.8
