"""The curves and rows of conclusions that findings hold, as one long frame each."""

from __future__ import annotations

from collections.abc import Sequence

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
from advassay.records.header import RunHeader
from advassay.records.store import Records
from advassay.report import amplitudes
from advassay.success import Reading

READINGS: tuple[Reading, ...] = ("last", "any")


def by_epsilon(records: Records, level: float) -> pl.DataFrame:
    """Figure 3a: success against ε, last iterate, main arm."""
    return success_curve(records, level=level).frame


def by_iteration(records: Records, runs: Sequence[RunHeader], level: float) -> pl.DataFrame:
    """Figure 3b and the surface: success against iterations 1 … K at every ε that all cohorts of an arm share."""
    frames = [
        success_curve(records, "step", arm=arm, epsilon=e, level=level).frame
        for arm in records.arms
        for e in amplitudes.shared(_of_arm(runs, arm))
    ]
    return pl.concat(frames, how="diagonal_relaxed")


def survival(records: Records, runs: Sequence[RunHeader], epsilon: float, level: float) -> pl.DataFrame:
    """Survival over iterations of every arm, at `epsilon` or the nearest recorded one."""
    near = {arm: amplitudes.nearest(epsilon, amplitudes.shared(_of_arm(runs, arm))) for arm in records.arms}
    frames = [iteration_survival(records, arm=arm, epsilon=e, level=level) for arm, e in near.items() if e is not None]
    return pl.concat(frames, how="diagonal_relaxed")


def _of_arm(runs: Sequence[RunHeader], arm: str) -> list[RunHeader]:
    return [header for header in runs if header.primary and header.arm == arm]


def by_training_size(records: Records, epsilon: float | None, level: float) -> pl.DataFrame:
    """Figure 3d: one row per network of the cohorts that have more than one size; empty without a series."""
    if epsilon is None:
        return pl.DataFrame()
    frame = success_curve(records, "train_size", epsilon=epsilon, level=level).frame
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


def half_fallen(records: Records, level: float) -> pl.DataFrame:
    """ε50 of every arm."""
    frames = [epsilon50(records, arm=arm, level=level) for arm in records.arms]
    return pl.concat(frames, how="diagonal_relaxed")


def plateaus(records: Records, runs: Sequence[RunHeader], epsilon: float) -> pl.DataFrame:
    """Where the rise over iterations ends, every arm, at `epsilon` or the nearest recorded one."""
    near = {arm: amplitudes.nearest(epsilon, amplitudes.shared(_of_arm(runs, arm))) for arm in records.arms}
    frames = [iteration_plateau(records, arm=arm, epsilon=e) for arm, e in near.items() if e is not None]
    return pl.concat(frames, how="diagonal_relaxed")


def sizes(records: Records) -> pl.DataFrame:
    """Realised size of the perturbation, every arm."""
    return pl.concat([perturbation_size(records, arm=arm) for arm in records.arms], how="diagonal_relaxed")


TILED = 4
"""Images per unit (a patient's of one class) from which a cohort is judged by units as well."""


def by_visibility(records: Records, runs: Sequence[RunHeader], level: float) -> pl.DataFrame:
    """Success against ε over clean contrast, last iterate, every arm whose ε bounds each pixel; all cohorts of
    an arm in the same bins, of which `visibility` is the middle.
    """
    bounded = [arm for arm in records.arms if all(_bounds_pixels(header) for header in _of_arm(runs, arm))]
    frames = [visibility_curve(records, arm=arm, level=level) for arm in bounded]
    found = pl.concat([frame for frame in frames if len(frame)] or [pl.DataFrame()], how="diagonal_relaxed")
    if found.is_empty():
        return found
    return found.rename({"bin_low": "visibility_low", "bin_high": "visibility_high"}).with_columns(
        visibility=(pl.col("visibility_low") * pl.col("visibility_high")).sqrt()
    )


def _bounds_pixels(header: RunHeader) -> bool:
    """Whether ε is a bound of each pixel's change: not of an L2 length, nor of a gradient that is clipped."""
    return header.attack.get("norm") == "linf" and header.attack.get("update") != "literal"


def by_unit(records: Records, level: float) -> pl.DataFrame:
    """Slides or patients decided from their images, main arm; only cohorts with several images a unit."""
    return unit_outcomes(records, level=level, fewest_tiles=TILED)


def scores(records: Records, level: float) -> pl.DataFrame:
    """Clinical scores, clean and at every ε, main arm."""
    return performance(records, level=level)


def calibration(records: Records, epsilon: float, level: float) -> pl.DataFrame:
    """Reliability, clean and at `epsilon`, main arm."""
    return reliability(records, epsilon=epsilon, level=level)


def flow_of_confidence(records: Records, epsilon: float) -> pl.DataFrame:
    """Confidence before and after the attack at `epsilon`, main arm."""
    return confidence_flow(records, epsilon=epsilon)


def flow_of_classes(records: Records) -> pl.DataFrame:
    """Class transitions, clean and at every ε, main arm."""
    return transitions(records)


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
