"""The analysis plan is frozen before the first attack, and what changes later is told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tiny_study import TINY, cpu

from advassay.checked_files import write_document
from advassay.errors import DamagedError, SpecError
from advassay.records import open_records
from advassay.spec.analysis_plan import AnalysisPlan
from advassay.spec.study_spec import Study
from advassay.store_layout import Store
from advassay.study import parse_study, store_study
from advassay.study.run import attack_job
from advassay.study.run.preregistration import freeze_analysis_plan
from advassay.study.run.runner import run


def _stated(*overrides: str) -> Study:
    return parse_study(TINY, overrides=overrides)


def _store(root: Path, study: Study) -> Store:
    store = Store(root)
    root.mkdir(exist_ok=True)
    store_study(store, study)
    return store


def test_the_plan_is_on_disk_before_the_first_image_is_attacked(
    begun: Path, tiny: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []

    def stop(*_: object, **__: object) -> None:
        seen.append((begun / "analysis.json").read_text())
        raise KeyboardInterrupt

    monkeypatch.setattr(attack_job.AttackRun, "_stream", stop)
    with pytest.raises(KeyboardInterrupt):
        run(tiny, cpu(begun))
    assert json.loads(seen[0])["attacked_before"] == 0


def test_a_finished_study_has_a_pre_specified_plan_with_its_arm_and_step_size_named(finished: Path) -> None:
    found = open_records(finished).analysis
    assert found is not None
    assert (found.plan.arm, found.plan.step_size) == ("A", 0.01)
    assert (found.prespecified, found.changed) == (True, [])
    assert found.arm.epsilons == (0.02, 0.1)
    assert found.sha256 == found.plan.sha256


def test_a_later_plan_is_kept_beside_the_one_in_force(copied: Path) -> None:
    before = open_records(copied).analysis
    rows = sum(header.rows for header in open_records(copied).headers)
    run(_stated("analysis.arm=C"), cpu(copied))
    after = open_records(copied).analysis
    assert before is not None
    assert after is not None
    assert (after.plan, after.sha256, after.frozen) == (before.plan, before.sha256, before.frozen)
    assert after.prespecified
    assert [(change.plan.arm, change.attacked_before) for change in after.changed] == [("C", rows)]


def test_a_wider_grid_of_the_deciding_arm_is_a_change_of_the_plan(tmp_path: Path) -> None:
    store = _store(tmp_path, _stated())
    freeze_analysis_plan(_stated(), store)
    found = freeze_analysis_plan(_stated("attack.arms.A.epsilons=[0.02, 0.1, 0.15]"), store)
    assert [change.arm.epsilons for change in found.changed] == [(0.02, 0.1, 0.15)]
    again = freeze_analysis_plan(_stated("attack.arms.A.epsilons=[0.02, 0.1, 0.15]", "attack.arms.A.images=4"), store)
    assert len(again.changed) == 1


def test_other_amplitudes_of_the_training_size_series_are_a_change_of_the_plan(tmp_path: Path) -> None:
    store = _store(tmp_path, _stated())
    assert freeze_analysis_plan(_stated(), store).series_epsilons == (0.02,)
    found = freeze_analysis_plan(_stated("attack.series_epsilons=[0.1]"), store)
    assert [change.series_epsilons for change in found.changed] == [(0.1,)]
    elsewhere = freeze_analysis_plan(_stated("attack.series_arm=C"), store)
    assert elsewhere.changed[-1].series_epsilons == ()


def test_a_plan_frozen_before_the_series_was_kept_stays_as_it_is(tmp_path: Path) -> None:
    store = _store(tmp_path, _stated())
    frozen = freeze_analysis_plan(_stated(), store)
    write_document(store.analysis, frozen.model_copy(update={"series_epsilons": None}))
    text = store.analysis.read_text()
    assert freeze_analysis_plan(_stated(), store).changed == []
    assert store.analysis.read_text() == text


def test_an_unchanged_plan_is_written_once_even_with_amplitudes_in_grey_levels(tmp_path: Path) -> None:
    study = _stated("attack.arms.A.epsilons=[5/255, 0.1]", "analysis.epsilon=5/255", "analysis.margins.amplitude=0.03")
    store = _store(tmp_path, study)
    freeze_analysis_plan(study, store)
    text = store.analysis.read_text()
    assert freeze_analysis_plan(study, store).changed == []
    assert store.analysis.read_text() == text


def test_a_store_attacked_before_plans_were_kept_continues_with_a_plan_that_is_not_pre_specified(
    copied: Path, tiny: Study
) -> None:
    (copied / "analysis.json").unlink()
    assert open_records(copied).analysis is None
    run(tiny, cpu(copied))
    found = open_records(copied).analysis
    assert found is not None
    assert not found.prespecified
    assert found.attacked_before == sum(header.rows for header in open_records(copied).headers)


def test_a_plan_edited_in_the_store_is_refused(tmp_path: Path) -> None:
    store = _store(tmp_path, _stated())
    freeze_analysis_plan(_stated(), store)
    store.analysis.write_text(store.analysis.read_text().replace('"success": "last"', '"success": "any"'))
    with pytest.raises(DamagedError, match="not as it was written"):
        _ = open_records(tmp_path).analysis


def test_a_study_without_an_analysis_section_has_the_defaults() -> None:
    assert _stated().analysis == AnalysisPlan()
    assert _stated().resolved_analysis() == AnalysisPlan(arm="A", step_size=0.01)


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("analysis.arm=B", r"analysis\.arm: one of \['A', 'C'\], got 'B'"),
        ("analysis={arm: C, step_size: 0.01}", r"analysis\.step_size: one of arm C's, \['epsilon/4'\], got '0\.01'"),
        ("analysis.step_size=epsilon/4", r"analysis\.step_size: one of arm A's, \['0\.01'\], got 'epsilon/4'"),
        ("analysis.margins.amplitude=0", r"analysis\.margins\.amplitude: Input should be greater than 0, got 0"),
    ],
)
def test_a_plan_that_names_what_is_not_declared_is_refused(override: str, told: str) -> None:
    with pytest.raises(SpecError, match=told):
        _stated(override)
