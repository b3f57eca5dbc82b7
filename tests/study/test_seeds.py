"""Main networks of several seeds: trained, attacked by every arm, planned, and told apart."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_study import TINY, Counting, cpu

from advassay.errors import SpecError
from advassay.records import open_records
from advassay.spec.study_spec import Study
from advassay.study import parse_study
from advassay.study.plan.study_plan import plan
from advassay.study.run.runner import run


def _study(*overrides: str) -> Study:
    return parse_study(TINY, overrides=["cohorts.H-BR.seeds=2", *overrides])


def test_each_seed_is_a_main_network_attacked_by_every_arm_and_one_is_primary(copied: Path) -> None:
    study = _study()
    before = {header.run_id: header.updated for header in open_records(copied).headers}
    planned = {(row.stage, row.what) for row in plan(study, cpu(copied), timed=False).rows if row.missing}
    counting = Counting()
    run(study, cpu(copied, progress=counting))
    added = [h for h in open_records(copied).headers if h.run_id not in before]
    assert {(h.cohort, h.arm, h.primary, h.full, h.seed) for h in added} == {
        ("H-BR", "A", False, True, 1), ("H-BR", "C", False, True, 1),
    }  # fmt: skip
    assert all(h.controls is not None and h.controls.doubling is not None for h in added)
    assert len({h.classifier for h in added}) == 1
    assert planned == {
        ("train", "main network, seed 1"),
        *(("attack", f"main network, seed 1, arm {arm}") for arm in "AC"),
        *(("controls", f"main network, seed 1, arm {arm}") for arm in "AC"),
        *(("doubling", f"main network, seed 1, arm {arm}, twice the iterations") for arm in "AC"),
        ("re-run", "main network, seed 1, arm A, margin loss"),
    }
    assert {h.run_id: h.updated for h in open_records(copied).headers if h.run_id in before} == before
    assert all(row.missing == 0 for row in plan(study, cpu(copied), timed=False).rows)
    assert {e.run_id for e in open_records(copied).gallery()} <= before.keys()


def test_a_series_member_that_is_a_main_network_of_another_seed_is_planned_once(tmp_path: Path) -> None:
    study = _study("cohorts.H-BR.train_seeds=[0, 1]")
    rows = [row for row in plan(study, cpu(tmp_path), timed=False).rows if row.cohort == "H-BR"]
    trained = [row.what for row in rows if row.stage == "train"]
    assert len(trained) == len(set(trained)) == 4  # two main networks, half of the images with two seeds
    assert [what for what in trained if what.startswith("main")] == ["main network", "main network, seed 1"]


def test_another_arm_can_attack_the_size_series(copied: Path) -> None:
    run(parse_study(TINY, overrides=["attack.series_arm=C", "attack.series_epsilons=[0.005]"]), cpu(copied))
    found = [h for h in open_records(copied).headers if not h.full and h.arm == "C"]
    assert [(h.cohort, h.arm_position, [p.epsilon for p in h.points]) for h in found] == [("H-BR", 1, [0.005])]


def test_a_series_arm_that_is_not_declared_is_refused() -> None:
    with pytest.raises(SpecError, match=r"series_arm: one of \['A', 'C'\], got 'B'"):
        parse_study(TINY, overrides=["attack.series_arm=B"])


def test_more_seeds_prepare_nothing_anew(copied: Path) -> None:
    rows = plan(_study(), cpu(copied), timed=False).rows
    assert all(not row.missing and row.basis == "prepared" for row in rows if row.stage == "prepare")
