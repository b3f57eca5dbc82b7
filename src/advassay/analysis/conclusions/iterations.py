"""Question 3: does success rise with the number of iterations, and has it levelled off?

The effect is the rise of the success rate over the second half of the iterations, from K/2 (rounded down) to K, image
by image, as a mean over all ε that the cohorts share; at the plan's ε alone it can refute a plateau but not show one.
The number of iterations was chosen by the study, so a level curve up to K proves little; a sample attacked to 2K shows
what more would have done (Carlini et al. 2019, arXiv 1902.06705). Its change is estimated like the rise: paired by
image, clustered by patient, pooled over cohorts, under the plan's reading. A plateau needs both intervals within
±margin.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import numpy as np

from advassay.analysis.conclusions.conclusion import (
    Conclusion,
    Verdict,
    conclude,
    count_of,
    finite,
    listed,
    scope,
    what_it_takes,
)
from advassay.analysis.conclusions.doubling_effect import (
    Doubling,
    counts_of,
    doubled_change,
    doubled_doses,
    doubling_of,
    mean_change,
    pool_statistic,
)
from advassay.analysis.conclusions.effect_sizes import NO_SIZE, Effect, Value, told_few_patients
from advassay.analysis.conclusions.evidence import Evidence
from advassay.analysis.conclusions.question import (
    QUESTIONS,
    REFERENCE_STUDY,
    PowerRule,
    Question,
    Specification,
)
from advassay.analysis.conclusions.study_power import Assumed, Design, pooled_error, within
from advassay.analysis.dose_response.thresholds import distinct_doses, places_of
from advassay.analysis.interval_text import (
    NOT_DETERMINED,
    TOO_WIDE,
    interval_text,
    is_too_wide,
    percent_points,
)
from advassay.analysis.outcome_arrays import OutcomeArrays
from advassay.spec.analysis_plan import AnalysisPlan
from advassay.success import Reading

TITLE = "Iterations"
PUBLISHED = "More iterations, more success, levelling off: 6 of 8 cohorts have reached the plateau."


Decisive = Literal["all", "one", "control"]
"""The change that a verdict rests on: over the second half at all ε, at the plan's ε, or from K to 2K iterations."""


@dataclass(frozen=True)
class Changes:
    """Every change of the success rate that question 3 looks at.

    at_one    over the second half of the iterations, at the plan's ε
    over_all  the same as a mean over all shared ε
    whole     from the first iteration to the last, over all shared ε
    doubling  from K to 2K iterations in the control; None where none ran
    """

    at_one: Effect
    over_all: Effect
    whole: Effect
    doubling: Doubling | None

    @property
    def control(self) -> Effect | None:
        """The control's effect, where there is an interval."""
        found = self.doubling.effect if self.doubling is not None else None
        return found if found is not None and found.known else None

    @property
    def known(self) -> bool:
        return self.at_one.known and self.over_all.known and self.whole.known


def changes_of(evidence: Evidence) -> Changes:
    """The changes of one store under its plan."""
    one, every = np.array([nearest_shared(evidence)]), evidence.shared_doses
    return Changes(
        pooled_rise(evidence, one), pooled_rise(evidence, every), pooled_rise(evidence, every, first=1),
        doubling_of(evidence),
    )  # fmt: skip


def judge_iterations(evidence: Evidence) -> Conclusion:
    """Supported where success rises with iterations, and neither the second half of them nor twice as many change it
    beyond the margin; contradicted where one of these is shown to change it, or success falls.
    """
    plan, margin = evidence.plan, evidence.plan.margins.iterations
    epsilon, found = nearest_shared(evidence), changes_of(evidence)
    new = evidence.prespecified is not None
    verdict = plateau_verdict(found, margin, new=new)
    on = decisive_change(found, verdict, margin)
    decisive = effect_that_decides(found, on)
    names = " + ".join(
        packs[0].header.cohort for packs in evidence.comparable if _counts(packs[0], evidence.shared_doses)
    )
    return conclude(
        3,
        decisive,
        verdict,
        kind="points",
        unit="cohorts",
        rests_on=scope(decisive, names),
        needed=_needed(found, on, plan, new=new),
        effect_unit=f" percentage points {MORE if on == 'control' else HALF}",
        title=TITLE,
        statement="The success rate rises with the number of iterations and levels off.",
        headline=_headline(verdict, found, on, margin, names, epsilon, new=new),
        estimand="change of the success rate from all of the iterations to twice as many"
        if on == "control"
        else "rise of the success rate from half of the iterations to all of them",
        test="change per image, clustered by patient where known; random effects over cohorts (Paule–Mandel, "
        "Hartung–Knapp); level where the whole interval over all ε lies within ±margin, and that of the control with "
        "twice the iterations",
        reason=_reason(found, epsilon, margin),
        remarks=(*told_few_patients(evidence.main), *_remarks(evidence, found.doubling)),
        margin=margin,
        published=PUBLISHED,
        alternatives=(
            "A curve can be level because the attack is stuck: compare the margin loss and smaller steps.",
            "Success at any iterate cannot fall; success at the last iterate can.",
        ),
        details=tuple(_row(packs[0], epsilon, evidence, plan.success) for packs in evidence.comparable),
    )


def _counts(pack: OutcomeArrays, doses: np.ndarray) -> bool:
    """Whether the run has an image that counts at the shared amplitudes (or, where there are none, at any)."""
    own, places = distinct_doses(pack)
    at = places[places_of(doses, own)] if doses.size else places
    return bool(pack.attackable[at].all(axis=0).any())


def decisive_change(found: Changes, verdict: Verdict, margin: float) -> Decisive:
    """Which change the verdict rests on: that over all ε, unless another alone refutes it or leaves it open."""
    if verdict == "contradicted" and not is_beyond(found.over_all, margin):
        if is_beyond(found.at_one, margin):
            return "one"
        return "control" if found.control is not None and is_beyond(found.control, margin) else "all"
    if verdict == "undecided" and found.known and is_within(found.over_all, margin):
        return "one" if abs(found.at_one.estimate) >= margin else "all"
    return "all"


def effect_that_decides(found: Changes, on: Decisive) -> Effect:
    """The effect that is printed."""
    if on == "control" and found.control is not None:
        return found.control
    return found.at_one if on == "one" else found.over_all


def rise(pack: OutcomeArrays, success: Reading, doses: np.ndarray, first: int | None = None) -> Value | None:
    """Rise of success from iterate `first` (None = K/2 rounded down) to K, as a mean over `doses` (dose,)."""
    own, places = distinct_doses(pack)
    at = places[places_of(doses, own)]
    if not at.size:
        return None
    kept = pack.attackable[at].all(axis=0)
    start = pack.steps // 2 if first is None else first
    if not kept.any() or pack.steps < 2 or start >= pack.steps:  # one iterate has no second half
        return None
    fallen = pack.fallen(success)[at][:, :, kept].astype(np.float64)
    change = (fallen[:, pack.steps] - fallen[:, start]).mean(axis=0)
    return mean_change(pack, change, pack.patients[kept], len(at))


def _nearest(pack: OutcomeArrays, epsilon: float) -> np.ndarray:
    return np.array([int(np.argmin(np.abs(pack.epsilons - epsilon)))])


def nearest_shared(evidence: Evidence) -> float:
    """The amplitude nearest to the plan's that every cohort was attacked at; the plan's own where they share none."""
    doses = evidence.shared_doses
    wanted = evidence.plan.epsilon
    return float(doses[np.argmin(np.abs(doses - wanted))]) if doses.size else wanted


def pooled_rise(evidence: Evidence, doses: np.ndarray, first: int | None = None) -> Effect:
    """`rise` over `doses` (dose,), pooled over the cohorts."""
    return pool_statistic(evidence, partial(rise, success=evidence.plan.success, doses=doses, first=first))


def is_within(effect: Effect, margin: float) -> bool:
    """Whether the whole interval lies within ±margin."""
    return effect.known and -margin < effect.low and effect.high < margin


def is_beyond(effect: Effect, margin: float) -> bool:
    """Whether the whole interval lies above the margin, or below −margin."""
    return effect.known and (effect.low > margin or effect.high < -margin)


def plateau_verdict(found: Changes, margin: float, *, new: bool) -> Verdict:
    """The verdict from all changes. `new`: the store has a plan, and so needs the control.

    contradicted  the second half, at the plan's ε or over all, or twice the iterations change success beyond the margin
                  in either direction, or success falls from the first iteration to the last
    supported     over all ε the second half changes it within the margin, and twice the iterations do too, in every
                  main network; the estimate at the plan's ε is within it; success rises from the first iteration on
    """
    if not found.known:
        return "undecided"
    shown = [effect for effect in (found.at_one, found.over_all, found.control) if effect is not None]
    if any(is_beyond(effect, margin) for effect in shown) or found.whole.high < 0:
        return "contradicted"
    level = is_within(found.over_all, margin) and abs(found.at_one.estimate) < margin
    if level and found.whole.low > 0 and control_allows(found.doubling, margin, new=new):
        return "supported"
    return "undecided"


def control_allows(doubling: Doubling | None, margin: float, *, new: bool) -> bool:
    """Whether the control leaves "supported" open."""
    if doubling is None:
        return not new
    if doubling.effect is None and not new:  # a store from before changes were kept by image: counts alone
        return abs(doubling.change) <= margin
    return doubling.decides and doubling.effect is not None and is_within(doubling.effect, margin)


def _points(effect: Effect, unit: str = " points") -> str:
    return interval_text("points", effect.estimate, effect.low, effect.high, unit)


HALF = "over the second half of the iterations"
MORE = "with twice the iterations"
LOST = "Success that is reached and lost again is a failure of the attack."


def _size(effect: Effect) -> str:
    """How far a rate rises or falls, with its interval: "rises by 3.1 percentage points [1.2, 5.0]"."""
    if effect.high >= 0:
        return f"{'rises' if effect.low > 0 else 'changes'} by {_points(effect, ' percentage points')}"
    turned = replace(effect, estimate=-effect.estimate, low=-effect.high, high=-effect.low)
    return f"falls by {_points(turned, ' percentage points')}"


def _headline(
    verdict: Verdict, found: Changes, on: Decisive, margin: float, names: str, epsilon: float, *, new: bool
) -> str:
    effect = effect_that_decides(found, on)
    if not effect.known:
        return "Whether success reaches a plateau cannot be judged from these records."
    if not found.known:
        return (
            "Whether success reaches a plateau cannot be judged: the cohorts were not attacked at the same amplitudes, "
            "or with too few iterations."
        )
    where, count = scope(effect, names), f"{100 * margin:g} points"
    if verdict == "supported":
        control = f", and {MORE} {_size(found.control)}" if found.control is not None else ""
        return (
            f"Longer attacks succeed more often, up to a plateau: {HALF} the success rate {_size(effect)} {where}"
            f"{control}; changes below {count} count as none."
        )
    if verdict == "contradicted" and found.whole.high < 0:
        return (
            f"Longer attacks succeed less often: from the first iteration to the last the success rate "
            f"{_size(found.whole)} {where}, so the attack fails."
        )
    if verdict == "contradicted":
        when = MORE if on == "control" else HALF
        still = "still " if on != "control" and effect.low > 0 else ""
        end = "A longer attack may do more." if effect.low > 0 else LOST
        return f"No plateau is reached: {when} the success rate {still}{_size(effect)} {where}. {end}"
    if is_too_wide("points", effect.low, effect.high):
        return (
            f"Not decided: how far the success rate changes {HALF} {where} is {NOT_DETERMINED} ({TOO_WIDE['points']})."
        )
    if on == "one" or not is_within(effect, margin):
        at = f" at ε = {epsilon:g}" if on == "one" else ""
        return (
            f"Not decided: {HALF} the success rate {_size(effect)}{at} {where}. A plateau would be a change below "
            f"{count}, and changes below and above that are both compatible with these records."
        )
    if not control_allows(found.doubling, margin, new=new):
        return (
            f"Not decided: the curves are level up to the last iteration, but {_control_fails(found.doubling, margin)}"
        )
    return f"Not decided: the curves are level {where}, but a rise from the first iteration to the last is not shown."


def _control_fails(doubling: Doubling | None, margin: float) -> str:
    """Why the control does not support a plateau."""
    if doubling is None:
        return "no control with twice as many iterations was run."
    if not doubling.compared:
        return "the control with twice as many iterations had no image to compare."
    if doubling.effect is None or not doubling.effect.known:
        return (
            f"twice as many iterations changed the success rate by {percent_points(doubling.change)} points in a "
            "control sample, for which no interval can be given."
        )
    if doubling.lacking:
        what = "was not run, or without keeping which images changed, in"
        return f"the control with twice as many iterations {what} {listed(list(doubling.lacking))}."
    return (
        f"{MORE} the success rate {_size(doubling.effect)} in the control samples; changes below and above "
        f"{100 * margin:g} points are both compatible with that."
    )


def _needed(found: Changes, on: Decisive, plan: AnalysisPlan, *, new: bool) -> str:
    margin, effect, doubling = plan.margins.iterations, effect_that_decides(found, on), found.doubling
    if not found.known:
        return "Cohorts attacked at the same amplitudes, with at least 3 iterations, are needed."
    if on == "one" or not is_within(effect, margin):
        return what_it_takes("points", effect, plan.level, margin if effect.estimate >= 0 else -margin)
    if control_allows(doubling, margin, new=new):
        return "More images are needed to show a rise from the first iteration to the last, if there is one."
    if doubling is None or doubling.lacking:
        return "Run the study again with this version: the control with twice the iterations is then made."
    if not doubling.compared or doubling.effect is None or not doubling.effect.known:
        return (
            "The control with twice the iterations needs more images that are classified correctly without an attack."
        )
    nearest = margin if doubling.effect.estimate >= 0 else -margin
    more = what_it_takes("points", doubling.effect, plan.level, nearest)
    return f"Of the control with twice the iterations: {more[0].lower()}{more[1:]}"


def _reason(found: Changes, epsilon: float, margin: float) -> str:
    def said(name: str, effect: Effect) -> str:
        if not effect.known:
            return f"{name}: no estimate"
        return f"{name}: {_points(effect)}"

    parts = [
        said(f"rise over the second half of the iterations at ε = {epsilon:g}", found.at_one),
        said("on average over all ε", found.over_all),
        said("rise from the first iteration to the last", found.whole),
    ]
    text = "; ".join(parts)
    return (
        f"{text[0].upper()}{text[1:]}. A change within ±{100 * margin:g} points counts as a plateau. "
        f"{_control(found.doubling)}"
    )


def _control(doubling: Doubling | None) -> str:
    if doubling is None:
        return "No control with twice the iterations was run."
    if not doubling.compared:
        return "The control with twice the iterations had no image to compare."
    if doubling.effect is None or not doubling.effect.known:
        return (
            f"Twice the iterations changed the success rate by {percent_points(doubling.change)} points in a sample "
            f"({doubling.compared} images × ε of {count_of(doubling.cohorts, 'cohorts')}), without an interval: it was "
            "not kept which images changed."
        )
    return (
        f"Change with twice the iterations: {_points(doubling.effect)} ({count_of(doubling.images, 'images')}, "
        f"{doubling.compared} images × ε, of {count_of(doubling.cohorts, 'cohorts')})."
    )


def _remarks(evidence: Evidence, doubling: Doubling | None) -> tuple[str, ...]:
    other: Reading = "any" if evidence.plan.success == "last" else "last"
    effect = pool_statistic(evidence, partial(rise, success=other, doses=evidence.shared_doses))
    told = []
    if effect.known:
        name = "at any iteration so far" if other == "any" else "at the last iteration alone"
        told.append(f"With success counted {name}, the rise {HALF}, on average over all ε, is {_points(effect)}.")
    if doubling is None and evidence.prespecified is None:
        told.append(
            "Without a control with twice the iterations, level curves may show where the study ended and not where "
            "the rise did."
        )
    return tuple(told)


def median_iterations(pack: OutcomeArrays, epsilon: float) -> int | None:
    """First iterate by which half of the attackable images have been misclassified at some iterate; None = never."""
    at = _nearest(pack, epsilon)[0]
    kept = pack.attackable[at]
    if not kept.any():
        return None
    reached = np.flatnonzero(pack.any[at][:, kept].mean(axis=1) >= 0.5)
    return int(reached[0]) if reached.size else None


def _row(pack: OutcomeArrays, epsilon: float, evidence: Evidence, success: Reading) -> dict[str, Any]:
    at = int(_nearest(pack, epsilon)[0])
    kept = pack.attackable[at]
    row: dict[str, Any] = {
        "cohort": pack.header.cohort, "image_type": pack.header.image_type, "arm": pack.header.arm,
        "epsilon": float(pack.epsilons[at]), "iterations": pack.steps, "half": pack.steps // 2,
        "median_iterations": median_iterations(pack, epsilon), "n": int(kept.sum()),
    }  # fmt: skip
    every = evidence.shared_doses
    asked = {"": (np.array([epsilon]), None), "all_epsilons_": (every, None), "from_first_": (every, 1)}
    for name, (doses, first) in asked.items():
        value = rise(pack, success, doses, first)
        low, high = value.interval(evidence.plan.level) if value else (float("nan"),) * 2
        row |= {
            f"{name}rise": finite(value.value if value else None),
            f"{name}low": finite(low), f"{name}high": finite(high),
        }  # fmt: skip
    row["rate"] = float(pack.fallen(success)[at, -1, kept].mean()) if kept.any() else None
    points, prefix = counts_of(pack), "at" if success == "last" else "any"
    compared = sum(point["images"] for point in points)
    gained = sum(point[f"{prefix}_2k"] - point[f"{prefix}_k"] for point in points)
    doubled = doubled_change(pack, success, doubled_doses([[pack]], every))
    low, high = doubled.interval(evidence.plan.level) if doubled else (float("nan"),) * 2
    return row | {
        "doubling_compared": compared, "doubling_gained": gained / compared if compared else None,
        "doubling_images": doubled.images if doubled else 0,
        "doubling_change": finite(doubled.value if doubled else None),
        "doubling_low": finite(low), "doubling_high": finite(high),
    }  # fmt: skip


def _specifications(evidence: Evidence) -> Iterator[Specification]:
    """At each ε, over all, and as the plan has it: over all, with its own ε beside it."""
    doses, own = evidence.shared_doses, changes_of(evidence)
    new, margin = evidence.prespecified is not None, evidence.plan.margins.iterations
    rises = {f"{dose:g}": pooled_rise(evidence, np.array([dose])) for dose in doses}
    for name, effect in {**rises, "all": own.over_all}.items():
        verdict = plateau_verdict(replace(own, at_one=effect, over_all=effect), margin, new=new)
        yield Specification(effect, verdict, name, as_planned=False)
    verdict = plateau_verdict(own, margin, new=new)
    decisive = effect_that_decides(own, decisive_change(own, verdict, margin))
    yield Specification(decisive, verdict, f"{nearest_shared(evidence):g} and all")


def _chance(design: Design, assumed: Assumed, plan: AnalysisPlan) -> float:
    if design.k < 1:
        return 0.0
    # A change in one image at one amplitude: the verdict is of the mean over all amplitudes.
    error, freedom = pooled_error((NO_SIZE / len(design.doses) / design.effective) ** 2, 0.0, design.k)
    freedom = freedom if design.k > 1 else design.effective - 1
    return within(plan.margins.iterations, error, freedom, plan.level)


QUESTIONS.register(
    Question(
        name="iterations",
        number=3,
        also_at_epsilon=True,
        title=TITLE,
        kind="points",
        effect_axis="Rise over the second half of the iterations, percentage points",
        judge=judge_iterations,
        smallest_effect=lambda margin: (
            f"a change within ±{100 * margin:g} percentage points over the second half of the iterations, and with "
            "twice as many, counts as a plateau"
        ),
        specifications=_specifications,
        power=PowerRule(
            "supported",
            _chance,
            lambda *_: "success has levelled off and does not change with twice the iterations",
        ),
        uses=frozenset({"epsilon"}),
        tests_effect=False,
        family=REFERENCE_STUDY,
    )
)
