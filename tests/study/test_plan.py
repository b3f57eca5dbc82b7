"""A plan says what a study will be before it is."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tiny_study import TINY, cpu

from advassay.errors import AdvassayWarning, CohortError, SourceError, SpecError
from advassay.records import open_records, read_header
from advassay.spec.study_spec import Study
from advassay.store_layout import HEADER
from advassay.study import Plan, PlanRow, make_environment, parse_study, stored_study, train
from advassay.study.gradient_counts import control_steps, gradient_steps
from advassay.study.plan.study_plan import plan

REFERENCE_LIKE = """
name: far
sources: {pacs: {kind: table, path: not/here.csv}}
cohorts:
  X: {source: pacs, classes: {a: {x: 1}, b: {x: 2}}, per_class: 100000, train_sizes: [1000, 1.0]}
  Y: {source: pacs, classes: {a: {x: 1}, b: {x: 2}}, published: {images: 28000, score: 0.8}}
training: {epochs: 2}
"""


def test_the_plan_of_an_empty_store_is_what_then_happens(tiny: Study, finished: Path, tmp_path: Path) -> None:
    before = plan(tiny, cpu(tmp_path / "absent"), timed=False)
    after = plan(tiny, cpu(finished), timed=False)
    assert [(row.stage, row.cohort, row.arm) for row in before.rows] == [
        (row.stage, row.cohort, row.arm) for row in after.rows
    ]
    for planned, done in zip(before.rows, after.rows, strict=True):
        assert (planned.have, done.have) == (0, done.total)
        assert done.total <= planned.total if planned.at_most else done.total == planned.total
    assert {row.stage for row in before.rows if row.at_most} == {"controls", "re-run"}
    assert not (tmp_path / "absent").exists()


def test_controls_and_re_runs_that_a_store_lacks_are_told(
    tiny: Study, copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = cpu(copied)
    run = next(h for h in open_records(copied).headers if h.cohort == "X-TB" and h.arm == "A")
    uncontrolled = read_header(here.store.run(run.run_id)).model_copy(update={"controls": None})
    (here.store.run(run.run_id) / HEADER).write_text(uncontrolled.model_dump_json())
    monkeypatch.setattr(
        "advassay.study.plan.job_rows.gradient_masked_ids", lambda store, run_id, request: request.image_ids[:4]
    )
    rows = {row.stage: row for row in plan(tiny, here, timed=False).rows if (row.cohort, row.arm) == ("X-TB", "A")}
    controls, again = rows["controls"], rows["re-run"]
    assert (controls.total, controls.have, controls.at_most) == (control_steps(tiny.attack.arm("A"), 10), 0, True)
    assert (again.total, again.have, again.at_most) == (4 * gradient_steps(tiny.attack.arm("A")), 0, False)


def test_the_time_of_what_is_certain_is_kept_apart_from_what_controls_and_re_runs_may_add(tmp_path: Path) -> None:
    uncontrolled = parse_study(TINY, overrides=["attack.controls=false"])
    assert {row.stage for row in plan(uncontrolled, cpu(tmp_path), timed=False).rows} == {"prepare", "train", "attack"}
    rows = (
        PlanRow("attack", "X", "arm A", "gradient steps", 10, 0, seconds=5.0),
        PlanRow("controls", "X", "arm A", "gradient steps", 30, 0, at_most=True, seconds=7.0),
    )
    found = Plan("s", rows)
    assert (found.seconds, found.seconds_at_most) == (5.0, 12.0)
    assert found.totals() == {"gradient steps": (10, 0)}


def test_a_study_whose_source_is_elsewhere_is_planned_from_its_own_numbers(tmp_path: Path) -> None:
    with pytest.warns(AdvassayWarning, match=r"planned from the numbers the study states.*cohorts X, Y\..*Give --data"):
        rows = plan(parse_study(REFERENCE_LIKE), cpu(tmp_path), timed=False).rows
    found = {(row.stage, row.cohort, row.what): row for row in rows}
    x, y = found["prepare", "X", "images"], found["prepare", "Y", "images"]
    assert (x.total, y.total, x.basis) == (200_000, 28_000, "stated")
    validation = 40_000
    assert found["attack", "X", "main network, arm A"].total == validation * 110
    assert found["attack", "X", "1000 training images, seed 0, arm A"].total == validation * 110
    assert len([row for row in rows if row.cohort == "X" and row.stage == "train"]) == 2
    assert found["train", "X", "main network"].total == pytest.approx(2 * 144_000, abs=32)


def test_a_cohort_of_which_nothing_is_known_is_not_planned_as_empty(tmp_path: Path) -> None:
    study = parse_study(REFERENCE_LIKE, overrides=["cohorts.X.per_class=null"])
    with pytest.raises(SourceError, match="Give --data FOLDER"):
        plan(study, cpu(tmp_path), timed=False)


def test_a_store_says_what_is_done_without_its_data_and_start_weights(finished: Path, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    colour = next(p for p in finished.glob("classifiers/*/training.json") if '"channels": 3' in p.read_text())
    shutil.copy(colour.with_name("model.safetensors"), tmp_path / "data" / "start.safetensors")
    started = parse_study(TINY, overrides=["training.weights=start.safetensors", "cohorts.H-BR.train_sizes=[]"])
    train(started, cpu(tmp_path / "store", data=tmp_path / "data"))
    alone = cpu(shutil.copytree(tmp_path / "store", tmp_path / "laptop"))
    rows = plan(stored_study(alone.store), alone, timed=False).rows
    assert {row.stage for row in rows if not row.missing} == {"prepare", "train"}
    untrained = plan(parse_study(TINY, overrides=["training.weights=other.safetensors"]), alone, timed=False)
    assert all(row.have == 0 for row in untrained.rows if row.stage == "train")


def test_time_is_estimated_by_measuring_this_machine(tiny: Study, tmp_path: Path) -> None:
    found = plan(tiny, cpu(tmp_path / "absent"))
    assert all(row.seconds is not None and row.seconds > 0 for row in found.rows)
    assert 0 < found.seconds < found.seconds_at_most < 3600


def test_an_image_size_the_network_cannot_take_is_refused_before_anything_is_read() -> None:
    study = parse_study(TINY, overrides=["training.architecture=inception_v3"])
    with pytest.raises(CohortError, match="inception_v3 takes images of 75 px or more, got X-TB 40 px, H-BR 40 px"):
        plan(study, cpu(Path("absent")), timed=False)


def test_two_arms_that_would_be_one_run_are_refused() -> None:
    study = parse_study(TINY, overrides=["attack.arms={A: {}, B: {step_sizes: [0.02]}}"])
    with pytest.raises(SpecError, match="A and B differ only in"):
        plan(study, cpu(Path("absent")), timed=False)


@pytest.mark.parametrize("given", [{"threads": 0}, {"key_file": Path("absent")}, {"data": Path("absent")}])
def test_a_place_that_cannot_be_used_is_refused(tmp_path: Path, given: dict[str, object]) -> None:
    with pytest.raises(SpecError):
        make_environment(tmp_path, device="cpu", **given)  # type: ignore[arg-type]
