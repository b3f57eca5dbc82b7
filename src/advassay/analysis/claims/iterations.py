"""Conclusion 3: more iterations, more success, levelling off."""

from __future__ import annotations

from typing import Any

import numpy as np

from advassay.analysis.claims.directions import Course, course, decided
from advassay.analysis.claims.statement import (
    FEWEST_COHORTS,
    LEVEL,
    Conclusion,
    Verdict,
    finite,
    in_cohorts,
    listed,
    lone,
    majority,
    tally,
)
from advassay.analysis.packed import Packed
from advassay.analysis.plateau import MARGIN, Plateau, fewest_images, plateau
from advassay.analysis.selection import closest_epsilon, packs_of
from advassay.records.store import Records
from advassay.success import Reading

PUBLISHED = "More iterations, more success, levelling off: 6 of 8 cohorts have reached the plateau."


def iterations(records: Records, epsilon: float | None = None, level: float = LEVEL) -> Conclusion:
    """Supported where in more than half of the cohorts success rises with iterations and has levelled off;
    contradicted where in more than half it does not rise, or is shown to rise still at the end; undecided with a
    single cohort.
    """
    packs = packs_of(records)
    courses = decided([over_steps(p, "last", epsilon, level) for p in packs], level)
    levels = [_plateau_of(p, "last", epsilon, level) for p in packs]
    both = list(zip(courses, levels, strict=True))
    names = {
        "rising": [c.cohort for c in courses if c.direction == "rising"],
        "not rising": [c.cohort for c in courses if c.direction in ("falling", "flat")],
        "levelled": [c.cohort for c, at in both if c.direction == "rising" and at.state == "reached"],
        "still rising": [c.cohort for c, at in both if at.state == "not reached"],
    }
    contradicting = len(set(names["not rising"]) | set(names["still rising"]))
    verdict, reason = _verdict(names, both, contradicting)
    if verdict == "undecided" and any(at.state == "too few images" for at in levels):
        least = fewest_images(level)
        reason += (
            f" Even where nothing changes any more, a plateau takes {least} attackable images of a cohort to show."
        )
    reason += _where(packs, epsilon)
    return Conclusion(
        number=3,
        title="Iterations",
        statement="Success rises with the number of iterations and levels off, in most cohorts.",
        estimand=f"cohorts whose success rises with iterations and whose remaining rise ends below {MARGIN:g}, share",
        estimate=len(names["levelled"]) / len(packs) if packs else None,
        low=len(names["levelled"]) / len(packs) if packs else None,
        high=1 - contradicting / len(packs) if packs else None,
        bounds="undecided",
        test="logistic regression on ln iteration with patient-clustered covariance, Holm over cohorts; plateau by "
        "one-sided bounds of the paired remaining rise",
        p=None,
        n=len(packs),
        unit="cohorts",
        verdict=verdict,
        breadth=in_cohorts(verdict, len(names["levelled"]), contradicting, len(packs)),
        reason=reason,
        level=level,
        margin=MARGIN,
        published=PUBLISHED,
        alternatives=(
            "At the last iterate success can be lost again when the step is coarse; success at any iterate cannot fall "
            "by definition.",
            "Where every image has fallen success levels off because nothing is left to fall.",
            "A plateau below 100 % may come from a vanishing gradient rather than from robustness: see the flags.",
        ),
        details=tuple(row for p in packs for row in _details(p, epsilon, level)),
    )


def _where(packs: list[Packed], epsilon: float | None) -> str:
    """The arm and ε that the courses are of."""
    amplitudes = ", ".join(f"{e:g}" for e in sorted({closest_epsilon(p, epsilon) for p in packs}))
    return f" Arm {packs[0].header.arm}, ε = {amplitudes}." if packs else ""


def over_steps(pack: Packed, success: Reading, epsilon: float | None, level: float) -> Course:
    """Success at one ε over iterations 1 … K."""
    at = pack.at(closest_epsilon(pack, epsilon))
    steps = np.arange(1, pack.steps + 1)
    attackable = np.broadcast_to(pack.attackable[at], (len(steps), len(pack.labels)))
    return course(pack, steps.astype(float), pack.fallen(success)[at, 1:], attackable, level)


def _plateau_of(pack: Packed, success: Reading, epsilon: float | None, level: float) -> Plateau:
    at = pack.at(closest_epsilon(pack, epsilon))
    kept = pack.attackable[at]
    return plateau(pack.fallen(success)[at][:, kept], pack.patients[kept], level)


def _verdict(
    names: dict[str, list[str]], both: list[tuple[Course, Plateau]], contradicting: int
) -> tuple[Verdict, str]:
    cohorts = len(both)
    if not cohorts:
        return "undecided", "No cohort was attacked."
    if cohorts < FEWEST_COHORTS:
        return "undecided", lone(_own(*both[0]))
    told = (
        f"Of {cohorts} cohorts {tally(names['rising'])} rise; shown to rise and to level off: "
        f"{tally(names['levelled'])}; not rising: {tally(names['not rising'])}; shown to rise still at the end: "
        f"{tally(names['still rising'])}."
    )
    verdict = majority(len(names["levelled"]), contradicting, cohorts)
    return verdict, told if verdict != "undecided" else f"{told} {_open(both, names)}"


def _open(both: list[tuple[Course, Plateau]], names: dict[str, list[str]]) -> str:
    """Why the rest is open, by what is lacking in each cohort."""
    against = {*names["not rising"], *names["still rising"]}
    rest = [(c, at) for c, at in both if c.cohort not in against and c.cohort not in names["levelled"]]
    stuck = [c.cohort for c, _ in rest if c.direction in ("ceiling", "floor")]
    flat = [c.cohort for c, _ in rest if c.direction in ("undecided", "no data")]
    late = [c.cohort for c, _ in rest if c.direction == "rising"]
    parts = (
        (stuck, "at ceiling or floor, where no rise can show"),
        (flat, "no direction shown"),
        (late, f"rising, but neither a remaining rise below {MARGIN:g} nor one above it shown"),
    )
    return f"Open: {'; '.join(f'{what}: {listed(some)}' for some, what in parts if some)}."


def _own(c: Course, at: Plateau) -> str:
    """One cohort's result in words."""
    return f"{c.cohort} is {c.direction}, its plateau {at.state} (n = {c.n} images)."


def _details(pack: Packed, epsilon: float | None, level: float) -> list[dict[str, Any]]:
    rows = []
    readings: tuple[Reading, ...] = ("last", "any")
    for success in readings:
        c, at = over_steps(pack, success, epsilon, level), _plateau_of(pack, success, epsilon, level)
        slope, low, high = c.slope_per_doubling(level)
        rows.append(
            {
                "cohort": c.cohort, "arm": c.arm, "success": success, "epsilon": closest_epsilon(pack, epsilon),
                "direction": c.direction, "slope_per_doubling": finite(slope), "low": finite(low), "high": finite(high),
                "plateau": at.state, "plateau_step": at.step, "remaining_rise": finite(at.remaining.estimate),
                "remaining_high": finite(at.remaining.high), "rate_first": finite(c.rates[0]) if c.rates else None,
                "rate_last": finite(c.rates[-1]) if c.rates else None, "n": c.n, "patients": c.patients,
            }
        )  # fmt: skip
    return rows
