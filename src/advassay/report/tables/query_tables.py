"""Queries to success of searches."""

from __future__ import annotations

from advassay.analysis import query_survival
from advassay.report.tables.column_labels import columns
from advassay.report.tables.table import TABLES, Printed, Table

TABLES.register(
    Table(
        "query_survival",
        about="images that a search has not misled after so many queries",
        build=lambda findings: query_survival(findings.records, level=findings.level),
        says=("level",),
        printed=(
            Printed(
                columns("cohort* arm epsilon n median", median="half misled by query"),
                "Queries to success of searches that end with an image's first success: by which query half of the "
                "attackable images are misled. The whole curve: CSV.",
                "results", 191,
                rows=lambda frame, findings: frame.unique(["cohort", "arm", "epsilon"], maintain_order=True),
                group="cohort",
            ),
        ),
    )
)  # fmt: skip
