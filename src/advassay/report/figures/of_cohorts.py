"""Figures about the cohorts: who is in, who was left out and why."""

from __future__ import annotations

from advassay.report.figures.figure import Figure
from advassay.report.figures.flow_chart import flow_charts
from advassay.report.findings import Findings
from advassay.report.wording import count, listed


def fig_flow(findings: Findings) -> Figure | None:
    frame = findings.tables.get("flow")
    if frame is None:
        return None
    ends = [
        f"{cohort}: {count(part.filter(part='entering')['images'][0])} candidates, "
        f"{count(part.filter(part='kept')['images'][-1])} in"
        for (cohort,), part in frame.group_by("cohort", maintain_order=True)
    ]
    reasons = "and why (the six most frequent reasons; all are in tables/flow.csv)"
    if not len(frame.filter(part="reason")):  # a store of an older version
        reasons = "(for which reasons: the table below)"
    return Figure(
        "fig-flow", "", "Flow of images into each cohort",
        "From the candidates of the source to the split, in the manner of STARD 2015: left what stays, of each class "
        f"once images have classes, right what was left out {reasons}. Numbers of images.",
        "Selection of each cohort. " + listed(ends) + ".",
        lambda width: flow_charts(frame, width=width), "flow", frame,
    )  # fmt: skip
