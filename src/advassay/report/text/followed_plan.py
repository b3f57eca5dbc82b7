"""Which arm, step size, readings and level figures and tables show: those of the analysis plan, in words."""

from __future__ import annotations

from advassay.analysis.conclusions.conclusion_text import readings
from advassay.report.data.findings import Findings


def followed_plan(findings: Findings) -> str:
    """What holds for every figure and table whose caption does not say otherwise."""
    return (
        "Unless a caption says otherwise, figures and tables follow the analysis plan, as the verdicts do: attack arm "
        f"{findings.main_arm} (the main arm), {step(findings)}; {readings(findings.plan)}; {level(findings)}. Other "
        "arms are shown at their first declared step size. Scores that need the network's probabilities (accuracy, "
        "AUROC, calibration, transitions, slides) are of the last iterate, whatever the reading."
    )


def main_arm(findings: Findings) -> str:
    """ "main arm C, step size ε/4, 90% intervals", for a table's caption."""
    return f"main arm {findings.main_arm}, {step(findings)}, {level(findings)}"


def every_arm(findings: Findings) -> str:
    """The readings and the level of a table over all arms."""
    return f"{readings(findings.plan)}; main arm {findings.main_arm} at {step(findings)}; {level(findings)}"


def step(findings: Findings) -> str:
    """The main arm's step size in words."""
    return f"step size {findings.step_size(findings.main_arm).replace('epsilon', 'ε')}"


def level(findings: Findings) -> str:
    """The confidence level in words."""
    return f"{100 * findings.level:g}% intervals"
