"""Question 5: does the size of the training set matter?

The effect is the factor by which ε50 changes over the studied range of sizes, from a least-squares line of ln ε50 of
each network over log₂ size (one level per cohort). Two things vary: networks and patients. Their clusters are crossed,
so the variances add, less what both count (after Cameron, Gelbach & Miller, J. Bus. Econ. Stat. 29 (2011) 238); the
degrees of freedom are the networks'. The claim is an absence, so it needs the whole interval within the margin. All
networks of a cohort are compared at the same amplitudes on the same images, and the range is the widest that one cohort
covers: sizes of different cohorts are never compared. Where the grid is too coarse to tell where between two amplitudes
a network's ε50 lies, the interval is wider by what that leaves open.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
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
    verdict_of,
    what_it_takes,
)
from advassay.analysis.conclusions.effect_sizes import Effect
from advassay.analysis.conclusions.evidence import Evidence, at_amplitudes, comparable_grids, finished, shared
from advassay.analysis.conclusions.question import (
    QUESTIONS,
    REFERENCE_STUDY,
    PowerRule,
    Question,
    Specification,
    no_difference,
)
from advassay.analysis.conclusions.study_power import Assumed, Design, variance_of_log_epsilon50, within
from advassay.analysis.dose_response.epsilon50 import BETWEEN, Epsilon50, by_bracket, epsilon50_of
from advassay.analysis.dose_response.epsilon50_tables import GREY_LEVELS, epsilon50_text
from advassay.analysis.dose_response.pooling import Bound, pool
from advassay.analysis.dose_response.thresholds import distinct_doses, places_of, thresholds
from advassay.analysis.interval_text import interval_text, is_too_wide, one_sided
from advassay.analysis.outcome_arrays import OutcomeArrays
from advassay.spec.analysis_plan import AnalysisPlan
from advassay.success import predicted

TITLE = "Training size"
PUBLISHED = "No dependence of success on the size of the training set was found (H-BR)."
FEWEST_SIZES = 3
FEWEST_SEEDS = 2
"""Networks of one size: without a repeat nothing tells a difference of sizes from one of trainings."""
UNRESOLVED = 0.1
"""With a share below this at one amplitude and above 1 − this at the next, ε50 may lie anywhere between the two."""
RESOLUTION = 0.01
"""Smallest standard error of ln ε50 of a network: two networks are never known to be equal to better than 1%."""


@dataclass(frozen=True)
class Network:
    """One trained network of a size series."""

    pack: OutcomeArrays
    size: int
    dose: Epsilon50

    @property
    def cohort(self) -> str:
        return self.pack.header.cohort

    @property
    def open_by(self) -> float:
        """How far ln ε50 may lie from its estimate because the grid is too coarse; 0 where a share tells it."""
        at, share = self._crossing, self.dose.data.share
        if at is None or share[at - 1] > UNRESOLVED or share[at] < 1 - UNRESOLVED:
            return 0.0
        low, high = np.log(self.dose.data.doses[at - 1 : at + 1])
        return float(max(high - self.dose.log, self.dose.log - low))

    @property
    def shape_error(self) -> float:
        """How far the curve's shape between two amplitudes may move ln ε50; 0 where `open_by` says more."""
        at = self._crossing
        if at is None or self.open_by:
            return 0.0
        return BETWEEN * float(np.diff(np.log(self.dose.data.doses[at - 1 : at + 1]))[0])

    @property
    def _crossing(self) -> int | None:
        """The first amplitude at which half of the images are misclassified; None where none or the smallest is."""
        at = int(np.argmax(self.dose.data.share >= 0.5))
        return at if self.dose.side == "inside" and at > 0 else None


@dataclass(frozen=True)
class Range:
    """The widest range of training-set sizes that one cohort covers."""

    cohort: str
    smallest: int
    largest: int

    @property
    def doublings(self) -> float:
        return float(np.log2(self.largest / self.smallest))


def range_of(networks: list[Network]) -> Range:
    """Of the networks whose ε50 is known; the first cohort's where several are as wide."""
    sizes: dict[str, list[int]] = {}
    for network in networks:
        if network.dose.known is not None:
            sizes.setdefault(network.cohort, []).append(network.size)
    found = [Range(name, min(of), max(of)) for name, of in sizes.items()]
    return max(found, key=lambda one: one.doublings) if found else Range("", 1, 1)


def judge_training_size(evidence: Evidence) -> Conclusion:
    """Supported where ε50 is shown not to change over the range, contradicted where a change beyond the margin is."""
    plan = evidence.plan
    networks = series_of(evidence)
    effect, widest = size_effect(networks, plan.level), range_of(networks)
    verdict = verdict_of(effect, float(np.log(plan.margins.training_size)), absence_supports=True)
    sizes = [widest.smallest, widest.largest]
    cohorts = list(dict.fromkeys(n.cohort for n in networks))
    return conclude(
        5,
        effect,
        verdict,
        kind="ratio",
        unit="networks",
        n=len(networks),
        rests_on=f"over {len(networks)} networks of {listed(cohorts)}",
        needed=_needed(effect, networks, plan),
        spread_from=None,
        title=TITLE,
        statement="Robustness (ε50) does not depend on the number of training images.",
        headline=_headline(effect, verdict, sizes, plan),
        estimand="ratio of ε50, largest / smallest training set of a cohort",
        test="least squares of ln ε50 on log₂ training size over networks, clustered by network and, where known, "
        "patient; equivalent where the whole interval lies within the margin",
        reason=_reason(effect, networks, plan, widest),
        remarks=(*_outside(networks), *_coarse(networks), *left_out(evidence)),
        margin=plan.margins.training_size,
        published=PUBLISHED,
        alternatives=(
            "A smaller set also changes clean accuracy and confidence, which act on ε50.",
            "All sizes train for the same number of updates; a longer training of larger sets is another question.",
        ),
        details=tuple(_row(n, plan) for n in networks),
    )


def series_of(evidence: Evidence) -> list[Network]:
    """Every network of the cohorts with at least three sizes, one of them trained with at least two seeds.

    The networks of a cohort are taken at the amplitudes, and on the images, that all of them were attacked at. One
    whose amplitudes would cost the others more than it adds is left out (`left_out` says so).
    """
    found = []
    for packs in _by_cohort(evidence).values():
        packs = _comparable(packs)
        if not _is_series(packs):
            continue
        doses = shared([distinct_doses(pack)[0] for pack in packs])
        common = set.intersection(*(set(pack.image_ids[pack.present.all(axis=0)]) for pack in packs))
        found += [_network(evidence, pack, doses, common) for pack in packs]
    return found


def _by_cohort(evidence: Evidence) -> dict[str, list[OutcomeArrays]]:
    """Cohort → its networks of known size, without amplitudes that are recorded for a few images so far."""
    found: dict[str, list[OutcomeArrays]] = {}
    for pack in evidence.networks:
        if pack.header.train_size is not None:
            found.setdefault(pack.header.cohort, []).append(finished(pack))
    return found


def _comparable(packs: list[OutcomeArrays]) -> list[OutcomeArrays]:
    return [packs[i] for i in comparable_grids([distinct_doses(pack)[0] for pack in packs])]


def _is_series(packs: list[OutcomeArrays]) -> bool:
    seeds: dict[int | None, set[int | None]] = {}
    for pack in packs:
        seeds.setdefault(pack.header.train_size, set()).add(pack.header.seed)
    return len(seeds) >= FEWEST_SIZES and max(map(len, seeds.values())) >= FEWEST_SEEDS


def _network(evidence: Evidence, pack: OutcomeArrays, doses: np.ndarray, common: set[str]) -> Network:
    """One network at these amplitudes, on these images."""
    own, places = distinct_doses(pack)
    at = places_of(doses, own)
    restricted = pack if len(at) == len(own) else at_amplitudes(pack, places[at])
    images = np.array([image in common for image in pack.image_ids])
    if restricted is pack and images[pack.attackable.all(axis=0)].all():
        return Network(pack, int(pack.header.train_size or 0), evidence.epsilon50(pack))
    plan = evidence.plan
    dose = epsilon50_of(thresholds(restricted, plan.success, plan.dose, images), plan.level)
    dose = by_bracket(dose) if evidence.estimator == "bracket" else dose
    return Network(restricted, int(pack.header.train_size or 0), dose)


def left_out(evidence: Evidence) -> tuple[str, ...]:
    """One sentence about networks and amplitudes that question 5 does without; none where there are none."""
    told = []
    for cohort, packs in _by_cohort(evidence).items():
        kept = _comparable(packs)
        if not _is_series(kept):
            continue
        out = len(packs) - len(kept)
        if out:
            told.append(f"{count_of(out, 'networks')} of {cohort} left out: attacked at other amplitudes.")
        grids = [distinct_doses(pack)[0] for pack in kept]
        common = shared(grids)
        if any(len(grid) > len(common) for grid in grids):
            told.append(
                f"The networks of {cohort} are compared at the {len(common)} amplitudes that all were attacked at."
            )
    return tuple(told)


def size_effect(networks: list[Network], level: float) -> Effect:
    """ln of the ratio of ε50 over the widest range of sizes that one cohort covers."""
    known = [(network, dose) for network in networks if (dose := network.dose.known) is not None]
    used = [network for network, _ in known]
    images = sum(n.dose.data.images for n in used)
    unknown = Effect(float("nan"), -np.inf, np.inf, None, len(used), images)
    if not used:
        return unknown
    cohorts = list(dict.fromkeys(n.cohort for n in used))
    log_size = np.log2([n.size for n in used])
    design = np.column_stack([*([float(n.cohort == c) for n in used] for c in cohorts), log_size])
    values, bounds = np.array([value for _, (value, _) in known]), [bound for _, (_, bound) in known]
    # Sampling by patients is alike in all networks and enters below. τ² is what residuals have beyond the resolution.
    found = pool(values, np.full(len(used), RESOLUTION**2), design, bounds)
    contrast = np.zeros(design.shape[1])
    contrast[-1] = range_of(used).doublings
    if found.freedom < 1:
        return unknown
    error = float(np.sqrt(found.error(contrast) ** 2 + _patient_variance(used, design, contrast, bounds)))
    estimate, low, high = _with_error(found.interval(contrast, level), found.error(contrast), error)
    weights = np.abs(contrast @ np.linalg.pinv(design))
    # The curve's error comes back between every two amplitudes, so that alike networks share it: it changes with
    # ln ε50 by at most 2π times its size over their distance.
    shape = min(float(weights @ [n.shape_error for n in used]), 2 * np.pi * BETWEEN * abs(estimate))
    room = float(weights @ [n.open_by for n in used]) + shape
    # Where the grid leaves room, the test of no effect is of the estimate that lies nearest to none.
    p = _p(max(abs(estimate) - room, 0.0), error, found.freedom)
    return Effect(estimate, low - room, high + room, p, len(used), images, freedom=found.freedom)


def _with_error(interval: tuple[float, float, float], before: float, after: float) -> tuple[float, float, float]:
    estimate, low, high = interval
    stretch = after / before
    return estimate, estimate - (estimate - low) * stretch, estimate + (high - estimate) * stretch


def _p(estimate: float, error: float, freedom: float) -> float:
    from scipy import stats

    return float(2 * stats.t.sf(abs(estimate) / error, freedom))


def _patient_variance(used: list[Network], design: np.ndarray, contrast: np.ndarray, bounds: list[Bound]) -> float:
    """Variance of the contrast between patients, less what the networks' residuals hold already.

    Each patient moves ln ε50 of every network by an influence. What is alike in all networks leaves no trace in the
    contrast; what follows the sizes is this variance; what is of one network alone is in the residuals too.
    """
    weights = contrast @ np.linalg.pinv(design)
    rows: dict[str, int] = {}
    influence = np.zeros((sum(n.dose.data.n_patients for n in used), len(used)))
    for k, (network, bound) in enumerate(zip(used, bounds, strict=True)):
        if bound != "value" or network.dose.curve is None:
            continue
        _, gradient = network.dose.curve.log_epsilon()
        codes, inverse = np.unique(network.dose.data.patients, return_inverse=True)
        sums = np.bincount(inverse, network.dose.curve.influence @ gradient, len(codes))
        for name, value in zip(network.pack.patient_ids[codes], sums, strict=True):
            influence[rows.setdefault(name, len(rows)), k] = value
    own = influence - influence @ design @ np.linalg.pinv(design)  # of one network alone
    freedom = len(used) - np.linalg.matrix_rank(design)
    by_patient = float(((influence @ weights) ** 2).sum())
    by_both = float((own**2 @ weights**2).sum()) * len(used) / max(freedom, 1)
    return max(0.0, by_patient - by_both)


def _headline(effect: Effect, verdict: Verdict, sizes: list[int], plan: AnalysisPlan) -> str:
    if not effect.known:
        return (
            "Whether the number of training images matters cannot be judged: too few networks were trained on "
            "different numbers of images."
        )
    estimate, low, high = in_unit("ratio", effect)
    times = interval_text("ratio", estimate, low, high, " times the amplitude")
    end = one_sided("ratio", low, high)
    size = f"with {sizes[-1]} training images instead of {sizes[0]}, networks withstand {times}"
    limit = plan.margins.training_size
    margin = float(np.log(limit))
    none = f"between 1/{limit:g} and {limit:g} times counts as no dependence"
    shown = effect.low > 0 or effect.high < 0
    if verdict == "supported":
        what = "A small dependence is shown, within the margin" if shown else "No dependence that counts"
        return f"{what}: {size}; {none}."
    if verdict == "contradicted":
        return f"The number of training images matters: {size}."
    if is_too_wide("ratio", low, high) and not end:
        return (
            f"Not decided: how many times the amplitude networks withstand with {sizes[-1]} training images instead "
            f"of {sizes[0]} is {times}."
        )
    if shown and (effect.low > 0) == (effect.high > margin):
        return f"Not decided: {size}. A dependence is shown, but it may be too small to count: {none}."
    return f"Not decided: {size}; {none}, and the interval reaches beyond."


def _reason(effect: Effect, networks: list[Network], plan: AnalysisPlan, widest: Range) -> str:
    if not networks:
        return (
            f"No cohort has networks trained on at least {FEWEST_SIZES} different numbers of images, with at least "
            f"{FEWEST_SEEDS} seeds for one of them."
        )
    if not effect.known:
        return (
            f"{len(networks)} networks are too few, or too many of their ε50 lie below the "
            "smallest or above the largest ε."
        )
    limit = plan.margins.training_size
    margin = float(np.log(limit))
    within = -margin <= effect.low and effect.high <= margin
    beyond = effect.low > margin or effect.high < -margin
    excludes = " and excludes 1" if effect.low > 0 or effect.high < 0 else ""
    where = "wholly within" if within else "wholly outside" if beyond else "partly outside"
    return (
        f"The interval over the whole range ({widest.doublings:.1f} doublings, in {widest.cohort}) lies {where} "
        f"1/{limit:g} to {limit:g}{excludes} "
        f"({len(networks)} networks, {count_of(round(effect.freedom), 'degrees')} of freedom)."
    )


def _needed(effect: Effect, networks: list[Network], plan: AnalysisPlan) -> str:
    if not networks or not effect.known:
        return (
            f"At least {FEWEST_SIZES} training-set sizes with 3 seeds each are needed, with ε50 between the smallest "
            "and the largest ε."
        )
    margin = float(np.log(plan.margins.training_size))
    if any(n.open_by for n in networks):
        return "Amplitudes between those that misclassify almost no image and almost every image are needed."
    nearest = margin if effect.estimate >= 0 else -margin
    return what_it_takes("ratio", effect, plan.level, nearest, coefficients=2, unit="networks")


def _outside(networks: list[Network]) -> tuple[str, ...]:
    out = [n for n in networks if n.dose.side in ("below", "above")]
    if not out:
        return ()
    return (f"In {len(out)} of {len(networks)} networks ε50 lies below the smallest or above the largest ε.",)


def _coarse(networks: list[Network]) -> tuple[str, ...]:
    coarse = [n for n in networks if n.open_by]
    if not coarse:
        return ()
    return (
        f"In {len(coarse)} of {len(networks)} networks one amplitude misclassifies almost no image and the next "
        "almost every image: ε50 may lie anywhere between the two, which widens the interval. Amplitudes in between "
        "would narrow it.",
    )


def _row(network: Network, plan: AnalysisPlan) -> dict[str, Any]:
    pack, dose = network.pack, network.dose
    inside = dose.side == "inside"
    decided = ~np.isnan(pack.clean_logits).any(axis=1)
    correct = predicted(pack.clean_logits) == pack.labels
    return {
        "row": "network", "cohort": network.cohort, "train_size": network.size, "seed": pack.header.seed,
        "epsilon50": epsilon50_text(dose, plan.level),
        "epsilon50_255": epsilon50_text(dose, plan.level, GREY_LEVELS),
        "epsilon50_estimate": finite(dose.estimate) if inside else None,
        "amplitudes": len(dose.data.doses),
        "clean_accuracy": float(correct[decided].mean()) if decided.any() else None,
        "n": dose.data.images, "patients": dose.data.n_patients,
    }  # fmt: skip


def _specifications(evidence: Evidence) -> Iterator[Specification]:
    effect = size_effect(series_of(evidence), evidence.plan.level)
    margin = float(np.log(evidence.plan.margins.training_size))
    yield Specification(effect, verdict_of(effect, margin, absence_supports=True))


def _chance(design: Design, assumed: Assumed, plan: AnalysisPlan) -> float:
    if len(design.sizes) < FEWEST_SIZES or design.seeds < FEWEST_SEEDS:
        return 0.0
    x = np.repeat(np.log2(design.sizes), design.seeds)
    spread = assumed.between_trainings**2 + variance_of_log_epsilon50(design, assumed) / 4
    # A quarter of the sampling variance: most of it is alike in all networks, which see the same images.
    error = float(np.sqrt(spread / ((x - x.mean()) ** 2).sum()) * np.ptp(x))
    return within(float(np.log(plan.margins.training_size)), error, len(x) - 2, plan.level)


QUESTIONS.register(
    Question(
        name="training_size",
        number=5,
        title=TITLE,
        kind="ratio",
        effect_axis="Ratio of ε50, largest / smallest training set",
        judge=judge_training_size,
        smallest_effect=lambda margin: no_difference(margin, "dependence"),
        specifications=_specifications,
        power=PowerRule(
            "supported",
            _chance,
            lambda assumed, _: (
                f"ε50 does not depend on it; networks trained alike differ by {assumed.between_trainings:g} (ln ε50)"
            ),
            grows_by="networks of each size",
        ),
        # Networks of a size series are judged against each other: a bracket that all share would make them equal.
        estimators=("curve",),
        uses=frozenset({"series"}),
        tests_effect=False,
        family=REFERENCE_STUDY,
    )
)
