"""The page: findings, sentences and figures put into one self-contained HTML file."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import polars as pl

from advassay.analysis.conclusions.conclusion_text import plan_sentences
from advassay.analysis.interval_text import interval_text
from advassay.report.data.findings import Findings
from advassay.report.figures import captions
from advassay.report.output import figure_files, page_tables
from advassay.report.output.render_figures import RenderedFigure
from advassay.report.output.templates import downloads, rendered
from advassay.report.text import limitations, methods, recorded_warnings
from advassay.report.text.followed_plan import every_arm, followed_plan, main_arm
from advassay.report.text.methods import REFERENCES
from advassay.report.text.number_format import count, listed, number


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


def render(findings: Findings, drawn: Sequence[RenderedFigure], csv: dict[str, str]) -> str:
    """The whole page. `csv`: table name → its CSV text, offered for download from the page itself."""
    return rendered("page.html.j2", _content(findings, drawn, csv))


def _content(findings: Findings, drawn: Sequence[RenderedFigure], csv: dict[str, str]) -> dict[str, Any]:
    by_key = {one.figure.key: one for one in drawn}
    return {
        "findings": findings,
        "summary": summary(findings),
        "notices": limitations.notices(findings),
        "verdicts": [(conclusion, page_tables.of_conclusion(conclusion)) for conclusion in findings.conclusions],
        "verdict_counts": _counts([conclusion.verdict for conclusion in findings.conclusions], VERDICTS),
        "reading_help": READING_HELP,
        "patients_known": findings.patients_known,
        "plan_sentences": plan_sentences(findings.records),
        "evidence_sentences": [*captions.describe_shared_grid(findings), limitations.training_chance(findings)],
        "followed_plan": followed_plan(findings),
        "of_main_arm": main_arm(findings),
        "of_every_arm": every_arm(findings),
        "amplitude_notes": captions.describe_unreachable(findings),
        "subgroup_sentences": subgroup_sentences(findings),
        "figures": by_key,
        "tables": page_tables.tables(findings),
        "downloads": downloads(csv),
        "methods": methods.methods(findings),
        "limits": limitations.limits(findings),
        "checklist_counts": _counts(findings.tables["checklist"]["answer"].to_list(), ANSWERS),
        "prepared_notes": recorded_warnings.of_preparation(findings.records),
        "run_notes": recorded_warnings.of_runs(findings.records, findings.runs),
        "references": REFERENCES,
        "javascript": figure_files.javascript() if any(one.specs for one in drawn) else "",
    }


def summary(findings: Findings) -> str:
    """How much was done, in one sentence."""
    headers = findings.runs
    images = sum(header.images for header in findings.headers())
    networks = len({header.classifier for header in headers})
    judged = sum(header.rows * header.steps for header in headers)
    kinds = list(dict.fromkeys(findings.cohorts.values()))
    attacked = "images" if any(map(findings.unsplit, findings.cohorts)) else "validation images"
    return (
        f"{_counted(len(findings.cohorts), 'cohort')} ({', '.join(kinds)}), {_counted(networks, 'network')}, "
        f"{count(images)} {attacked}, {_counted(len(headers), 'attack run')}, {count(judged)} attacked iterates "
        "recorded."
    )


def _counted(number: int, what: str) -> str:
    return f"{count(number)} {what}{'' if number == 1 else 's'}"


READING_HELP = (
    "Amplitude ε: how much the attack may change an image. For L∞ attacks it is the largest change of any pixel as a "
    "share of the full grey scale; ε = 0.02 is 5.1 grey levels of 255.",
    "Success rate: of the images that the network classifies correctly without an attack, the share that it "
    "misclassifies after the attack. ε50: the amplitude at which this share reaches one half.",
    "Brackets hold a confidence interval. Over several cohorts it is about cohorts of the same kind; of one cohort it "
    "is about that cohort alone.",
    "Supported: the whole interval agrees with the statement. Contradicted: the whole interval disagrees with it, or "
    "leaves no effect large enough to count. Undecided: the interval allows both; that is no evidence of absence.",
)
"""How a reader who does not know the program should read a verdict."""

VERDICTS = ("supported", "contradicted", "undecided")
ANSWERS = ("yes", "partly", "no", "not applicable")


def _counts(given: Sequence[str], kinds: Sequence[str]) -> str:
    """How often each kind was given, e.g. "3 yes, 1 no"."""
    return ", ".join(f"{given.count(kind)} {kind}" for kind in kinds if kind in given)
