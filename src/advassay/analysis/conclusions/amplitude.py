"""Question 1: does more amplitude mean more success?

The effect is the change of the success rate (at the last iterate, or as the plan reads it) per doubling of ε: the
least-squares slope over log₂ ε, image by image, so that no curve is too steep to count. A level slope is no proof of
sameness: success may rise and fall again, or have no room to change. Flat is therefore what changes by less than the
margin over the whole range and between any two amplitudes, with success near neither end. It is read as recorded. The
monotone reading (misclassified at this or a smaller ε) cannot fall; it shows what a fall is: the ε-balls are nested, so
an attack that does worse with a larger one has failed, and the image has not become safer.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from advassay.analysis.conclusions.conclusion import (
    Conclusion,
    Verdict,
    conclude,
    finite,
    listed,
    scope,
    verdict_of,
    what_it_takes,
)
from advassay.analysis.conclusions.effect_sizes import (
    Effect,
    Value,
    joined,
    mean_by_patient,
    overall,
    told_few_patients,
    values_of,
)
from advassay.analysis.conclusions.evidence import Evidence, kind_of
from advassay.analysis.conclusions.question import (
    QUESTIONS,
    REFERENCE_STUDY,
    PowerRule,
    Question,
    Specification,
)
from advassay.analysis.conclusions.study_power import Assumed, Design, pooled_error, shown, smallest_error
from advassay.analysis.dose_response.thresholds import distinct_doses, misclassified, places_of
from advassay.analysis.interval_text import (
    NOT_DETERMINED,
    TOO_WIDE,
    factor,
    interval_text,
    is_too_wide,
)
from advassay.analysis.outcome_arrays import GRADIENT_GONE, OutcomeArrays
from advassay.spec.analysis_plan import AnalysisPlan
from advassay.spec.attack_spec import parse_step_size, resolve_step_size
from advassay.success import Reading

TITLE = "Amplitude"
PUBLISHED = "More amplitude, more success in 7 of 8 cohorts; X-AO falls instead."
ITERATE: dict[Reading, str] = {"last": "the last iterate", "any": "any iterate"}
"""Iterate reading → where success counts."""
FEWEST_AMPLITUDES = 2
CEILING = 0.98
"""At or above this success rate at every ε (at or below 1 − this) a cohort cannot show any change."""


def judge_amplitude(evidence: Evidence) -> Conclusion:
    """Supported where success rises with ε, contradicted where it falls or is shown flat."""
    plan, doses = evidence.plan, evidence.shared_doses
    rows = [_row(packs[0], doses, plan) for packs in evidence.comparable]
    values = slopes(evidence)
    effect = overall(values, plan.level)
    flat = flatness(evidence, effect)
    verdict = amplitude_verdict(effect, flat)
    margin = plan.margins.amplitude
    return conclude(
        1,
        effect,
        verdict,
        kind="points",
        unit="cohorts",
        rests_on=scope(effect, values[0].name) if values else "",
        needed=_needed(effect, plan, doses, flat) if effect.known else _none_open(rows, doses),
        effect_unit=f"{POINTS} per doubling of ε",
        title=TITLE,
        statement="The success rate rises with the amplitude ε.",
        headline=_headline(effect, verdict, values, margin, flat),
        estimand=f"change of the success rate at {ITERATE[plan.success]} per doubling of ε",
        test="least-squares slope over log₂ ε per image, clustered by patient where known; random effects over cohorts "
        "(Paule–Mandel, Hartung–Knapp); flat where the slope over the whole range and the difference of any two "
        "amplitudes lie within ±margin",
        reason=_reason(effect, rows, doses, margin, flat),
        remarks=(*told_few_patients(evidence.main), *_falls(rows, evidence)),
        margin=margin,
        published=PUBLISHED,
        alternatives=(
            "With a fixed coarse step a larger ε may look no stronger: compare attack arms whose step is a share of ε.",
        ),
        details=tuple(rows),
    )


NEAR = 0.1
"""A success rate above 1 − this, or below this, leaves too little room for a change to say that there is none."""


@dataclass(frozen=True)
class Flatness:
    """What is known of a success rate that is shown neither to rise nor to fall.

    range       doublings of ε from the smallest to the largest
    level       the change over the whole range, as the slope has it, lies within the margin
    difference  of the two amplitudes that differ most, with its interval, pooled over cohorts
    room        every cohort's mean success rate is shown to lie between NEAR and 1 − NEAR
    same        the differences of all pairs of amplitudes lie within the margin
    """

    range: float
    level: bool
    difference: Effect
    room: bool
    same: bool

    @property
    def shown(self) -> bool:
        """Whether success is shown to be flat."""
        return self.level and self.same and self.room

    def humped(self, margin: float) -> bool:
        """Whether two amplitudes are shown to differ beyond the margin."""
        low = _as_size(self.difference)[1]
        return self.difference.known and low > margin


def flatness(evidence: Evidence, effect: Effect) -> Flatness | None:
    """Whether success is the same at all amplitudes; None where it is shown to rise or to fall, or nothing is known."""
    plan, doses, margin = evidence.plan, evidence.shared_doses, evidence.plan.margins.amplitude
    if not effect.known or verdict_of(effect) != "undecided" or len(doses) < FEWEST_AMPLITUDES:
        return None
    doublings = float(np.log2(doses[-1] / doses[0]))
    level = _within(doublings * effect.low, doublings * effect.high, margin)
    main = evidence.comparable
    pairs = [
        overall(joined(values_of(main, partial(contrast, doses=doses, weights=weights, success=plan.success)), main),
                plan.level)
        for weights in _pairs(len(doses))
    ]  # fmt: skip
    same = all(_within(pair.low, pair.high, margin) for pair in pairs)
    room = all(_has_room(packs[0], doses, plan) for packs in main)
    largest = max(pairs, key=lambda pair: abs(pair.estimate) if pair.known else -np.inf)
    return Flatness(doublings, level, largest, room, same)


def amplitude_verdict(effect: Effect, flat: Flatness | None) -> Verdict:
    """Supported above 0, contradicted below it or where success is shown to be the same at all amplitudes."""
    verdict = verdict_of(effect)
    return "contradicted" if verdict == "undecided" and flat is not None and flat.shown else verdict


def _within(low: float, high: float, margin: float) -> bool:
    return -margin < low and high < margin


def _pairs(amplitudes: int) -> list[np.ndarray]:
    """Weights (amplitude,) of the later one less the earlier one, of all pairs."""
    unit = np.eye(amplitudes)
    return [unit[j] - unit[i] for i in range(amplitudes) for j in range(i + 1, amplitudes)]


def _has_room(pack: OutcomeArrays, doses: np.ndarray, plan: AnalysisPlan) -> bool:
    mean = contrast(pack, doses, np.full(len(doses), 1 / len(doses)), plan.success)
    if mean is None:
        return True
    low, high = mean.interval(plan.level)
    return low > NEAR and high < 1 - NEAR


STUCK = ("at ceiling", "at floor", "no data")


def slopes(evidence: Evidence) -> list[Value]:
    """The change per doubling of every independent cohort that can show one: neither at its ceiling nor its floor."""
    plan, doses = evidence.plan, evidence.shared_doses
    free = [packs for packs in evidence.comparable if _row(packs[0], doses, plan)["direction"] not in STUCK]
    return joined(values_of(free, partial(slope, doses=doses, success=plan.success)), free)


def slope(pack: OutcomeArrays, doses: np.ndarray, success: Reading) -> Value | None:
    """Change of success per doubling of ε over `doses`; None with fewer than two of them or no image."""
    if len(doses) < FEWEST_AMPLITUDES:
        return None
    x = np.log2(doses)
    return contrast(pack, doses, (x - x.mean()) / ((x - x.mean()) ** 2).sum(), success)


def contrast(pack: OutcomeArrays, doses: np.ndarray, weights: np.ndarray, success: Reading) -> Value | None:
    """Weighted sum of the success rates at `doses` (dose,), image by image; None where one is missing, or no image."""
    own, fallen, patients = misclassified(pack, success)
    at = places_of(doses, own)
    if len(at) < len(doses) or not fallen.shape[1]:
        return None
    # An image that falls one amplitude later changes its sum by at most the largest weight.
    mean, variance, groups = mean_by_patient(weights @ fallen[at], patients, float(np.abs(weights).max()))
    header = pack.header
    return Value((header.cohort,), kind_of(header.image_type), mean, variance, max(groups - 1, 1), fallen.shape[1])


def _row(pack: OutcomeArrays, doses: np.ndarray, plan: AnalysisPlan) -> dict[str, Any]:
    """One cohort: its slope as recorded and under the monotone reading, and which way it goes."""
    own, fallen, patients = misclassified(pack, plan.success)
    at = places_of(doses, own)
    rates = fallen[at].mean(axis=1) if fallen.shape[1] and at.size else np.empty(0)
    monotone = np.maximum.accumulate(fallen[at], axis=0).mean(axis=1) if rates.size else rates
    value = slope(pack, doses, plan.success)
    low, high = value.interval(plan.level) if value else (float("nan"),) * 2
    kept = pack.attackable.all(axis=0)
    flags = {f"{name}_share": float(pack.flags[name][:, kept].mean()) for name in pack.flags if kept.any()}
    return {
        "cohort": pack.header.cohort, "image_type": pack.header.image_type, "arm": pack.header.arm,
        "direction": _direction(pack, rates, value, own[at], plan),
        "change_per_doubling": finite(value.value if value else None),
        "low": finite(low), "high": finite(high), "epsilon_from": float(own[at][0]) if at.size else None,
        "epsilon_to": float(own[at][-1]) if at.size else None, "amplitudes": int(at.size),
        "rate_from": finite(rates[0]) if rates.size else None, "rate_to": finite(rates[-1]) if rates.size else None,
        "monotone_rate_to": finite(monotone[-1]) if rates.size else None,
        "lost_again": finite(monotone[-1] - rates[-1]) if rates.size else None,
        "largest_difference": finite(rates.max() - rates.min()) if rates.size else None,
        "n": int(fallen.shape[1]), "patients": len(np.unique(patients)),
    } | flags  # fmt: skip


def _direction(
    pack: OutcomeArrays, rates: np.ndarray, value: Value | None, doses: np.ndarray, plan: AnalysisPlan
) -> str:
    if value is None or not rates.size:
        return "no data"
    if rates.min() >= CEILING:
        return "at ceiling"
    if rates.max() <= 1 - CEILING:
        return "at floor"
    low, high = value.interval(plan.level)
    if low > 0 or high < 0:
        return "rising" if low > 0 else "falling"
    return "flat" if _is_flat(pack, value, doses, plan) else "undecided"


def _is_flat(pack: OutcomeArrays, value: Value, doses: np.ndarray, plan: AnalysisPlan) -> bool:
    """`Flatness.shown` of one cohort."""
    margin, doublings = plan.margins.amplitude, float(np.log2(doses[-1] / doses[0]))
    low, high = value.interval(plan.level)
    if not _within(doublings * low, doublings * high, margin):
        return False
    pairs = (contrast(pack, doses, weights, plan.success) for weights in _pairs(len(doses)))
    same = all(pair is not None and _within(*pair.interval(plan.level), margin) for pair in pairs)
    return same and _has_room(pack, doses, plan)


POINTS = " percentage points"


def _headline(effect: Effect, verdict: str, values: list[Value], margin: float, flat: Flatness | None) -> str:
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
            f"by {size} {where}, no two amplitudes differ by {100 * margin:g} points or more, and less counts as none."
        )
    if is_too_wide("points", effect.low, effect.high):
        return (
            f"Not decided: how far each doubling of ε changes the success rate {where} is {NOT_DETERMINED} "
            f"({TOO_WIDE['points']})."
        )
    if flat is not None and flat.level and not flat.room:
        return (
            f"Not decided: each doubling of ε changes the success rate by {size} {where}, but where success is near 0 "
            "or 100% there is no room for a change, so that a level rate says little."
        )
    if flat is not None and (flat.level or flat.humped(margin)):
        apart = interval_text("points", *_as_size(flat.difference), POINTS)
        return (
            f"Not decided: on average each doubling of ε changes the success rate by {size} {where}, but two "
            f"amplitudes differ by {apart}: success is not shown to be the same at all of them."
        )
    return (
        f"Not decided: each doubling of ε changes the success rate by {size} {where}. A rise and a fall are both "
        "compatible with these records."
    )


def _as_size(difference: Effect) -> tuple[float, float, float]:
    """(estimate, low, high) of a difference, turned so that the estimate is not negative."""
    if difference.estimate >= 0:
        return difference.estimate, difference.low, difference.high
    return -difference.estimate, -difference.high, -difference.low


def _needed(effect: Effect, plan: AnalysisPlan, doses: np.ndarray, flat: Flatness | None) -> str:
    if flat is not None and flat.level and not flat.room:
        return "Amplitudes at which success is near neither 0 nor 100% in every cohort are needed."
    if flat is not None and flat.humped(plan.margins.amplitude):
        return "More amplitudes between those that differ would show where success rises and where it falls."
    doublings = float(np.log2(doses[-1] / doses[0]))
    return what_it_takes("points", effect, plan.level, margin=plan.margins.amplitude / doublings)


def _reason(effect: Effect, rows: list[dict[str, Any]], doses: np.ndarray, margin: float, flat: Flatness | None) -> str:
    if len(doses) < FEWEST_AMPLITUDES and rows:
        return f"The cohorts share {len(doses)} amplitudes; at least {FEWEST_AMPLITUDES} are needed."
    parts = [f"{name}: {listed([r['cohort'] for r in rows if r['direction'] == name])}" for name in DIRECTIONS]
    said = [part for part in parts if not part.endswith("none")]
    grid = f"Judged at {len(doses)} amplitudes from {doses[0]:g} to {doses[-1]:g}. " if len(doses) else ""
    interval = ""
    if effect.known:
        where = "above" if effect.low > 0 else "below" if effect.high < 0 else "on both sides of"
        span = "whole interval" if where != "on both sides of" else "interval"
        limit = ""
        if flat is not None and flat.difference.known:
            beyond = "within" if flat.level else "not within"
            limit = (
                f"; over the whole range ({flat.range:.1f} doublings) it lies {beyond} ±{100 * margin:g} percentage "
                "points, and the two amplitudes that differ most differ by "
                f"{interval_text('points', *_as_size(flat.difference), ' points')}"
            )
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
    margin = evidence.plan.margins.amplitude
    falling = [row for row in rows if row["direction"] == "falling" or (row["lost_again"] or 0.0) > margin]
    if not falling:
        return ()
    told = [
        f"{row['cohort']} (from {row['rate_from']:.0%} to {row['rate_to']:.0%}, but {row['monotone_rate_to']:.0%} at "
        "this or a smaller ε)"
        for row in falling
    ]
    return (
        f"Success is lost again as ε grows in {listed(told)}. There the attack fails at large ε; the images are not "
        "more robust.",
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


IN_WORDS = {name: name for name in ("rising", "falling", "flat", "at ceiling", "at floor")} | {
    "at ceiling": "at its ceiling", "at floor": "at its floor", "undecided": "not shown to rise or to fall",
    "no data": "not recorded",
}  # fmt: skip
"""Direction of a cohort → what follows "success is"."""


def _specifications(evidence: Evidence) -> Iterator[Specification]:
    """One answer: it depends on the iterate reading alone, since the monotone dose reading cannot fall."""
    effect = overall(slopes(evidence), evidence.plan.level)
    yield Specification(effect, amplitude_verdict(effect, flatness(evidence, effect)))


def _chance(design: Design, assumed: Assumed, plan: AnalysisPlan) -> float:
    x = np.log2(design.doses)
    if len(x) < FEWEST_AMPLITUDES or design.k < 1:
        return 0.0
    weights = (x - x.mean()) / ((x - x.mean()) ** 2).sum()
    # Largest variance of a slope read off one image: as likely as not to be misclassified at each amplitude at once.
    variance = float(np.abs(weights).sum() / 2) ** 2 / 4 / design.effective
    error, freedom = pooled_error(variance, assumed.between_slopes, design.k)
    freedom = freedom if design.k > 1 else design.effective - 1
    return shown(assumed.change_per_doubling, error, freedom, plan.level, smallest_error(variance, design.k))


QUESTIONS.register(
    Question(
        name="amplitude",
        number=1,
        title=TITLE,
        kind="points",
        effect_axis="Change of success per doubling of ε, percentage points",
        judge=judge_amplitude,
        smallest_effect=lambda margin: (
            f"changes wholly within ±{100 * margin:g} percentage points, over all amplitudes and between any two, "
            "count as none, unless the interval excludes 0"
        ),
        specifications=_specifications,
        power=PowerRule(
            "supported",
            _chance,
            lambda assumed, _: f"success changes by {100 * assumed.change_per_doubling:g} points per doubling of ε",
        ),
        family=REFERENCE_STUDY,
    )
)
