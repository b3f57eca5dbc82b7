"""The curves and rows of conclusions that findings hold, as one long frame each."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from advassay.analysis import Conclusion, success_curve
from advassay.records.header import RunHeader
from advassay.records.store import Records
from advassay.report import amplitudes
from advassay.success import Reading

READINGS: tuple[Reading, ...] = ("last", "any")


def by_iteration(records: Records, runs: Sequence[RunHeader], level: float) -> pl.DataFrame:
    """Figure 3b: success against iterations 1 … K of the main arm, last iterate, at every ε that all cohorts share."""
    main = [h for h in runs if h.primary and h.arm == records.main_arm]
    frames = [success_curve(records, "step", epsilon=e, level=level).frame for e in amplitudes.shared(main)]
    return pl.concat(frames, how="diagonal_relaxed")


def by_confidence(records: Records, runs: Sequence[RunHeader], epsilon: float, level: float) -> pl.DataFrame:
    """Figure 3c: success in bins of clean confidence, every arm, at `epsilon` or the nearest recorded one."""
    frames = []
    for arm in records.arms:
        of_arm = [h for h in runs if h.primary and h.arm == arm]
        at = amplitudes.nearest(epsilon, amplitudes.shared(of_arm))
        if at is not None:
            frames.append(success_curve(records, "clean_confidence", arm=arm, epsilon=at, level=level).frame)
    return pl.concat(frames, how="diagonal_relaxed")


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


def conclusion_rows(found: Sequence[Conclusion]) -> pl.DataFrame:
    """One row per conclusion, without its details."""
    rows = [c.model_dump(exclude={"details"}) | {"alternatives": " ".join(c.alternatives)} for c in found]
    return pl.DataFrame(rows, infer_schema_length=None)


def detail_rows(found: Sequence[Conclusion]) -> pl.DataFrame:
    """The details of all conclusions, `conclusion` saying which; columns that one of them lacks are null there."""
    frames = [
        pl.DataFrame([{"conclusion": c.number} | row for row in c.details], infer_schema_length=None)
        for c in found
        if c.details
    ]
    return pl.concat(frames, how="diagonal_relaxed") if frames else pl.DataFrame()
