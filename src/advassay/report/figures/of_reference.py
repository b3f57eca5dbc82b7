"""The figures of the reference study: 1, 2 and 3a to 3d, with captions and alt texts."""

from __future__ import annotations

from advassay.report.data.findings import Findings
from advassay.report.text import caption_phrases


def _series_arm(findings: Findings) -> str:
    """The attack of figure 3d in words, and whether conclusion 5 rests on another one."""
    arm = findings.series_arm
    said = caption_phrases.attack([h for h in findings.runs if h.arm == arm], findings.step_size(arm))
    if arm == findings.main_arm:
        return said
    return f"{said}; conclusion 5 is judged in arm {findings.main_arm}, which attacked no networks of other sizes"
