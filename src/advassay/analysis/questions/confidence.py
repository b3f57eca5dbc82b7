"""Question 4: does success drop sharply where the clean confidence exceeds 0.95?

The effect is the ratio of ε50 of the images above the threshold to that of the images below it: one shift of ln ε in
the log-logistic model over all ε, so that no amplitude has to be chosen. Whether the drop is sharp is a second
question: a step at the threshold beside a smooth trend in the logit of the confidence. Where the attack follows a loss
that saturates, a confident image can resist for a numerical reason alone; the other arms say whether it does.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from advassay.analysis.dose_response.log_logistic import LogLogistic, fit
from advassay.analysis.dose_response.thresholds import Thresholds, thresholds
from advassay.analysis.packed import Packed
from advassay.analysis.questions.conclusion import (
    Conclusion,
    count_of,
    factor,
    finite,
    judged,
    listed,
    scope,
    what_it_takes,
)
from advassay.analysis.questions.effects import Effect, Value, joined, overall, values_of
from advassay.analysis.questions.evidence import Evidence
from advassay.analysis.questions.image_kinds import kind_of
from advassay.analysis_plan import AnalysisPlan

PUBLISHED = "Success drops sharply where the clean confidence exceeds 0.95 (most of all in H-OV and H-OV-TH)."
FEWEST = 5
"""Images on either side of the threshold below which a cohort says nothing about it."""
SUSPECT = ("saturated", "zero_gradient")
"""Flags of images whose gradient vanished: they resist for a numerical reason."""
_EFFECT = 4
"""Place of the first covariate in the curve's parameters."""
_MOST_CONFIDENT = 1 - 1e-7


def confidence(evidence: Evidence) -> Conclusion:
    """Supported where images above the threshold need more amplitude, contradicted where they need less or the same."""
    plan = evidence.plan
    shifts = {id(pack): confidence_shift(pack, plan) for packs in evidence.main for pack in packs}
    values = joined(values_of(evidence.main, lambda pack: shifts[id(pack)]), evidence.main)
    effect = overall(values, plan.level)
    verdict = judged(effect, float(np.log(plan.margins.confidence)))
    rows = [_row(packs[0], shifts[id(packs[0])], plan) for packs in evidence.main]
    ratio, low, high = (float(np.exp(x)) for x in (effect.estimate, effect.low, effect.high))
    names = values[0].name if values else ""
    return Conclusion(
        number=4,
        title="Confidence",
        statement=f"Images with a clean confidence above {plan.confidence_threshold:g} need more amplitude.",
        headline=_headline(effect, verdict, plan, names),
        estimand=f"ratio of ε50, clean confidence above {plan.confidence_threshold:g} / at most that",
        estimate=finite(ratio),
        low=finite(low) or None,
        high=finite(high),
        effect=f"ratio {factor(ratio)} [{factor(low)}, {factor(high)}]" if effect.known else "no estimate",
        prediction_low=finite(np.exp(effect.prediction[0])) if effect.prediction else None,
        prediction_high=finite(np.exp(effect.prediction[1])) if effect.prediction else None,
        i2=effect.i2 if effect.k > 1 else None,
        test="shift of ln ε in the log-logistic model over all ε, clustered by patient where known; random effects "
        "over cohorts (Paule–Mandel, Hartung–Knapp)",
        p=effect.p,
        n=effect.k,
        unit="cohorts",
        images=effect.images,
        verdict=verdict,
        breadth=scope(effect, names) if verdict != "undecided" else "",
        reason=_reason(effect, rows, plan),
        needed=_needed(effect, verdict, plan),
        remarks=(*_sharp(evidence), *_unsaturated(evidence), *_other_arms(evidence)),
        margin=plan.margins.confidence,
        published=PUBLISHED,
        alternatives=(
            "With a loss that saturates, the gradient of a confident image vanishes: compare attack arms with another "
            "loss.",
            "Confidence and the distance to the decision boundary go together; neither causes the other.",
        ),
        details=tuple(rows),
    )


def confidence_shift(
    pack: Packed, plan: AnalysisPlan, images: np.ndarray | None = None, *, trend: bool = False
) -> Value | None:
    """ln of the ratio of ε50 above and below the threshold; `trend` adds a smooth trend in logit confidence beside it.

    None with fewer than 5 images on either side. `images` (image,) bool restricts.
    """
    data = thresholds(pack, plan.success, plan.dose, images)
    above, smooth = _covariates(pack, data, plan)
    if min(above.sum(), (~above).sum()) < FEWEST:
        return None
    columns = [above.astype(float), smooth] if trend else [above.astype(float)]
    curve = fit(data, np.column_stack(columns))
    return _value(pack, data, curve)


def _value(pack: Packed, data: Thresholds, curve: LogLogistic) -> Value:
    gradient = np.zeros(len(curve.theta))
    gradient[_EFFECT] = 1
    return Value(
        (pack.header.cohort,), kind_of(pack.header.image_type), float(curve.theta[_EFFECT]), curve.variance(gradient),
        max(data.n_patients - 1, 1), data.images,
    )  # fmt: skip


def _covariates(pack: Packed, data: Thresholds, plan: AnalysisPlan) -> tuple[np.ndarray, np.ndarray]:
    """(above the threshold (image,) bool, logit of the confidence, standardised (image,))."""
    value = pack.clean_confidence[data.kept]
    clipped = np.clip(value, 1e-7, _MOST_CONFIDENT)
    logit = np.log(clipped / (1 - clipped))
    spread = float(logit.std()) if len(logit) else 0.0
    return value > plan.confidence_threshold, (logit - logit.mean()) / spread if spread > 0 else np.zeros(len(logit))


def _pooled(evidence: Evidence, packs: tuple[tuple[Packed, ...], ...], statistic: Any) -> Effect:
    return overall(joined(values_of(packs, statistic), packs), evidence.plan.level)


def _ratio(effect: Effect) -> str:
    middle, low, high = (factor(float(np.exp(x))) for x in (effect.estimate, effect.low, effect.high))
    return f"{middle} [{low}, {high}]"


def _headline(effect: Effect, verdict: str, plan: AnalysisPlan, names: str) -> str:
    at = f"{plan.confidence_threshold:g}"
    if not effect.known:
        return f"Whether confident images resist more cannot be judged: too few images lie on either side of {at}."
    where = scope(effect, names)
    size = _ratio(effect)
    if verdict == "supported":
        return (
            f"Images that the network classifies with a confidence above {at} need {size} times the amplitude of the "
            f"others {where}, before half of them are misclassified."
        )
    if verdict == "contradicted" and effect.high < 0:
        return (
            f"Images with a confidence above {at} need less amplitude than the others, not more: {size} times as much "
            f"{where}."
        )
    if verdict == "contradicted":
        return (
            f"Confidence makes no difference that counts: images with a confidence above {at} need {size} times the "
            f"amplitude of the others {where}."
        )
    return (
        f"Not decided: the best estimate is that images with a confidence above {at} need {size} times the amplitude "
        f"of the others {where}; more and less are both compatible with these records."
    )


def _reason(effect: Effect, rows: list[dict[str, Any]], plan: AnalysisPlan) -> str:
    few = [row["cohort"] for row in rows if row["ratio"] is None]
    aside = f" Fewer than {FEWEST} images on one side of the threshold: {listed(few)}." if few else ""
    if not effect.known:
        return f"There are too few images to compare.{aside}"
    margin = float(np.log(plan.margins.confidence))
    where = "above" if effect.low > 0 else "below" if effect.high < 0 else "on both sides of"
    within = -margin < effect.low and effect.high < margin
    equal = (
        f" and within 1/{plan.margins.confidence:g} to {plan.margins.confidence:g}, which counts as none"
        if within
        else ""
    )
    span = "whole interval" if where != "on both sides of" else "interval"
    return f"The {span} of the ratio lies {where} 1 (no difference){equal}.{aside}"


def _needed(effect: Effect, verdict: str, plan: AnalysisPlan) -> str:
    if verdict != "undecided":
        return ""
    if not effect.known:
        return (
            f"At least {FEWEST} correctly classified images on either side of {plan.confidence_threshold:g} are needed."
        )
    return what_it_takes(effect)


def _sharp(evidence: Evidence) -> tuple[str, ...]:
    """Whether a step at the threshold is left once a smooth trend in confidence is allowed for."""
    effect = _pooled(evidence, evidence.main, partial(confidence_shift, plan=evidence.plan, trend=True))
    if not effect.known:
        return ()
    at = f"{evidence.plan.confidence_threshold:g}"
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
    suspects = sum(int(suspect_images(packs[0]).sum()) for packs in evidence.main)
    if not suspects:
        return ("No image has a vanished gradient (saturated loss).",) if evidence.main else ()
    plan = evidence.plan
    effect = _pooled(evidence, evidence.main, lambda pack: confidence_shift(pack, plan, images=~suspect_images(pack)))
    told = _ratio(effect) if effect.known else "not estimable"
    return (f"Without {count_of(suspects, 'images')} whose gradient vanished (saturated loss) the ratio is {told}.",)


def suspect_images(pack: Packed) -> np.ndarray:
    """(image,) bool: at some ε the gradient vanished or the loss was saturated."""
    marks = [pack.flags[name].any(axis=0) for name in SUSPECT if name in pack.flags]
    return np.logical_or.reduce(marks) if marks else np.zeros(len(pack.labels), bool)


def _other_arms(evidence: Evidence) -> tuple[str, ...]:
    """The same in every other arm, named with its loss."""
    told = []
    for arm, packs in evidence.others.items():
        effect = _pooled(evidence, tuple((p,) for p in packs), partial(confidence_shift, plan=evidence.plan))
        if effect.known and packs:
            told.append(
                f"In attack arm {arm} ({packs[0].header.attack.get('loss')} loss) the ratio is {_ratio(effect)}."
            )
    return tuple(told)


def _row(pack: Packed, value: Value | None, plan: AnalysisPlan) -> dict[str, Any]:
    header, data = pack.header, thresholds(pack, plan.success, plan.dose)
    above, _ = _covariates(pack, data, plan)
    low, high = value.interval(plan.level) if value else (float("nan"),) * 2
    last, doses = data.category < len(data.doses), data.doses
    return {
        "cohort": header.cohort, "image_type": header.image_type, "arm": header.arm, "loss": header.attack.get("loss"),
        "update": header.attack.get("update"), "ratio": finite(np.exp(value.value)) if value else None,
        "low": finite(np.exp(low)), "high": finite(np.exp(high)), "n_above": int(above.sum()),
        "n_below": int((~above).sum()), "largest_epsilon": float(doses[-1]) if len(doses) else None,
        "rate_above": float(last[above].mean()) if above.any() else None,
        "rate_below": float(last[~above].mean()) if (~above).any() else None,
        "saturated": int(suspect_images(pack)[data.kept].sum()), "n": data.images, "patients": data.n_patients,
    }  # fmt: skip
