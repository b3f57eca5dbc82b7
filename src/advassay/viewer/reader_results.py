"""What a store's reader study found, beside what the network did: at which ε do people see the attack?"""

from __future__ import annotations

from typing import Any

from advassay.analysis import epsilon50
from advassay.analysis.conclusions.evidence import plan_in_force
from advassay.analysis.reader_detection import reader_detection, visible_epsilon
from advassay.records.reader_answers import read_answers
from advassay.viewer.case_selection import deciding_runs
from advassay.viewer.opened_store import OpenedStore


def reader_results(opened: OpenedStore, level: float = 0.95) -> dict[str, Any]:
    """{answers, readers, level, rows, cohorts} as JSON: rows of `reader_detection`; of each cohort the ε of visibility
    (null: at no ε shown) and ε₅₀ of the network as text. Raises DamagedError."""
    answers = read_answers(opened.store)
    if not answers.height:
        return {"answers": 0, "readers": 0, "level": level, "rows": [], "cohorts": []}
    detection = reader_detection(opened.records, answers, level=level)
    visible = visible_epsilon(detection)
    network = {run.header.cohort: _epsilon50(opened, run.header.arm, pack.step_size, run.header.cohort, level)
               for run, pack in deciding_runs(opened) if run.header.cohort in visible}  # fmt: skip
    return {
        "answers": answers.height,
        "readers": answers["reader"].n_unique(),
        "level": level,
        "rows": detection.to_dicts(),
        "cohorts": [
            {"cohort": cohort, "visible_epsilon": value, "epsilon50": network.get(cohort, "–")}
            for cohort, value in visible.items()
        ],
    }


def _epsilon50(opened: OpenedStore, arm: str, step_size: str, cohort: str, level: float) -> str:
    plan = plan_in_force(opened.records).plan
    found = epsilon50(opened.records, arm=arm, step_size=step_size, success=plan.success, dose=plan.dose, level=level)
    frame = found.filter(cohort=cohort)
    return str(frame["text"][0]) if frame.height else "–"
