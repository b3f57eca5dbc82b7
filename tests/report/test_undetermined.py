"""An interval too wide to say anything: called what it is in text, kept as numbers in the data."""

from __future__ import annotations

import math

import polars as pl
import pytest

from advassay.analysis.interval_text import NOT_DETERMINED, interval_text, is_too_wide, one_sided
from advassay.report.figures.specification_curve_chart import _effect
from advassay.report.tables.classifier_tables import SUBGROUP_DIFFERENCES
from advassay.report.tables.column_labels import Grid, columns, grid
from advassay.report.tables.table import numbers_of_conclusion
from advassay.report.tables.verdict_tables import SPECIFICATION
from advassay.report.text.passages import ratio_text

WIDE = {"estimate": 1.74, "low": 2.76e-05, "high": 109012.0}
NARROW = {"estimate": 1.74, "low": 1.1, "high": 2.9}


def texts(table: Grid, key: str) -> list[str]:
    return [cell.text for row in table.rows for cell in row if cell.key == key]


def values(table: Grid, key: str) -> list[str]:
    return [cell.value for row in table.rows for cell in row if cell.key == key]


@pytest.mark.parametrize(
    ("kind", "ends", "text"),
    [
        ("ratio", (1.74, 2.76e-05, 109012.0), "not determined (interval wider than 1000-fold)"),
        ("epsilon", (0.02, 1e-6, 0.5), "not determined (interval wider than 1000-fold)"),
        ("points", (0.1, -1.2, 1.4), "not determined (interval wider than 200 points)"),
        ("ratio", (5.0, 1.2, 9000.0), "at least 1.2"),
        ("ratio", (0.01, 0.0, 0.4), "at most 0.4"),
        ("ratio", (2.0, 1.1, 2.9), "2 [1.1, 2.9]"),
        ("epsilon", (0.043, 0.031, 0.06), "0.043 [0.031, 0.06]"),
        ("points", (0.123, -0.004, 0.25), "12.3 [−0.4, 25.0]"),
    ],
)
def test_an_interval_is_written_as_what_it_is(kind: str, ends: tuple[float, float, float], text: str) -> None:
    assert interval_text(kind, *ends) == text  # type: ignore[arg-type]


def test_exactly_a_thousandfold_is_still_printed() -> None:
    assert not is_too_wide("ratio", 0.01, 10.0)
    assert is_too_wide("ratio", 0.01, 10.01)
    assert one_sided("ratio", -math.inf, math.inf) == ""


def test_tables_of_effects_keep_the_numbers_and_print_none() -> None:
    rows = [{"subgroup": "sex", "group": "f", "reference": "m", **ends} for ends in (WIDE, NARROW)]
    made = grid("subgroups", "groups", pl.DataFrame(rows), SUBGROUP_DIFFERENCES)
    assert texts(made, "low") == [NOT_DETERMINED, "1.1"]
    assert values(made, "low") == ["2.76e-05", "1.1"]
    rows = [{"question": 2, **WIDE}, {"question": 1, "estimate": 0.1, "low": -1.2, "high": 1.4}]
    made = grid("specification_curve", "curve", pl.DataFrame(rows), SPECIFICATION)
    assert texts(made, "high") == [NOT_DETERMINED] * 2
    assert values(made, "high") == ["109012.0", "1.4"]


def test_the_numbers_behind_conclusion_4_are_not_printed_where_they_say_nothing(report: object) -> None:
    from written_report import Report

    from advassay.report import gather

    assert isinstance(report, Report)
    fourth = gather(report.store).conclusions[3]
    row = fourth.details[0] | {"ratio": 1.74, "low": 2.76e-05, "high": 109012.0}
    made = numbers_of_conclusion(fourth.model_copy(update={"details": (row,)}))
    assert made is not None
    assert texts(made, "ratio") == texts(made, "low") == texts(made, "high") == [NOT_DETERMINED]


def test_sentences_and_tooltips_about_ratios_are_written_alike() -> None:
    assert ratio_text(WIDE) == _effect(4, WIDE) == "not determined (interval wider than 1000-fold)"
    assert ratio_text(NARROW) == _effect(4, NARROW) == "1.74 [1.1, 2.9]"
    assert ratio_text({**NARROW, "high": None}) == "at least 1.1"


def test_other_tables_show_every_number() -> None:
    made = grid("x", "x", pl.DataFrame([{"low": 0.1, "high": 0.9}]), columns("low high"))
    assert texts(made, "low") == ["10.0 %"]
