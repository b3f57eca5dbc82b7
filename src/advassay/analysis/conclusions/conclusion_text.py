"""Conclusions and the analysis plan as text: the same on the page, in Markdown and on the command line."""

from __future__ import annotations

from typing import Any

from advassay.analysis.conclusions.conclusion import Conclusion, count_of
from advassay.analysis.conclusions.question import question_of
from advassay.analysis.interval_text import is_too_wide, written
from advassay.records.store_reader import Records
from advassay.spec.analysis_plan import AnalysisPlan
from advassay.store_documents import AnalysisDocument, StatedPlan

PLANNED = {
    True: "planned before the first attack",
    False: "planned or changed after attacks had begun, so not pre-specified",
    None: "not pre-specified: the store holds no analysis plan, and the defaults were used",
}

SUCCESS = {"last": "success at the last iteration", "any": "success at any iteration"}
DOSE = {
    "monotone": "an image counts from the smallest ε that misclassifies it",
    "as recorded": "an image counts from the ε above which every attack misclassifies it",
}


def readings(plan: AnalysisPlan) -> str:
    """The iterate reading and the dose reading of a plan in words."""
    return f"{SUCCESS[plan.success]}; {DOSE[plan.dose]}"


def basis(one: Conclusion) -> str:
    """What the effect rests on and what a new cohort would show, e.g. "Based on 8 cohorts with 762 images."."""
    if not one.images:
        return ""
    each = " (each counted once for every network)" if one.unit == "networks" and one.n > 1 else ""
    text = f"Based on {count_of(one.n, one.unit)} with {count_of(one.images, 'images')}{each}."
    low, high, question = one.prediction_low, one.prediction_high, question_of(one.number)
    if low is None or high is None:
        return text
    kind = question.kind
    if is_too_wide(kind, low, high):
        return f"{text} These are too few to say what a new cohort would show."
    what = "a ratio between" if kind == "ratio" else "a change in percentage points between"
    return f"{text} {question.new_unit} {what} {written(kind, low)} and {written(kind, high)} is expected."


def correction(one: Conclusion) -> str:
    """What is left of the verdict after Holm's correction; empty where nothing changes."""
    if one.verdict_holm is None or one.verdict_holm == one.verdict:
        return ""
    return f"After correction for testing several questions (Holm) the verdict is: {one.verdict_holm}."


def statistics_lines(one: Conclusion) -> list[tuple[str, str]]:
    """(label, text) of everything the verdict rests on; lines without content are left out."""
    lines = {
        "Quantity": one.estimand,
        "Effect": f"{one.effect}, {100 * one.level:g}% confidence interval in brackets"
        if one.estimate is not None
        else one.effect,
        "Between cohorts": ""
        if one.i2 is None or one.estimate is None
        else f"I² = {100 * one.i2:.0f}% of the spread is between cohorts",
        "p value": _p_value(one),
        "Why": one.reason,
        "Smallest effect": _margin(one),
        "Method": one.test,
        "Judged in": judged_in(one),
        "Further results": " ".join(one.remarks),
        "Alternative explanations": " ".join(one.alternatives),
    }
    return [(label, text) for label, text in lines.items() if text]


def judged_in(one: Conclusion) -> str:
    """Arm, step size and readings that decide, and when they were chosen."""
    arm = f"attack arm {one.arm}" if one.arm else "no attack arm"
    step = f", step size {one.step_size.replace('epsilon', 'ε')}" if one.step_size else ""
    return f"{arm}{step}; {one.reading}; {PLANNED[one.prespecified]}"


def _p_value(one: Conclusion) -> str:
    if one.p is None:
        return ""
    text = f"{_p(one.p)} for no effect"
    if one.p_holm is None:
        return text
    return f"{text}; {_p(one.p_holm)} corrected for several questions (Holm), verdict then: {one.verdict_holm}"


def _p(value: float) -> str:
    return "< 0.0001" if value < 1e-4 else f"{value:.2g}"


def _margin(one: Conclusion) -> str:
    return "" if one.margin is None else what_counts(one.number, one.margin)


def what_counts(number: int, margin: float) -> str:
    """The smallest effect that counts in a question, in words."""
    return question_of(number).smallest_effect(margin)


def plan_sentences(records: Records) -> list[str]:
    """Whether the verdicts are pre-specified, by which choices, and each later change of the plan, oldest first."""
    document = records.analysis
    if document is None:
        return [
            "The verdicts are not pre-specified: this store holds no analysis plan, and the defaults were used "
            f"({_choices(AnalysisPlan(arm=records.main_arm))})."
        ]
    return [_fixed(document), *_changes(document)]


def _fixed(document: AnalysisDocument) -> str:
    when = (
        "before the first attack"
        if document.prespecified
        else f"when {document.attacked_before} rows had been recorded already, so that the verdicts are not "
        "pre-specified"
    )
    return (
        f"The analysis plan was fixed on {_day(document.frozen)}, {when} (hash {document.sha256}): "
        f"{_choices(document.plan)}{_series(document)}{_on_images(document)}."
    )


def _series(stated: StatedPlan) -> str:
    """The amplitudes of question 5's networks, where the plan says them."""
    if stated.series_epsilons is None:
        return ""
    return (
        f"; training-size series at ε = {_value(stated.series_epsilons)}"
        if stated.series_epsilons
        else ("; no training-size series")
    )


def _on_images(stated: StatedPlan) -> str:
    """Whether questions 6 and 7 were asked, and what counts as none in them, where the plan says so."""
    margins = stated.plan.margins
    asked = {
        "transfer": f"question 6 (transfer), up to {100 * margins.of_transfer:g} percentage points count as none",
        "features": f"question 7 (features), ratios up to {margins.of_features:g} count as none",
    }
    return "".join(f"; {text}" for name, text in asked.items() if getattr(stated, name))


def _choices(plan: AnalysisPlan) -> str:
    step = f", step size {_value(plan.step_size)}" if plan.step_size is not None else ""
    margins = plan.margins
    return (
        f"attack arm {plan.arm}{step}; {readings(plan)}; "
        f"question 3 at ε = {plan.epsilon:g}; confidence threshold {plan.confidence_threshold:g}; "
        f"{100 * plan.level:g}% intervals; smallest effects that count: {100 * margins.amplitude:g} percentage points "
        f"per doubling of ε, {100 * margins.iterations:g} percentage points over the second half of the iterations, "
        f"ratios of {margins.confidence:g} (confidence) and {margins.training_size:g} (training size)"
    )


LATER = ("series_epsilons", "transfer", "features")
"""What plans of earlier versions do not say."""


def _changes(document: AnalysisDocument) -> list[str]:
    told, before = [], StatedPlan.model_validate(document.model_dump(include=set(StatedPlan.model_fields)))
    for stated in document.history:
        new = [name for name in LATER if getattr(before, name) is None]
        known = stated.model_copy(update=dict.fromkeys(new))  # not kept before: nothing to compare with
        changed = _different(_flat(before), _flat(known))
        told.append(
            f"Changed later: on {_day(stated.frozen)}, with {stated.attacked_before} rows recorded, the study stated "
            f"{'; '.join(changed)}. The verdicts keep the first plan and its amplitudes."
        )
        before = stated
    return told


def _flat(stated: StatedPlan) -> dict[str, Any]:
    """Every choice of a plan, of its arm, of the training-size series and of questions 6 and 7 by name."""
    plan = stated.plan.model_dump(mode="json")
    margins = {f"margin of {name}": value for name, value in plan.pop("margins").items()}
    arm = {f"{name} of the arm": value for name, value in stated.arm.model_dump(mode="json").items()}
    series = {} if stated.series_epsilons is None else {"ε of the training-size series": stated.series_epsilons}
    names = {"transfer": "transfer asked for", "features": "distances in features asked for"}
    asked = {text: "yes" if value else "no" for name, text in names.items()
             if (value := getattr(stated, name)) is not None}  # fmt: skip
    return plan | margins | arm | series | asked


def _different(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    return [
        f"{name.replace('_', ' ')} {_value(value)} instead of {_value(before.get(name))}"
        for name, value in after.items()
        if before.get(name) != value
    ]


def _value(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(_value, value)) or "none"
    if isinstance(value, float):
        return f"{value:g}"
    return "none" if value is None else str(value).replace("epsilon", "ε")


def _day(moment: str) -> str:
    """ "2026-11-29 12:00 UTC" of an ISO 8601 time."""
    return f"{moment[:10]} {moment[11:16]} UTC"
