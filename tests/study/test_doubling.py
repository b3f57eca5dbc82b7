"""Twice the iterations on a sample of every run: recorded, priced, and done once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tiny_study import TINY, Counting, cpu

from advassay.analysis.conclusions.effect_sizes import NO_SIZE, Value, overall
from advassay.records import RunHeader, open_records, read_header
from advassay.spec.attack_spec import Arm
from advassay.spec.study_spec import Study
from advassay.store_documents import Controls, Doubling
from advassay.store_layout import HEADER, Store
from advassay.study import parse_study
from advassay.study.gradient_counts import gradient_steps
from advassay.study.plan.study_plan import plan
from advassay.study.run.doubling_control import SHARE, STANDARD_ERROR, DoublingPlan, count_doubling, doubling_plan
from advassay.study.run.runner import run
from advassay.trajectory import TrajectoryRows
from tests.simulate import COHORTS, population, write_run

GRID = "attack: {steps: 20, arms: {A: {}, C: {loss: margin, step_sizes: [0.005, epsilon/4], epsilons: [0.0005, 0.03]}}}"


def _study(*overrides: str) -> Study:
    text = TINY[: TINY.index("attack:")] + GRID
    return parse_study(text, overrides=overrides)


def _doubling(header: RunHeader) -> Doubling:
    assert header.controls is not None
    assert header.controls.doubling is not None
    return header.controls.doubling


def test_every_main_run_has_the_control_at_the_analysed_amplitude(finished: Path) -> None:
    headers = open_records(finished).headers
    for header in (h for h in headers if h.primary):
        found = _doubling(header)
        assert (found.steps, found.arm) == (2 * header.steps, header.arm)
        assert list(found.by_epsilon) == [{"A": "0.02", "C": "0.005"}[header.arm]]
    assert all(h.controls is None for h in headers if not h.primary)


def test_it_counts_the_same_images_at_k_as_the_run_recorded(finished: Path) -> None:
    for opened in open_records(finished).runs:
        if not opened.header.primary:
            continue
        found = _doubling(opened.header)
        rows = opened.rows()
        for text, counts in found.by_epsilon.items():
            here = rows.take((rows.epsilon == float(text)) & (rows.step_size == found.step_size))
            right = here.logits.argmax(-1) == here.label[:, None]
            attacked = right[:, 0]
            assert counts["images"] == attacked.sum()
            assert counts["at_k"] == (attacked & ~right[:, -1]).sum()
            assert counts["any_k"] == (attacked & ~right[:, 1:].all(axis=1)).sum()
            assert counts["at_2k"] == counts["at_k"] + counts["gained"] - counts["lost"]
            assert counts["any_2k"] >= counts["any_k"]
            changes = found.changes[text]
            assert [len(changes[key]) for key in ("gained", "lost")] == [counts["gained"], counts["lost"]]
            assert len(found.image_ids) == counts["images"] + len(changes["left_out"])
            assert set(found.image_ids) == set(here.image_id)


def test_gains_and_losses_are_counted_against_the_recorded_iterate(tmp_path: Path) -> None:
    arm, cohort = Arm(epsilons=(0.05,), steps=4), COHORTS[0]
    head = write_run(Store(tmp_path), cohort, population(cohort), "A", arm)
    opened = open_records(tmp_path).run(head.run_id)
    rows = opened.rows()
    right = rows.logits.argmax(-1) == rows.label[:, None]
    stood, fell = np.flatnonzero(right[:, 0] & right[:, -1]), np.flatnonzero(right[:, 0] & ~right[:, -1])
    assert min(len(stood), len(fell)) >= 3
    longer = np.concatenate([rows.logits, np.repeat(rows.logits[:, -1:], 4, axis=1)], axis=1)
    longer[stood[:3], -1] = longer[stood[:3], -1][:, ::-1]  # two classes: the decision is turned round
    longer[fell[0], -1] = longer[fell[0], -1][::-1]
    control = count_doubling(opened, _longer(rows, longer), arm.model_copy(update={"steps": 8}), "A")
    found, changes = control.by_epsilon["0.05"], control.changes["0.05"]
    named = {key: {control.image_ids[place] for place in places} for key, places in changes.items()}
    assert named["gained"] == {rows.image_id[i] for i in stood[:3]}
    assert named["lost"] == {rows.image_id[fell[0]]}
    assert named["left_out"] == {rows.image_id[i] for i in np.flatnonzero(~right[:, 0])}
    assert (len(named["any_gained"]), named["any_lost"]) == (found["any_2k"] - found["any_k"], set())
    assert (found["images"], found["at_k"]) == (len(stood) + len(fell), len(fell))
    assert (found["gained"], found["lost"], found["at_2k"]) == (3, 1, len(fell) + 2)
    assert found["any_2k"] == found["any_k"] + (~(~right[stood[:3], 1:]).any(axis=1)).sum()


def _longer(rows: TrajectoryRows, logits: np.ndarray) -> TrajectoryRows:
    from dataclasses import replace

    return replace(rows, logits=logits)


def test_without_controls_there_is_none() -> None:
    study = _study("attack.controls=false")
    assert doubling_plan(study.attack, study.resolved_analysis(), "A", 2) is None
    still = _study("attack.steps=0")
    assert doubling_plan(still.attack, still.resolved_analysis(), "A", 2) is None


def test_the_deciding_arm_is_doubled_at_the_analysed_step_size_and_others_at_their_first() -> None:
    study = _study("analysis={arm: C, step_size: epsilon/4}")
    decided = doubling_plan(study.attack, study.resolved_analysis(), "C", 2)
    assert decided is not None
    assert (decided.step_size, decided.epsilon) == ("epsilon/4", 0.03)
    other = _study()
    undecided = doubling_plan(other.attack, other.resolved_analysis(), "C", 2)
    assert undecided is not None
    assert undecided.step_size == 0.005


def test_further_amplitudes_of_other_arms_are_doubled_only_where_they_cost_little_beside_the_run() -> None:
    study = _study("analysis={arm: C}")
    arm = study.attack.arm("A")
    found = doubling_plan(study.attack, study.resolved_analysis(), "A", 2)
    assert found is not None
    assert found.arm(arm, 100).epsilons == (0.02,)
    assert found.arm(arm, 400).epsilons == (0.02, 0.08, 0.14)
    for images in (100, 250, 400, 5000):
        assert found.gradient_steps(arm, images) <= SHARE * images * gradient_steps(arm)
    assert found.gradient_steps(arm, 5000) == 32 * gradient_steps(found.arm(arm, 5000))


@pytest.mark.parametrize("cohorts", [1, 2, 3, 4, 8])
def test_the_deciding_arm_is_doubled_at_all_amplitudes_with_as_many_images_as_decide(cohorts: int) -> None:
    study = _study()
    arm, found = study.attack.arm("A"), doubling_plan(study.attack, study.resolved_analysis(), "A", cohorts)
    assert found is not None
    needed = found.needed(arm)
    assert needed is not None
    assert found.half_width(arm, needed) < 0.02 <= found.half_width(arm, needed - 1)
    assert found.sample(arm, needed) == max(needed, min(32, needed))
    assert found.arm(arm, needed).epsilons == arm.epsilons
    many = found.sample(arm, 100_000)
    assert found.half_width(arm, many) <= 0.01
    assert many == 32 or found.half_width(arm, many - 1) > 0.01
    fewer = needed - 1
    assert (found.sample(arm, fewer), found.arm(arm, fewer).epsilons) == (min(32, fewer), (0.02,))
    assert f"about {needed} images" in found.note("A", arm, fewer)
    assert found.note("A", arm, needed) == ""


def test_the_planned_interval_has_the_error_and_the_quantile_of_the_analysis() -> None:
    assert STANDARD_ERROR == NO_SIZE
    study = _study()
    found = doubling_plan(study.attack, study.resolved_analysis(), "A", 4)
    assert found is not None
    arm = study.attack.arm("A")
    no_change = [Value((name,), "X-ray", 0.0, (NO_SIZE / len(arm.epsilons) / 75) ** 2, 74, 75) for name in "abcd"]
    assert found.half_width(arm, 100) == pytest.approx(overall(no_change, 0.95).high)


def test_a_control_of_fewer_images_or_without_which_of_them_change_is_not_done() -> None:
    arm, plan = Arm(steps=20, epsilons=(0.02, 0.1), step_sizes=(0.01,)), DoublingPlan(0.01, 0.02, 32)
    counts = dict.fromkeys(("images", "at_k", "at_2k", "gained", "lost", "any_k", "any_2k"), 1)
    old = Doubling(steps=40, step_size="0.01", arm="A", by_epsilon={"0.02": counts})
    assert not plan.is_done(_controls(old), arm, 100)
    ids, none = tuple(map(str, range(32))), {"gained": (), "lost": (), "any_gained": (), "any_lost": (), "left_out": ()}
    new = old.model_copy(update={"image_ids": ids, "changes": {"0.02": none}})
    assert plan.is_done(_controls(new), arm, 100)
    assert plan.is_done(_controls(new.model_copy(update={"image_ids": ids[:20]})), arm, 20)
    assert not plan.is_done(_controls(new.model_copy(update={"image_ids": ids[:31]})), arm, 100)
    assert not plan.is_done(_controls(new.model_copy(update={"steps": 20})), arm, 100)


def _controls(doubling: Doubling) -> Controls:
    return Controls(images=2, epsilon_zero_changed=0, noise={}, cross_check={}, stronger="", doubling=doubling)


def test_an_amplitude_that_the_steps_do_not_reach_is_not_doubled() -> None:
    study = _study("attack.steps=3", "analysis.epsilon=0.2")
    found = doubling_plan(study.attack, study.resolved_analysis(), "A", 2)
    assert found is not None
    assert found.epsilon == 0.02  # 3 steps of 0.01 end at 0.03
    assert found.arm(study.attack.arm("A"), 10**6).epsilons == (0.02,)
    short = _study("attack.steps=1")
    least = doubling_plan(short.attack, short.resolved_analysis(), "A", 2)
    assert least is not None
    assert least.epsilon == 0.02  # none is reached: the smallest stands for all


def test_a_run_from_before_the_control_gets_it_alone_when_it_is_continued(copied: Path, tiny: Study) -> None:
    store = cpu(copied).store
    header = next(h for h in open_records(copied).headers if h.cohort == "X-TB" and h.arm == "A")
    assert header.controls is not None
    old = header.model_copy(update={"controls": header.controls.model_copy(update={"doubling": None})})
    (store.run(header.run_id) / HEADER).write_text(old.model_dump_json())
    assert "doubling" not in (store.run(header.run_id) / HEADER).read_text()
    rows = [row for row in plan(tiny, cpu(copied), timed=False).rows if row.missing]
    assert [(row.stage, row.cohort, row.arm, row.at_most) for row in rows] == [("doubling", "X-TB", "A", False)]
    counting = Counting()
    run(tiny, cpu(copied, progress=counting))
    assert counting.done == {"gradient steps": pytest.approx(rows[0].missing, abs=10)}
    again = read_header(store.run(header.run_id))
    assert again.controls == header.controls
    assert (again.rows, again.points) == (header.rows, header.points)
