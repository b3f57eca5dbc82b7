"""Iterations to success: how many images are still correct after k updates, and where the rise ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any, Literal

import numpy as np
import polars as pl
from scipy import stats

from advassay.analysis.confidence_shift import about
from advassay.analysis.differences import Difference, paired_difference
from advassay.analysis.intervals import checked_level
from advassay.analysis.outcome_arrays import OutcomeArrays, nearest_epsilon, packs_of
from advassay.analysis.success_curves import BY, Numerator, Numerators, group_columns, rate_table, run_subsets
from advassay.records.store_reader import Records
from advassay.success import Reading


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
    names = group_columns(by, BY)
    frame = rate_table(run_subsets(records, names, arm, step_size), _cells(epsilon), level, seed)
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


def _cells(epsilon: float | None) -> Numerators:
    def cells(pack: OutcomeArrays) -> list[Numerator]:
        which = range(len(pack.epsilons)) if epsilon is None else [pack.at(epsilon)]
        return [
            ({"epsilon": float(pack.epsilons[i]), "step": k}, np.asarray(pack.any[i, k]), pack.attackable[i])
            for i in which
            for k in range(pack.steps + 1)
        ]

    return cells


MARGIN = 0.02
"""Remaining rise of the success rate that still counts."""
LEVEL = 0.95
READINGS: tuple[Reading, ...] = ("last", "any")


@dataclass(frozen=True)
class Plateau:
    """Where the rise over iterations ends.

    state  reached: from iteration `step` on (at most ¾ of K) the remaining rise is below the margin with
           confidence; not reached: it is above with confidence at ¾ of K; too few images: neither can be shown
    """

    state: Literal["reached", "not reached", "too few images"]
    step: int | None
    remaining: Difference
    """Rise from iteration ¾·K to K."""


def plateau(fallen: np.ndarray, patients: np.ndarray, level: float = LEVEL, margin: float = MARGIN) -> Plateau:
    """`fallen` (step, image) bool over steps 0 … K, `patients` (image,) codes.

    Remaining rise at k = rate at K − rate at k, paired by image; its bounds are one-sided at `level`. The plateau
    begins at the first k from which on every upper bound is below the margin.
    """
    last = len(fallen) - 1
    latest = last - max(1, last // 4)
    sided = 2 * level - 1
    rises = [paired_difference(fallen[last], fallen[k], patients, sided) for k in range(1, latest + 1)]
    if not rises:
        return Plateau("too few images", None, Difference(float("nan"), float("nan"), float("nan")))
    below = np.array([rise.high < margin for rise in rises])
    if below[-1]:
        first = len(below) - int(np.argmin(below[::-1])) + 1 if not below.all() else 1
        return Plateau("reached", first, rises[-1])
    return Plateau("not reached" if rises[-1].low > margin else "too few images", None, rises[-1])


def fewest_images(level: float = LEVEL, margin: float = MARGIN) -> int:
    """Images, each of a patient of its own, below which no plateau can be shown even where nothing changes any more:
    Wilson's one-sided upper bound of 0 in n is z² / (n + z²).

    >>> fewest_images()
    133
    """
    z2 = stats.norm.ppf(checked_level(level)) ** 2
    return ceil(z2 * (1 / margin - 1))


def iteration_plateau(
    records: Records, *, arm: str | None = None, epsilon: float | None = None, step_size: str | None = None,
    margin: float = MARGIN, level: float = LEVEL,
) -> pl.DataFrame:  # fmt: skip
    """Per cohort and reading (last, any): the first iteration after which the remaining rise is below `margin`.

    Columns: cohort, image_type, arm, step_size, epsilon, success, state (reached, not reached, too few images), step
    (null unless reached), text ("4", "not reached"), remaining (rise from iteration ¾·K to K) with remaining_low and
    remaining_high (one-sided bounds of `level`), margin, n, patients. `epsilon` None = the recorded one
    nearest to 0.02.
    """
    packs = packs_of(records, arm, step_size)
    rows = [_row(pack, success, epsilon, margin, level) for pack in packs for success in READINGS]
    return pl.DataFrame(rows, infer_schema_length=None)


def _row(pack: OutcomeArrays, success: Reading, epsilon: float | None, margin: float, level: float) -> dict[str, Any]:
    amplitude = nearest_epsilon(pack, epsilon)
    at = pack.at(amplitude)
    kept = pack.attackable[at]
    found = plateau(pack.fallen(success)[at][:, kept], pack.patients[kept], level, margin)
    return about(pack) | {
        "epsilon": amplitude, "success": success, "state": found.state, "step": found.step,
        "text": found.state if found.step is None else str(found.step),
        "remaining": found.remaining.estimate, "remaining_low": found.remaining.low,
        "remaining_high": found.remaining.high, "margin": margin, "n": int(kept.sum()),
        "patients": len(np.unique(pack.patients[kept])),
    }  # fmt: skip
