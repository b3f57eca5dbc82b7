"""The curves and rows of conclusions that findings hold, as one long frame each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import polars as pl

from advassay.analysis import (
    Conclusion,
    confidence_flow,
    epsilon50,
    iteration_plateau,
    iteration_survival,
    performance,
    perturbation_size,
    reliability,
    success_curve,
    transitions,
    unit_outcomes,
    visibility_curve,
)
from advassay.analysis.conclusions.confidence import suspect_images
from advassay.analysis.confidence_bins import edges, labels, members
from advassay.analysis.outcome_arrays import OutcomeArrays
from advassay.analysis.plan_in_force import PlanInForce
from advassay.analysis.rates import Numerator, Numerators, rate_table, run_subsets
from advassay.records.run_header import RunHeader
from advassay.records.store_reader import Records
from advassay.report.data import stored_counts
from advassay.spec.attack_components import UPDATE_RULES
from advassay.success import Reading

Where = dict[tuple[str, str], float]
"""(arm, cohort) → ε."""


def by_confidence(records: Records, runs: Sequence[RunHeader], epsilon: float, plan: PlanInForce) -> pl.DataFrame:
    """Figure 3c: success in bins of clean confidence, every arm at `epsilon` or the nearest one that its cohorts share.

    Columns as `success_curve`, and suspect_images: of n, those flagged as saturated or without a gradient.
    """
    usual: Where = {}
    for arm in records.arms:
        of_arm = [header for header in runs if header.primary and header.arm == arm]
        at = stored_counts.nearest_available(epsilon, stored_counts.shared_epsilons(of_arm, plan.step_size(arm)))
        usual |= {(arm, header.cohort): at for header in of_arm if at is not None}
    frames = [_at(records, arm, usual, plan) for arm in records.arms]
    return pl.concat([frame for frame in frames if len(frame)], how="diagonal_relaxed")


def _at(records: Records, arm: str, where: Where, plan: PlanInForce) -> pl.DataFrame:
    of_arm = {cohort: epsilon for (name, cohort), epsilon in where.items() if name == arm}
    if not of_arm:
        return pl.DataFrame()
    groups = run_subsets(records, ("cohort",), arm, plan.step_size(arm))
    return rate_table(groups, _cells(of_arm, plan.plan.success), plan.plan.level)


def _cells(where: Mapping[str, float], success: Reading) -> Numerators:
    def cells(pack: OutcomeArrays) -> list[Numerator]:
        if pack.header.cohort not in where:
            return []
        epsilon, classes = where[pack.header.cohort], len(pack.header.class_names)
        at, suspect = pack.at(epsilon), suspect_images(pack)
        inside = members(pack.clean_confidence, classes) & pack.attackable[at]
        named = zip(labels(classes), edges(classes), inside, strict=True)
        here = {"epsilon": float(pack.epsilons[at]), "step": pack.step(None)}
        return [
            (
                here | {"bin": name, "bin_low": low, "bin_high": high, "suspect_images": int((within & suspect).sum())},
                pack.fallen(success)[at, -1],
                within,
            )
            for name, (low, high), within in named
        ]

    return cells


READINGS: tuple[Reading, ...] = ("last", "any")


def by_epsilon(records: Records, plan: PlanInForce) -> pl.DataFrame:
    """Figure 3a: success against ε, main arm, after all iterations."""
    return success_curve(records, arm=plan.arm, step_size=plan.step_size(), **_choices(plan)).frame


def by_iteration(records: Records, runs: Sequence[RunHeader], plan: PlanInForce) -> pl.DataFrame:
    """Figure 3b and the surface: success against iterations 1 … K at every ε that all cohorts of an arm share."""
    frames = [
        success_curve(records, "step", arm=arm, step_size=size, epsilon=e, **_choices(plan)).frame
        for arm, size in _arms(records, plan)
        for e in stored_counts.shared_epsilons(_of_arm(runs, arm), size)
    ]
    return pl.concat(frames, how="diagonal_relaxed")


def survival(records: Records, runs: Sequence[RunHeader], epsilon: float, plan: PlanInForce) -> pl.DataFrame:
    """Survival over iterations of every arm, at `epsilon` or the nearest recorded one."""
    frames = [
        iteration_survival(records, arm=arm, step_size=size, epsilon=e, level=plan.plan.level)
        for arm, size, e in _near(records, runs, epsilon, plan)
    ]
    return pl.concat(frames, how="diagonal_relaxed")


def _choices(plan: PlanInForce) -> dict[str, Any]:
    """Reading and level of a curve."""
    return {"success": plan.plan.success, "level": plan.plan.level}


def _arms(records: Records, plan: PlanInForce) -> list[tuple[str, str | None]]:
    """Every arm with the step size at which it is shown."""
    return [(arm, plan.step_size(arm)) for arm in records.arms]


def _near(
    records: Records, runs: Sequence[RunHeader], epsilon: float, plan: PlanInForce
) -> list[tuple[str, str | None, float]]:
    """Every arm with its step size and the amplitude nearest to `epsilon` that its cohorts share."""
    near = [
        (arm, size, stored_counts.nearest_available(epsilon, stored_counts.shared_epsilons(_of_arm(runs, arm), size)))
        for arm, size in _arms(records, plan)
    ]
    return [(arm, size, at) for arm, size, at in near if at is not None]


def _of_arm(runs: Sequence[RunHeader], arm: str) -> list[RunHeader]:
    return [header for header in runs if header.primary and header.arm == arm]


def by_training_size(
    records: Records, runs: Sequence[RunHeader], epsilon: float | None, plan: PlanInForce
) -> pl.DataFrame:
    """Figure 3d: one row per network of the cohorts that have more than one size; empty without a series."""
    if epsilon is None:
        return pl.DataFrame()
    arm = series_arm(runs, plan.arm)
    size = plan.step_size(arm)
    frame = success_curve(records, "train_size", arm=arm, step_size=size, epsilon=epsilon, **_choices(plan)).frame
    return frame.filter(pl.col("train_size").n_unique().over("cohort") > 1)


def by_arm(records: Records, level: float) -> pl.DataFrame:
    """Every arm and step size over ε at the last iteration, for both readings of success (column `success`)."""
    frames = [
        success_curve(records, by=("cohort", "arm", "step_size"), success=reading, level=level).frame.with_columns(
            success=pl.lit(reading)
        )
        for reading in READINGS
    ]
    return pl.concat(frames, how="diagonal_relaxed")


def half_fallen(records: Records, plan: PlanInForce) -> pl.DataFrame:
    """ε50 of every arm."""
    frames = [
        epsilon50(records, arm=arm, step_size=size, dose=plan.plan.dose, **_choices(plan))
        for arm, size in _arms(records, plan)
    ]
    return pl.concat(frames, how="diagonal_relaxed")


def plateaus(records: Records, runs: Sequence[RunHeader], epsilon: float, plan: PlanInForce) -> pl.DataFrame:
    """Where the rise over iterations ends, every arm, at `epsilon` or the nearest recorded one."""
    rules = {"margin": plan.plan.margins.iterations, "level": plan.plan.level}
    frames = [
        iteration_plateau(records, arm=arm, step_size=size, epsilon=e, **rules)
        for arm, size, e in _near(records, runs, epsilon, plan)
    ]
    return pl.concat(frames, how="diagonal_relaxed")


def sizes(records: Records, plan: PlanInForce) -> pl.DataFrame:
    """Realised size of the perturbation, every arm."""
    frames = [perturbation_size(records, arm=arm, step_size=size) for arm, size in _arms(records, plan)]
    return pl.concat(frames, how="diagonal_relaxed")


TILED = 4
"""Images per unit (a patient's of one class) from which a cohort is judged by units as well."""


def by_visibility(records: Records, runs: Sequence[RunHeader], plan: PlanInForce) -> pl.DataFrame:
    """Success against ε over clean contrast, every arm whose ε bounds each pixel; all cohorts of an arm in the same
    bins, of which `visibility` is the middle.
    """
    bounded = [
        (arm, size)
        for arm, size in _arms(records, plan)
        if all(_bounds_pixels(header) for header in _of_arm(runs, arm))
    ]
    frames = [visibility_curve(records, arm=arm, step_size=size, **_choices(plan)) for arm, size in bounded]
    found = pl.concat([frame for frame in frames if len(frame)] or [pl.DataFrame()], how="diagonal_relaxed")
    if found.is_empty():
        return found
    return found.rename({"bin_low": "visibility_low", "bin_high": "visibility_high"}).with_columns(
        visibility=(pl.col("visibility_low") * pl.col("visibility_high")).sqrt()
    )


def _bounds_pixels(header: RunHeader) -> bool:
    """Whether ε is a bound of each pixel's change: not of an L2 length, nor of a gradient that is clipped."""
    rule = UPDATE_RULES.find(header.attack.get("update"))
    # Of a rule that is not registered here nobody knows what its ε bounds.
    return header.attack.get("norm") == "linf" and rule is not None and rule.bounds_the_image


def by_unit(records: Records, plan: PlanInForce) -> pl.DataFrame:
    """Slides or patients decided from their images, main arm; only cohorts with several images a unit."""
    return unit_outcomes(
        records, arm=plan.arm, step_size=plan.step_size(), level=plan.plan.level, fewest_tiles=TILED
    )  # fmt: skip


def scores(records: Records, plan: PlanInForce) -> pl.DataFrame:
    """Clinical scores, clean and at the last iterate of every ε, main arm."""
    return performance(records, arm=plan.arm, step_size=plan.step_size(), level=plan.plan.level)


def calibration(records: Records, epsilon: float, plan: PlanInForce) -> pl.DataFrame:
    """Reliability, clean and at the last iterate of `epsilon`, main arm."""
    return reliability(
        records, arm=plan.arm, step_size=plan.step_size(), epsilon=epsilon, level=plan.plan.level
    )  # fmt: skip


def flow_of_confidence(records: Records, epsilon: float, plan: PlanInForce) -> pl.DataFrame:
    """Confidence before and after the attack at the last iterate of `epsilon`, main arm."""
    return confidence_flow(records, arm=plan.arm, step_size=plan.step_size(), epsilon=epsilon)


def flow_of_classes(records: Records, plan: PlanInForce) -> pl.DataFrame:
    """Class transitions, clean and at the last iterate of every ε, main arm."""
    return transitions(records, arm=plan.arm, step_size=plan.step_size())


def conclusion_rows(found: Sequence[Conclusion]) -> pl.DataFrame:
    """One row per conclusion, without its details."""
    rows = [
        c.model_dump(exclude={"details"}) | {"alternatives": " ".join(c.alternatives), "remarks": " ".join(c.remarks)}
        for c in found
    ]
    return pl.DataFrame(rows, infer_schema_length=None)


def detail_rows(found: Sequence[Conclusion]) -> pl.DataFrame:
    """The details of all conclusions, `conclusion` saying which; columns that one of them lacks are null there."""
    frames = [
        pl.DataFrame([{"conclusion": c.number} | row for row in c.details], infer_schema_length=None)
        for c in found
        if c.details
    ]
    return pl.concat(frames, how="diagonal_relaxed") if frames else pl.DataFrame()


def has_size_series(runs: Iterable[RunHeader], arm: str) -> bool:
    """Whether networks of one cohort that differ in training size were attacked by the arm."""
    sizes: dict[str, set[int | None]] = {}
    for header in runs:
        if header.arm == arm:
            sizes.setdefault(header.cohort, set()).add(header.train_size)
    return any(len(found) > 1 for found in sizes.values())


def series_arm(runs: Sequence[RunHeader], main: str) -> str:
    """The arm of figure 3d: the main one if it attacked a size series, else the first that did, else the main one."""
    arms = [main, *(h.arm for h in sorted(runs, key=lambda header: header.arm_position))]
    return next((arm for arm in arms if has_size_series(runs, arm)), main)
