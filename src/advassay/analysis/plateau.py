"""Where the rise over iterations ends: the first iteration after which less than a margin is left, with confidence."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import Any, Literal

import numpy as np
import polars as pl
from scipy import stats

from advassay.analysis.differences import Difference, paired_difference
from advassay.analysis.flow import about
from advassay.analysis.intervals import checked_level
from advassay.analysis.packed import Packed
from advassay.analysis.selection import nearest_epsilon, packs_of
from advassay.records.store import Records
from advassay.success import Reading

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


def _row(pack: Packed, success: Reading, epsilon: float | None, margin: float, level: float) -> dict[str, Any]:
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
