"""Question 6: do adversarial images transfer to other networks?

Asked where a study has `attack.transfer`. The deciding arm attacks each network of a cohort; the others (other seeds,
training subsets, architectures) score its images, and random noise of the same size in every pixel of them. The effect
is how much more often the attacked image misleads, at the plan's amplitude: the noise says what any change of this size
does. Images count where both networks are right on the clean image.

Of one cohort the effect is the mean over all ordered pairs of networks and their images. Its variance is that of the
patients, who are the same for all pairs, and that of the networks, by the jackknife over them (a network is in many
pairs, as source and as target; leaving one out leaves out all of these: Arvesen 1969, Ann. Math. Stat. 40, 2076).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from advassay.analysis.conclusions.conclusion import (
    Conclusion,
    Verdict,
    conclude,
    count_of,
    finite,
    in_unit,
    listed,
    scope,
    verdict_of,
    what_it_takes,
)
from advassay.analysis.conclusions.effect_sizes import Effect, Value, joined, mean_by_patient, overall
from advassay.analysis.conclusions.evidence import Evidence, kind_of
from advassay.analysis.conclusions.question import QUESTIONS, PowerRule, Question, Specification
from advassay.analysis.conclusions.study_power import Assumed, Design, pooled_error, shown, smallest_error
from advassay.analysis.interval_text import NOT_DETERMINED, TOO_WIDE, interval_text, is_too_wide
from advassay.analysis.transfer_outcomes import KINDS, CohortTransfer, Kind
from advassay.spec.analysis_plan import AnalysisPlan

TITLE = "Transfer"
PUBLISHED = (
    "Not tested there: stated as a known property of adversarial images, that they mislead other networks and networks "
    "of other training subsets."
)
FEWEST_NETWORKS = 3
"""Networks from which on how much they differ can be told: leaving one of two out leaves no pair."""
POINTS = " percentage points"


def judge_transfer(evidence: Evidence) -> Conclusion:
    """Supported where attacked images mislead other networks more often than noise, contradicted where that is shown to
    be less than the margin, or the other way round."""
    plan = evidence.plan
    effect = transfer_effect(evidence)
    margin = plan.margins.of_transfer
    verdict = verdict_of(effect, margin)
    rows = [row for cohort in evidence.transfers for row in _rows(cohort, plan)]
    names = listed([cohort.header.cohort for cohort in evidence.transfers])
    return conclude(
        6,
        effect,
        verdict,
        kind="points",
        unit="cohorts",
        rests_on=scope(effect, names),
        needed=_needed(effect, plan),
        effect_unit=POINTS,
        title=TITLE,
        statement="Adversarial images mislead other networks more often than random noise of the same size.",
        headline=_headline(effect, verdict, margin, names, evidence),
        estimand=f"share of images that mislead another network, attacked minus noise, at {_amplitude(evidence)}",
        test="difference on the same images, mean over all ordered pairs of a cohort's networks; clustered by patient, "
        "networks by the jackknife; random effects over cohorts (Paule–Mandel, Hartung–Knapp)",
        reason=_reason(effect, rows, margin),
        remarks=_remarks(evidence),
        margin=margin,
        published=PUBLISHED,
        alternatives=(
            "Networks of one cohort share training images (all of them but for subsets) and the procedure of training: "
            "networks that somebody else trained on other data may share less.",
            "Networks of one architecture and seed begin with the same weights (with start weights from a file, all of "
            "an architecture do). What transfers between them may come from there; pairs of another training subset "
            "are told by seed for that reason.",
            "An attack that is made to transfer (momentum, diverse inputs, several sources at once) would do so more.",
        ),
        details=tuple(rows),
    )


def transfer_effect(
    evidence: Evidence, kinds: tuple[Kind, ...] = (), epsilon: float | None = None, *, everywhere: bool = False
) -> Effect:
    """The pooled effect over cohorts, of pairs of these kinds (none named: all) at the ε nearest to `epsilon` (None =
    the plan's); `everywhere`: the mean over all ε instead."""
    asked = evidence.plan.epsilon if epsilon is None else epsilon
    known = {packs[0].header.cohort for packs in evidence.main}
    values = [
        value
        for cohort in evidence.transfers
        if cohort.header.cohort in known
        and (value := value_of(cohort, kinds, None if everywhere else cohort.at(asked))) is not None
    ]
    return overall(joined(values, evidence.main), evidence.plan.level)


def value_of(cohort: CohortTransfer, kinds: tuple[Kind, ...] = (), at: int | None = None) -> Value | None:
    """One cohort's difference at one amplitude (its place; None = over all); None where nothing counts."""
    pairs = cohort.pairs(*kinds)
    here = slice(None) if at is None else slice(at, at + 1)
    gained = cohort.attacked[:, :, here].astype(np.int8) - cohort.noise[:, :, here].astype(np.int8)
    difference = np.where(pairs[:, :, None], gained.sum(axis=2), 0)  # (source, target, image)
    scored = np.where(pairs[:, :, None], cohort.counted[:, :, here].sum(axis=2), 0)
    per_image, weight = difference.sum(axis=(0, 1)), scored.sum(axis=(0, 1))
    used = weight > 0
    if not used.any():
        return None
    rate = float(per_image.sum() / weight.sum())
    linear = rate + (per_image[used] - rate * weight[used]) / weight[used].mean()
    mean, variance, patients = mean_by_patient(linear, cohort.patients[used], 1.0)
    networks, between = _between_networks(difference.sum(axis=2), scored.sum(axis=2))
    freedom = max(patients - 1, 1.0)
    total = variance + between
    if between > 0:  # Welch–Satterthwaite: patients and networks each have their own degrees of freedom
        freedom = max(total**2 / (variance**2 / freedom + between**2 / (networks - 1)), 1.0)
    header = cohort.header
    found = Value((header.cohort,), kind_of(header.image_type), mean, total, freedom, int(used.sum()), seeds=networks)
    return found if np.isfinite(total) else None


def _between_networks(difference: np.ndarray, scored: np.ndarray) -> tuple[int, float]:
    """(networks that are in some pair, the variance of the rate by leaving each out in turn); 0 with fewer than three.

    Both (source, target): sums over images.
    """
    present = np.flatnonzero((scored.sum(axis=0) + scored.sum(axis=1)) > 0)
    rates = []
    for out in present:
        kept = present[present != out]
        here = np.ix_(kept, kept)
        if scored[here].sum() > 0:
            rates.append(difference[here].sum() / scored[here].sum())
    n = len(present)
    if n < FEWEST_NETWORKS or len(rates) < n:
        return n, 0.0
    return n, float((n - 1) / n * ((np.array(rates) - np.mean(rates)) ** 2).sum())


def _amplitude(evidence: Evidence) -> str:
    """The amplitudes that are judged, as text."""
    found = {float(cohort.epsilons[cohort.at(evidence.plan.epsilon)]) for cohort in evidence.transfers}
    return "ε = " + ", ".join(f"{epsilon:g}" for epsilon in sorted(found))


def _rows(cohort: CohortTransfer, plan: AnalysisPlan) -> Iterator[dict[str, Any]]:
    """One row a kind of pair, at the plan's amplitude."""
    at = cohort.at(plan.epsilon)
    for kinds, name in [*(((kind,), kind) for kind in KINDS), ((), "all")]:
        pairs = cohort.pairs(*kinds)
        counted = int(cohort.counted[pairs][:, at].sum())
        if not counted:
            continue
        value = value_of(cohort, kinds, at)
        low, high = value.interval(plan.level) if value else (float("nan"),) * 2
        yield {
            "cohort": cohort.header.cohort, "image_type": cohort.header.image_type, "arm": cohort.header.arm,
            "target": name, "epsilon": float(cohort.epsilons[at]),
            "pairs": int((cohort.counted[:, :, at].any(axis=2) & pairs).sum()),
            "transfer_rate": float(cohort.attacked[pairs][:, at].sum() / counted),
            "noise_rate": float(cohort.noise[pairs][:, at].sum() / counted),
            "difference": finite(value.value if value else None), "low": finite(low), "high": finite(high),
            "n": value.images if value else 0,
        }  # fmt: skip


def _headline(effect: Effect, verdict: Verdict, margin: float, names: str, evidence: Evidence) -> str:
    if not effect.known:
        return "Whether adversarial images transfer to other networks cannot be judged from these records."
    where = f"{scope(effect, names)}, at {_amplitude(evidence)}"
    if is_too_wide("points", effect.low, effect.high):
        return (
            f"Not decided: how much more often than noise adversarial images mislead other networks {where} is "
            f"{NOT_DETERMINED} ({TOO_WIDE['points']})."
        )
    size = interval_text("points", *in_unit("points", effect), POINTS)
    if verdict == "supported":
        return (
            f"Adversarial images transfer: made on one network they mislead another one more often than random noise "
            f"of the same size, by {size} {where}."
        )
    if verdict == "contradicted":
        return (
            f"Adversarial images do not transfer: made on one network they mislead another one hardly more often than "
            f"random noise of the same size, by {size} {where}; less than {100 * margin:g} points counts as none."
        )
    return (
        f"Not decided: adversarial images mislead another network by {size} more often than random noise of the same "
        f"size {where}; transfer and none are both compatible with these records."
    )


def _reason(effect: Effect, rows: list[dict[str, Any]], margin: float) -> str:
    if not effect.known:
        return "No image is classified correctly by two networks of a cohort and scored by both, or too few patients."
    whole = [row for row in rows if row["target"] == "all"]
    told = "; ".join(
        f"{row['cohort']}: {row['transfer_rate']:.0%} attacked, {row['noise_rate']:.0%} with noise, over "
        f"{count_of(row['pairs'], 'pairs')}"
        for row in whole
    )
    where = (
        "above 0" if effect.low > 0
        else "below 0" if effect.high < 0
        else f"within ±{100 * margin:g} points" if -margin < effect.low and effect.high < margin
        else "on both sides of 0, not within the margin"
    )  # fmt: skip
    return f"The interval of the difference lies {where}. Misled, of images that both networks take rightly: {told}."


def _needed(effect: Effect, plan: AnalysisPlan) -> str:
    if not effect.known:
        return "Images that two networks of a cohort classify correctly, of at least two patients, are needed."
    return what_it_takes("points", effect, plan.level, margin=plan.margins.of_transfer)


def _remarks(evidence: Evidence) -> tuple[str, ...]:
    told = []
    for kind in KINDS:
        effect = transfer_effect(evidence, (kind,))
        if effect.known and not is_too_wide("points", effect.low, effect.high):
            told.append(f"To networks of {_of(kind)}: {interval_text('points', *in_unit('points', effect), POINTS)}.")
    everywhere = transfer_effect(evidence, everywhere=True)
    if everywhere.known and not is_too_wide("points", everywhere.low, everywhere.high):
        told.append(f"Mean over all ε: {interval_text('points', *in_unit('points', everywhere), POINTS)}.")
    alone = [c.header.cohort for c in evidence.transfers if len(c.networks) < FEWEST_NETWORKS]
    if alone:
        told.append(
            f"{listed(alone)}: two networks do not tell how much networks differ; the interval is over images alone, "
            "for these two networks."
        )
    return tuple(told)


def _of(kind: Kind) -> str:
    return {
        "other seed": "another seed",
        "other training subset, same seed": "another training subset and the same seed (the same start)",
        "other training subset, other seed": "another training subset and another seed",
    }.get(kind, "another architecture")


def _specifications(evidence: Evidence) -> Iterator[Specification]:
    """At each ε, over all, and at the plan's."""
    if not any(len(cohort.networks) > 1 for cohort in evidence.transfers):
        return
    margin = evidence.plan.margins.of_transfer
    first, *others = (cohort.epsilons.tolist() for cohort in evidence.transfers)
    for epsilon in (one for one in first if all(one in grid for grid in others)):
        effect = transfer_effect(evidence, epsilon=epsilon)
        yield Specification(effect, verdict_of(effect, margin), f"{epsilon:g}", as_planned=False)
    effect = transfer_effect(evidence, everywhere=True)
    yield Specification(effect, verdict_of(effect, margin), "all", as_planned=False)
    effect = transfer_effect(evidence)
    yield Specification(effect, verdict_of(effect, margin), _amplitude(evidence).removeprefix("ε = "))


def _chance(design: Design, assumed: Assumed, plan: AnalysisPlan) -> float:
    """Of a cohort with one pair of networks: more of them make images count for more, by how much is not known."""
    if design.k < 1:
        return 0.0
    variance = assumed.transfer * (1 - assumed.transfer) / design.effective
    error, freedom = pooled_error(variance, assumed.between_transfers, design.k)
    freedom = freedom if design.k > 1 else design.effective - 1
    return shown(assumed.transfer, error, freedom, plan.level, smallest_error(variance, design.k))


QUESTIONS.register(
    Question(
        name="transfer",
        number=6,
        title=TITLE,
        kind="points",
        effect_axis="Misled by attacked images less by noise, percentage points",
        judge=judge_transfer,
        smallest_effect=lambda margin: (
            f"differences wholly within ±{100 * margin:g} percentage points count as none, unless the interval "
            "excludes 0 from below"
        ),
        specifications=_specifications,
        power=PowerRule(
            "supported",
            _chance,
            lambda assumed, _: f"attacked images mislead {100 * assumed.transfer:g} points more often than noise",
            applies=lambda design: design.transfer,
        ),
        uses=frozenset({"epsilon"}),
        family="transfer",
        asked_of=lambda evidence: any(len(cohort.networks) > 1 for cohort in evidence.transfers),
    )
)
