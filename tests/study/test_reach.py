"""Amplitudes that the steps do not reach are told in the plan and in the run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tiny_study import TINY, cpu

from advassay.analysis.dose_response.thresholds import distinct_doses
from advassay.records import open_records
from advassay.spec.attack_spec import Arm
from advassay.study import parse_study
from advassay.study.gradient_counts import reach_notes, unreachable_epsilons
from advassay.study.plan.study_plan import plan
from benchmarks.verdict_scenarios import STEPS, CohortTruth, network

NOTE = "Arm A, step size 0.01: 3 steps change an image by at most 0.03, so ε = 0.1 is not reached."


def test_an_amplitude_beyond_the_steps_is_noted_in_the_plan_and_in_the_header_of_a_new_run(
    finished: Path, tmp_path: Path
) -> None:
    study = parse_study(TINY)
    first, second = plan(study, cpu(tmp_path), timed=False).notes
    assert first == NOTE
    assert second.startswith(
        "Arm A: the control with twice the iterations cannot show a plateau (question 3) with 10 im"
    )
    assert plan(study, cpu(finished), timed=False).as_data()["notes"] == [first, second]
    notes = {h.arm: h.notes for h in open_records(finished).headers if h.primary}
    assert NOTE in notes["A"]
    assert not any("not reached" in note for note in notes["C"])


def test_only_sign_steps_of_absolute_size_from_the_clean_image_fall_short() -> None:
    grid = {"epsilons": (0.05, 0.2, 0.3), "steps": 10}
    assert unreachable_epsilons(Arm(**grid), 0.01) == [0.2, 0.3]
    assert unreachable_epsilons(Arm(**grid, norm="l2"), 0.02) == [0.3]  # 10 · 0.02 is 0.2, reached but for rounding
    assert unreachable_epsilons(Arm(**grid), "epsilon/4") == []
    assert unreachable_epsilons(Arm(**grid, random_start=True), 0.01) == []
    assert unreachable_epsilons(Arm(**grid, update="apgd"), 0.01) == []
    assert unreachable_epsilons(Arm(**grid, update="projected-gradient"), 0.01) == []


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_the_study_and_the_analysis_agree_on_what_is_reached(norm: str) -> None:
    grid = (0.05, 0.2, 0.3, 0.4)
    arm = Arm(epsilons=grid, steps=STEPS, norm=norm, step_sizes=(0.05,))
    pack = network(np.random.default_rng(0), CohortTruth("a", grid=grid))
    rules = {"update": arm.update, "norm": norm, "random_start": False}
    pack = replace(pack, step_size="0.05", header=pack.header.model_copy(update={"attack": rules}))
    assert distinct_doses(pack)[0].tolist() == [0.05, 0.2, 0.25]
    assert unreachable_epsilons(arm, 0.05) == [0.3, 0.4]
    for change in ({"random_start": True}, {"update": "apgd"}):
        free = replace(pack, header=pack.header.model_copy(update={"attack": rules | change}))
        assert distinct_doses(free)[0].tolist() == list(grid)
        assert unreachable_epsilons(arm.model_copy(update=change), 0.05) == []


def test_each_step_size_has_its_own_note() -> None:
    arm = Arm(epsilons=(0.05, 0.2), steps=4, step_sizes=(0.01, 0.1, 0.02))
    assert [note.partition(":")[0] for note in reach_notes("B", arm)] == [
        "Arm B, step size 0.01",
        "Arm B, step size 0.02",
    ]
