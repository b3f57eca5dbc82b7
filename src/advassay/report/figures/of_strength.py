"""Figures about the strength of the attack: surface, arms, readings, ε50 and survival of iterations."""

from __future__ import annotations

import polars as pl

from advassay.analysis.questions.conclusion_text import readings
from advassay.report import captions
from advassay.report.figures import told
from advassay.report.figures.epsilon50_forest import epsilon50_forest
from advassay.report.figures.figure import Figure
from advassay.report.figures.iteration_survival import iteration_survival_curves
from advassay.report.figures.success_by_arm import last_against_any, success_by_arm
from advassay.report.figures.surface import success_surface
from advassay.report.findings import Findings
from advassay.report.theme import styles
from advassay.report.wording import listed


def fig_surface(findings: Findings) -> Figure:
    frame = findings.tables["success_by_iteration"]
    return Figure(
        "fig-surface", "", "Success over amplitude and iterations",
        "Attack success rate as colour, over iterations (across) and ε (upwards, in brackets in grey levels of 255); "
        f"{captions.OVER_ITERATIONS[findings.plan.success]}; the number at the right is the last iterate's. "
        f"{told.every_arm(findings)}. {told.statistics(frame, findings)}, told by each cell's tooltip and in the "
        "table.",
        "Heat maps of success over ε and iterations, one per cohort and arm. At the largest ε, "
        + told.ends(findings.of_main_arm("success_by_iteration").filter(
            pl.col("epsilon") == pl.col("epsilon").max()), "step", "iteration", "success of the main arm"),
        lambda width: success_surface(frame, width=width), "success_by_iteration", frame,
    )  # fmt: skip


def fig_arms(findings: Findings) -> Figure | None:
    frame = findings.tables["success_by_arm"].filter(success=findings.plan.success)
    if frame.select("arm", "step_size").n_unique() < 2:
        return None
    return Figure(
        "fig-arms", "", "Success by attack arm and step size",
        f"Attack success rate against ε (logarithmic where arms differ in scale), "
        f"{told.when(findings)}. {told.every_arm(findings, every_step_size=True)}. "
        f"{told.statistics(frame, findings)}. Arms may have attacked different numbers of "
        "images.",
        "Success against ε for the arms " + listed(findings.records.arms) + ", one panel per cohort.",
        lambda width: success_by_arm(frame, told.hues(findings), width=width), "success_by_arm", frame,
    )  # fmt: skip


def fig_readings(findings: Findings) -> Figure:
    first = told.step_sizes(findings)
    frame = findings.of_main_arm("success_by_arm")
    frame = frame.filter(pl.col("step_size") == pl.col("cohort").replace_strict(first))
    return Figure(
        "fig-readings", "", "Success at the last iterate and at any iterate",
        "Attack success rate against ε: fallen at the last iterate (last) or at any iterate up to it (any). Where the "
        f"two part, success was reached and lost again. {told.main_arm(findings)}. "
        f"{told.statistics(frame, findings)}.",
        "Two curves per cohort over ε: success at the last iterate and at any iterate.",
        lambda width: last_against_any(frame, told.hues(findings), width=width), "success_by_arm", frame,
    )  # fmt: skip


def fig_epsilon50(findings: Findings) -> Figure | None:
    frame = findings.tables["epsilon50"].filter(pl.col("n") > 0)
    if not len(frame):
        return None
    rows = [f"{cohort} {text} (arm {arm})" for cohort, text, arm in frame.select("cohort", "text", "arm").iter_rows()]
    return Figure(
        "fig-epsilon50", "", "ε₅₀: the amplitude at which half of the attackable images are misclassified",
        f"Squares: estimates of a log-logistic curve; bars: {100 * findings.level:g} % intervals. A bar without a "
        "square: the curve does not fit, and the bar joins the amplitudes that bracket ε₅₀. Arrows: the bound lies "
        f"outside the attacked grid, written as < or >. Each arm on the grid of its own ε. {_dose(findings)} "
        f"{told.every_arm(findings)}. {captions.sample(frame)}.",
        f"ε50: {'; '.join(rows)}.",
        lambda width: epsilon50_forest(frame, styles(findings.cohorts), width=width), "epsilon50", frame,
    )  # fmt: skip


def _dose(findings: Findings) -> str:
    """Both readings behind ε50."""
    text = readings(findings.plan)
    return f"{text[0].upper()}{text[1:]}."


def fig_survival(findings: Findings) -> Figure | None:
    frame = findings.tables.get("iteration_survival")
    if frame is None:
        return None
    medians = frame.unique(["arm", "cohort"], maintain_order=True).filter(pl.col("n") > 0)
    halves = [f"arm {arm}: {_medians(part)}" for (arm,), part in medians.group_by("arm", maintain_order=True)]
    return Figure(
        "fig-survival", "", "Iterations to success",
        "Share of attackable images that have not fallen at any iterate so far (Kaplan–Meier; every image is followed "
        f"to the last iterate). Iteration by which half have fallen: {'; '.join(halves)}. "
        f"{told.every_arm(findings)}. {told.statistics(frame, findings)}.",
        f"Falling step curves, one panel per arm. Iteration by which half have fallen: {'; '.join(halves)}.",
        lambda width: iteration_survival_curves(frame, styles(findings.cohorts), width=width),
        "iteration_survival", frame,
    )  # fmt: skip


def _medians(part: pl.DataFrame) -> str:
    """Medians by cohort; once where all agree."""
    if len(part) > 1 and part["median"].n_unique() == 1:
        return f"{part['median'][0]} in every cohort"
    return ", ".join(f"{cohort} {median}" for cohort, median in part.select("cohort", "median").iter_rows())
