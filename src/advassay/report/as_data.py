"""The report as one JSON document: what the page says and every table, for programs."""

from __future__ import annotations

import json
from typing import Any

from advassay.report import limits, methods
from advassay.report.findings import Findings
from advassay.report.page import summary
from advassay.report.references import REFERENCES
from advassay.report.tables import TABLES


def as_json(findings: Findings) -> str:
    """Keys: format_version, title, summary, notices, conclusions, tables (name → {about, columns, rows}), methods,
    limits, references. A value that is not there is null; NaN does not occur.
    """
    return json.dumps(_data(findings), ensure_ascii=False, indent=1, allow_nan=False) + "\n"


def _data(findings: Findings) -> dict[str, Any]:
    return {
        "format_version": 1,
        "title": findings.title,
        "summary": summary(findings),
        "notices": limits.notices(findings),
        "epsilon": findings.epsilon,
        "level": findings.level,
        "conclusions": [conclusion.model_dump(mode="json") for conclusion in findings.conclusions],
        "tables": {
            name: {"about": TABLES[name], "columns": frame.columns, "rows": [_plain(row) for row in frame.iter_rows()]}
            for name, frame in findings.tables.items()
        },
        "methods": {paragraph.heading: list(paragraph.sentences) for paragraph in methods.methods(findings)},
        "limits": limits.limits(findings),
        "references": list(REFERENCES),
    }


def _plain(row: tuple[Any, ...]) -> list[Any]:
    """Cells that JSON can hold: NaN is no number there."""
    return [None if isinstance(value, float) and value != value else value for value in row]
