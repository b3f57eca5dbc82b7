"""Conclusion 4: success drops sharply where the clean confidence exceeds 0.95."""

from __future__ import annotations

from typing import Any

import numpy as np

from advassay.analysis.claims.statement import LEVEL, Conclusion, Verdict, finite, listed
from advassay.analysis.differences import Difference, group_difference, mean_difference
from advassay.analysis.intervals import counts
from advassay.analysis.packed import Packed
from advassay.analysis.selection import closest_epsilon, packs_of
from advassay.records.store import Records

PUBLISHED = "Success drops sharply where the clean confidence exceeds 0.95, most of all in H-OV and H-OV-TH."
THRESHOLD = 0.95
MARGIN = 0.05
"""A smaller drop is not a sharp one."""
FEWEST = 5
"""Images on each side below which a cohort says nothing."""
SUSPECT = ("saturated", "zero_gradient")


def confidence(records: Records, epsilon: float | None = None, level: float = LEVEL) -> Conclusion:
    """Mean over cohorts of (success above 0.95 − success at or below it), main arm, last iterate.

    Supported: the interval is below 0 and the drop at least the margin. Contradicted: a drop of the margin is
    excluded. The other arms stand beside it: a drop that only a saturating loss shows is an artefact of the update.
    """
    drops = {arm: _drops(records, arm, epsilon, level) for arm in records.arms}
    main = drops.get(records.arms[0], []) if records.arms else []
    usable = [d for _, d in main if d is not None]
    mean = mean_difference(usable) if usable else None
    verdict, reason = _verdict(mean, len(usable), len(main))
    return Conclusion(
        number=4,
        title="Confidence",
        statement=f"Success is lower where the clean confidence exceeds {THRESHOLD}.",
        estimand=f"success rate at clean confidence > {THRESHOLD} minus at ≤ {THRESHOLD}, mean over cohorts",
        estimate=finite(mean.estimate) if mean else None,
        low=finite(mean.low) if mean else None,
        high=finite(mean.high) if mean else None,
        test="difference of two proportions, square-and-add of Wilson bounds with the patients' effective n",
        p=None,
        n=len(usable),
        unit="cohorts",
        verdict=verdict,
        reason=reason + _compared(drops, main),
        level=level,
        margin=MARGIN,
        published=PUBLISHED,
        alternatives=_alternatives(drops),
        details=tuple(row for arm in records.arms for row in _details(records, arm, epsilon, level)),
    )


def drop(pack: Packed, epsilon: float | None, level: float) -> Difference | None:
    """Success above the threshold minus at or below it; None with fewer than 5 images on a side."""
    above, below = _sides(pack, epsilon)
    if min(above[1].sum(), below[1].sum()) < FEWEST:
        return None
    sides = [counts(fallen[None], inside[None], pack.patients) for fallen, inside in (above, below)]
    return group_difference(sides[0], sides[1], level)


def _sides(pack: Packed, epsilon: float | None) -> list[tuple[np.ndarray, np.ndarray]]:
    at = pack.at(closest_epsilon(pack, epsilon))
    high = pack.clean_confidence > THRESHOLD
    return [(pack.last[at, -1], pack.attackable[at] & side) for side in (high, ~high)]


def _drops(records: Records, arm: str, epsilon: float | None, level: float) -> list[tuple[str, Difference | None]]:
    return [(p.header.cohort, drop(p, epsilon, level)) for p in packs_of(records, arm)]


def _verdict(mean: Difference | None, usable: int, cohorts: int) -> tuple[Verdict, str]:
    if mean is None:
        return "undecided", f"too few images: none of {cohorts} cohorts has {FEWEST} on each side of {THRESHOLD}."
    told = (
        f"Mean difference {mean.estimate:+.3f} [{mean.low:+.3f}, {mean.high:+.3f}] over {usable} of {cohorts} cohorts."
    )
    if mean.high < 0 and mean.estimate <= -MARGIN:
        return "supported", told
    if mean.low > -MARGIN:
        return "contradicted", told + f" A drop of {MARGIN:g} is excluded."
    return "undecided", told + " Neither a drop nor its absence is shown."


def _compared(drops: dict[str, list[tuple[str, Difference | None]]], main: list[Any]) -> str:
    others = []
    for arm, found in drops.items():
        usable = [d for _, d in found if d is not None]
        if found is not main and usable:
            mean = mean_difference(usable)
            others.append(f"arm {arm} {mean.estimate:+.3f} [{mean.low:+.3f}, {mean.high:+.3f}]")
    return f" Beside it: {'; '.join(others)}." if others else ""


def _alternatives(drops: dict[str, list[tuple[str, Difference | None]]]) -> tuple[str, ...]:
    """Name the arms that disagree: then the update rule, not the image, makes the drop."""
    means = {
        arm: mean_difference([d for _, d in found if d is not None])
        for arm, found in drops.items()
        if any(d is not None for _, d in found)
    }
    with_drop = [arm for arm, mean in means.items() if mean.high < 0]
    without = [arm for arm, mean in means.items() if mean.low > -MARGIN]
    artefact = (
        f"Arms {listed(with_drop)} show the drop, arms {listed(without)} exclude it: it depends on the update rule or "
        "the loss (a saturated softmax gives a vanishing gradient)."
    )
    confounded = (
        "Confident images are also farther from the decision boundary; classes and patients differ between the bins."
    )
    return (artefact, confounded) if with_drop and without else (confounded,)


def _details(records: Records, arm: str, epsilon: float | None, level: float) -> list[dict[str, Any]]:
    rows = []
    for pack in packs_of(records, arm):
        (fell_above, above), (fell_below, below) = _sides(pack, epsilon)
        found, at = drop(pack, epsilon, level), pack.at(closest_epsilon(pack, epsilon))
        row = {
            "cohort": pack.header.cohort, "arm": arm, "loss": pack.header.attack.get("loss"),
            "update": pack.header.attack.get("update"), "epsilon": float(pack.epsilons[at]),
            "rate_above": _rate(fell_above, above), "n_above": int(above.sum()),
            "rate_below": _rate(fell_below, below), "n_below": int(below.sum()),
            "difference": finite(found.estimate) if found else None, "low": finite(found.low) if found else None,
            "high": finite(found.high) if found else None,
        }  # fmt: skip
        flagged = {f"{name}_above": _rate(pack.flags[name][at], above) for name in SUSPECT if name in pack.flags}
        rows.append(row | flagged)
    return rows


def _rate(values: np.ndarray, inside: np.ndarray) -> float | None:
    return float(values[inside].mean()) if inside.any() else None
