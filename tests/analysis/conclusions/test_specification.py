"""The specification curve: the plan's choice among all, and what the others would have said."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from simulate import ARMS, Cohort, make_store, run_header

import advassay as aa
from advassay.analysis.conclusions.confidence import confidence_shift
from advassay.analysis.conclusions.evidence import Evidence
from advassay.analysis.outcome_arrays import OutcomeArrays
from advassay.records import Records, open_records
from advassay.spec.analysis_plan import AnalysisPlan
from advassay.spec.attack_spec import Arm

COHORTS = (
    Cohort("X-A", "X-ray", epsilon50=0.03, patients=60),
    Cohort("X-B", "X-ray", epsilon50=0.04, patients=60, lost_again=0.2),
    Cohort("H-A", "histology", epsilon50=0.09, patients=60, sizes=(40, 80, 160), seeds=(0, 1)),
    Cohort("H-B", "histology", epsilon50=0.1, patients=60),
)


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Records:
    relative = Arm(epsilons=(0.01, 0.02, 0.05, 0.1, 0.2), step_sizes=("epsilon/4",))
    arms = {"A": relative, "C": ARMS["C"]}
    return open_records(make_store(tmp_path_factory.mktemp("s") / "store", COHORTS, arms, gallery=False))


@pytest.fixture(scope="module")
def curve(records: Records) -> pl.DataFrame:
    return aa.specification_curve(records)


@pytest.mark.parametrize("plan", [None, AnalysisPlan(success="any", dose="as recorded")])
def test_the_choice_of_the_plan_gives_the_verdict_and_effect_of_the_conclusion(
    records: Records, plan: AnalysisPlan | None
) -> None:
    chosen = {row["question"]: row for row in aa.specification_curve(records, plan).filter("chosen").to_dicts()}
    found = aa.conclusions(records, plan=plan)
    assert sorted(chosen) == [1, 2, 3, 4, 5]
    for one in found:
        row = chosen[one.number]
        assert row["verdict"] == one.verdict
        if one.low is not None:
            assert [row["estimate"], row["low"]] == pytest.approx([one.estimate, one.low])


def test_every_choice_is_crossed_with_every_other(curve: pl.DataFrame) -> None:
    """Two arms and two readings; times two dose readings and two estimators where ε50 is asked for (question 5: the
    curve alone).
    """
    per_question = dict(curve.group_by("question").len().iter_rows())
    assert per_question == {1: 4, 2: 16, 3: 2 * (5 + 2) + 2 * (6 + 2), 4: 16, 5: 8}
    keys = ["question", "arm", "step_size", "success", "dose", "estimator", "epsilon"]
    assert curve.select(keys).is_duplicated().sum() == 0


def test_a_reading_that_forgets_lost_successes_finds_no_smaller_slope(curve: pl.DataFrame) -> None:
    of_reading = dict(curve.filter(question=1, arm="A").select("success", "estimate").iter_rows())
    assert of_reading["any"] > of_reading["last"]


def test_the_bracket_needs_no_curve_and_still_finds_the_ratio(curve: pl.DataFrame) -> None:
    """The truth is about 2.7; four cohorts leave a wide interval."""
    of_estimator = curve.filter(question=2, arm="A", success="last", dose="monotone")
    rows = {row["estimator"]: row for row in of_estimator.to_dicts()}
    for row in rows.values():
        assert row["low"] < 2.7 < row["high"]
    assert rows["bracket"]["estimate"] != rows["curve"]["estimate"]


def test_only_the_plans_arm_can_be_chosen(curve: pl.DataFrame) -> None:
    assert set(curve.filter("chosen")["arm"]) == {"A"}


def pack_of(above: list[int], below: list[int]) -> OutcomeArrays:
    """Images that fall first at the named places of the grid (5 = never), above and below the confidence threshold."""
    category = np.array([*above, *below])
    doses = np.array([0.01, 0.02, 0.04, 0.08, 0.16])
    fallen = category[None, :] <= np.arange(5)[:, None]
    images = len(category)
    last = np.stack([np.zeros_like(fallen), fallen], axis=1)
    header = run_header(COHORTS[0], "A", Arm(epsilons=tuple(doses.tolist()), step_sizes=("epsilon/4",), steps=1))
    return OutcomeArrays(
        header, "epsilon/4", doses, np.arange(images).astype(object), np.zeros(images, np.int64),
        np.arange(images, dtype=np.int32), np.arange(images).astype(object), np.ones((5, images), bool),
        np.ones((5, images), bool), np.ones((5, images), bool), last, last, np.zeros((5, 2, images), np.int8), ~last,
        np.zeros((images, 2), np.float32), np.zeros((5, images, 2), np.float32),
        np.r_[np.full(len(above), 0.99), np.full(len(below), 0.6)], np.full(images, 0.1), {},
    )  # fmt: skip


def by_bracket_alone(pack: OutcomeArrays) -> Evidence:
    return Evidence(AnalysisPlan(), (pack,), {}, None, "bracket")


@pytest.mark.parametrize(
    ("above", "below", "bound"),
    [([3] * 40, [1] * 40, "value"), ([5] * 40, [1] * 40, "at least"), ([3] * 40, [0] * 40, "at least"),
     ([1] * 40, [5] * 40, "at most"), ([5] * 40, [0] * 40, "at least")],
)  # fmt: skip
def test_a_bracketed_ratio_beyond_the_grid_enters_as_a_bound(above: list[int], below: list[int], bound: str) -> None:
    found = confidence_shift(pack := pack_of(above, below), by_bracket_alone(pack))
    assert found is not None
    assert found.bound == bound
    assert (found.value < 0) == (bound == "at most")
    if bound == "value":
        assert found.value == pytest.approx(np.log(4))


def test_two_groups_beyond_the_same_end_say_nothing() -> None:
    for pack in (pack_of([5] * 40, [5] * 40), pack_of([3] * 4, [1] * 40)):
        assert confidence_shift(pack, by_bracket_alone(pack)) is None
