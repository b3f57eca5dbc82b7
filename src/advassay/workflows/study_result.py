"""A store as numbers, conclusions and figures: what `advassay.run` gives back, and what any finished store opens as."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from advassay.errors import SpecError
from advassay.progress import Progress
from advassay.records.store_reader import Records
from advassay.report.data.findings import Findings, gather

if TYPE_CHECKING:
    import altair as alt

    from advassay.analysis import Conclusion

ENDINGS = {".html": "html", ".md": "md", ".json": "json", ".pdf": "pdf"}
"""Ending of a report's file name → format."""

COLUMNS = (
    "cohort", "arm", "step_size", "epsilon", "epsilon_255", "n", "events", "rate", "low", "high", "method"
)  # fmt: skip
"""Columns of `to_polars`."""


@dataclass(frozen=True)
class StudyResult:
    """The numbers, conclusions and figures of a store. Every number is one of the report's; nothing is computed apart.

    `store`: folder of a store with at least one recorded attack. Needs no images, no GPU and no torch. The store is
    read when a number is first asked for; that raises StoreError where there is no store, ReportError where it holds no
    recorded attack.

    >>> StudyResult("runs/nowhere")
    StudyResult(runs/nowhere: no store)
    """

    store: Path

    def __post_init__(self) -> None:
        object.__setattr__(self, "store", Path(self.store))

    @cached_property
    def findings(self) -> Findings:
        """Everything that the report shows; `findings.tables` holds its tables by name."""
        return gather(self.store)

    @property
    def records(self) -> Records:
        """The store's records, as `open_records` gives them."""
        return self.findings.records

    @property
    def conclusions(self) -> list[Conclusion]:
        """The answers to the study's questions by number, under the store's analysis plan."""
        return self.findings.conclusions

    def to_polars(self) -> pl.DataFrame:
        """One row per cohort, arm, step size and amplitude, of the main network of each cohort.

        Columns: cohort, arm, step_size, epsilon, epsilon_255 (grey levels), n (images first classified correctly),
        events (of these misclassified at the last iterate), rate, low, high, method.
        """
        frame = self.findings.tables["success_by_arm"].filter(pl.col("success") == self.findings.plan.success)
        shown = frame.with_columns(epsilon_255=pl.col("epsilon") * 255).select(COLUMNS)
        return shown.sort("cohort", "arm", "step_size", "epsilon")

    def plot(self, width: int = 640, *, figure: str = "fig-3a") -> alt.TopLevelMixin:
        """A figure of the report as an Altair chart; by default success against amplitude with intervals.

        `width`: in CSS pixels; `figure`: its file name in the report, such as fig-arms or fig-epsilon50.
        Raises SpecError for a figure that does not exist or that these records cannot fill.
        """
        from advassay.report.figures.figure import FIGURES

        names = FIGURES.names()
        made = FIGURES.get(figure)(self.findings) if figure in names else None
        if made is None:
            why = "which this store cannot fill" if figure in names else f"of {', '.join(sorted(names))}"
            raise SpecError(
                f"figure: expected one that the report shows, got {figure!r}, {why}.",
                "Leave it out for fig-3a, success against amplitude.",
            )
        return made.draw(width)

    def report(self, path: str | os.PathLike[str] | None = None, *, progress: Progress | None = None) -> Path:
        """Write the report and return where it is.

        `path`: a file name; its ending, .html, .md, .json or .pdf, is the format, and html is then the page alone.
        Without `path`: STORE/report/report.html, with figures and tables as files beside it.
        Raises SpecError for another ending.
        """
        from advassay.report import write_report

        if path is None:
            return write_report(self.store, files=self._files_beside_report, progress=progress)
        output = Path(path)
        if output.suffix not in ENDINGS:
            raise SpecError(
                f"path: expected a file name that ends in {', '.join(ENDINGS)}, got {output.name}.",
                "Name it report.html.",
            )
        return write_report(self.store, output, ENDINGS[output.suffix], files=False, progress=progress)  # type: ignore[arg-type]

    @property
    def _files_beside_report(self) -> bool:
        """Whether a report without a path of its own has its figures and tables as files beside it."""
        return True

    def __repr__(self) -> str:
        name = type(self).__name__
        return f"{name}({self.store}: {self._summary()})" if self.store.exists() else f"{name}({self.store}: no store)"

    def _summary(self) -> str:
        runs, cohorts = len(self.records.headers), self.records.cohorts
        decided = sum(one.verdict != "undecided" for one in self.conclusions)
        of = f"{decided} of {len(self.conclusions)} conclusions decided"
        return f"{runs} runs of {', '.join(cohorts)}; {of}"
