"""What each attack wants, may do and knows, in the words of NIST AI 100-2; queries of searches."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import polars as pl

from advassay.analysis import query_survival
from advassay.records.run_header import RunHeader
from advassay.report.data.findings import Findings
from advassay.report.tables.column_labels import columns
from advassay.report.tables.table import TABLES, Printed, Table
from advassay.spec.attack_components import UPDATE_RULES, Knowledge

KNOWLEDGE: dict[Knowledge, str] = {
    "white box": "white-box: architecture, weights and gradients",
    "scores": "black-box, score-based: class scores of its queries",
    "decisions": "black-box, decision-based: decisions of its queries alone",
}
"""Of an update rule; the words of NIST AI 100-2 E2025, sections 2.1 and 2.2."""
SURROGATE = "black-box, transfer: a surrogate network that is trained on the same images or a part of them"


def _threats(findings: Findings) -> pl.DataFrame:
    firsts: dict[str, RunHeader] = {}
    for arm in findings.records.arms:
        headers = findings.headers(arm)
        if headers:
            firsts[arm] = headers[0]
    rows = [row for arm, header in firsts.items() for row in _arm(arm, header)]
    transferred = [run.header for run in findings.records.transfers]
    if any(header.source_classifier != header.classifier for header in transferred):
        arm = transferred[0].arm
        rows.append(_row(f"{arm}, transfer", transferred[0], SURROGATE, "none to the attacked network"))
    return pl.DataFrame(rows)


def _arm(arm: str, header: RunHeader) -> Iterator[dict[str, Any]]:
    rule = UPDATE_RULES.find(str(header.attack.get("update")))
    if rule is None:
        return
    steps = header.attack.get("steps")
    asked = f"{steps} queries an image at most" if rule.knowledge == "scores" else (
        f"queries of {steps} steps" if rule.knowledge == "decisions" else "not limited"
    )  # fmt: skip
    yield _row(arm, header, KNOWLEDGE[rule.knowledge], asked)


def _row(arm: str, header: RunHeader, knowledge: str, queries: str) -> dict[str, Any]:
    norm = {"linf": "L∞", "l2": "L2"}.get(str(header.attack.get("norm")), str(header.attack.get("norm")))
    aim = "targeted" if header.attack.get("targeted") else "untargeted"
    return {
        "arm": arm, "update": str(header.attack.get("update")),
        "goal": f"integrity violation: evasion, {aim} misclassification of single images",
        "capability": f"testing data control: each image changed by at most ε ({norm}); no control of training data or "
        "model",
        "knowledge": knowledge, "query_access": queries,
    }  # fmt: skip


TABLES.register(
    Table(
        "threat_model",
        about="what each attack wants, may do and knows, in the words of NIST AI 100-2",
        build=_threats,
        printed=(
            Printed(
                columns(
                    "arm update goal capability knowledge query_access",
                    goal="attacker's goal", capability="capability", knowledge="knowledge", query_access="queries",
                ),
                "Threat model of each attack, in the words of NIST AI 100-2 E2025.",
                "methods", 5, numbered=False, fold="Threat model of each attack",
            ),
        ),
    )
)  # fmt: skip
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
