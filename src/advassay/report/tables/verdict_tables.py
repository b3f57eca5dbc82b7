"""Tables of verdicts: the conclusions, what they rest on, the specification curve, the evaluation checklist."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import polars as pl

from advassay.analysis import Conclusion, specification_curve
from advassay.analysis.conclusions.question import question_of
from advassay.report.tables.column_labels import columns, of_effects, shown
from advassay.report.tables.table import TABLES, Printed, Table
from advassay.report.text.checklist import checklist


def conclusion_rows(found: Sequence[Conclusion]) -> pl.DataFrame:
    """One row per conclusion, without its details."""
    rows = [
        c.model_dump(exclude={"details"}) | {"alternatives": " ".join(c.alternatives), "remarks": " ".join(c.remarks)}
        for c in found
    ]
    return pl.DataFrame(rows, infer_schema_length=None)


def detail_rows(found: Sequence[Conclusion]) -> pl.DataFrame:
    """The details of all conclusions, `conclusion` saying which; columns that one of them lacks are null there."""
    frames = [
        pl.DataFrame([{"conclusion": c.number} | row for row in c.details], infer_schema_length=None)
        for c in found
        if c.details
    ]
    return pl.concat(frames, how="diagonal_relaxed") if frames else pl.DataFrame()


SPECIFICATION = of_effects([
    replace(column, show=shown) if column.key in ("epsilon", "estimate", "low", "high", "chosen") else column
    for column in columns(
        "question* arm step_size success dose estimator epsilon estimate low high n verdict chosen", n="units",
        estimate="effect", chosen="as planned",
    )
], lambda row: question_of(row["question"]).kind)  # fmt: skip
"""Its ε is text, and its effects are ratios or differences of rates."""

TABLES.register(
    Table("conclusions", about="the conclusions", build=lambda findings: conclusion_rows(findings.conclusions))
)
TABLES.register(
    Table(
        "conclusion_details",
        about="the numbers per cohort, arm or network that the conclusions rest on",
        build=lambda findings: detail_rows(findings.conclusions),
    )
)
TABLES.register(
    Table(
        "specification_curve",
        about="every question under every defensible choice of arm, step size, reading and estimator",
        build=lambda findings: specification_curve(findings.records) if findings.decided else pl.DataFrame(),
        says=("level",),
        of_figure=SPECIFICATION,
    )
)
TABLES.register(
    Table(
        "checklist",
        about="the evaluation checklist of Carlini et al. 2019, answered from the records",
        build=checklist,
        needs=(
            "controls_by_arm", "flags_by_arm", "performance", "reruns", "success_by_arm", "success_by_iteration",
        ),
        printed=(
            Printed(
                columns("question answer evidence"), "Checklist, with the evidence for each answer.", "checklist", 10,
            ),
        ),
    )
)  # fmt: skip
