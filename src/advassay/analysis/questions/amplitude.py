"""Question 1: does more amplitude mean more success?

The effect is the change of the success rate (at the last iterate, or as the plan reads it) per doubling of ε: the
least-squares slope over log₂ ε, image by image, so that no curve is too steep to count. It is read as recorded. The
monotone reading (misclassified at this or a smaller ε) cannot fall; it shows what a fall is: the ε-balls are nested, so
an attack that does worse with a larger one has failed, and the image has not become safer.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from advassay.analysis.dose_response.thresholds import distinct_doses, misclassified, places_of
from advassay.analysis.interval_text import (
    NOT_DETERMINED,
    TOO_WIDE,
    factor,
    interval_text,
    is_too_wide,
)
from advassay.analysis.packed import Packed
from advassay.analysis.questions.conclusion import (
    Conclusion,
    conclude,
    finite,
    judged,
    listed,
    scope,
    what_it_takes,
)
from advassay.analysis.questions.effects import Effect, Value, joined, mean_by_patient, overall, values_of
from advassay.analysis.questions.evidence import Evidence
from advassay.analysis.questions.image_kinds import kind_of
from advassay.analysis_plan import AnalysisPlan
from advassay.attack_spec import parse_step_size, resolve_step_size
from advassay.success import Reading

PUBLISHED = "More amplitude, more success in 7 of 8 cohorts; X-AO falls instead."
ITERATE: dict[Reading, str] = {"last": "the last iterate", "any": "any iterate"}
"""Iterate reading → where success counts."""
FEWEST_AMPLITUDES = 2
CEILING = 0.98
"""At or above this success rate at every ε (at or below 1 − this) a cohort cannot show any change."""


def amplitude(evidence: Evidence) -> Conclusion:
    """Supported where success rises with ε, contradicted where it falls or is shown flat."""
    plan, doses = evidence.plan, evidence.shared_doses
    rows = [_row(packs[0], doses, plan) for packs in evidence.comparable]
    values = slopes(evidence)
    effect = overall(values, plan.level)
    verdict = judged(effect, plan.margins.amplitude)
    return conclude(
        1,
        effect,
        verdict,
        unit="cohorts",
        rests_on=scope(effect, values[0].name) if values else "",
        needed=what_it_takes(1, effect, plan.level) if effect.known else _none_open(rows, doses),
        effect_unit=f"{POINTS} per doubling of ε",
        title="Amplitude",
        statement="The success rate rises with the amplitude ε.",
        headline=_headline(effect, verdict, values, plan.margins.amplitude),
        estimand=f"change of the success rate at {ITERATE[plan.success]} per doubling of ε",
        test="least-squares slope over log₂ ε per image, clustered by patient; random effects over cohorts "
        "(Paule–Mandel, Hartung–Knapp)",
        reason=_reason(effect, rows, doses, plan.margins.amplitude),
        remarks=_falls(rows, evidence),
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
    free = [packs for packs in evidence.comparable if _row(packs[0], doses, plan)["direction"] not in STUCK]
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


POINTS = " percentage points"


def _headline(effect: Effect, verdict: str, values: list[Value], margin: float) -> str:
    if not effect.known:
        return "Whether stronger attacks succeed more often cannot be judged from these records."
    where = scope(effect, values[0].name)
    if verdict == "contradicted" and effect.high < 0:
        size = interval_text("points", -effect.estimate, -effect.high, -effect.low, POINTS)
        return (
            f"Stronger attacks succeed less often: each doubling of ε lowers the success rate by {size} {where}. A "
            "larger ε allows everything that a smaller one does, so this is a failure of the attack; the images are "
            "not more robust."
        )
    size = interval_text("points", effect.estimate, effect.low, effect.high, POINTS)
    if verdict == "supported":
        return f"Stronger attacks succeed more often: each doubling of ε raises the success rate by {size} {where}."
    if verdict == "contradicted":
        return (
            f"The strength of the attack makes no difference that counts: each doubling of ε changes the success rate "
            f"by {size} {where}, and less than {100 * margin:g} points count as none."
        )
    if is_too_wide("points", effect.low, effect.high):
        return (
            f"Not decided: how far each doubling of ε changes the success rate {where} is {NOT_DETERMINED} "
            f"({TOO_WIDE['points']})."
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
        small = "" if where == "on both sides of" else ": shown, but small"
        limit = f", within ±{100 * margin:g} percentage points{small}" if flat else ""
        interval = f"The {span} lies {where} 0 (no change){limit}. "
    return f"{interval}{grid}Cohorts {'; '.join(said)}." if said else "No cohort was attacked."


DIRECTIONS = ("rising", "falling", "flat", "undecided", "at ceiling", "at floor", "no data")


def _none_open(rows: list[dict[str, Any]], doses: np.ndarray) -> str:
    """What to do where no cohort can show a change."""
    stuck = {row["direction"] for row in rows}
    if len(doses) < FEWEST_AMPLITUDES:
        return f"At least {FEWEST_AMPLITUDES} amplitudes that every cohort is attacked at are needed."
    if stuck and stuck <= {"at ceiling", "no data"} and "at ceiling" in stuck:
        return "Smaller amplitudes are needed: every cohort is at its ceiling."
    if stuck and stuck <= {"at floor", "no data"} and "at floor" in stuck:
        return "Larger amplitudes are needed: hardly any attack succeeded."
    if {"at ceiling", "at floor"} <= stuck:
        return "Amplitudes in between are needed: every cohort is at its ceiling or at its floor."
    return "Images that the network classifies correctly without an attack are needed."


def _falls(rows: list[dict[str, Any]], evidence: Evidence) -> tuple[str, ...]:
    """What the falls are: images that a smaller ε misclassified and a larger one did not, with the evidence."""
    falling = [row for row in rows if row["direction"] == "falling"]
    if not falling:
        return ()
    told = [
        f"{row['cohort']} (from {row['rate_from']:.0%} to {row['rate_to']:.0%}, but {row['monotone_rate_to']:.0%} at "
        "this or a smaller ε)"
        for row in falling
    ]
    return (
        f"Success falls as ε grows in {listed(told)}. There the attack fails at large ε; the images are not more "
        "robust.",
        *(_signs_of_failure(row, evidence) for row in falling),
    )


def _signs_of_failure(row: dict[str, Any], evidence: Evidence) -> str:
    """Step against ball, saturation, the other reading and the other arms of a cohort whose success falls."""
    [pack] = [packs[0] for packs in evidence.comparable if packs[0].header.cohort == row["cohort"]]
    doses, success = evidence.shared_doses, evidence.plan.success
    smallest = float(doses[0])
    step = resolve_step_size(parse_step_size(pack.step_size), smallest) if pack.step_size != "any" else None
    said = [] if step is None else [f"the step is {factor(step / smallest)} times the smallest ε"]
    vanished = max((row.get(f"{name}_share", 0.0) for name in GRADIENT_GONE), default=0.0)
    said.append(f"the gradient had vanished or the loss was saturated in {vanished:.0%} of image × ε")
    if success == "last":
        own, reached, _ = misclassified(pack, "any")
        rate = float(reached[places_of(doses, own)[-1]].mean())
        said.append(f"at the largest ε {rate:.0%} of the images are misclassified at some iterate")
    for arm, packs in evidence.others.items():
        for other in (p for p in packs if p.header.cohort == row["cohort"]):
            found = _row(other, distinct_doses(other)[0], evidence.plan)["direction"]
            said.append(f"in attack arm {arm} success is {IN_WORDS[found]} over its own ε")
    return f"Evidence in {row['cohort']}: {'; '.join(said)}."


GRADIENT_GONE = ("saturated", "zero_gradient")
"""Flags of images whose gradient vanished."""
IN_WORDS = {name: name for name in ("rising", "falling", "flat", "at ceiling", "at floor")} | {
    "at ceiling": "at its ceiling", "at floor": "at its floor", "undecided": "not shown to rise or to fall",
    "no data": "not recorded",
}  # fmt: skip
"""Direction of a cohort → what follows "success is"."""
