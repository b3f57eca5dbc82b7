"""Question 3: does success rise with the number of iterations, and has it levelled off?

The effect is the rise of the success rate over the second half of the iterations, from K/2 (rounded down) to K, image
by image: at the plan's ε and as a mean over all ε. The number of iterations was chosen by the study, so a level curve
up to K proves little; a sample attacked to 2K shows what more would have done (Carlini et al. 2019, arXiv 1902.06705).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from advassay.analysis.dose_response.thresholds import distinct_doses, places_of
from advassay.analysis.interval_text import (
    NOT_DETERMINED,
    TOO_WIDE,
    interval_text,
    is_too_wide,
    percent_points,
)
from advassay.analysis.packed import Packed
from advassay.analysis.questions.conclusion import (
    Conclusion,
    Verdict,
    conclude,
    count_of,
    finite,
    scope,
    what_it_takes,
)
from advassay.analysis.questions.effects import (
    Effect,
    Value,
    joined,
    mean_by_patient,
    overall,
    told_few_patients,
    values_of,
)
from advassay.analysis.questions.evidence import Evidence
from advassay.analysis.questions.image_kinds import kind_of
from advassay.analysis_plan import AnalysisPlan
from advassay.success import Reading

PUBLISHED = "More iterations, more success, levelling off: 6 of 8 cohorts have reached the plateau."


@dataclass(frozen=True)
class Doubling:
    """The sample that was attacked to 2K iterations, over all cohorts: images × ε, misclassified at K and at 2K."""

    compared: int
    at_k: int
    at_2k: int
    cohorts: int

    @property
    def gained(self) -> float:
        """Success rate at 2K less that at K."""
        return (self.at_2k - self.at_k) / self.compared if self.compared else float("nan")


def iterations(evidence: Evidence) -> Conclusion:
    """Supported where success rises with iterations, its last rise is below the margin and 2K adds nothing beyond it;
    contradicted where it is shown to rise still, or not to rise at all.
    """
    plan, margin = evidence.plan, evidence.plan.margins.iterations
    epsilon = nearest_shared(evidence)
    at_one, over_all = (pooled_rise(evidence, doses) for doses in (np.array([epsilon]), evidence.shared_doses))
    whole, doubling = pooled_rise(evidence, evidence.shared_doses, first=1), doubling_of(evidence)
    verdict = plateau_verdict(evidence, [at_one, over_all], whole, doubling)
    decisive = decisive_rise([at_one, over_all], verdict, margin)
    names = " + ".join(packs[0].header.cohort for packs in evidence.main if _counts(packs[0], evidence.shared_doses))
    controlled = doubling is not None or evidence.prespecified is None
    return conclude(
        3,
        decisive,
        verdict,
        unit="cohorts",
        rests_on=scope(decisive, names),
        needed=_needed(decisive, plan, [at_one, over_all], whole, doubling, controlled=controlled),
        effect_unit=f" percentage points {HALF}",
        title="Iterations",
        statement="The success rate rises with the number of iterations and levels off.",
        headline=_headline(
            verdict, decisive, [at_one, over_all], whole, margin, names, doubling, controlled=controlled
        ),
        estimand="rise of the success rate from half of the iterations to all of them",
        test="change per image, clustered by patient where known; random effects over cohorts (Paule–Mandel, "
        "Hartung–Knapp); level where the whole interval lies below the margin, at the plan's ε and over all ε",
        reason=_reason(at_one, over_all, whole, epsilon, margin, doubling),
        remarks=(*told_few_patients(evidence.main), *_remarks(evidence, doubling)),
        margin=margin,
        published=PUBLISHED,
        alternatives=(
            "A curve can be level because the attack is stuck: compare the margin loss and smaller steps.",
            "Success at any iterate cannot fall; success at the last iterate can.",
        ),
        details=tuple(_row(packs[0], epsilon, evidence, plan.success) for packs in evidence.main),
    )


def _counts(pack: Packed, doses: np.ndarray) -> bool:
    """Whether the run has an image that counts at the shared amplitudes (or, where there are none, at any)."""
    own, places = distinct_doses(pack)
    at = places[places_of(doses, own)] if doses.size else places
    return bool(pack.attackable[at].all(axis=0).any())


def decisive_rise(rests: list[Effect], verdict: Verdict, margin: float) -> Effect:
    """Of the last rises that must all be level, the one that the verdict rests on; the largest of several.

    A plateau is refuted by a rise shown to be above the margin, left open by one whose interval reaches it, and shown
    by all of them.
    """
    refuting = [e for e in rests if e.known and e.low > margin]
    reaching = [e for e in rests if e.known and not e.high < margin]
    among = (refuting if verdict == "contradicted" else reaching if verdict == "undecided" else []) or rests
    return max(among, key=lambda e: e.estimate if e.known else -np.inf)


def rise(pack: Packed, success: Reading, doses: np.ndarray, first: int | None = None) -> Value | None:
    """Rise of success from iterate `first` (None = K/2 rounded down) to K, as a mean over `doses` (dose,)."""
    own, places = distinct_doses(pack)
    at = places[places_of(doses, own)]
    if not at.size:
        return None
    kept = pack.attackable[at].all(axis=0)
    start = pack.steps // 2 if first is None else first
    if not kept.any() or pack.steps < 1 or start >= pack.steps:
        return None
    fallen = pack.fallen(success)[at][:, :, kept].astype(np.float64)
    change = (fallen[:, pack.steps] - fallen[:, start]).mean(axis=0)
    smallest = max(float(np.abs(change).max()), 1 / len(at))
    mean, variance, groups = mean_by_patient(change, pack.patients[kept], smallest)
    header = pack.header
    return Value((header.cohort,), kind_of(header.image_type), mean, variance, max(groups - 1, 1), int(kept.sum()))


def _nearest(pack: Packed, epsilon: float) -> np.ndarray:
    return np.array([int(np.argmin(np.abs(pack.epsilons - epsilon)))])


def nearest_shared(evidence: Evidence) -> float:
    """The amplitude nearest to the plan's that every cohort was attacked at; the plan's own where they share none."""
    doses = evidence.shared_doses
    wanted = evidence.plan.epsilon
    return float(doses[np.argmin(np.abs(doses - wanted))]) if doses.size else wanted


def _pooled(evidence: Evidence, statistic: Any) -> Effect:
    return overall(joined(values_of(evidence.main, statistic), evidence.main), evidence.plan.level)


def doubling_of(evidence: Evidence) -> Doubling | None:
    """The control to 2K iterations, summed over the main networks' ε; None where no network has one."""
    found = [points for packs in evidence.main if (points := _doubled(packs[0]))]
    if not found:
        return None
    total = {key: sum(point[key] for points in found for point in points) for key in ("images", "at_k", "at_2k")}
    return Doubling(total["images"], total["at_k"], total["at_2k"], len(found))


def _doubled(pack: Packed) -> list[dict[str, int]]:
    """The counts of a run's control to 2K iterations, one a ε; empty where none ran at this step size."""
    controls = pack.header.controls
    if controls is None or controls.doubling is None or controls.doubling.step_size != pack.step_size:
        return []
    return list(controls.doubling.by_epsilon.values())


def pooled_rise(evidence: Evidence, doses: np.ndarray, first: int | None = None) -> Effect:
    """`rise` over `doses` (dose,), pooled over the cohorts."""
    return _pooled(evidence, partial(rise, success=evidence.plan.success, doses=doses, first=first))


def plateau_verdict(evidence: Evidence, rests: list[Effect], whole: Effect, doubling: Doubling | None) -> Verdict:
    """The verdict from last rises that must all be level (`rests`), the whole rise, and the control with 2K.

    A new store needs the control; one without an analysis plan may be older than it.
    """
    margin, new = evidence.plan.margins.iterations, evidence.prespecified is not None
    if not whole.known or not all(e.known for e in rests):
        return "undecided"
    if any(e.low > margin for e in rests) or whole.high < 0:
        return "contradicted"
    level = all(e.high < margin for e in rests)
    more = doubling is not None and not doubling.gained <= margin
    if not level or more or (doubling is None and new):
        return "undecided"
    return "supported" if whole.low > 0 else "undecided"


def _points(effect: Effect, unit: str = " points") -> str:
    return interval_text("points", effect.estimate, effect.low, effect.high, unit)


HALF = "over the second half of the iterations"


def _fall(effect: Effect) -> str:
    """A negative effect as the size of a fall."""
    turned = replace(effect, estimate=-effect.estimate, low=-effect.high, high=-effect.low)
    return _points(turned, " percentage points")


def _headline(
    verdict: Verdict, effect: Effect, rests: list[Effect], whole: Effect, margin: float, names: str,
    doubling: Doubling | None, *, controlled: bool,
) -> str:  # fmt: skip
    """`controlled`: the control with 2K ran, or the store is from before it existed."""
    if not effect.known:
        return "Whether success reaches a plateau cannot be judged from these records."
    if not whole.known or not all(e.known for e in rests):
        return (
            "Whether success reaches a plateau cannot be judged: the cohorts were not attacked at the same amplitudes, "
            "or with too few iterations."
        )
    where, size = scope(effect, names), _points(effect, " percentage points")
    if verdict == "supported" and effect.high < 0:
        return (
            f"Longer attacks succeed more often, but not to the end: {HALF} the success rate falls by {_fall(effect)} "
            f"{where}. Success that is reached and lost again is a failure of the attack."
        )
    if verdict == "supported":
        return (
            f"Longer attacks succeed more often, up to a plateau: {HALF} the success rate changes by {size} {where}, "
            f"and a rise below {100 * margin:g} points counts as none."
        )
    if verdict == "contradicted" and whole.high < 0:
        return (
            f"Longer attacks succeed less often: from the first iteration to the last the success rate falls by "
            f"{_fall(whole)} {where}, so the attack fails."
        )
    if verdict == "contradicted":
        return (
            f"No plateau is reached: {HALF} the success rate still rises by {size} {where}. A longer attack may do "
            "more."
        )
    if is_too_wide("points", effect.low, effect.high):
        return (
            f"Not decided: how far the success rate changes {HALF} {where} is {NOT_DETERMINED} ({TOO_WIDE['points']})."
        )
    if effect.high >= margin:
        return (
            f"Not decided: {HALF} the success rate changes by {size} {where}. A plateau would be a rise below "
            f"{100 * margin:g} points, and rises below and above that are both compatible with these records."
        )
    if not controlled:
        return (
            "Not decided: the curves are level up to the last iteration, but no control with twice as many iterations "
            "was run."
        )
    if doubling is not None and not doubling.compared:
        return (
            "Not decided: the curves are level up to the last iteration, but the control with twice as many iterations "
            "had no image to compare."
        )
    if doubling is not None and doubling.gained > margin:
        return (
            f"Not decided: the curves are level up to the last iteration, but twice as many iterations raised the "
            f"success rate by {percent_points(doubling.gained)} points in a control sample."
        )
    return f"Not decided: the curves are level {where}, but a rise from the first iteration to the last is not shown."


def _needed(
    effect: Effect, plan: AnalysisPlan, rests: list[Effect], whole: Effect, doubling: Doubling | None, *,
    controlled: bool,
) -> str:  # fmt: skip
    margin = plan.margins.iterations
    if not whole.known or not all(e.known for e in rests):
        return "Cohorts attacked at the same amplitudes, with at least 3 iterations, are needed."
    if effect.high >= margin:
        return what_it_takes(3, effect, plan.level, margin)
    if not controlled:
        return "Run the study again with this version: the control with twice the iterations is then made."
    if doubling is not None and not doubling.compared:
        return "The control with twice the iterations needs images that are classified correctly without an attack."
    if doubling is not None and doubling.gained > margin:
        return "More iterations are needed."
    return "More images are needed to show a rise from the first iteration to the last, if there is one."


def _reason(
    at_one: Effect, over_all: Effect, whole: Effect, epsilon: float, margin: float, doubling: Doubling | None
) -> str:
    def said(name: str, effect: Effect) -> str:
        if not effect.known:
            return f"{name}: no estimate"
        return f"{name}: {_points(effect)}"

    parts = [
        said(f"rise over the second half of the iterations at ε = {epsilon:g}", at_one),
        said("on average over all ε", over_all),
        said("rise from the first iteration to the last", whole),
    ]
    text = "; ".join(parts)
    return (
        f"{text[0].upper()}{text[1:]}. A rise below {100 * margin:g} points counts as a plateau. {_control(doubling)}"
    )


def _control(doubling: Doubling | None) -> str:
    if doubling is None:
        return "No control with twice the iterations was run."
    if not doubling.compared:
        return "The control with twice the iterations had no image to compare."
    return (
        f"Twice the iterations changed the success rate by {percent_points(doubling.gained)} points in a sample "
        f"({doubling.compared} images × ε of {count_of(doubling.cohorts, 'cohorts')})."
    )


def _remarks(evidence: Evidence, doubling: Doubling | None) -> tuple[str, ...]:
    other: Reading = "any" if evidence.plan.success == "last" else "last"
    effect = _pooled(evidence, partial(rise, success=other, doses=evidence.shared_doses))
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


def median_iterations(pack: Packed, epsilon: float) -> int | None:
    """First iterate by which half of the attackable images have been misclassified at some iterate; None = never."""
    at = _nearest(pack, epsilon)[0]
    kept = pack.attackable[at]
    if not kept.any():
        return None
    reached = np.flatnonzero(pack.any[at][:, kept].mean(axis=1) >= 0.5)
    return int(reached[0]) if reached.size else None


def _row(pack: Packed, epsilon: float, evidence: Evidence, success: Reading) -> dict[str, Any]:
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
    points = _doubled(pack)
    compared = sum(point["images"] for point in points)
    gained = sum(point["at_2k"] - point["at_k"] for point in points)
    return row | {"doubling_compared": compared, "doubling_gained": gained / compared if compared else None}
