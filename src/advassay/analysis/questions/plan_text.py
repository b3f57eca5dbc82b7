"""The analysis plan in sentences: when it was fixed, what it says, and every later change of it."""

from __future__ import annotations

from typing import Any

from advassay.analysis.questions.conclusion_text import readings
from advassay.analysis_plan import AnalysisPlan
from advassay.documents import AnalysisDocument, StatedPlan
from advassay.records.store import Records


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
        f"{_choices(document.plan)}{_series(document)}."
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


def _changes(document: AnalysisDocument) -> list[str]:
    told, before = [], StatedPlan.model_validate(document.model_dump(include=set(StatedPlan.model_fields)))
    for stated in document.history:
        known = stated if before.series_epsilons is not None else stated.model_copy(update={"series_epsilons": None})
        changed = _different(_flat(before), _flat(known))
        told.append(
            f"Changed later: on {_day(stated.frozen)}, with {stated.attacked_before} rows recorded, the study stated "
            f"{'; '.join(changed)}. The verdicts keep the first plan and its amplitudes."
        )
        before = stated
    return told


def _flat(stated: StatedPlan) -> dict[str, Any]:
    """Every choice of a plan, of its arm and of the training-size series by name."""
    plan = stated.plan.model_dump(mode="json")
    margins = {f"margin of {name}": value for name, value in plan.pop("margins").items()}
    arm = {f"{name} of the arm": value for name, value in stated.arm.model_dump(mode="json").items()}
    series = {} if stated.series_epsilons is None else {"ε of the training-size series": stated.series_epsilons}
    return plan | margins | arm | series


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
