"""Who is in a cohort: rules, duplicates, balance, caps."""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from advassay.cohorts.balance import subsample
from advassay.cohorts.conditions import matches
from advassay.cohorts.duplicates import drop_duplicates
from advassay.cohorts.selection import select, values_that_never_occur
from advassay.cohorts.selection_counts import SelectionCounts
from advassay.errors import CohortError
from advassay.spec.cohort_spec import CohortSpec
from advassay.spec.rule_spec import Condition

YOUNG_OLD = {"young": {"age": {"range": [20, 35]}}, "old": {"age": {"range": [50, 70]}}}


def spec(**fields: object) -> CohortSpec:
    return CohortSpec.model_validate({"source": "s", "classes": YOUNG_OLD} | fields)


def images(ages: list[int], sexes: str = "") -> pl.DataFrame:
    frame = pl.DataFrame({"image_id": [f"{i:04}" for i in range(len(ages))], "row": range(len(ages)), "age": ages})
    frame = frame.with_columns(pl.Series("sex", list(sexes or "F" * len(ages))))
    return frame.with_columns(
        label=(pl.col("age") >= 50).cast(pl.Int64),
        class_name=pl.when(pl.col("age") >= 50).then(pl.lit("old")).otherwise(pl.lit("young")),
        patient_id="image_id",
        has_patient=pl.lit(True),
        original_patient="image_id",
    )


@pytest.mark.parametrize(
    ("values", "rule", "expected"),
    [
        ([19.9, 20, 35, 35.1, None, float("nan")], {"range": [20, 35]}, [0, 1, 1, 0, 0, 0]),
        (["a", None, "", "b"], {"not_in": ["a"]}, [0, 0, 0, 1]),
        (["a", "b", None], ["a"], [1, 0, 0]),
        ([1, 2, None], {"in": [1, "2"]}, [1, 0, 0]),
        ([True, False, None], True, [1, 0, 0]),
        ([1.0, 2.0], 2, [0, 1]),
    ],
)
def test_a_missing_value_never_matches_and_ranges_include_both_ends(values, rule, expected):
    found = matches(pl.Series(values, strict=False), Condition.model_validate(rule), "where.x")
    assert found.to_list() == [bool(value) for value in expected]


@pytest.mark.parametrize(
    ("values", "rule", "says"),
    [(["5"], 5, r"where.x: values of the column's kind, texts, got \[5\]"),
     (["old"], {"range": [20, 60]}, "where.x: a range needs a column of numbers, got texts\\.")],
)  # fmt: skip
def test_a_rule_of_the_wrong_kind_is_a_slip_not_an_empty_cohort(values, rule, says):
    with pytest.raises(CohortError, match=says):
        matches(pl.Series(values), Condition.model_validate(rule), "where.x")


def test_a_rule_about_an_absent_column_lists_those_there_are():
    with pytest.raises(CohortError, match=r"classes.young.age: a column of the source, got 'age'.*row, sex"):
        select(images([20]).select("row", "sex"), spec(), SelectionCounts(1))


def test_a_value_that_no_row_has_is_named_with_those_there_are():
    rows = images([20, 50, 60], "FFM")
    typo = spec(classes={"women": {"sex": "f"}, "men": {"sex": "M"}})
    says = r"classes.women.sex: a value .* got 'f'. Did you mean 'F'\? Column sex has: 'F' \(2\), 'M' \(1\)\."
    with pytest.raises(CohortError, match=says):
        values_that_never_occur(rows, typo)
    assert values_that_never_occur(rows, spec(where={"sex": ["F", "X"]})) == [
        "where.sex: no row of the source has 'X'."
    ]
    assert len(values_that_never_occur(rows, typo.model_copy(update={"split": "none"}))) == 1


def test_images_in_two_classes_or_none_are_left_out_with_the_reason():
    overlapping = spec(classes={"young": {"age": {"range": [20, 50]}}, "old": {"age": {"range": [50, 70]}}})
    flow = SelectionCounts(5)
    kept = select(images([20, 50, 60, 10, 80]), overlapping, flow)
    assert kept["class_name"].to_list() == ["young", "old"]
    assert kept["label"].to_list() == [0, 1]
    assert {item.reason: item.count for item in flow.reasons()} == {"in no class": 2, "in more than one class": 1}


def test_every_candidate_is_either_kept_or_counted_under_a_reason():
    ages, sexes = list(range(10, 90)), "FM?" * 26 + "FM"
    flow = SelectionCounts(len(ages))
    chosen = select(images(ages, sexes), spec(where={"sex": ["F", "M"]}), flow)
    kept = subsample(chosen, spec(balance=["sex"], equal_classes=True, per_class=6), 0, flow)
    assert kept.height + sum(item.count for item in flow.reasons()) == len(ages)
    assert flow.steps[-1]["kept"] == kept.height == 12


def test_one_copy_of_the_same_pixels_stays_whatever_the_row_order():
    frame = images([20, 21, 60]).with_columns(pl.Series("image_id", ["same", "same", "other"]))
    for order in (frame, frame.reverse()):
        kept = drop_duplicates(order, SelectionCounts(3)).sort("image_id")
        assert kept.select("image_id", "age").rows() == [("other", 60), ("same", 20)]


def test_same_pixels_in_different_classes_all_leave():
    frame = images([20, 60, 61]).with_columns(pl.Series("image_id", ["same", "same", "other"]))
    flow = SelectionCounts(3)
    assert drop_duplicates(frame, flow)["image_id"].to_list() == ["other"]
    assert flow.reasons()[0].reason == "same pixels in different classes"
    assert flow.reasons()[0].count == 2


def test_patients_who_share_an_image_become_one_cluster():
    frame = images([20, 21, 22, 23]).with_columns(
        pl.Series("image_id", ["a", "b", "b", "c"]), pl.Series("patient_id", ["p1", "p1", "p2", "p2"])
    )
    flow = SelectionCounts(4)
    assert set(drop_duplicates(frame, flow)["patient_id"]) == {"p1"}
    assert "2 patients share identical images" in flow.warnings[0]


@settings(deadline=None)
@given(st.integers(1, 12), st.integers(0, 3), st.randoms(use_true_random=False))
def test_a_smaller_cap_keeps_a_subset_and_row_order_does_not_matter(cap, seed, random):
    frame = images([20] * 15 + [60] * 18)
    shuffled = frame[random.sample(range(33), 33)]
    small = set(subsample(shuffled, spec(per_class=cap), seed, SelectionCounts(33))["image_id"])
    large = set(subsample(frame, spec(per_class=cap + 3), seed, SelectionCounts(33))["image_id"])
    assert small < large
    assert small == set(subsample(frame, spec(per_class=cap), seed, SelectionCounts(33))["image_id"])


def test_balance_survives_equal_classes_and_caps():
    frame = images([20] * 20 + [60] * 30, "F" * 15 + "M" * 5 + "F" * 11 + "M" * 19)
    kept = subsample(frame, spec(balance=["sex"], equal_classes=True, per_class={"old": 9}), 0, SelectionCounts(50))
    assert sorted(kept.group_by("class_name", "sex").len().rows()) == [
        ("old", "F", 4), ("old", "M", 4), ("young", "F", 5), ("young", "M", 5)]  # fmt: skip


def test_balance_needs_every_value_in_every_class():
    with pytest.raises(CohortError, match=r"class 'old' has none of \['M'\]"):
        subsample(images([20, 20, 60], "FMF"), spec(balance=["sex"]), 0, SelectionCounts(3))


FINDINGS = pl.DataFrame(
    {"age": [20, 21, 22, 60, 61], "tuberculosis": ["present", "present", "absent", None, "uncertain"],
     "fibrosis": ["not stated", "present", "uncertain", "absent", "absent"]}
)  # fmt: skip
ILL_OR_NORM = {"ill": {"tuberculosis": "present"}, "old": {"age": {"range": [50, 70]}}}


def test_images_with_a_finding_their_class_is_not_about_are_left_out_by_that_name():
    flow = SelectionCounts(5)
    kept = select(FINDINGS, spec(classes=ILL_OR_NORM, other_findings="excluded"), flow)
    assert kept.select("age", "class_name").rows() == [(20, "ill"), (60, "old")]
    assert flow.steps[-1]["reasons"] == {"another finding: fibrosis": 1, "another finding: tuberculosis": 1}
    assert select(FINDINGS, spec(classes=ILL_OR_NORM), SelectionCounts(5)).height == 4


def test_excluding_other_findings_needs_columns_of_findings():
    with pytest.raises(CohortError, match="other_findings: excluded needs columns of findings"):
        select(images([20, 60]), spec(other_findings="excluded"), SelectionCounts(2))


@settings(deadline=None)
@given(st.lists(st.integers(0, 6), min_size=2, max_size=30), st.randoms(use_true_random=False))
def test_one_image_per_patient_whatever_the_row_order(patients, random):
    frame = images([20, 60] * len(patients)).with_columns(pl.Series("patient_id", patients * 2))
    flow = SelectionCounts(frame.height)
    kept = subsample(frame, spec(images_per_patient="one"), 0, flow)
    assert sorted(kept["patient_id"]) == sorted(set(patients))
    assert sum(flow.steps[-1]["reasons"].values()) == frame.height - kept.height
    shuffled = frame[random.sample(range(frame.height), frame.height)]
    again = subsample(shuffled, spec(images_per_patient="one"), 0, SelectionCounts(frame.height))
    assert set(again["image_id"]) == set(kept["image_id"])


def test_absent_rules_stay_out_of_a_cohorts_identity():
    written = spec().model_dump(mode="json", by_alias=True)
    assert not {"other_findings", "images_per_patient"} & set(written)
    assert spec(images_per_patient="one").model_dump()["images_per_patient"] == "one"


def test_every_step_of_the_flow_says_why_and_what_is_left_of_each_class():
    flow = SelectionCounts(5)
    kept = select(images([20, 21, 22, 60, 10]), spec(), flow)
    subsample(kept, spec(equal_classes=True), 0, flow)
    assert [step["reasons"] for step in flow.steps] == [{"in no class": 1}, {"equal classes: not drawn": 2}]
    assert [step["classes"] for step in flow.steps] == [{"young": 3, "old": 1}, {"young": 1, "old": 1}]
