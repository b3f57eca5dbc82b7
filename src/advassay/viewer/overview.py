"""The report's findings as the first page takes them: verdicts, figures, and success over ε and iterations.

Every number is one of the report's tables, or comes from the function of analysis that fills that table, where another
reading or step size is asked for than the report's.
"""

from __future__ import annotations

from typing import Any

import polars as pl

from advassay.analysis import success_curve
from advassay.errors import SpecError
from advassay.report.data.findings import Findings
from advassay.report.data.stored_counts import null_non_finite
from advassay.report.figures.epsilon_step_heatmap import success_surface
from advassay.report.figures.figure import NARROW, WIDE, Figure, figures
from advassay.report.output.figure_files import specification
from advassay.report.output.html_page import summary
from advassay.report.text.limitations import notices
from advassay.success import Reading
from advassay.viewer.figure_links import links_of
from advassay.viewer.opened_store import OpenedStore


class Overview:
    """What the first page shows of findings that are computed."""

    def __init__(self, findings: Findings) -> None:
        self.findings = findings
        self._figures = {one.key: one for one in figures(findings) if not one.rows}
        """Pictures are left out: the viewer makes its own."""

    def document(self) -> dict[str, Any]:
        """Words, verdicts and the list of figures, as JSON."""
        found = self.findings
        return {
            "summary": summary(found),
            "first_screen": list(found.first_screen.sentences) if found.first_screen else [],
            "notices": list(notices(found)),
            "main_arm": found.main_arm,
            "step_sizes": {arm: found.step_size(arm) for arm in found.records.arms},
            "success": found.plan.success,
            "verdicts": [
                {"number": one.number, "title": one.title, "headline": one.headline, "verdict": one.verdict}
                for one in found.conclusions
            ],
            "figures": [
                {name: getattr(one, name) for name in ("key", "number", "title", "caption", "description")}
                | {"links": None if (links := links_of(found, one.key)) is None else links.document()}
                for one in self._figures.values()
            ],
        }  # fmt: skip

    def figure(self, key: str, *, narrow: bool) -> dict[str, Any]:
        """Vega-Lite of one figure. Raises SpecError for an unknown one."""
        found: Figure | None = self._figures.get(key)
        if found is None:
            raise SpecError("figure: expected one of the list, got another name.", "Take it from the list.")
        return specification(found.draw(NARROW if narrow else WIDE))

    def surface(
        self, opened: OpenedStore, cohort: str, arm: str, step_size: str, success: Reading, *, narrow: bool
    ) -> dict[str, Any]:
        """Success of one cohort's main network over ε and iterations: {rows, spec}.

        Raises SpecError where the store has no such cohort, arm or step size.
        """
        frame = self.surface_frame(opened, cohort, arm, step_size, success)
        shown = ["epsilon", "step", "rate", "low", "high", "n", "events"]
        chart = success_surface(frame, width=NARROW if narrow else 620)
        return {"rows": null_non_finite(frame.select(shown)).to_dicts(), "spec": specification(chart)}

    def surface_frame(
        self, opened: OpenedStore, cohort: str, arm: str, step_size: str, success: Reading
    ) -> pl.DataFrame:
        """The rows of that surface, as in the report's table success_by_iteration."""
        found = self.findings
        run = next(
            (h for h in found.runs if h.primary and h.cohort == cohort and h.arm == arm), None
        )  # fmt: skip
        if run is None or step_size not in opened.step_sizes(run.run_id):
            raise SpecError(
                "cohort, arm, step_size: expected those of a recorded run, got others.", "Take recorded ones."
            )
        if success == found.plan.success and step_size == found.step_size(arm):
            mine = found.tables["success_by_iteration"].filter(cohort=cohort, arm=arm)
            if mine["epsilon"].n_unique() == len(opened.epsilons(run.run_id, step_size)):
                return mine
        parts = [
            success_curve(
                found.records, "step", arm=arm, step_size=step_size, epsilon=epsilon, success=success, level=found.level
            ).frame
            for epsilon in opened.epsilons(run.run_id, step_size)
        ]
        return pl.concat(parts, how="diagonal").filter(pl.col("cohort") == cohort)
