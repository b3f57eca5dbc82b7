"""Every table of a report: what it holds and what makes it. Numbers are analysis'; nothing is computed twice."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import polars as pl

from advassay.analysis.plan_in_force import PlanInForce
from advassay.progress import Progress
from advassay.records.run_header import RunHeader
from advassay.records.store_reader import Records
from advassay.report.data import cohort_tables, curve_tables, sanity_evidence
from advassay.report.data.sanity_evidence import reruns
from advassay.spec.analysis_plan import AnalysisPlan

if TYPE_CHECKING:
    from advassay.analysis import Conclusion

TABLES = {
    "cohorts": "Table 1: images of each class and role, the network's scores on the validation split",
    "success_by_epsilon": "figure 3a: success against ε, main arm (the one that decides the verdicts)",
    "success_by_iteration": "figure 3b and the surface: success against iterations at every ε, every arm",
    "success_by_confidence": "figure 3c: success by clean confidence, every arm",
    "success_by_training_size": "figure 3d: success of every network of a training-size series",
    "success_by_arm": "success against ε of every arm and step size, at the last iterate and at any",
    "success_by_visibility": "success against ε relative to the image's contrast, arms whose ε bounds each pixel",
    "units": "slides or patients decided from their images: success, and how many must fall to turn one",
    "performance": "accuracy under attack (robust accuracy), AUROC, sensitivity and specificity, clean and at every ε",
    "reliability": "accuracy by bins of confidence, with the expected calibration error, clean and attacked",
    "confidence_flow": "images by confidence before and after the attack",
    "transitions": "images by class and predicted class, clean and attacked",
    "epsilon50": "the amplitude at which half of the attackable images have fallen, every arm",
    "iteration_survival": "share of attackable images that no iterate so far has felled, every arm",
    "iteration_plateau": "the iteration after which success rises no further, every arm",
    "perturbation_size": "realised size of the perturbation, similarity and contrast, every arm",
    "conclusions": "the five conclusions",
    "conclusion_details": "the numbers per cohort, arm or network that the conclusions rest on",
    "specification_curve": "the five questions under every defensible choice of arm, step size, reading and estimator",
    "subgroups": "ε50 (by success and dose) and robust accuracy (at the last iterate) by group (sex, age band, site, "
    "…), and ratios of ε50 between groups",
    "controls": "ε = 0, random noise and a stronger attack beside every run",
    "controls_by_arm": "the controls, summed over the runs of each arm",
    "flags": "guards and failure indicators of every run",
    "flags_by_arm": "the guards and failure indicators that occurred, summed over the runs of each arm",
    "flags_by_epsilon": "flagged images of the main networks at every ε, summed over the cohorts of each arm",
    "reruns": "flagged images attacked again under the margin loss: fallen under each, and only then",
    "runs": "every run: attack, cost, identities",
    "selection": "how each cohort was formed and, where known, which column says who is a patient",
    "deidentification": "DICOM tags that name a person: met in the source's files, and carried along (none may be)",
    "flow": "flow charts: images entering, left out (why) and kept at every stage of the selection",
    "left_out": "rows left out, by reason",
    "training": "training curves",
    "checklist": "the evaluation checklist of Carlini et al. 2019, answered from the records",
}
"""Table → what it holds. A table without rows is neither written nor shown."""

CHOICES: Mapping[str, tuple[str, ...]] = (
    dict.fromkeys(
        ("success_by_epsilon", "success_by_iteration", "success_by_confidence", "success_by_training_size",
         "success_by_arm", "success_by_visibility"), ("success", "level"),
    )
    | dict.fromkeys(("units", "performance", "reliability", "iteration_survival", "iteration_plateau"), ("level",))
    | {"epsilon50": ("success", "dose", "level"), "subgroups": ("success", "dose", "level")}
    | {"specification_curve": ("level",)}
)  # fmt: skip
"""Table → the choices of the plan in force that it says in columns of its own, beside arm and step size."""


@dataclass(frozen=True)
class TableContext:
    """What the tables are made from."""

    records: Records
    runs: list[RunHeader]
    epsilon: float
    """Amplitude of figures 2 and 3b–3d."""
    series: float | None
    """Amplitude of figure 3d."""
    in_force: PlanInForce
    decided: bool = True
    """False: no network is attacked by the arm that decides, so that there are no verdicts yet."""
    concluded: list[Conclusion] = field(default_factory=list)
    """Filled by `conclusions`, whose details are a table of their own."""

    @property
    def plan(self) -> AnalysisPlan:
        return self.in_force.plan


def build_tables(asked: TableContext, progress: Progress) -> dict[str, pl.DataFrame]:
    """All tables but the checklist (which is about them), empty ones too, in the order of `TABLES`.

    Adds the conclusions to `asked.concluded`.
    """
    task = "analyse records"
    progress.start(task, len(TABLE_BUILDERS), "tables")
    tables: dict[str, pl.DataFrame] = {}
    for name, make in TABLE_BUILDERS.items():
        tables[name] = make(asked)
        progress.advance(task)
    for name, total in DERIVED_TABLES.items():
        tables[name] = total(tables)
    progress.finish(task)
    return {name: _with_choices(name, tables[name], asked.plan) for name in TABLES if name in tables}


def _with_choices(name: str, frame: pl.DataFrame, plan: AnalysisPlan) -> pl.DataFrame:
    """`frame` with the readings and the level behind its numbers as columns, where it does not have them."""
    known = {"success": plan.success, "dose": plan.dose, "level": plan.level}
    missing = {key: known[key] for key in CHOICES.get(name, ()) if key not in frame.columns}
    return frame.with_columns(**{key: pl.lit(value) for key, value in missing.items()}) if len(frame) else frame


def _conclusions(asked: TableContext) -> pl.DataFrame:
    from advassay.analysis.conclusions import conclusions

    if asked.decided:
        asked.concluded.extend(conclusions(asked.records))
    return curve_tables.conclusion_rows(asked.concluded)


def _specifications(asked: TableContext) -> pl.DataFrame:
    from advassay.analysis import specification_curve

    return specification_curve(asked.records) if asked.decided else pl.DataFrame()


def _subgroups(asked: TableContext) -> pl.DataFrame:
    from advassay.analysis import subgroup_effects

    return subgroup_effects(asked.records) if asked.decided else pl.DataFrame()


def _table1(asked: TableContext) -> pl.DataFrame:
    from advassay.analysis import table1

    return table1(asked.records)


TABLE_BUILDERS: Mapping[str, Callable[[TableContext], pl.DataFrame]] = {
    "cohorts": _table1,
    "success_by_epsilon": lambda a: curve_tables.by_epsilon(a.records, a.in_force),
    "success_by_iteration": lambda a: curve_tables.by_iteration(a.records, a.runs, a.in_force),
    "success_by_training_size": lambda a: curve_tables.by_training_size(a.records, a.runs, a.series, a.in_force),
    "success_by_arm": lambda a: curve_tables.by_arm(a.records, a.plan.level),
    "success_by_visibility": lambda a: curve_tables.by_visibility(a.records, a.runs, a.in_force),
    "units": lambda a: curve_tables.by_unit(a.records, a.in_force),
    "performance": lambda a: curve_tables.scores(a.records, a.in_force),
    "reliability": lambda a: curve_tables.calibration(a.records, a.epsilon, a.in_force),
    "confidence_flow": lambda a: curve_tables.flow_of_confidence(a.records, a.epsilon, a.in_force),
    "transitions": lambda a: curve_tables.flow_of_classes(a.records, a.in_force),
    "epsilon50": lambda a: curve_tables.half_fallen(a.records, a.in_force),
    "iteration_survival": lambda a: curve_tables.survival(a.records, a.runs, a.epsilon, a.in_force),
    "iteration_plateau": lambda a: curve_tables.plateaus(a.records, a.runs, a.epsilon, a.in_force),
    "perturbation_size": lambda a: curve_tables.sizes(a.records, a.in_force),
    "conclusions": _conclusions,
    "conclusion_details": lambda a: curve_tables.detail_rows(a.concluded),
    "specification_curve": _specifications,
    "subgroups": _subgroups,
    "success_by_confidence": lambda a: curve_tables.by_confidence(a.records, a.runs, a.epsilon, a.in_force),
    "controls": lambda a: sanity_evidence.controls(a.runs),
    "flags": lambda a: sanity_evidence.flags(a.runs),
    "flags_by_epsilon": lambda a: sanity_evidence.flags_by_epsilon(a.records),
    "reruns": lambda a: reruns(a.records),
    "runs": lambda a: sanity_evidence.table_of_runs(a.runs),
    "selection": lambda a: cohort_tables.selection(a.records),
    "deidentification": lambda a: cohort_tables.deidentification(a.records),
    "flow": lambda a: cohort_tables.flow(a.records),
    "left_out": lambda a: cohort_tables.left_out(a.records),
    "training": lambda a: cohort_tables.training(a.records),
}
"""In this order: the details follow the conclusions."""

DERIVED_TABLES: Mapping[str, Callable[[dict[str, pl.DataFrame]], pl.DataFrame]] = {
    "controls_by_arm": lambda tables: sanity_evidence.controls_by_arm(tables["controls"]),
    "flags_by_arm": lambda tables: sanity_evidence.flags_by_arm(tables["flags"]),
}
