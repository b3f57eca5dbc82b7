"""Question 7: do attacked images move farther in the network's features than in pixels?

Asked where a study has `attack.features`. Features are the input of the network's last layer. Both distances, from the
clean to the attacked image, are taken over the mean distance between images of different classes: 1 is as far as
another class. The effect is the ratio of their means, features over pixels, at the plan's amplitude, over images that
the network classifies correctly when clean. Above 1 the image has gone farther towards other classes in what the
network sees of it than in its pixels.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import polars as pl

from advassay.analysis.conclusions.conclusion import (
    Conclusion,
    Verdict,
    conclude,
    finite,
    in_unit,
    listed,
    scope,
    verdict_of,
    what_it_takes,
)
from advassay.analysis.conclusions.effect_sizes import Effect, Value, joined, overall
from advassay.analysis.conclusions.evidence import Evidence, kind_of
from advassay.analysis.conclusions.question import QUESTIONS, PowerRule, Question, Specification
from advassay.analysis.conclusions.study_power import Assumed, Design, pooled_error, shown, smallest_error
from advassay.analysis.distance_in_features import CohortFeatures, farther_in_features
from advassay.analysis.interval_text import NOT_DETERMINED, TOO_WIDE, interval_text, is_too_wide
from advassay.spec.analysis_plan import AnalysisPlan

TITLE = "Features"
PUBLISHED = (
    "Not tested there: stated as a known property of adversarial images, that they are close in pixels and far in what "
    "the network sees."
)
SPREAD = 0.5
"""Standard deviation over images of the logarithm of the ratio that power is planned with."""


def judge_features(evidence: Evidence) -> Conclusion:
    """Supported where the ratio lies above 1, contradicted below it or within the margin."""
    plan = evidence.plan
    effect, margin = features_effect(evidence), plan.margins.of_features
    verdict = verdict_of(effect, float(np.log(margin)))
    names = listed([cohort.header.cohort for cohort in evidence.features])
    rows = [_row(cohort, plan) for cohort in evidence.features]
    return conclude(
        7,
        effect,
        verdict,
        kind="ratio",
        unit="cohorts",
        rests_on=scope(effect, names),
        needed=what_it_takes("ratio", effect, plan.level, margin=float(np.log(margin))) if effect.known else _NEEDED,
        title=TITLE,
        statement="Attacked images move farther in the network's features than in pixels.",
        headline=_headline(effect, verdict, margin, names, evidence),
        estimand="mean distance from clean to attacked image in features over that in pixels, each over the distance "
        f"between images of different classes, at {_amplitude(evidence)}",
        test="ratio of means, clustered by patient, networks by the jackknife; random effects over cohorts "
        "(Paule–Mandel, Hartung–Knapp)",
        reason=_reason(effect, rows, margin),
        remarks=_remarks(evidence),
        margin=margin,
        published=PUBLISHED,
        alternatives=(
            "Distances in features and in pixels have other geometries: two images of one class may be nearly as far "
            "apart in pixels as two of different ones, and much nearer in features.",
        ),
        details=tuple(rows),
    )


_NEEDED = (
    "Images of at least two patients that a network classifies correctly, and that the attack changes, are needed."
)


def features_effect(evidence: Evidence, epsilon: float | None = None) -> Effect:
    """ln of the pooled ratio at the ε nearest to `epsilon` (None = the plan's)."""
    asked = evidence.plan.epsilon if epsilon is None else epsilon
    known = {packs[0].header.cohort for packs in evidence.main}
    values = [
        value
        for cohort in evidence.features
        if cohort.header.cohort in known and (value := value_of(cohort, cohort.at(asked))) is not None
    ]
    return overall(joined(values, evidence.main), evidence.plan.level)


def value_of(cohort: CohortFeatures, epsilon: float) -> Value | None:
    """ln of one cohort's ratio at one amplitude."""
    rows = cohort.rows.filter(pl.col("epsilon") == epsilon)
    found = farther_in_features(rows)
    if found is None:
        return None
    value, variance, freedom, networks = found
    header = cohort.header
    images = rows["image_id"].n_unique()
    return Value((header.cohort,), kind_of(header.image_type), value, variance, freedom, images, seeds=networks)


def _amplitude(evidence: Evidence) -> str:
    found = sorted({cohort.at(evidence.plan.epsilon) for cohort in evidence.features})
    return "ε = " + ", ".join(f"{epsilon:g}" for epsilon in found)


def _row(cohort: CohortFeatures, plan: AnalysisPlan) -> dict[str, Any]:
    epsilon = cohort.at(plan.epsilon)
    rows, value = cohort.rows.filter(pl.col("epsilon") == epsilon), value_of(cohort, epsilon)
    low, high = value.interval(plan.level) if value else (float("nan"),) * 2
    names = ("pixel", "feature", "feature_noise", "feature_same")
    return {
        "cohort": cohort.header.cohort, "image_type": cohort.header.image_type, "arm": cohort.header.arm,
        "epsilon": epsilon, "networks": rows["network"].n_unique(), "misled": finite(rows["misled"].mean()),  # type: ignore[arg-type]
        **{name: finite(rows[name].mean()) for name in names},  # type: ignore[arg-type]
        "ratio": finite(np.exp(value.value)) if value else None, "low": finite(np.exp(low)),
        "high": finite(np.exp(high)), "n": value.images if value else 0,
    }  # fmt: skip


def _headline(effect: Effect, verdict: Verdict, margin: float, names: str, evidence: Evidence) -> str:
    if not effect.known:
        return "Whether attacked images move farther in features than in pixels cannot be judged from these records."
    where, ends = f"{scope(effect, names)}, at {_amplitude(evidence)}", in_unit("ratio", effect)
    if is_too_wide("ratio", *ends[1:]):
        return (
            f"Not decided: how many times as far as in pixels attacked images move in features {where} is "
            f"{NOT_DETERMINED} ({TOO_WIDE['ratio']})."
        )
    size = interval_text("ratio", *ends, " times as far in the network's features as in pixels")
    if verdict == "supported":
        return (
            f"Attacked images move farther in what the network sees than in pixels: {size} {where}, each measured by "
            "the distance between images of different classes."
        )
    if verdict == "contradicted" and effect.high < 0:
        return f"Attacked images move less far in features than in pixels: {size} {where}."
    if verdict == "contradicted":
        return f"Attacked images move about as far in features as in pixels: {size} {where}; {margin:g} counts as more."
    return f"Not decided: attacked images move {size} {where}."


def _reason(effect: Effect, rows: list[dict[str, Any]], margin: float) -> str:
    if not effect.known:
        return "No network classifies images of two patients correctly that the attack changes."
    told = "; ".join(
        f"{row['cohort']}: {_share(row['feature'])} in features (noise of the same size: "
        f"{_share(row['feature_noise'])}, another image of the class: {_share(row['feature_same'])}), "
        f"{_share(row['pixel'])} in pixels"
        for row in rows
    )
    bound = float(np.log(margin))
    where = (
        "above 1" if effect.low > 0
        else "below 1" if effect.high < 0
        else f"within 1/{margin:g} to {margin:g}" if -bound < effect.low and effect.high < bound
        else "on both sides of 1, not within the margin"
    )  # fmt: skip
    return (
        f"The interval of the ratio lies {where}. Distances, 1 being that between images of different classes: {told}."
    )


def _share(value: float | None) -> str:
    return "not known" if value is None else f"{value:.2g}"


def _remarks(evidence: Evidence) -> tuple[str, ...]:
    told = []
    for cohort in evidence.features:
        rows = cohort.rows.filter(pl.col("epsilon") == cohort.at(evidence.plan.epsilon))
        noise = float(rows["feature_noise"].sum())
        if noise > 0:
            told.append(
                f"{cohort.header.cohort}: in features the attack moves images "
                f"{float(rows['feature'].sum()) / noise:.3g} times as far as random noise of the same size in pixels "
                "does."
            )
    return tuple(told)


def _specifications(evidence: Evidence) -> Iterator[Specification]:
    """At each ε, and at the plan's."""
    if not evidence.features:
        return
    margin = float(np.log(evidence.plan.margins.of_features))
    first, *others = (cohort.rows["epsilon"].unique().sort().to_list() for cohort in evidence.features)
    for epsilon in (one for one in first if all(one in grid for grid in others)):
        effect = features_effect(evidence, epsilon)
        yield Specification(effect, verdict_of(effect, margin), f"{epsilon:g}", as_planned=False)
    effect = features_effect(evidence)
    yield Specification(effect, verdict_of(effect, margin), _amplitude(evidence).removeprefix("ε = "))


def _chance(design: Design, assumed: Assumed, plan: AnalysisPlan) -> float:
    if design.k < 1:
        return 0.0
    variance = SPREAD**2 / design.effective
    error, freedom = pooled_error(variance, assumed.between_cohorts, design.k)
    freedom = freedom if design.k > 1 else design.effective - 1
    return shown(float(np.log(assumed.feature_ratio)), error, freedom, plan.level, smallest_error(variance, design.k))


QUESTIONS.register(
    Question(
        name="features",
        number=7,
        title=TITLE,
        kind="ratio",
        effect_axis="Distance moved in features / in pixels",
        judge=judge_features,
        smallest_effect=lambda margin: (
            f"an interval of the ratio wholly within 1/{margin:g} to {margin:g} counts as no difference, unless it "
            "excludes 1 from below"
        ),
        specifications=_specifications,
        power=PowerRule(
            "supported",
            _chance,
            lambda assumed, _: f"attacked images move {assumed.feature_ratio:g} times as far in features",
            applies=lambda design: design.features,
        ),
        uses=frozenset({"epsilon"}),
        family="features",
        asked_of=lambda evidence: bool(evidence.features),
    )
)
