"""Iterations to success: how many images still stand after k updates, and where the rise ends.

Every image is followed to the last iterate, so the Kaplan–Meier estimate is the share not fallen at any iterate ≤ k
(nobody is censored before K) and its interval is a proportion's: patients count as everywhere else.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from advassay.analysis.groups import BY, grouped, names_of
from advassay.analysis.packed import Packed
from advassay.analysis.points import Cell, Cells, frame_of
from advassay.records.store import Records


def iteration_survival(
    records: Records, by: str | Sequence[str] = "cohort", *, arm: str | None = None, epsilon: float | None = None,
    step_size: str | None = None, level: float = 0.95, seed: int = 0,
) -> pl.DataFrame:  # fmt: skip
    """Share of attackable images that have not fallen at any iterate up to k, k = 0 … K (Kaplan & Meier 1958).

    Columns: the names in `by` (and cohort, image_type, arm, step_size where one value holds), epsilon, step,
    surviving with low, high (in [0, 1]), n, events (fallen by then), patients, method, median (first iterate at which
    half have fallen: "4", or "> 20"; the same in all rows of a curve). `epsilon` None = every recorded one.
    Raises SpecError for an argument that the records do not have.
    """
    names = names_of(by, BY)
    frame = frame_of(grouped(records, names, arm, step_size), _cells(epsilon), level, seed)
    if frame.is_empty():
        return frame
    turned = frame.with_columns(
        surviving=1 - pl.col("rate"), low=1 - pl.col("high"), high=1 - pl.col("low")
    ).drop("rate")  # fmt: skip
    curve = [*names, "epsilon"]
    half = pl.col("step").filter(pl.col("surviving") <= 0.5).min()
    beyond = "> " + pl.col("step").max().cast(pl.String)
    text = pl.when(pl.col("n").max() > 0).then(pl.coalesce(half.cast(pl.String), beyond)).over(curve)
    order = [c for c in turned.columns if c not in ("surviving", "low", "high", "n", "events", "patients", "method")]
    return turned.with_columns(median=text).select(
        *order, "surviving", "low", "high", "n", "events", "patients", "method", "median"
    )


def _cells(epsilon: float | None) -> Cells:
    def cells(pack: Packed) -> list[Cell]:
        which = range(len(pack.epsilons)) if epsilon is None else [pack.at(epsilon)]
        return [
            ({"epsilon": float(pack.epsilons[i]), "step": k}, np.asarray(pack.any[i, k]), pack.attackable[i])
            for i in which
            for k in range(pack.steps + 1)
        ]

    return cells
