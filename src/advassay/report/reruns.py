"""What flagged images did when they were attacked again under the linked margin-loss attack."""

from __future__ import annotations

import polars as pl

from advassay.records.run import Run
from advassay.records.store import Records
from advassay.success import counted, fallen

RERUNS = {
    "cohort": pl.String, "arm": pl.String, "train_size": pl.Int64, "loss": pl.String, "epsilon": pl.Float64,
    "n": pl.Int64, "declared": pl.Int64, "again": pl.Int64, "only_again": pl.Int64,
}  # fmt: skip


def reruns(records: Records) -> pl.DataFrame:
    """One row per run that was attacked again and ε, over its attackable images that were.

    n images; fallen at the last iterate (at any step size) under the declared attack, under the one again, and under
    that one only: at least so many were missed.
    """
    frames = [_compared(records, header.run_id, header.rerun_of) for header in records.reruns if header.rerun_of]
    return pl.concat(frames) if frames else pl.DataFrame(schema=RERUNS)


def _compared(records: Records, again: str, declared: str) -> pl.DataFrame:
    run = records.run(again)
    both = _fell(run).rename({"fell": "again"}).join(
        _fell(records.run(declared)).rename({"fell": "declared"}), on=["image_id", "epsilon"]
    )  # fmt: skip
    summed = both.group_by("epsilon").agg(
        pl.len().cast(pl.Int64).alias("n"),
        pl.col("declared", "again").sum().cast(pl.Int64),
        (pl.col("again") & ~pl.col("declared")).sum().cast(pl.Int64).alias("only_again"),
    )
    about = {
        "cohort": run.header.cohort, "arm": run.header.arm, "train_size": run.header.train_size,
        "loss": run.header.attack.get("loss"),
    }  # fmt: skip
    named = summed.sort("epsilon").with_columns(pl.lit(value, RERUNS[key]).alias(key) for key, value in about.items())
    return named.select(pl.col(name).cast(kind) for name, kind in RERUNS.items())


def _fell(run: Run) -> pl.DataFrame:
    """(image_id, epsilon, fell) of attackable images, ε > 0, restart 0."""
    rows = run.rows()
    path = rows.logits.swapaxes(0, 1)  # success takes (step, image, class); a row is its image here
    frame = pl.DataFrame(
        {
            "image_id": rows.image_id.tolist(),
            "epsilon": rows.epsilon,
            "fell": fallen(path, rows.label)[-1],
            "counts": counted(path, rows.label)[-1] & (rows.epsilon > 0) & (rows.restart == 0),
        }
    )
    return frame.filter("counts").group_by("image_id", "epsilon").agg(pl.col("fell").any())
