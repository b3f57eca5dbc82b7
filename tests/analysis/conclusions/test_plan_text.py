"""What the page says of the analysis plan, and of every later change."""

from __future__ import annotations

from pathlib import Path

import pytest
from simulate import ARMS, COHORTS, make_store

from advassay.analysis.conclusions.conclusion_text import plan_sentences
from advassay.records import open_records
from advassay.spec.analysis_plan import AnalysisPlan, Margins
from advassay.spec.attack_spec import Arm
from advassay.store_documents import AnalysisDocument, StatedPlan


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_store(tmp_path_factory.mktemp("plan") / "store", COHORTS[:1], {"A": ARMS["A"]}, gallery=False)


def stated(plan: AnalysisPlan, arm: Arm = ARMS["A"], *, rows: int = 0, day: str = "2026-03-01") -> StatedPlan:
    return StatedPlan(
        plan=plan, sha256=plan.sha256, frozen=f"{day}T08:30:00+00:00", attacked_before=rows, arm=arm
    )  # fmt: skip


def sentences(store: Path, first: StatedPlan, *history: StatedPlan) -> list[str]:
    document = AnalysisDocument(**dict(first), history=history)
    (store / "analysis.json").write_text(document.model_dump_json(), encoding="utf-8")
    return plan_sentences(open_records(store))


PLAN = AnalysisPlan(arm="A", step_size=0.01)


def test_a_store_without_a_plan_is_said_to_be_judged_by_the_defaults(store: Path) -> None:
    (store / "analysis.json").unlink(missing_ok=True)
    [told] = plan_sentences(open_records(store))
    assert told.startswith("The verdicts are not pre-specified: this store holds no analysis plan")
    assert "attack arm A" in told


def test_a_plan_from_before_the_first_attack_is_said_with_its_day_hash_and_choices(store: Path) -> None:
    [told] = sentences(store, stated(PLAN))
    assert told.startswith("The analysis plan was fixed on 2026-03-01 08:30 UTC, before the first attack")
    assert PLAN.sha256 in told
    assert "attack arm A, step size 0.01; success at the last iteration; an image counts from the smallest ε" in told
    assert "question 3 at ε = 0.02" in told


def test_a_plan_from_after_the_first_attack_is_not_called_pre_specified(store: Path) -> None:
    [told] = sentences(store, stated(PLAN, rows=120))
    assert "when 120 rows had been recorded already, so that the verdicts are not pre-specified" in told


def test_every_later_change_is_told_against_the_one_before_it(store: Path) -> None:
    other = PLAN.model_copy(update={"success": "any", "margins": Margins(iterations=0.05)})
    wider = ARMS["A"].model_copy(update={"epsilons": (0.02, 0.4)})
    _, second, third = sentences(
        store, stated(PLAN), stated(other, rows=50, day="2026-04-02"), stated(other, wider, rows=90, day="2026-05-03")
    )
    assert second == (
        "Changed later: on 2026-04-02 08:30 UTC, with 50 rows recorded, the study stated success any instead of last; "
        "margin of iterations 0.05 instead of 0.02. The verdicts keep the first plan and its amplitudes."
    )
    assert "epsilons of the arm 0.02, 0.4 instead of 0.02, 0.04" in third
    assert "success" not in third


def test_amplitudes_of_the_training_size_series_are_part_of_the_plan(store: Path) -> None:
    first = stated(PLAN).model_copy(update={"series_epsilons": (0.02, 0.1)})
    later = stated(PLAN, rows=50).model_copy(update={"series_epsilons": (0.02, 0.2)})
    fixed, changed = sentences(store, first, later)
    assert "training-size series at ε = 0.02, 0.1." in fixed
    assert "stated ε of the training-size series 0.02, 0.2 instead of 0.02, 0.1. The verdicts keep" in changed


def test_a_plan_from_before_the_series_was_kept_says_nothing_of_it(store: Path) -> None:
    other = PLAN.model_copy(update={"success": "any"})
    later = stated(other, rows=50).model_copy(update={"series_epsilons": (0.02,)})
    fixed, changed = sentences(store, stated(PLAN), later)
    assert "series" not in fixed
    assert "series" not in changed
