"""The figure behind the verdicts: which of them depend on choices."""

from __future__ import annotations

import polars as pl

from advassay.report import captions
from advassay.report.figures import told
from advassay.report.figures.figure import Figure
from advassay.report.figures.specification_panels import specification_panels
from advassay.report.findings import Findings
from advassay.report.wording import listed


def fig_specification(findings: Findings) -> Figure | None:
    every = findings.tables.get("specification_curve")
    if every is None:
        return None
    frame = every.filter(pl.col("estimate").is_not_null())
    if not len(frame):
        return None
    titles = {c.number: f"{c.number}. {c.title}" for c in findings.conclusions}
    without = len(every) - len(frame)
    aside = f" {without} choices give no estimate and are left out." if without else ""
    return Figure(
        "fig-specification", "", "The verdicts under every other choice",
        "Each question is answered anew for every attack arm, step size and reading, and for both estimators of ε50 "
        "(specification curve, Simonsohn et al. 2020). Above: the effects in order of size with "
        f"{100 * findings.level:g} % intervals, the dashed line marks no effect. Below: the choices behind each. "
        "Colour and shape show the verdict, a ring the choice of the analysis plan. An open or very wide "
        "interval ends at the edge. A verdict that changes from left to right depends on choices: "
        f"{_counts(frame)}.{aside} n = {captions.span(frame['n'])} cohorts or networks behind an effect. "
        f"{told.every_arm(findings, every_step_size=True)}.",
        f"Specification curve of the five questions: {_counts(frame)}.",
        lambda width: specification_panels(frame, titles, width=width), "specification_curve", frame,
    )  # fmt: skip


def _counts(frame: pl.DataFrame) -> str:
    """ "question 1: 12 supported, 4 undecided"."""
    counts = []
    for (number,), part in frame.group_by("question", maintain_order=True):
        tally = part["verdict"].value_counts(sort=True, name="ways").iter_rows()
        counts.append(f"question {number}: {listed([f'{ways} {verdict}' for verdict, ways in tally])}")
    return "; ".join(counts)
