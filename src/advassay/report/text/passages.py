"""Sentences that stand between the figures and tables of a section: subgroups, and notes of preparation and runs."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import polars as pl

from advassay.analysis.interval_text import interval_text
from advassay.report.page_sections import PASSAGES, Passage
from advassay.report.text import recorded_warnings
from advassay.report.text.number_format import listed, number

if TYPE_CHECKING:
    from advassay.report.data.findings import Findings


def subgroup_sentences(findings: Findings) -> list[str]:
    """One sentence for every subgroup that the plan names or the records carry; empty where there is none."""
    frame = findings.tables.get("subgroups", pl.DataFrame(schema={"subgroup": pl.String}))
    plan = findings.records.analysis
    named = [*(plan.plan.subgroups if plan else ()), *frame["subgroup"].to_list()]
    return [_sentence(name, frame.filter(subgroup=name), findings.level) for name in dict.fromkeys(named)]


def _sentence(name: str, frame: pl.DataFrame, level: float) -> str:
    words = name.replace("_", " ")
    if frame.is_empty():
        return f"{words}: the analysis plan names this column, but the records do not carry it."
    differences = frame.filter(row="difference")
    if differences.is_empty():
        return f"{words}: no two groups have enough correctly classified images in one cohort to be compared."
    shown = differences.filter(pl.col("p_holm") <= 1 - level)
    if shown.is_empty():
        pairs = listed([_ratio(row) for row in differences.iter_rows(named=True)])
        return f"{words}: no difference is shown after correction for all groups (Holm). Ratios of ε50: {pairs}."
    told = [
        f"“{row['group']}” is {'easier' if row['estimate'] < 1 else 'harder'} to fool than “{row['reference']}” "
        f"(ratio of ε50 {ratio_text(row)}, "
        f"p = {number(row['p_holm'], 2)} after correction for all groups)"
        for row in shown.iter_rows(named=True)
    ]
    return f"{words}: {listed(told)}."


def _ratio(row: dict[str, Any]) -> str:
    return f"“{row['group']}” / “{row['reference']}” {ratio_text(row)}"


def ratio_text(row: dict[str, Any]) -> str:
    """The ratio of a row with its interval; an end that is open is null in the table."""
    low, high = (open_end if row[key] is None else row[key] for key, open_end in (("low", 0.0), ("high", math.inf)))
    return interval_text("ratio", row["estimate"], low, high)


PASSAGES.register(Passage("subgroups", "results", 170, subgroup_sentences, heading="Who is easier to fool?"))
PASSAGES.register(
    Passage(
        "preparation_notes",
        "cohorts",
        60,
        lambda findings: recorded_warnings.of_preparation(findings.records),
        fold="Notes of the preparation",
    )
)
PASSAGES.register(
    Passage(
        "run_notes",
        "evidence",
        50,
        lambda findings: recorded_warnings.of_runs(findings.records, findings.runs),
        fold="Warnings of the runs",
        open_up_to=4,
    )
)
