"""All figures of a report, in order; one that the records cannot fill is left out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count

from advassay.report.data.findings import Findings
from advassay.report.figures.confidence_flow import fig_confidence_flow
from advassay.report.figures.epsilon50_forest import fig_epsilon50
from advassay.report.figures.epsilon_step_heatmap import fig_surface
from advassay.report.figures.figure import Figure
from advassay.report.figures.flag_shares import fig_flags
from advassay.report.figures.flow_charts import fig_flow
from advassay.report.figures.image_figures import fig1, fig2
from advassay.report.figures.reliability_diagram import fig_reliability
from advassay.report.figures.specification_curve_chart import fig_specification
from advassay.report.figures.success_by_arm import fig_arms, fig_readings
from advassay.report.figures.success_by_confidence import fig3c
from advassay.report.figures.success_by_epsilon import fig3a, fig_accuracy, fig_visibility
from advassay.report.figures.success_by_iteration import fig3b, fig3b_rest, fig_survival
from advassay.report.figures.success_by_training_size import fig3d
from advassay.report.figures.training_curves import fig_training
from advassay.report.figures.transition_matrix import fig_transitions

Maker = Callable[[Findings], Figure | None]

RESULTS: tuple[Maker, ...] = (
    fig1, fig2, fig3a, fig3b, fig3b_rest, fig3c, fig3d,
    fig_surface, fig_arms, fig_readings, fig_epsilon50, fig_visibility, fig_survival,
    fig_accuracy, fig_reliability, fig_confidence_flow, fig_transitions,
)  # fmt: skip
"""Those of the reference study keep its numbers; the rest count on from 4."""
SUPPLEMENT: tuple[Maker, ...] = (fig_flow, fig_flags, fig_training, fig_specification)
"""Behind the results; numbered S1, S2, …"""


def figures(findings: Findings) -> Iterator[Figure]:
    """Every figure that can be drawn."""
    yield from _numbered(findings, RESULTS, "", 4)
    yield from _numbered(findings, SUPPLEMENT, "S", 1)


def _numbered(findings: Findings, makers: tuple[Maker, ...], prefix: str, first: int) -> Iterator[Figure]:
    places = count(first)
    for figure in filter(None, (make(findings) for make in makers)):
        yield replace(figure, number=figure.number or f"{prefix}{next(places)}", level=findings.level)
