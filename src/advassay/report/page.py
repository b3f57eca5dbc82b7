"""The page: findings and figures put into one self-contained HTML file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from advassay.analysis.questions.plan_text import plan_sentences
from advassay.report import compared_amplitudes, export, limits, methods, notes, page_tables
from advassay.report.drawing import Drawn
from advassay.report.findings import Findings
from advassay.report.followed_plan import every_arm, followed_plan, main_arm
from advassay.report.references import REFERENCES
from advassay.report.shell import downloads, rendered
from advassay.report.subgroup_text import subgroup_sentences
from advassay.report.wording import count


def render(findings: Findings, drawn: Sequence[Drawn], csv: dict[str, str]) -> str:
    """The whole page. `csv`: table name → its CSV text, offered for download from the page itself."""
    return rendered("page.html.j2", _content(findings, drawn, csv))


def _content(findings: Findings, drawn: Sequence[Drawn], csv: dict[str, str]) -> dict[str, Any]:
    by_key = {one.figure.key: one for one in drawn}
    return {
        "findings": findings,
        "summary": summary(findings),
        "notices": limits.notices(findings),
        "verdicts": [(conclusion, page_tables.of_conclusion(conclusion)) for conclusion in findings.conclusions],
        "verdict_counts": _counts([conclusion.verdict for conclusion in findings.conclusions], VERDICTS),
        "reading_help": READING_HELP,
        "patients_known": findings.patients_known,
        "plan_sentences": plan_sentences(findings.records),
        "evidence_sentences": [*compared_amplitudes.shared(findings), limits.training_chance(findings)],
        "followed_plan": followed_plan(findings),
        "of_main_arm": main_arm(findings),
        "of_every_arm": every_arm(findings),
        "amplitude_notes": compared_amplitudes.unreachable(findings),
        "subgroup_sentences": subgroup_sentences(findings),
        "figures": by_key,
        "tables": page_tables.tables(findings),
        "downloads": downloads(csv),
        "methods": methods.methods(findings),
        "limits": limits.limits(findings),
        "checklist_counts": _counts(findings.tables["checklist"]["answer"].to_list(), ANSWERS),
        "prepared_notes": notes.of_preparation(findings.records),
        "run_notes": notes.of_runs(findings.records, findings.runs),
        "references": REFERENCES,
        "javascript": export.javascript() if any(one.specs for one in drawn) else "",
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
