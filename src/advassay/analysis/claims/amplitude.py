"""Conclusion 1: more amplitude, more success."""

from __future__ import annotations

from typing import Any

from advassay.analysis.claims.directions import FLAT, Course, course, cross_check, decided
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
    span,
    tally,
)
from advassay.analysis.packed import Packed
from advassay.analysis.selection import packs_of
from advassay.records.store import Records

PUBLISHED = "More amplitude, more success in 7 of 8 cohorts; X-AO falls instead."
FEWEST_POINTS = 3


def amplitude(records: Records, level: float = LEVEL) -> Conclusion:
    """Supported where success rises with ε in more than half of the cohorts, contradicted where in more than half
    it falls or is flat, undecided with a single cohort; a cohort at ceiling or floor speaks through an arm with
    smaller ε, where there is one.
    """
    courses = decided(amplitude_courses(records, level), level)
    rising = [c.cohort for c in courses if c.direction == "rising"]
    against = [c.cohort for c in courses if c.direction in ("falling", "flat")]
    verdict, reason = _verdict(courses, rising, against, level)
    slopes = [c.slope_per_doubling(level)[0] for c in courses]
    known = [s for s in slopes if s == s]
    return Conclusion(
        number=1,
        title="Amplitude",
        statement="Success rises with ε in most cohorts.",
        estimand="cohorts whose success rises with ε (change of the logit of success per doubling of ε > 0), share",
        estimate=len(rising) / len(courses) if courses else None,
        low=len(rising) / len(courses) if courses else None,
        high=1 - len(against) / len(courses) if courses else None,
        bounds="undecided",
        test="logistic regression on ln ε with patient-clustered covariance per cohort, Holm over cohorts, "
        "cross-checked by the paired change from the smallest to the largest ε; flat by two one-sided tests",
        p=None,
        n=len(courses),
        unit="cohorts",
        verdict=verdict,
        breadth=in_cohorts(verdict, len(rising), len(against), len(courses)),
        reason=reason,
        level=level,
        margin=FLAT,
        published=PUBLISHED,
        alternatives=_alternatives(courses, known, records.arms[0] if records.arms else ""),
        details=tuple(_detail(c, level) for c in courses),
    )


def amplitude_courses(records: Records, level: float) -> list[Course]:
    """One course per cohort: of the main arm, or of the first arm that is not at ceiling or floor."""
    chosen: dict[str, Course] = {}
    for arm in records.arms:
        for pack in packs_of(records, arm):
            before = chosen.get(pack.header.cohort)
            if before is not None and (before.direction not in ("ceiling", "floor") or not _finer(before, pack)):
                continue
            found = over_epsilon(pack, level)
            if before is None or found.direction not in ("ceiling", "floor", "no data"):
                chosen[pack.header.cohort] = found
    order = {cohort: place for place, cohort in enumerate(records.cohorts)}
    return sorted(chosen.values(), key=lambda c: order[c.cohort])


def over_epsilon(pack: Packed, level: float) -> Course:
    """Success at the last iterate over ε."""
    return course(pack, pack.epsilons, pack.last[:, -1], pack.attackable, level)


def _finer(before: Course, pack: Packed) -> bool:
    """Whether the arm looks where the other could not: below its ε at ceiling, anywhere else at floor."""
    enough = len(pack.epsilons) >= FEWEST_POINTS
    return enough and (before.direction == "floor" or float(pack.epsilons[0]) < before.doses[0])


def _verdict(courses: list[Course], rising: list[str], against: list[str], level: float) -> tuple[Verdict, str]:
    if not courses:
        return "undecided", "No cohort was attacked."
    if len(courses) < FEWEST_COHORTS:
        return "undecided", lone(_own(courses[0], level))
    stuck = [c.cohort for c in courses if c.direction in ("ceiling", "floor")]
    open_ = [c.cohort for c in courses if c.direction in ("undecided", "no data")]
    told = (
        f"Of {len(courses)} cohorts success rises in {tally(rising)}; falls or is flat in {tally(against)}; undecided: "
        f"{tally(open_)}; at ceiling or floor: {tally(stuck)}. {_arms(courses)}"
    )
    verdict = majority(len(rising), len(against), len(courses))
    if verdict != "undecided":
        return verdict, told
    if stuck and len(stuck) >= len(open_):
        kind = next(c.direction for c in courses if c.direction in ("ceiling", "floor"))
        return "undecided", f"{kind}: {told} Smaller (or larger) amplitudes are needed."
    return "undecided", told


def _own(c: Course, level: float) -> str:
    """One cohort's result in words."""
    slope, low, high = c.slope_per_doubling(level)
    told = f", {span(slope, low, high)} of the logit per doubling of ε" if slope == slope else ""
    return f"{c.cohort} is {c.direction}{told} (n = {c.n} images). {_arms([c])}"


def _arms(courses: list[Course]) -> str:
    """Which arm each cohort is judged in, with its ε."""
    spans = {c.arm: f"arm {c.arm} (ε {c.doses[0]:g} to {c.doses[-1]:g})" for c in courses if c.doses}
    parts = [f"{listed([c.cohort for c in courses if c.arm == arm])} in {span}" for arm, span in spans.items()]
    return f"Judged: {'; '.join(parts)}."


def _alternatives(courses: list[Course], slopes: list[float], main: str) -> tuple[str, ...]:
    fixed = "With a fixed coarse step larger ε may look no stronger: compare arms with an ε-relative step."
    moved = [c.cohort for c in courses if c.arm != main]
    other = (
        [f"{listed(moved)}: judged by another arm, because the main one is at its ceiling or floor."] if moved else []
    )
    return (fixed, *other) if slopes or other else ()


def _detail(c: Course, level: float) -> dict[str, Any]:
    slope, low, high = c.slope_per_doubling(level)
    return {
        "cohort": c.cohort, "image_type": c.image_type, "arm": c.arm, "direction": c.direction,
        "slope_per_doubling": finite(slope), "low": finite(low), "high": finite(high), "p_holm": finite(c.p),
        "epsilon_from": c.doses[0], "epsilon_to": c.doses[-1], "rate_from": finite(c.rates[0]),
        "rate_to": finite(c.rates[-1]), "change": finite(c.change.estimate), "change_low": finite(c.change.low),
        "change_high": finite(c.change.high), "cross_check": cross_check(c), "n": c.n, "patients": c.patients,
    }  # fmt: skip
