"""Odd values among numbers count as unknown; they neither block a rule nor become a number."""

from __future__ import annotations

import polars as pl
import pytest

from advassay.cohorts.conditions import describe_odd, read_numbers
from advassay.cohorts.selection import odd_values, select, select_by_metadata
from advassay.cohorts.selection_counts import SelectionCounts
from advassay.errors import CohortError
from advassay.sources import open_source
from advassay.spec.cohort_spec import CohortSpec
from advassay.spec.source_spec import TableSource

CLASSES = {"young": {"age": {"range": [0, 50]}}, "old": {"age": {"range": [51, 120]}}}


@pytest.mark.parametrize(
    ("name", "text", "number"),
    [
        ("age", "54", 54), ("age", "54.0", 54), ("age", "65 years", 65), ("age", "54,5", 54.5), ("age", "058Y", 58),
        ("age", "6 months", 0.5), ("age", "006M", 0.5), ("Patient Age", "30 años", 30), ("age", "45 лет", 45),
        ("age", "unknown", None), ("age", ">89", None), ("age", "60-69", None), ("age", "54 M", None),
        ("age", "1,234", None), ("age", "", None), ("age", None, None), ("size", "12 mm", 12), ("dose", "1e-3", 0.001),
    ],
)  # fmt: skip
def test_a_text_is_a_number_only_where_it_plainly_is(name, text, number):
    found = read_numbers(pl.Series(name, [text], dtype=pl.String)).numbers[0]
    assert found == (None if number is None else pytest.approx(number))


def test_numbers_in_different_units_are_none():
    found = read_numbers(pl.Series("size", ["12 mm", "1.2 cm", "13"])).numbers.to_list()
    assert found == [None, None, 13.0]


def test_one_unknown_among_ages_does_not_block_the_rule_and_is_counted_with_row_and_value():
    rows = pl.DataFrame({"row": range(5), "age": ["20", "65 years", "unknown", None, "70"]})
    spec = CohortSpec.model_validate({"source": "s", "classes": CLASSES, "where": {"age": {"range": [0, 120]}}})
    chosen = select(rows, spec, flow := SelectionCounts(5))
    assert chosen["class_name"].to_list() == ["young", "old", "old"]
    assert flow.steps[0]["reasons"] == {"age: no value": 1, "age: not a number": 1}
    (warning,) = odd_values(rows, spec)
    assert warning == (
        "where.age: 1 of 5 values are not plain numbers and count as unknown: 'unknown' (1, first in row 3)."
    )


def test_a_long_text_among_numbers_is_not_repeated():
    told = describe_odd(pl.Series("age", ["20", "a text that is longer than a value"]), pl.Series([0, 1]), "where.age")
    assert told is not None
    assert told.endswith("unknown: row 2.")


def test_a_range_over_words_is_still_a_slip():
    rows = pl.DataFrame({"row": [0, 1], "age": ["young", "old"]})
    spec = CohortSpec.model_validate({"source": "s", "classes": CLASSES})
    with pytest.raises(CohortError, match="a range needs a column of numbers, got texts"):
        select(rows, spec, SelectionCounts(2))


def test_ages_of_a_csv_with_odd_values_make_a_cohort(tmp_path):
    ages = ["30", "31 years", "unknown", "60", "61.0", ""] * 20
    lines = [f"p{i}.png,{i},{age}" for i, age in enumerate(ages)]
    (tmp_path / "t.csv").write_text("image,patient_id,age\n" + "\n".join(lines))
    opened = open_source("t", TableSource(kind="table", path="t.csv"), tmp_path)
    found = select_by_metadata("c", CohortSpec.model_validate({"source": "t", "classes": CLASSES}), opened, 0)
    assert found.frame.height == 80
    told = [warning for warning in found.flow.warnings if "20 of 120 values" in warning]
    assert "'unknown' (20, first in row 3)" in told[0]
