"""A sixth question, its table and its figure, as another package would add them.

Is success lost again? The share of attackable images that some iterate misclassifies and the last one does not, at the
largest ε of each cohort.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from advassay.analysis.conclusions.conclusion import Conclusion, conclude, scope, verdict_of, what_it_takes
from advassay.analysis.conclusions.effect_sizes import Value, joined, mean_by_patient, overall, values_of
from advassay.analysis.conclusions.evidence import Evidence, evidence_of, kind_of
from advassay.analysis.conclusions.question import PowerRule, Question, Specification
from advassay.analysis.conclusions.study_power import Assumed, Design, pooled_error, shown
from advassay.analysis.outcome_arrays import OutcomeArrays
from advassay.report.data.findings import Findings
from advassay.report.figures.figure import Figure, figure
from advassay.report.tables.column_labels import columns
from advassay.report.tables.table import Printed, Table
from advassay.spec.analysis_plan import AnalysisPlan

TITLE = "Lost again"


def lost_again(pack: OutcomeArrays) -> Value | None:
    """Share of one network's attackable images that lose their success again, at its largest ε."""
    kept = pack.attackable[-1]
    if not kept.any():
        return None
    lost = (pack.any[-1, -1] & ~pack.last[-1, -1])[kept].astype(float)
    mean, variance, groups = mean_by_patient(lost, pack.patients[kept], 1.0)
    header = pack.header
    return Value((header.cohort,), kind_of(header.image_type), mean, variance, max(groups - 1, 1), int(kept.sum()))


def judge_lost_again(evidence: Evidence) -> Conclusion:
    """Supported where the share is shown to be above 0."""
    values = joined(values_of(evidence.main, lost_again), evidence.main)
    effect = overall(values, evidence.plan.level)
    return conclude(
        11,
        effect,
        verdict_of(effect),
        kind="points",
        unit="cohorts",
        rests_on=scope(effect, values[0].name) if values else "",
        needed=what_it_takes("points", effect, evidence.plan.level) if effect.known else "Images are needed.",
        title=TITLE,
        statement="Success is lost again in some images.",
        estimand="share of attackable images that lose their success again",
        test="mean over images, clustered by patient; random effects over cohorts",
        reason="The interval is compared with 0.",
        published="",
    )


def chance(design: Design, assumed: Assumed, plan: AnalysisPlan) -> float:
    """Of showing that 5 % of the images lose their success again."""
    error, freedom = pooled_error(0.05 * 0.95 / design.effective, 0.0, design.k)
    return shown(0.05, error, freedom if design.k > 1 else design.effective - 1, plan.level)


def answers(evidence: Evidence) -> list[Specification]:
    """One answer under each arm and reading."""
    effect = overall(joined(values_of(evidence.main, lost_again), evidence.main), evidence.plan.level)
    return [Specification(effect, verdict_of(effect))]


QUESTION = Question(
    name="lost_again",
    number=11,
    title=TITLE,
    kind="points",
    effect_axis="Images that lose their success again, percentage points",
    judge=judge_lost_again,
    smallest_effect=lambda margin: f"less than {margin:g} counts as none",
    specifications=answers,
    power=PowerRule("supported", chance, lambda *_: "5 % of the images lose their success again"),
)


def rows(findings: Findings) -> pl.DataFrame:
    """One row a cohort: n attackable images and the share that loses its success again."""
    main = evidence_of(findings.records).main
    found = [(packs[0].header.cohort, lost_again(packs[0])) for packs in main]
    return pl.DataFrame(
        [
            {"cohort": name, "n": value.images, "share": float(np.round(value.value, 6))}
            for name, value in found
            if value
        ]
    )


TABLE = Table(
    "lost_again",
    about="images that lose their success again",
    build=rows,
    printed=(Printed(columns("cohort n share"), "Images that lose their success again.", "results", 145),),
)


@figure("fig-lost-again", section="results", order=85)
def fig_lost_again(findings: Findings) -> Figure:
    """Share of each cohort as a bar."""
    frame = findings.tables["lost_again"]

    def draw(width: int) -> object:
        import altair as alt

        bars = alt.Chart(alt.Data(values=frame.to_dicts())).mark_bar()
        return bars.encode(x="share:Q", y="cohort:N").properties(width=width - 120)

    return Figure(
        "Images that lose their success again",
        f"Share of n = {frame['n'].sum()} attackable images; counts, no intervals.",
        "One bar a cohort: the share of images that lose their success again.",
        draw,  # type: ignore[arg-type]
        "lost_again",
        frame,
    )
