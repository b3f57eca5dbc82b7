"""All figures of a report, in order; one that the records cannot fill is left out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count

from advassay.report.figures.figure import Figure
from advassay.report.figures.of_classifier import fig_accuracy, fig_confidence_flow, fig_reliability, fig_transitions
from advassay.report.figures.of_cohorts import fig_flow
from advassay.report.figures.of_evidence import fig_flags, fig_training
from advassay.report.figures.of_reference import fig1, fig2, fig3a, fig3b, fig3b_rest, fig3c, fig3d
from advassay.report.figures.of_strength import fig_arms, fig_epsilon50, fig_readings, fig_surface, fig_survival
from advassay.report.figures.of_verdicts import fig_specification
from advassay.report.figures.of_visibility import fig_visibility
from advassay.report.findings import Findings

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
