"""Findings: everything that the page, the CSV files and the command line show, computed once from a store.

Numbers cannot drift apart because there is one frame for each: `Findings.tables` is written as CSV, drawn as
figures and printed on the page.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from advassay.analysis.conclusions.evidence import PlanInForce, decided_arm_recorded, plan_in_force
from advassay.errors import ReportError
from advassay.progress import Progress, Silent
from advassay.records.gallery import Example
from advassay.records.run_header import RunHeader
from advassay.records.store_reader import Records, open_records
from advassay.report.data.stored_counts import (
    describe_gaps,
    has_size_series,
    headers_with_stored_counts,
    nearest_available,
    series_arm,
    shared_epsilons,
)
from advassay.report.tables.table import build_tables
from advassay.report.text import recorded_warnings
from advassay.spec.analysis_plan import AnalysisPlan
from advassay.spec.study_spec import FigureSpec, Study

if TYPE_CHECKING:
    from advassay.analysis import Conclusion
    from advassay.report.data.first_screen import FirstScreen


@dataclass(frozen=True)
class Findings:
    """The study's answers. `tables`: name → frame; `TABLES` in tables/table.py says what each holds."""

    records: Records
    runs: list[RunHeader]
    """Headers of the declared runs, with counts of what is stored."""
    study: Study | None
    cohorts: dict[str, str]
    """Attacked cohort → image type, in the study's order."""
    epsilon: float
    """Amplitude of figures 2 and 3b–3d."""
    series_epsilon: float | None
    """Amplitude of figure 3d: the nearest to `epsilon` that every network was attacked at; None without a series."""
    conclusions: list[Conclusion]
    examples: list[Example]
    missing: list[str]
    warnings: list[str]
    """What can change a number or a conclusion."""
    in_force: PlanInForce
    """The analysis plan that verdicts, figures and tables follow."""
    decided: bool = True
    """False: no network is attacked by the arm that decides, so that there are no verdicts yet."""
    tables: dict[str, pl.DataFrame] = field(default_factory=dict)

    @property
    def plan(self) -> AnalysisPlan:
        return self.in_force.plan

    @property
    def level(self) -> float:
        """Confidence level of every interval."""
        return self.plan.level

    @property
    def title(self) -> str:
        """The study's title, or its name, or the store's."""
        return (self.study.title or self.study.name) if self.study else self.records.root.name

    @property
    def main_arm(self) -> str:
        """The arm of the main figures and tables: the one that decides the verdicts."""
        return self.in_force.arm

    @property
    def series_arm(self) -> str:
        """The arm of figure 3d: the main one, or the one that attacked the size series where that did not."""
        return series_arm(self.runs, self.main_arm)

    def step_size(self, arm: str) -> str:
        """Name of the step size at which the curves of an arm are drawn."""
        return self.in_force.step_size(arm) or next(iter(self.records.step_sizes(arm)), "")

    def of_main_arm(self, table: str) -> pl.DataFrame:
        """The rows of a table that are about the main arm."""
        return self.tables[table].filter(pl.col("arm") == self.main_arm)

    def clean_and_attacked(self, table: str) -> pl.DataFrame | None:
        """The rows of a table at ε = 0 and at the figures' amplitude; None without the table."""
        frame = self.tables.get(table)
        return None if frame is None else frame.filter(pl.col("epsilon").is_in([0.0, self.epsilon]))

    def shown_step_sizes(self, arm: str | None = None) -> dict[str, str]:
        """Cohort → the step size at which an arm (None = the main one) is shown."""
        frame = self.tables["epsilon50"].filter(arm=arm or self.main_arm)
        return {row["cohort"]: row["step_size"] for row in frame.iter_rows(named=True)}

    def unsplit(self, cohort: str) -> bool:
        """Whether the cohort was not split: every image of it may be attacked."""
        preparation = self.records.preparations.get(cohort)
        return preparation is not None and preparation.split == "none"

    @property
    def external(self) -> bool:
        """Whether every attacked network is external (`advassay attack --model`): there is no study to run."""
        return all(header.train_size is None for header in self.runs)

    @property
    def patients_known(self) -> bool:
        """Whether the patients of any cohort are known; of cohorts without a preparation it cannot be told."""
        found = self.records.preparations
        return any(name not in found or found[name].patients_known for name in self.cohorts)

    def headers(self, arm: str | None = None) -> list[RunHeader]:
        """Main networks' runs of one arm (None = the main one), in the study's order of cohorts."""
        place = {cohort: i for i, cohort in enumerate(self.cohorts)}
        found = [h for h in self.runs if h.primary and h.arm == (arm or self.main_arm) and h.cohort in place]
        return sorted(found, key=lambda header: place[header.cohort])

    @cached_property
    def first_screen(self) -> FirstScreen | None:
        """The answer in a few sentences; None where the store is about several cohorts or several networks."""
        from advassay.report.data.first_screen import first_screen

        return first_screen(self)


def gather(
    store: Path | Records, figures: FigureSpec | None = None, *, only: Sequence[str] | None = None,
    progress: Progress | None = None,
) -> Findings:  # fmt: skip
    """Compute everything from a store. `figures` overrides the study's own (amplitude of figures 2 and 3b–3d).

    `only`: names of the tables to make, with those they need, and no conclusions; None = all.

    Raises ReportError where nothing is recorded yet, StoreError where there is no store.
    """
    records = store if isinstance(store, Records) else open_records(store)
    runs = headers_with_stored_counts(records)
    if not runs:
        raise ReportError(
            f"store: at least one recorded attack is needed, {records.root} holds none.",
            "Run `advassay run STUDY --store STORE`, or `advassay attack`, first.",
        )
    study, warnings = _study(records)
    wanted = (figures or (study.figures if study else FigureSpec())).epsilon
    in_force, decided = plan_in_force(records), decided_arm_recorded(records)
    if not decided:
        warnings.append(
            f"No verdicts: attack arm {in_force.arm} decides, and no network is attacked by it yet. Figures and tables "
            f"show arm {records.main_arm}."
        )
        shown = in_force.plan.model_copy(update={"arm": records.main_arm, "step_size": None})
        in_force = PlanInForce(shown, in_force.prespecified)
    main = [header for header in runs if header.arm == in_force.arm]
    step_size = in_force.step_size()
    epsilon = nearest_available(wanted, shared_epsilons((h for h in main if h.primary), step_size))
    if epsilon is None:
        raise ReportError(
            f"figures.epsilon: the arm {in_force.arm}, which decides, needs an ε that every cohort shares, found none.",
            "Run the study to its end: `advassay run STUDY --store STORE`.",
        )
    if epsilon != wanted:
        warnings.append(
            f"Figures are drawn at ε = {epsilon:g}, the recorded one nearest to figures.epsilon = {wanted:g}."
        )
    of_series = series_arm(runs, in_force.arm)
    networks = (header for header in runs if header.arm == of_series)
    grid = shared_epsilons(networks, in_force.step_size(of_series))
    found = Findings(
        records=records,
        runs=runs,
        study=study,
        cohorts=_image_types(records, runs),
        epsilon=epsilon,
        series_epsilon=nearest_available(epsilon, grid) if has_size_series(runs, of_series) else None,
        conclusions=_conclusions(records) if decided and only is None else [],
        examples=records.gallery(),
        missing=describe_gaps(records, runs, study),
        warnings=warnings + recorded_warnings.warnings(records),
        in_force=in_force,
        decided=decided,
    )
    build_tables(found, progress or Silent(), only)
    return found


def _conclusions(records: Records) -> list[Conclusion]:
    from advassay.analysis.conclusions import conclusions

    return [_with_known_patients(one, records) for one in conclusions(records)]


def _with_known_patients(conclusion: Conclusion, records: Records) -> Conclusion:
    """The conclusion with no count of patients where none is known."""
    unknown = {name for name, prepared in records.preparations.items() if not prepared.patients_known}
    details = tuple(
        detail | {"patients": None} if "patients" in detail and detail.get("cohort") in unknown else detail
        for detail in conclusion.details
    )
    return conclusion.model_copy(update={"details": details})


def _study(records: Records) -> tuple[Study | None, list[str]]:
    import yaml
    from pydantic import ValidationError

    if not records.study_text:
        return None, []
    try:
        return Study.model_validate(yaml.safe_load(records.study_text)), []
    except (ValidationError, yaml.YAMLError) as error:
        first = str(error).splitlines()[0]
        return None, [f"study.yaml of the store cannot be read ({first}): what is missing from the study is not known."]


def _image_types(records: Records, headers: Sequence[RunHeader]) -> dict[str, str]:
    kinds = {header.cohort: header.image_type or "images" for header in headers}
    return {cohort: kinds[cohort] for cohort in records.cohorts if cohort in kinds}
