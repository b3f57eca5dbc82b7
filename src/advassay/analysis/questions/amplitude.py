"""Question 1: does more amplitude mean more success?

The effect is the change of the success rate at the last iterate per doubling of ε: the least-squares slope over log₂ ε,
image by image, so that no curve is too steep to count. It is read as recorded. The monotone reading (misclassified at
this or a smaller ε) cannot fall; it shows what a fall is: the ε-balls are nested, so an attack that does worse with a
larger one has failed, and the image has not become safer.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from advassay.analysis.dose_response.thresholds import misclassified, places_of
from advassay.analysis.packed import Packed
from advassay.analysis.questions.conclusion import (
    Conclusion,
    finite,
    judged,
    listed,
    percent_points,
    scope,
    what_it_takes,
)
from advassay.analysis.questions.effects import Effect, Value, joined, mean_by_patient, overall, values_of
from advassay.analysis.questions.evidence import Evidence
from advassay.analysis.questions.image_kinds import kind_of
from advassay.analysis_plan import AnalysisPlan
from advassay.success import Reading

PUBLISHED = "More amplitude, more success in 7 of 8 cohorts; X-AO falls instead."
FEWEST_AMPLITUDES = 2
CEILING = 0.98
"""At or above this success rate at every ε (at or below 1 − this) a cohort cannot show any change."""


def amplitude(evidence: Evidence) -> Conclusion:
    """Supported where success rises with ε, contradicted where it falls or is shown flat."""
    plan, doses = evidence.plan, evidence.shared_doses
    rows = [_row(packs[0], doses, plan) for packs in evidence.main]
    values = slopes(evidence)
    effect = overall(values, plan.level)
    verdict = judged(effect, plan.margins.amplitude)
    return Conclusion(
        number=1,
        title="Amplitude",
        statement="The success rate rises with the amplitude ε.",
        headline=_headline(effect, verdict, values, plan.margins.amplitude),
        estimand="change of the success rate at the last iterate per doubling of ε",
        estimate=finite(effect.estimate),
        low=finite(effect.low),
        high=finite(effect.high),
        effect=_effect(effect),
        prediction_low=finite(effect.prediction[0]) if effect.prediction else None,
        prediction_high=finite(effect.prediction[1]) if effect.prediction else None,
        i2=effect.i2 if effect.k > 1 else None,
        test="least-squares slope over log₂ ε per image, clustered by patient where known; random effects over cohorts "
        "(Paule–Mandel, Hartung–Knapp)",
        p=effect.p,
        n=effect.k,
        unit="cohorts",
        images=effect.images,
        verdict=verdict,
        breadth=scope(effect, values[0].name) if verdict != "undecided" else "",
        reason=_reason(effect, rows, doses, plan.margins.amplitude),
        needed=what_it_takes(effect) if verdict == "undecided" and effect.known else _none_open(rows),
        remarks=_falls(rows),
        margin=plan.margins.amplitude,
        published=PUBLISHED,
        alternatives=(
            "With a fixed coarse step a larger ε may look no stronger: compare attack arms whose step is a share of ε.",
        ),
        details=tuple(rows),
    )


STUCK = ("at ceiling", "at floor", "no data")


def slopes(evidence: Evidence) -> list[Value]:
    """The change per doubling of every independent cohort that can show one: neither at its ceiling nor its floor."""
    plan, doses = evidence.plan, evidence.shared_doses
    free = [packs for packs in evidence.main if _row(packs[0], doses, plan)["direction"] not in STUCK]
    return joined(values_of(free, partial(slope, doses=doses, success=plan.success)), free)


def slope(pack: Packed, doses: np.ndarray, success: Reading) -> Value | None:
    """Change of success per doubling of ε over `doses`; None with fewer than two of them or no image."""
    own, fallen, patients = misclassified(pack, success)
    at = places_of(doses, own)
    if len(at) < FEWEST_AMPLITUDES or not fallen.shape[1]:
        return None
    x = np.log2(own[at])
    weights = (x - x.mean()) / ((x - x.mean()) ** 2).sum()
    # An image that falls one amplitude later changes its slope by at most the largest sum of weights gained.
    mean, variance, groups = mean_by_patient(weights @ fallen[at], patients, float(np.abs(weights).max()))
    header = pack.header
    return Value((header.cohort,), kind_of(header.image_type), mean, variance, max(groups - 1, 1), fallen.shape[1])


def _row(pack: Packed, doses: np.ndarray, plan: AnalysisPlan) -> dict[str, Any]:
    """One cohort: its slope as recorded and under the monotone reading, and which way it goes."""
    own, fallen, _ = misclassified(pack, plan.success)
    at = places_of(doses, own)
    rates = fallen[at].mean(axis=1) if fallen.shape[1] and at.size else np.empty(0)
    monotone = np.maximum.accumulate(fallen[at], axis=0).mean(axis=1) if rates.size else rates
    value = slope(pack, doses, plan.success)
    low, high = value.interval(plan.level) if value else (float("nan"),) * 2
    kept = pack.attackable.all(axis=0)
    flags = {f"{name}_share": float(pack.flags[name][:, kept].mean()) for name in pack.flags if kept.any()}
    return {
        "cohort": pack.header.cohort, "image_type": pack.header.image_type, "arm": pack.header.arm,
        "direction": _direction(rates, value, low, high, plan.margins.amplitude),
        "change_per_doubling": finite(value.value if value else None),
        "low": finite(low), "high": finite(high), "epsilon_from": float(own[at][0]) if at.size else None,
        "epsilon_to": float(own[at][-1]) if at.size else None, "amplitudes": int(at.size),
        "rate_from": finite(rates[0]) if rates.size else None, "rate_to": finite(rates[-1]) if rates.size else None,
        "monotone_rate_to": finite(monotone[-1]) if rates.size else None,
        "lost_again": finite(monotone[-1] - rates[-1]) if rates.size else None,
        "n": int(fallen.shape[1]), "patients": int(value.freedom) + 1 if value else 0,
    } | flags  # fmt: skip


def _direction(rates: np.ndarray, value: Value | None, low: float, high: float, margin: float) -> str:
    if value is None or not rates.size:
        return "no data"
    if rates.min() >= CEILING:
        return "at ceiling"
    if rates.max() <= 1 - CEILING:
        return "at floor"
    if low > 0 or high < 0:
        return "rising" if low > 0 else "falling"
    return "flat" if -margin < low and high < margin else "undecided"


def _effect(effect: Effect) -> str:
    if not effect.known:
        return "no estimate"
    low, high = percent_points(effect.low), percent_points(effect.high)
    return f"{percent_points(effect.estimate)} percentage points per doubling of ε [{low}, {high}]"


def _headline(effect: Effect, verdict: str, values: list[Value], margin: float) -> str:
    if not effect.known:
        return "Whether stronger attacks succeed more often cannot be judged from these records."
    where = scope(effect, values[0].name)
    low, high = percent_points(effect.low), percent_points(effect.high)
    size = f"{percent_points(effect.estimate)} percentage points [{low}, {high}]"
    if verdict == "supported":
        return f"Stronger attacks succeed more often: each doubling of ε raises the success rate by {size} {where}."
    if verdict == "contradicted" and effect.high < 0:
        low, high = percent_points(-effect.high), percent_points(-effect.low)
        return (
            f"Stronger attacks succeed less often: each doubling of ε lowers the success rate by "
            f"{percent_points(-effect.estimate)} percentage points [{low}, {high}] {where}. A larger ε allows "
            "everything that a smaller one does, so this is a failure of the attack; the images are not more robust."
        )
    if verdict == "contradicted":
        return (
            f"The strength of the attack makes no difference: each doubling of ε changes the success rate by {size} "
            f"{where}, and less than {100 * margin:g} points count as none."
        )
    return (
        f"Not decided: each doubling of ε changes the success rate by {size} {where}. A rise and a fall are both "
        "compatible with these records."
    )


def _reason(effect: Effect, rows: list[dict[str, Any]], doses: np.ndarray, margin: float) -> str:
    if len(doses) < FEWEST_AMPLITUDES and rows:
        return f"The cohorts share {len(doses)} amplitudes; at least {FEWEST_AMPLITUDES} are needed."
    parts = [f"{name}: {listed([r['cohort'] for r in rows if r['direction'] == name])}" for name in DIRECTIONS]
    said = [part for part in parts if not part.endswith("none")]
    grid = f"Judged at {len(doses)} amplitudes from {doses[0]:g} to {doses[-1]:g}. " if len(doses) else ""
    interval = ""
    if effect.known:
        where = "above" if effect.low > 0 else "below" if effect.high < 0 else "on both sides of"
        flat = -margin < effect.low and effect.high < margin
        span = "whole interval" if where != "on both sides of" else "interval"
        limit = f", within ±{100 * margin:g} percentage points" if flat else ""
        interval = f"The {span} lies {where} 0 (no change){limit}. "
    return f"{interval}{grid}Cohorts {'; '.join(said)}." if said else "No cohort was attacked."


DIRECTIONS = ("rising", "falling", "flat", "undecided", "at ceiling", "at floor", "no data")


def _none_open(rows: list[dict[str, Any]]) -> str:
    stuck = {row["direction"] for row in rows}
    if stuck and stuck <= {"at ceiling"}:
        return "Smaller amplitudes are needed: every cohort is at its ceiling."
    return "Larger amplitudes are needed: no attack succeeded." if stuck and stuck <= {"at floor"} else ""


def _falls(rows: list[dict[str, Any]]) -> tuple[str, ...]:
    """What the falls are: images that a smaller ε misclassified and a larger one did not."""
    falling = [
        f"{row['cohort']} (from {row['rate_from']:.0%} to {row['rate_to']:.0%}, but {row['monotone_rate_to']:.0%} at "
        "this or a smaller ε)"
        for row in rows
        if row["direction"] == "falling"
    ]
    if not falling:
        return ()
    return (
        f"Success falls as ε grows in {listed(falling)}. There the attack fails at large ε: its step is too coarse, or "
        "the gradient vanished. The images are not more robust.",
    )
