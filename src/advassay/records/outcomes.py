"""Records as one long table, made run by run while it is read: what people query with Polars or DuckDB."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import polars as pl

from advassay import success
from advassay.record_columns import PATH_COLUMNS, STEP, columns_over
from advassay.records.row_shards import FLAG
from advassay.records.run_reader import Run

_POLARS: dict[str, type[pl.DataType]] = {"bool": pl.Boolean, "float32": pl.Float32}
"""Type of a recorded column → that of the long table."""

SCHEMA: dict[str, pl.DataType | type[pl.DataType]] = {
    "run_id": pl.String,
    "arm": pl.String,
    "cohort": pl.String,
    "image_type": pl.String,
    "classifier": pl.String,
    "train_size": pl.Int64,
    "seed": pl.Int64,
    "primary": pl.Boolean,
    "image_id": pl.String,
    "patient_id": pl.String,
    "has_patient": pl.Boolean,
    "label": pl.Int64,
    "step_size": pl.String,
    "epsilon": pl.Float64,
    "step": pl.Int32,
    "predicted": pl.Int64,
    "fallen_last": pl.Boolean,
    "fallen_any": pl.Boolean,
    "attackable": pl.Boolean,
    "clean_confidence": pl.Float64,
    "adversarial_confidence": pl.Float64,
    "margin": pl.Float64,
    **{name: _POLARS[PATH_COLUMNS[name].dtype] for name in columns_over(STEP)},
    "flags": pl.List(pl.String),
}
"""Columns of `Records.outcomes()`. predicted is -1 where a logit is NaN; margin is the label's logit minus the
largest other one (negative = misclassified); the rest as in records/FORMAT.md. Restart 0 only."""


def scan_outcomes(runs: Sequence[Run]) -> pl.LazyFrame:
    """A LazyFrame over `runs`; a query touches one run's grid point at a time, so memory stays small."""
    from polars.io.plugins import register_io_source

    def source(
        columns: list[str] | None, predicate: pl.Expr | None, n_rows: int | None, _batch: int | None
    ) -> Iterator[pl.DataFrame]:
        left = n_rows
        for frame in (frame for run in runs for frame in point_frames(run)):
            frame = frame if predicate is None else frame.filter(predicate)
            frame = frame if columns is None else frame.select(columns)
            yield frame if left is None else frame.head(left)
            left = None if left is None else left - min(left, len(frame))
            if left == 0:
                return

    return register_io_source(source, schema=SCHEMA, is_pure=True)


def point_frames(run: Run) -> Iterator[pl.DataFrame]:
    """The outcomes of a run, one frame per (step size, ε), rows by image then step."""
    index, header = run.index, run.header
    if not len(index):
        return
    logits, target = run.column("logits"), run.column("target")
    stepped = {name: run.column(name) for name in columns_over(STEP)}
    flags = {name: run.column(FLAG + name) for name in index.flags}
    for (step_size, epsilon), rows in index.points().items():
        images = run.images[index.image[rows].tolist()]
        steps = header.steps + 1
        per_step = judge(logits[rows], images["label"].to_numpy(), target[rows])
        per_step |= {name: values[rows] for name, values in stepped.items()}
        frame = pl.DataFrame({name: values.reshape(-1) for name, values in per_step.items()})
        per_image = images.select("image_id", "patient_id", "has_patient", "label").with_columns(
            pl.Series("flags", _named({n: f[rows] for n, f in flags.items()}, len(images)), pl.List(pl.String))
        )
        repeated = per_image[np.repeat(np.arange(len(images)), steps)]
        step = pl.Series("step", np.tile(np.arange(steps, dtype=np.int32), len(images)))
        constants = {name: getattr(header, name) for name in _CONSTANTS} | {"step_size": step_size, "epsilon": epsilon}
        literals = [pl.lit(value, SCHEMA[name]).alias(name) for name, value in constants.items()]
        yield (
            pl.concat([repeated, frame], how="horizontal")
            .with_columns(step, *literals)
            .select([pl.col(name).cast(kind) for name, kind in SCHEMA.items()])
        )


_CONSTANTS = ("run_id", "arm", "cohort", "image_type", "classifier", "train_size", "seed", "primary")


def judge(logits: np.ndarray, labels: np.ndarray, targets: np.ndarray) -> dict[str, np.ndarray]:
    """What success.py says about rows (row, step, class), as arrays (row, step)."""
    stepped = np.swapaxes(logits, 0, 1)
    target = None if (targets < 0).all() else targets
    shape = logits.shape[:2]
    confidence = success.confidence(logits)
    return {
        "predicted": success.predicted(logits),
        "fallen_last": success.has_succeeded(stepped, labels, "last", target).T,
        "fallen_any": success.has_succeeded(stepped, labels, "any", target).T,
        "attackable": np.broadcast_to(success.correct_on_clean(stepped, labels, target)[:, None], shape),
        "clean_confidence": np.broadcast_to(confidence[:, :1], shape),
        "adversarial_confidence": confidence,
        "margin": success.margin(stepped, labels).T,
    }


def _named(flags: dict[str, np.ndarray], rows: int) -> list[list[str]]:
    """Names of the flags each row carries (few rows carry any)."""
    named: list[list[str]] = [[] for _ in range(rows)]
    for name, values in flags.items():
        for row in np.flatnonzero(values):
            named[row].append(name)
    return named
