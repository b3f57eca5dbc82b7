"""The report as one JSON document: what the page says and every table, for programs."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from advassay.report import limits, methods, notes
from advassay.report.findings import Findings
from advassay.report.page import summary
from advassay.report.references import REFERENCES
from advassay.report.tables import TABLES


def as_json(findings: Findings) -> str:
    """Keys: format_version, title, summary, notices, epsilon, level, plan (what
    figures and tables follow), conclusions, tables (name → {about, columns,
    rows}), notes, methods, limits, references. A value that is not there is null; NaN and Infinity do not occur.
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
        "plan": _plain(findings.plan.model_dump(mode="json"))
        | {"arm": findings.main_arm, "step_size": findings.step_size(findings.main_arm)},
        "conclusions": [_plain(conclusion.model_dump(mode="json")) for conclusion in findings.conclusions],
        "tables": {
            name: {"about": TABLES[name], "columns": frame.columns, "rows": _plain(list(frame.iter_rows()))}
            for name, frame in findings.tables.items()
        },
        "notes": {
            "preparation": notes.of_preparation(findings.records),
            "runs": notes.of_runs(findings.records, findings.runs),
        },
        "methods": {paragraph.heading: list(paragraph.sentences) for paragraph in methods.methods(findings)},
        "limits": limits.limits(findings),
        "references": list(REFERENCES),
    }


def _plain(value: Any) -> Any:
    """What JSON can hold: NaN and infinite numbers are null, at any depth."""
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
