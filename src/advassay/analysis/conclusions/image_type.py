"""Question 2: does histology need more amplitude than X-ray?

The effect is the ratio of ε50 of the two image types, from a meta-regression of ln ε50 on type over independent
cohorts. A cohort whose ε50 lies outside the grid enters as censored. Beside it the same for ε50 / clean contrast: equal
ε is not equal visibility where image types differ in contrast.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
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
    verdict_of,
    what_it_takes,
)
from advassay.analysis.conclusions.effect_sizes import (
    Effect,
    Value,
    effect_of,
    few_patients,
    joined,
    pooled,
    shared_across,
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
    no_difference,
)
from advassay.analysis.conclusions.study_power import Assumed, Design, shown, variance_of_log_epsilon50
from advassay.analysis.dose_response.epsilon50_tables import GREY_LEVELS, epsilon50_text
from advassay.analysis.interval_text import NOT_DETERMINED, TOO_WIDE, interval_text, is_too_wide, one_sided
from advassay.analysis.outcome_arrays import OutcomeArrays
from advassay.spec.analysis_plan import AnalysisPlan

TITLE = "Image type"
PUBLISHED = "Histology is less sensitive to amplitude than X-ray."
FEWEST = 2
"""Independent cohorts of each type below which cohorts cannot stand for their type."""


def judge_image_type(evidence: Evidence) -> Conclusion:
    """Supported where the second type needs more amplitude than the first, contradicted where it needs less."""
    plan = evidence.plan
    first, second = plan.image_types
    values = _values(evidence, log_epsilon50)
    effect = type_ratio(values, plan)
    verdict = verdict_of(effect)
    visible = type_ratio(_values(evidence, log_visible), plan)
    counted = {kind: sum(v.image_type == kind for v in values) for kind in (first, second)}
    return conclude(
        2,
        effect,
        verdict,
        kind="ratio",
        unit="independent cohorts",
        rests_on=f"over {counted[first]} {first} and {counted[second]} {second} cohorts",
        needed=_needed(effect, counted, plan),
        spread_from=3,
        title=TITLE,
        statement=f"{second[0].upper()}{second[1:]} images need more amplitude than {first} images.",
        headline=_headline(effect, verdict, plan, counted),
        estimand=f"ratio of ε50, {second} / {first}",
        test="meta-regression of ln ε50 on image type (random effects, the wider of Hartung–Knapp and equal weights); "
        "cohorts that share images count once",
        reason=_reason(effect, counted, values, _undetermined(evidence)),
        remarks=(*told_few_patients(evidence.main), *_shared(evidence), *_remarks(values, visible, plan)),
        published=PUBLISHED,
        alternatives=(
            "Cohorts of a type share hardware, stains and tasks; the classifiers' accuracy and confidence differ too.",
            "The same ε is not equally visible in image types of different contrast: see the ratio relative to the "
            "contrast.",
        ),
        details=tuple(_row(packs[0], evidence) for packs in evidence.main),
    )


def _values(evidence: Evidence, statistic: Callable[[OutcomeArrays, Evidence], Value | None]) -> list[Value]:
    """One value an independent cohort."""
    found = values_of(evidence.main, lambda pack: statistic(pack, evidence))
    return joined(found, evidence.main, within_type=True)


def log_epsilon50(pack: OutcomeArrays, evidence: Evidence) -> Value | None:
    """ln ε50 of one network; a bound where it lies outside the grid; None where nothing is known of it."""
    found = evidence.epsilon50(pack)
    if found.known is None:
        return None
    value, bound = found.known
    return Value(
        (pack.header.cohort,), kind_of(pack.header.image_type), value, found.variance, found.freedom,
        found.data.images, bound,
    )  # fmt: skip


def _undetermined(evidence: Evidence) -> list[str]:
    """Cohorts of whose ε50 nothing is known although they have images."""
    few = few_patients(evidence.main)
    found = [packs[0] for packs in evidence.main if evidence.epsilon50(packs[0]).known is None]
    return [pack.header.cohort for pack in found if pack.header.cohort not in few]


def _shared(evidence: Evidence) -> tuple[str, ...]:
    """Said aloud: the comparison takes the types' cohorts as independent."""
    pairs = shared_across(evidence.main, lambda pack: kind_of(pack.header.image_type))
    if not pairs:
        return ()
    told = listed([f"{a} and {b}" for a, b in pairs])
    return (f"Cohorts of different types share images ({told}); the interval takes them as independent.",)


def log_visible(pack: OutcomeArrays, evidence: Evidence) -> Value | None:
    """ln (ε50 / mean clean contrast); None where no contrast is recorded."""
    value, contrast = log_epsilon50(pack, evidence), _contrast(pack)
    if value is None or not contrast > 0:
        return None
    return Value(
        value.cohorts, value.image_type, value.value - float(np.log(contrast)), value.variance, value.freedom,
        value.images, value.bound,
    )  # fmt: skip


def _contrast(pack: OutcomeArrays) -> float:
    known = pack.contrast[np.isfinite(pack.contrast)]
    return float(known.mean()) if known.size else float("nan")


def type_ratio(values: list[Value], plan: AnalysisPlan) -> Effect:
    """ln of the ratio, second type over first; unknown with fewer than two independent cohorts of either."""
    of_type = [[v for v in values if v.image_type == kind] for kind in plan.image_types]
    used = [*of_type[0], *of_type[1]]
    images = sum(v.images for v in used)
    if min(map(len, of_type)) < FEWEST:
        return Effect(float("nan"), -np.inf, np.inf, None, len(used), images)
    design = np.c_[np.ones(len(used)), np.r_[np.zeros(len(of_type[0])), np.ones(len(of_type[1]))]]
    outside = [{v.bound for v in part} for part in of_type]
    if any("value" not in bounds for bounds in outside):
        return _one_sided(of_type, plan.level, images)
    return effect_of(pooled(used, design), np.array([0.0, 1.0]), plan.level, images, new=2)


def _one_sided(of_type: list[list[Value]], level: float, images: int) -> Effect:
    """A type whose every ε50 lies beyond the same end of the grid: its bound against the other type's mean.

    Only the end of the interval that a more extreme value could not cross is known. Cohorts of the type differ as those
    of the other do: were its mean short of the nearest bound by more than c · s, all its m cohorts would not lie beyond
    that, c being the t quantile (k − 1) of (α / 2)^(1/m) and s the standard deviation of the other's k cohorts.
    """
    k = sum(map(len, of_type))
    unknown = Effect(float("nan"), -np.inf, np.inf, None, k, images)
    inside = [all(v.bound == "value" for v in part) for part in of_type]
    if sum(inside) != 1:
        return unknown
    beyond = of_type[inside.index(False)]
    if len({v.bound for v in beyond}) != 1:
        return unknown
    others = of_type[inside.index(True)]
    known = pooled(others)
    mean, low, high = known.interval(np.ones(1), level)
    spread = known.error(np.ones(1)) * float(np.sqrt(len(others)))
    chance = ((1 - level) / 2) ** (1 / len(beyond))
    short = max(0.0, -float(stats.t.ppf(chance, len(others) - 1))) * spread
    at_most = beyond[0].bound == "at most"
    nearest = max(v.value for v in beyond) + short if at_most else min(v.value for v in beyond) - short
    second_outside = not inside[1]
    if second_outside == (beyond[0].bound == "at least"):  # the ratio is at least this
        bound = nearest - high if second_outside else low - nearest
        estimate = nearest - mean if second_outside else mean - nearest
        return Effect(estimate, float(bound), np.inf, None, k, images)
    bound = nearest - low if second_outside else high - nearest
    estimate = nearest - mean if second_outside else mean - nearest
    return Effect(estimate, -np.inf, float(bound), None, k, images)


def _headline(effect: Effect, verdict: str, plan: AnalysisPlan, counted: dict[str, int]) -> str:
    first, second = plan.image_types
    if min(counted.values()) < FEWEST:
        have = " and ".join(count_of(n, f"independent {kind} cohorts") for kind, n in counted.items())
        return (
            f"{second[0].upper()}{second[1:]} cannot be compared with {first}: {FEWEST} independent cohorts of each "
            f"type are needed, and the records hold {have}."
        )
    if not effect.known:
        return (
            f"Whether {second} images need more amplitude than {first} images cannot be judged: in too many cohorts "
            "even the smallest ε misclassifies half of the images, or the largest does not."
        )
    estimate, low, high = in_unit("ratio", effect)
    end = one_sided("ratio", low, high)
    if is_too_wide("ratio", low, high) and not end:
        return (
            f"Not decided: how many times the amplitude of {first} images {second} images need is {NOT_DETERMINED} "
            f"({TOO_WIDE['ratio']})."
        )
    times = interval_text("ratio", estimate, low, high, f" times the amplitude of {first} images")
    claim = f"{second} images need {times} before half of them are misclassified"
    if verdict == "undecided":
        known = "all that is shown" if end else "the best estimate"
        return f"Not decided: {known} is that {claim}; more and less are both compatible with these records."
    if verdict == "contradicted":
        less = f"{second[0].upper()}{second[1:]} images need less amplitude than {first} images, not more"
        size = interval_text("ratio", estimate, low, high, " times as much")
        return f"{less}: {size} before half of them are misclassified."
    return f"{claim[0].upper()}{claim[1:]}."


def _reason(effect: Effect, counted: dict[str, int], values: list[Value], undetermined: list[str]) -> str:
    have = " and ".join(count_of(n, f"independent {kind} cohorts") for kind, n in counted.items())
    aside = [v.name for v in values if v.image_type not in counted]
    other = f" Of another type, so not compared: {listed(aside)}." if aside else ""
    if undetermined:
        other += f" Left out, because too few images tell where their ε50 lies: {listed(undetermined)}."
    outside = [v.name for v in values if v.bound != "value" and v.image_type in counted]
    censored = (
        f" Known only to lie below the smallest or above the largest ε: ε50 of {listed(outside)}." if outside else ""
    )
    if not effect.known:
        return (
            f"The records hold {have}; at least {FEWEST} of each are needed, some of them with ε50 between the "
            f"smallest and the largest ε.{censored}{other}"
        )
    where = "above" if effect.low > 0 else "below" if effect.high < 0 else "on both sides of"
    span = "whole interval" if where != "on both sides of" else "interval"
    return f"The {span} of the ratio lies {where} 1 (no difference); the records hold {have}.{censored}{other}"


def _needed(effect: Effect, counted: dict[str, int], plan: AnalysisPlan) -> str:
    if min(counted.values()) < FEWEST:
        return f"At least {FEWEST} independent cohorts of each image type are needed."
    if not effect.known:
        return "Every cohort needs amplitudes below and above its ε50."
    return what_it_takes("ratio", effect, plan.level, coefficients=2)


def _remarks(values: list[Value], visible: Effect, plan: AnalysisPlan) -> tuple[str, ...]:
    first, second = plan.image_types
    told = []
    if visible.known:
        told.append(
            f"Relative to the contrast of the images (equal visibility) the ratio {second} / {first} is "
            f"{interval_text('ratio', *in_unit('ratio', visible))}."
        )
    pair = [[v for v in values if v.image_type == kind] for kind in plan.image_types]
    inside = all(v.bound == "value" for part in pair for v in part)
    if inside and min(map(len, pair)) == 1 and max(map(len, pair)) <= 2:
        told.append(_these_alone(pair, plan))
    return tuple(told)


def _these_alone(pair: list[list[Value]], plan: AnalysisPlan) -> str:
    """The ratio of too few cohorts, as a description of these, with an interval over their images."""
    means = [float(np.mean([v.value for v in part])) for part in pair]
    error = np.sqrt(sum(sum(v.variance for v in part) / len(part) ** 2 for part in pair))
    middle, half = means[1] - means[0], float(stats.norm.ppf(0.5 + plan.level / 2) * error)
    ratio = interval_text("ratio", as_ratio(middle), as_ratio(middle - half), as_ratio(middle + half))
    names = listed([v.name for part in pair for v in part])
    return (
        f"Between these cohorts alone ({names}) the ratio is {ratio}; that says nothing about other cohorts of their "
        "types."
    )


def _row(pack: OutcomeArrays, evidence: Evidence) -> dict[str, Any]:
    found, contrast, plan = evidence.epsilon50(pack), _contrast(pack), evidence.plan
    low, high = found.interval(plan.level) if found.side != "unknown" else (float("nan"),) * 2
    inside = found.side == "inside"
    return {
        "cohort": pack.header.cohort, "image_type": pack.header.image_type,
        "compared_as": kind_of(pack.header.image_type), "arm": pack.header.arm,
        "epsilon50": epsilon50_text(found, plan.level),
        "epsilon50_estimate": finite(found.estimate) if inside else None,
        "epsilon50_255": epsilon50_text(found, plan.level, GREY_LEVELS),
        "epsilon50_low": finite(low) or None, "epsilon50_high": finite(high), "within_grid": inside,
        "clean_contrast": finite(contrast),
        "epsilon50_over_contrast": finite(found.estimate / contrast) if inside and contrast > 0 else None,
        "never": finite(1 - found.curve.ever) if found.curve else None, "fit_p": finite(found.fit_p),
        "n": found.data.images, "patients": found.data.n_patients,
    }  # fmt: skip


def _specifications(evidence: Evidence) -> Iterator[Specification]:
    effect = type_ratio(_values(evidence, log_epsilon50), evidence.plan)
    yield Specification(effect, verdict_of(effect))


def _chance(design: Design, assumed: Assumed, plan: AnalysisPlan) -> float:
    if min(design.cohorts) < FEWEST:
        return 0.0
    sampling = variance_of_log_epsilon50(design, assumed)
    error = float(np.sqrt(sum((sampling + assumed.between_cohorts**2) / k for k in design.cohorts)))
    floor = float(np.sqrt(sum(sampling / k for k in design.cohorts)))
    return shown(float(np.log(assumed.ratio_of_types)), error, design.k - 2, plan.level, floor)


QUESTIONS.register(
    Question(
        name="image_type",
        number=2,
        title=TITLE,
        kind="ratio",
        effect_axis="Ratio of ε50, second image type / first",
        judge=judge_image_type,
        smallest_effect=no_difference,
        specifications=_specifications,
        power=PowerRule(
            "supported",
            _chance,
            lambda assumed, plan: (
                f"{plan.image_types[1]} needs {assumed.ratio_of_types:g} times the amplitude; "
                f"spread between cohorts {assumed.between_cohorts:g} (ln ε50)"
            ),
            grows_by="cohorts of each type",
        ),
        estimators=("curve", "bracket"),
        family=REFERENCE_STUDY,
        new_unit="Between two new cohorts",
    )
)
