"""A conclusion as labelled lines of text: the same on the page, in Markdown and on the command line."""

from __future__ import annotations

from advassay.analysis.interval_text import is_too_wide, written
from advassay.analysis.questions.conclusion import RATIOS, Conclusion, count_of, kind_of_effect
from advassay.analysis_plan import AnalysisPlan

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
    each = " (each counted once for every network)" if one.number == 5 and one.n > 1 else ""
    text = f"Based on {count_of(one.n, one.unit)} with {count_of(one.images, 'images')}{each}."
    low, high, kind = one.prediction_low, one.prediction_high, kind_of_effect(one.number)
    if low is None or high is None:
        return text
    if is_too_wide(kind, low, high):
        return f"{text} These are too few to say what a new cohort would show."
    where = "Between two new cohorts" if one.number == 2 else "In a new cohort of the same kind"
    what = "a ratio between" if kind == "ratio" else "a change in percentage points between"
    return f"{text} {where} {what} {written(kind, low)} and {written(kind, high)} is expected."


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
    if number == 3:
        change = f"a change within ±{100 * margin:g} percentage points over the second half of the iterations"
        return f"{change}, and with twice as many, counts as a plateau"
    if number in RATIOS:
        what = "dependence" if number == 5 else "difference, unless it excludes 1"
        return f"an interval of the ratio wholly within 1/{margin:g} to {margin:g} counts as no {what}"
    changes = f"changes wholly within ±{100 * margin:g} percentage points, over all amplitudes and between any two,"
    return f"{changes} count as none, unless the interval excludes 0"
