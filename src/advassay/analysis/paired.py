"""Two conditions on the same images: which felled more, image by image.

Exact McNemar where no patient has two of the images; a paired bootstrap of patients where they repeat; where so few
patients disagree that no bootstrap speaks, the exact sign test over patients (a patient counts for the condition that
felled more of their images). Sources: McNemar, Psychometrika 12 (1947); Davison & Hinkley, Bootstrap Methods (1997)
§3.8; Benjamini & Hochberg, JRSS-B 57 (1995); Holm, Scand. J. Statistics 6 (1979).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import polars as pl
from scipy import stats

from advassay.analysis.differences import benjamini_hochberg, holm, paired_difference
from advassay.analysis.intervals import FEWEST_PATIENTS, Counts, counts, resampled_rates
from advassay.analysis.packed import Packed
from advassay.analysis.selection import nearest_epsilon, packs_of
from advassay.errors import SpecError
from advassay.records.store import Records
from advassay.success import Reading

MCNEMAR = "exact McNemar"
BOOTSTRAP = "paired patient bootstrap"
SIGN = "exact sign test over patients"
FEWEST_CHANGING = 15
"""Patients whose images disagree, below which the sign test stands in for the bootstrap."""


@dataclass(frozen=True)
class Condition:
    """What an image was judged under; None = the main arm, its first step size, ε nearest to 0.02, last iteration."""

    arm: str | None = None
    epsilon: float | None = None
    step: int | None = None
    step_size: str | None = None
    success: Reading = "last"


def paired_comparison(
    records: Records, first: Condition, second: Condition, *, other: Records | None = None,
    correction: Literal["holm", "benjamini-hochberg"] = "holm", level: float = 0.95, seed: int = 0,
) -> pl.DataFrame:  # fmt: skip
    """Success under `second` minus success under `first`, per cohort, on the images attackable under both.

    Columns: cohort, image_type, n, patients, rate_first, rate_second, only_first, only_second (images that fell under
    one alone), difference with low and high (square-and-add of Wilson bounds, effective n), p, test, p_adjusted over
    the cohorts (by `correction`). `other`: the store of `second`, where it is not the same one.
    Raises SpecError for a condition that was not recorded, or an unknown correction.
    """
    if correction not in ("holm", "benjamini-hochberg"):
        raise SpecError(
            f'correction: "holm" or "benjamini-hochberg", got {correction!r}.',
            "holm bounds the chance of any false difference, benjamini-hochberg the share of false ones.",
        )
    rights = {p.header.cohort: p for p in packs_of(other or records, second.arm, second.step_size)}
    lefts = [p for p in packs_of(records, first.arm, first.step_size) if p.header.cohort in rights]
    rows = [_compared(left, first, rights[left.header.cohort], second, level, seed) for left in lefts]
    p = np.array([row["p"] for row in rows], np.float64)
    adjusted = holm(p) if correction == "holm" else benjamini_hochberg(p)
    rows = [row | {"p_adjusted": float(q), "correction": correction} for row, q in zip(rows, adjusted, strict=True)]
    return pl.DataFrame(rows, infer_schema_length=None)


def _compared(a: Packed, first: Condition, b: Packed, second: Condition, level: float, seed: int) -> dict[str, Any]:
    places = {image: place for place, image in enumerate(b.image_ids)}
    found = [(i, places[image]) for i, image in enumerate(a.image_ids) if image in places]
    left, right = np.array(found, np.int64).reshape(-1, 2).T
    (down_a, counts_a), (down_b, counts_b) = _judged(a, first), _judged(b, second)
    both = counts_a[left] & counts_b[right]
    before, after = down_a[left][both], down_b[right][both]
    patients = np.unique(a.patients[left][both], return_inverse=True)[1]
    difference = paired_difference(after, before, patients, level) if both.any() else None
    p, test = paired_test(after, before, patients, seed)
    return {
        "cohort": a.header.cohort, "image_type": a.header.image_type, "n": int(both.sum()),
        "patients": len(np.unique(patients)),
        "rate_first": float(before.mean()) if both.any() else None,
        "rate_second": float(after.mean()) if both.any() else None,
        "only_first": int((before & ~after).sum()), "only_second": int((after & ~before).sum()),
        "difference": difference.estimate if difference else None, "low": difference.low if difference else None,
        "high": difference.high if difference else None, "p": p, "test": test,
    }  # fmt: skip


def _judged(pack: Packed, condition: Condition) -> tuple[np.ndarray, np.ndarray]:
    """(fallen, attackable), both (image,) bool."""
    at, k = pack.at(nearest_epsilon(pack, condition.epsilon)), pack.step(condition.step)
    return pack.fallen(condition.success)[at, k], pack.attackable[at]


def paired_test(after: np.ndarray, before: np.ndarray, patients: np.ndarray, seed: int = 0) -> tuple[float, str]:
    """(two-sided p, name of the test) of no difference; `after`, `before` (image,) bool, `patients` (image,) codes.

    >>> after, before = np.array([1, 1, 1, 1, 1, 0], bool), np.zeros(6, bool)
    >>> paired_test(after, before, np.arange(6))
    (0.0625, 'exact McNemar')
    """
    flips = np.stack([after & ~before, before & ~after])
    points = counts(flips, np.ones_like(flips), patients)
    if (points.images <= 1).all():
        return _binomial(int(flips[0].sum()), int(flips[1].sum())), MCNEMAR
    net = points.events[0] - points.events[1]
    changing = int((points.events > 0).any(0).sum())
    if points.patients[0] < FEWEST_PATIENTS or changing < FEWEST_CHANGING:
        return _binomial(int((net > 0).sum()), int((net < 0).sum())), SIGN
    shares = resampled_rates(Counts(points.events, points.images), seed)
    error = float((shares[:, 0] - shares[:, 1]).std(ddof=1))
    if error == 0:  # every patient's images all changed, and alike
        return _binomial(int((net > 0).sum()), int((net < 0).sum())), SIGN
    number = int(points.patients[0])
    value = abs(float(points.rate[0] - points.rate[1])) / error * np.sqrt((number - 1) / number)
    return float(2 * stats.t.sf(value, number - 1)), BOOTSTRAP


def _binomial(more: int, less: int) -> float:
    return float(stats.binomtest(more, more + less).pvalue) if more + less else 1.0
