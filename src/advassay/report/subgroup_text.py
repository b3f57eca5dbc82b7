"""Who is easier to fool, in sentences."""

from __future__ import annotations

import math
from typing import Any

import polars as pl

from advassay.analysis.interval_text import interval_text
from advassay.report.findings import Findings
from advassay.report.wording import listed, number


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
        return f"{words}: no difference is shown once all groups are allowed for (Holm); ratios of ε50: {pairs}."
    told = [
        f"“{row['group']}” is {'easier' if row['estimate'] < 1 else 'harder'} to fool than “{row['reference']}” "
        f"(ratio of ε50 {_interval(row)}, "
        f"p = {number(row['p_holm'], 2)} after correction for all groups)"
        for row in shown.iter_rows(named=True)
    ]
    return f"{words}: {listed(told)}."


def _ratio(row: dict[str, Any]) -> str:
    return f"“{row['group']}” / “{row['reference']}” {_interval(row)}"


def _interval(row: dict[str, Any]) -> str:
    """The ratio with its interval; an end that is open is null in the table."""
    low, high = (open_end if row[key] is None else row[key] for key, open_end in (("low", 0.0), ("high", math.inf)))
    return interval_text("ratio", row["estimate"], low, high)
