"""Question 4: does success drop sharply where the clean confidence exceeds 0.95?

The effect is the ratio of ε50 of the images above the threshold to that of the images below it, each from a curve of
its own: confident images may have another steepness, or another share that never falls. An ε50 beyond the grid bounds
the ratio. Whether the drop is sharp is a second question: a step at the threshold beside a smooth trend in the logit of
the confidence, in one curve, where the two sides' curves differ by a shift alone. Where the attack follows a loss that
saturates, a confident image can resist for a numerical reason alone; the other arms say whether it does.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
from scipy import stats

from advassay.analysis.conclusions.conclusion import (
    Conclusion,
    as_ratio,
    conclude,
    count_of,
    finite,
    in_unit,
    listed,
    scope,
    verdict_of,
    what_it_takes,
)
from advassay.analysis.conclusions.effect_sizes import Effect, Value, joined, overall, told_few_patients, values_of
from advassay.analysis.conclusions.evidence import Evidence, kind_of
from advassay.analysis.conclusions.question import (
    QUESTIONS,
    REFERENCE_STUDY,
    PowerRule,
    Question,
    Specification,
    no_difference,
)
from advassay.analysis.conclusions.study_power import (
    Assumed,
    Design,
    pooled_error,
    shown,
    smallest_error,
    variance_of_log_epsilon50,
)
from advassay.analysis.dose_response.epsilon50 import REJECTED, Epsilon50, by_bracket, epsilon50_of
from advassay.analysis.dose_response.log_logistic import fit
from advassay.analysis.dose_response.shift import shift_of
from advassay.analysis.dose_response.thresholds import Thresholds, thresholds
from advassay.analysis.interval_text import factor, interval_text, is_too_wide, one_sided
from advassay.analysis.intervals import FEWEST_EFFECTIVE, effective_patients
from advassay.analysis.outcome_arrays import OutcomeArrays
from advassay.spec.analysis_plan import AnalysisPlan

TITLE = "Confidence"
PUBLISHED = "Success drops sharply where the clean confidence exceeds 0.95 (most of all in H-OV and H-OV-TH)."
FEWEST = 5
"""Images on either side of the threshold below which a cohort says nothing about it."""
_EFFECT = 4
"""Place of the first covariate in the curve's parameters."""
_SHAPE_PARAMETERS = 3
_MOST_CONFIDENT = 1 - 1e-7


def judge_confidence(evidence: Evidence) -> Conclusion:
    """Supported where images above the threshold need more amplitude, contradicted where they need less or the same."""
    plan = evidence.plan
    shifts = {id(pack): confidence_shift(pack, evidence) for packs in evidence.main for pack in packs}
    values = joined(values_of(evidence.main, lambda pack: shifts[id(pack)]), evidence.main)
    effect = overall(values, plan.level)
    verdict = verdict_of(effect, float(np.log(plan.margins.confidence)))
    rows = [_row(packs[0], shifts[id(packs[0])], plan) for packs in evidence.main]
    names = values[0].name if values else ""
    return conclude(
        4,
        effect,
        verdict,
        kind="ratio",
        unit="cohorts",
        rests_on=scope(effect, names),
        needed=_needed(effect, plan),
        title=TITLE,
        statement=f"Images with a clean confidence above {plan.confidence_threshold:g} need more amplitude.",
        headline=_headline(effect, verdict, plan, names),
        estimand=f"ratio of ε50, clean confidence above {plan.confidence_threshold:g} / at most that",
        test="difference of ln ε50 above and below the threshold, a log-logistic curve each, clustered by patient "
        "where known; random effects over cohorts (the wider of Hartung–Knapp and equal weights)",
        reason=_reason(effect, rows, plan),
        remarks=(*told_few_patients(evidence.main), *_sharp(evidence), *_unsaturated(evidence), *_other_arms(evidence)),
        margin=plan.margins.confidence,
        published=PUBLISHED,
        alternatives=(
            "With a loss that saturates, the gradient of a confident image vanishes: compare attack arms with another "
            "loss.",
            "Confidence and the distance to the decision boundary go together; neither causes the other.",
        ),
        details=tuple(rows),
    )


def sides(
    pack: OutcomeArrays, evidence: Evidence, images: np.ndarray | None = None
) -> tuple[Epsilon50, Epsilon50] | None:
    """ε50 of the images above and of those at most at the threshold; None with fewer than 5 on either side.

    `images` (image,) bool restricts.
    """
    plan = evidence.plan
    above = pack.clean_confidence > plan.confidence_threshold
    parts = [side if images is None else side & images for side in (above, ~above)]
    data = [thresholds(pack, plan.success, plan.dose, side) for side in parts]
    if min(one.images for one in data) < FEWEST:
        return None
    high, low = (epsilon50_of(one, plan.level) for one in data)
    return (by_bracket(high), by_bracket(low)) if evidence.estimator == "bracket" else (high, low)


def confidence_shift(pack: OutcomeArrays, evidence: Evidence, images: np.ndarray | None = None) -> Value | None:
    """ln of the ratio of ε50 above and below the threshold; a bound where one of the two lies beyond the grid.

    None with fewer than 5 images on either side, and where nothing is known of the ratio (`shift_of`).
    """
    found = sides(pack, evidence, images)
    shift = shift_of(*found) if found else None
    if found is None or shift is None:
        return None
    return Value(
        (pack.header.cohort,), kind_of(pack.header.image_type), shift.value, shift.variance, shift.freedom,
        sum(side.data.images for side in found), shift.bound,
    )  # fmt: skip


def step_beside_trend(pack: OutcomeArrays, plan: AnalysisPlan) -> Value | None:
    """Step of ln ε at the threshold beside a smooth trend in logit confidence, in one curve for all images.

    None with fewer than 5 images on either side.
    """
    data = thresholds(pack, plan.success, plan.dose)
    above, smooth = _covariates(pack, data, plan)
    if min(above.sum(), (~above).sum()) < FEWEST:
        return None
    curve = fit(data, np.column_stack([above.astype(float), smooth]))
    gradient = np.zeros(len(curve.theta))
    gradient[_EFFECT] = 1
    effective = effective_patients(data.patients)
    variance = curve.variance(gradient) if effective >= FEWEST_EFFECTIVE else float("nan")
    return Value(
        (pack.header.cohort,), kind_of(pack.header.image_type), float(curve.theta[_EFFECT]), variance,
        max(effective - 1, 1.0), data.images,
    )  # fmt: skip


def differ_by_a_shift(pack: OutcomeArrays, plan: AnalysisPlan) -> bool:
    """Whether one curve with a shift fits about as well as a curve on either side of the threshold.

    Likelihood ratio with 3 degrees of freedom: steepness, asymptote, asymmetry (p ≥ 0.01). True with too few images.
    """
    data = thresholds(pack, plan.success, plan.dose)
    above, _ = _covariates(pack, data, plan)
    if min(above.sum(), (~above).sum()) < FEWEST:
        return True
    together = fit(data, above[:, None].astype(float)).log_likelihood
    confident = pack.clean_confidence > plan.confidence_threshold
    apart = sum(fit(thresholds(pack, plan.success, plan.dose, side)).log_likelihood for side in (confident, ~confident))
    return bool(stats.chi2.sf(2 * (apart - together), _SHAPE_PARAMETERS) >= REJECTED)


def _covariates(pack: OutcomeArrays, data: Thresholds, plan: AnalysisPlan) -> tuple[np.ndarray, np.ndarray]:
    """(above the threshold (image,) bool, logit of the confidence, standardised (image,))."""
    value = pack.clean_confidence[data.kept]
    clipped = np.clip(value, 1e-7, _MOST_CONFIDENT)
    logit = np.log(clipped / (1 - clipped))
    spread = float(logit.std()) if len(logit) else 0.0
    return value > plan.confidence_threshold, (logit - logit.mean()) / spread if spread > 0 else np.zeros(len(logit))


def _pooled(evidence: Evidence, packs: tuple[tuple[OutcomeArrays, ...], ...], statistic: Any) -> Effect:
    return overall(joined(values_of(packs, statistic), packs), evidence.plan.level)


def _ratio(effect: Effect) -> str:
    return interval_text("ratio", *in_unit("ratio", effect))


def _headline(effect: Effect, verdict: str, plan: AnalysisPlan, names: str) -> str:
    at = f"{plan.confidence_threshold:g}"
    if not effect.known and effect.k:
        return (
            f"Whether confident images resist more cannot be judged: in too many cohorts half of the images above {at} "
            "or half of those below are misclassified at the smallest ε already, or not at the largest."
        )
    if not effect.known:
        return (
            f"Whether confident images resist more cannot be judged: too few images lie above {at}, or too few below."
        )
    where = scope(effect, names)
    estimate, low, high = in_unit("ratio", effect)
    times = interval_text("ratio", estimate, low, high, " times the amplitude of the others")
    end = one_sided("ratio", low, high)
    if verdict == "supported":
        return (
            f"Images that the network classifies with a confidence above {at} need {times} "
            f"{where}, before half of them are misclassified."
        )
    if verdict == "contradicted" and effect.high < 0:
        size = interval_text("ratio", estimate, low, high, " times as much")
        return f"Images with a confidence above {at} need less amplitude than the others, not more: {size} {where}."
    if verdict == "contradicted":
        return f"Confidence makes no difference that counts: images with a confidence above {at} need {times} {where}."
    if is_too_wide("ratio", low, high) and not end:
        return (
            f"Not decided: how many times the amplitude of the others images with a confidence above {at} need {where} "
            f"is {times}."
        )
    known = "all that is shown" if end else "the best estimate"
    return (
        f"Not decided: {known} is that images with a confidence above {at} need {times} "
        f"{where}; more and less are both compatible with these records."
    )


def _reason(effect: Effect, rows: list[dict[str, Any]], plan: AnalysisPlan) -> str:
    aside = _aside(rows)
    if not effect.known:
        return f"There are too few cohorts to compare.{aside}" if effect.k else f"Nothing can be compared.{aside}"
    margin = float(np.log(plan.margins.confidence))
    where = "above" if effect.low > 0 else "below" if effect.high < 0 else "on both sides of"
    within = -margin < effect.low and effect.high < margin
    limit = plan.margins.confidence
    small = "which counts as none" if where == "on both sides of" else "so the difference is shown, but small"
    equal = f" and within 1/{limit:g} to {limit:g}, {small}" if within else ""
    span = "whole interval" if where != "on both sides of" else "interval"
    return f"The {span} of the ratio lies {where} 1 (no difference){equal}.{aside}"


def _aside(rows: list[dict[str, Any]]) -> str:
    """Cohorts that say nothing, or only that the ratio lies beyond a bound."""
    few = [row["cohort"] for row in rows if min(row["n_above"], row["n_below"]) < FEWEST]
    silent = [row["cohort"] for row in rows if row["cohort"] not in few and row["bound"] == "nothing"]
    bounded = [
        f"{row['cohort']} ({row['bound']} {factor(row['low'] or row['high'])})"
        for row in rows
        if row["bound"] in ("at least", "at most") and (row["low"] or row["high"])
    ]
    told = f" Fewer than {FEWEST} images on one side of the threshold: {listed(few)}." if few else ""
    if silent:
        told += (
            f" Left out, because nothing is known of ε50 on one side or both lie beyond the same end: {listed(silent)}."
        )
    return told + (
        f" Known only as a bound, because one ε50 lies beyond the grid: {listed(bounded)}." if bounded else ""
    )


def _needed(effect: Effect, plan: AnalysisPlan) -> str:
    if not effect.known and effect.k:
        return "Amplitudes below and above ε50 on both sides of the threshold, or more cohorts, are needed."
    if not effect.known:
        at = f"{plan.confidence_threshold:g}"
        return f"A cohort with at least {FEWEST} correctly classified images above {at} and as many below is needed."
    return what_it_takes("ratio", effect, plan.level, margin=float(np.log(plan.margins.confidence)))


def _sharp(evidence: Evidence) -> tuple[str, ...]:
    """Whether a step at the threshold is left once a smooth trend in confidence is allowed for."""
    effect = _pooled(evidence, evidence.main, partial(step_beside_trend, plan=evidence.plan))
    if not effect.known:
        return ()
    at = f"{evidence.plan.confidence_threshold:g}"
    apart = [packs[0].header.cohort for packs in evidence.main if not differ_by_a_shift(packs[0], evidence.plan)]
    if apart:
        return (
            f"Whether the change at {at} is sharp is not told: in {listed(apart)} the curves above and below differ in "
            "more than a shift (in steepness, or in the share that never falls).",
        )
    if effect.low > 0:
        return (
            f"The change at {at} is sharp: beyond a smooth trend with confidence a step remains, ratio "
            f"{_ratio(effect)}.",
        )
    if effect.high < 0:
        return (
            f"There is no sharp drop at {at}: beyond a smooth trend with confidence the step goes the other way, "
            f"ratio {_ratio(effect)}.",
        )
    return (
        f"A sharp change at {at} is not shown: beyond a smooth trend with confidence the step is {_ratio(effect)}.",
    )


def _unsaturated(evidence: Evidence) -> tuple[str, ...]:
    """The same without the images whose gradient vanished."""
    suspects = sum(int(packs[0].suspect.sum()) for packs in evidence.main)
    if not suspects:
        return ("No image has a vanished gradient (saturated loss).",) if evidence.main else ()
    effect = _pooled(evidence, evidence.main, lambda pack: confidence_shift(pack, evidence, images=~pack.suspect))
    told = _ratio(effect) if effect.known else "not estimable"
    return (f"Without {count_of(suspects, 'images')} whose gradient vanished (saturated loss) the ratio is {told}.",)


def _other_arms(evidence: Evidence) -> tuple[str, ...]:
    """The same in every other arm, named with its loss."""
    told = []
    for arm, packs in evidence.others.items():
        effect = _pooled(evidence, tuple((p,) for p in packs), partial(confidence_shift, evidence=evidence))
        if effect.known and packs:
            told.append(
                f"In attack arm {arm} ({packs[0].header.attack.get('loss')} loss) the ratio is {_ratio(effect)}."
            )
    return tuple(told)


def _row(pack: OutcomeArrays, value: Value | None, plan: AnalysisPlan) -> dict[str, Any]:
    header, data = pack.header, thresholds(pack, plan.success, plan.dose)
    above, _ = _covariates(pack, data, plan)
    low, high = value.interval(plan.level) if value else (float("nan"),) * 2
    ratio = as_ratio(value.value) if value is not None and value.bound == "value" else None
    last, doses = data.category < len(data.doses), data.doses
    return {
        "cohort": header.cohort, "image_type": header.image_type, "arm": header.arm, "loss": header.attack.get("loss"),
        "update": header.attack.get("update"), "ratio": finite(ratio),
        "low": finite(as_ratio(low)) or None, "high": finite(as_ratio(high)),
        "bound": value.bound if value else "nothing", "n_above": int(above.sum()),
        "n_below": int((~above).sum()), "largest_epsilon": float(doses[-1]) if len(doses) else None,
        "rate_above": float(last[above].mean()) if above.any() else None,
        "rate_below": float(last[~above].mean()) if (~above).any() else None,
        "saturated": int(pack.suspect[data.kept].sum()), "n": data.images, "patients": data.n_patients,
    }  # fmt: skip


def _specifications(evidence: Evidence) -> Iterator[Specification]:
    effect = _pooled(evidence, evidence.main, lambda pack: confidence_shift(pack, evidence))
    yield Specification(effect, verdict_of(effect, float(np.log(evidence.plan.margins.confidence))))


def _chance(design: Design, assumed: Assumed, plan: AnalysisPlan) -> float:
    if design.k < 1:
        return 0.0
    share = assumed.share_confident
    # Two groups of n · share and n · (1 − share) images against one of n.
    variance = variance_of_log_epsilon50(design, assumed) / (share * (1 - share))
    error, freedom = pooled_error(variance, assumed.between_ratios, design.k)
    freedom = freedom if design.k > 1 else design.effective - 1
    ratio = float(np.log(assumed.ratio_of_confidence))
    return shown(ratio, error, freedom, plan.level, smallest_error(variance, design.k))


QUESTIONS.register(
    Question(
        name="confidence",
        number=4,
        title=TITLE,
        kind="ratio",
        effect_axis="Ratio of ε50, confident images / others",
        judge=judge_confidence,
        smallest_effect=no_difference,
        specifications=_specifications,
        power=PowerRule(
            "supported",
            _chance,
            lambda assumed, _: f"confident images need {assumed.ratio_of_confidence:g} times the amplitude",
        ),
        estimators=("curve", "bracket"),
        family=REFERENCE_STUDY,
    )
)
