"""Figures about the strength of the attack: surface, arms, readings, ε50 and survival of iterations."""

from __future__ import annotations

from advassay.analysis.conclusions.conclusion_text import readings
from advassay.report.data.findings import Findings


def _dose(findings: Findings) -> str:
    """Both readings behind ε50."""
    text = readings(findings.plan)
    return f"{text[0].upper()}{text[1:]}."
