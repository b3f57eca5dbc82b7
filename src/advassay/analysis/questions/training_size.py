"""Question 5: does the size of the training set matter?

The effect is the factor by which ε50 changes over the studied range of sizes, from a least-squares line of ln ε50 of
each network over log₂ size (one level per cohort). Two things vary: networks and patients. Their clusters are crossed,
so the variances add, less what both count (after Cameron, Gelbach & Miller, J. Bus. Econ. Stat. 29 (2011) 238); the
degrees of freedom are the networks'. The claim is an absence, so it needs the whole interval within the margin.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from advassay.analysis.dose_response.epsilon50 import Epsilon50
from advassay.analysis.dose_response.pooling import Bound, pool
from advassay.analysis.dose_response.wording import GREY_LEVELS, epsilon50_text
from advassay.analysis.interval_text import interval_text, is_too_wide, one_sided
from advassay.analysis.packed import Packed
from advassay.analysis.questions.conclusion import (
    Conclusion,
    Verdict,
    conclude,
    count_of,
    finite,
    in_unit,
    judged,
    listed,
    what_it_takes,
)
from advassay.analysis.questions.effects import Effect
from advassay.analysis.questions.evidence import Evidence
from advassay.analysis_plan import AnalysisPlan
from advassay.success import predicted

PUBLISHED = "No dependence of success on the size of the training set was found (H-BR)."
FEWEST_SIZES = 3
FEWEST_SEEDS = 2
"""Networks of one size: without a repeat nothing tells a difference of sizes from one of trainings."""
RESOLUTION = 0.01
"""Smallest standard error of ln ε50 of a network: two networks are never known to be equal to better than 1%."""


@dataclass(frozen=True)
class Network:
    """One trained network of a size series."""

    pack: Packed
    size: int
    dose: Epsilon50

    @property
    def cohort(self) -> str:
        return self.pack.header.cohort


def training_size(evidence: Evidence) -> Conclusion:
    """Supported where ε50 is shown not to change over the range, contradicted where a change beyond the margin is."""
    plan = evidence.plan
    networks = series_of(evidence)
    effect, doublings = size_effect(networks, plan.level)
    verdict = judged(effect, float(np.log(plan.margins.training_size)), absence_supports=True)
    sizes = sorted({n.size for n in networks})
    cohorts = list(dict.fromkeys(n.cohort for n in networks))
    return conclude(
        5,
        effect,
        verdict,
        unit="networks",
        n=len(networks),
        rests_on=f"over {len(networks)} networks of {listed(cohorts)}",
        needed=_needed(effect, networks, plan),
        spread_from=None,
        title="Training size",
        statement="Robustness (ε50) does not depend on the number of training images.",
        headline=_headline(effect, verdict, sizes, plan),
        estimand="ratio of ε50, largest / smallest training set",
        test="least squares of ln ε50 on log₂ training size over networks, clustered by network and, where known, "
        "patient; equivalent where the whole interval lies within the margin",
        reason=_reason(effect, networks, sizes, plan, doublings),
        remarks=_outside(networks),
        margin=plan.margins.training_size,
        published=PUBLISHED,
        alternatives=(
            "A smaller set also changes clean accuracy and confidence, which act on ε50.",
            "All sizes train for the same number of updates; a longer training of larger sets is another question.",
        ),
        details=tuple(_row(n, plan) for n in networks),
    )


def series_of(evidence: Evidence) -> list[Network]:
    """Every network of the cohorts with at least three sizes, one of them trained with at least two seeds."""
    known = [pack for pack in evidence.networks if pack.header.train_size is not None]
    seeds: dict[str, dict[int, set[int | None]]] = {}
    for pack in known:
        of_size = seeds.setdefault(pack.header.cohort, {}).setdefault(int(pack.header.train_size or 0), set())
        of_size.add(pack.header.seed)
    enough = {
        cohort
        for cohort, sizes in seeds.items()
        if len(sizes) >= FEWEST_SIZES and max(map(len, sizes.values())) >= FEWEST_SEEDS
    }
    return [
        Network(pack, int(pack.header.train_size or 0), evidence.epsilon50(pack))
        for pack in known
        if pack.header.cohort in enough
    ]


def size_effect(networks: list[Network], level: float) -> tuple[Effect, float]:
    """(ln of the ratio over the studied range, doublings in that range)."""
    used = [n for n in networks if n.dose.side != "unknown"]
    images = sum(n.dose.data.images for n in used)
    unknown = Effect(float("nan"), -np.inf, np.inf, None, len(used), images)
    if not used:
        return unknown, 0.0
    cohorts = list(dict.fromkeys(n.cohort for n in used))
    log_size = np.log2([n.size for n in used])
    design = np.column_stack([*([float(n.cohort == c) for n in used] for c in cohorts), log_size])
    bounds: list[Bound] = [{"below": "at most", "above": "at least"}.get(n.dose.side, "value") for n in used]  # type: ignore[misc]
    values = np.array([n.dose.log for n in used])
    # Sampling variance 0: τ² is then the variance of the residuals, and the fit is least squares on networks.
    found = pool(values, np.full(len(used), RESOLUTION**2), design, bounds)
    contrast = np.zeros(design.shape[1])
    contrast[-1] = np.ptp(log_size)
    if found.freedom < 1:
        return unknown, float(contrast[-1])
    error = float(np.sqrt(found.error(contrast) ** 2 + _patient_variance(used, design, contrast, bounds)))
    adjusted = _with_error(found.interval(contrast, level), found.error(contrast), error)
    return Effect(*adjusted, _p(adjusted[0], error, found.freedom), len(used), images, freedom=found.freedom), float(
        contrast[-1]
    )


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
    estimate, low, high = in_unit(5, effect)
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


def _reason(effect: Effect, networks: list[Network], sizes: list[int], plan: AnalysisPlan, doublings: float) -> str:
    if not networks:
        return (
            f"No cohort has networks trained on at least {FEWEST_SIZES} different numbers of images, with at least "
            f"{FEWEST_SEEDS} seeds for one of them."
        )
    if not effect.known:
        return (
            f"{len(networks)} networks of {len(sizes)} sizes are too few, or too many of their ε50 lie below the "
            "smallest or above the largest ε."
        )
    limit = plan.margins.training_size
    margin = float(np.log(limit))
    within = -margin <= effect.low and effect.high <= margin
    beyond = effect.low > margin or effect.high < -margin
    excludes = " and excludes 1" if effect.low > 0 or effect.high < 0 else ""
    where = "wholly within" if within else "wholly outside" if beyond else "partly outside"
    return (
        f"The interval over the whole range ({doublings:.1f} doublings) lies {where} 1/{limit:g} to "
        f"{limit:g}{excludes} "
        f"({len(networks)} networks, {count_of(round(effect.freedom), 'degrees')} of freedom)."
    )


def _needed(effect: Effect, networks: list[Network], plan: AnalysisPlan) -> str:
    if not networks or not effect.known:
        return (
            f"At least {FEWEST_SIZES} training-set sizes with 3 seeds each are needed, with ε50 between the smallest "
            "and the largest ε."
        )
    margin = float(np.log(plan.margins.training_size))
    nearest = margin if effect.estimate >= 0 else -margin
    return what_it_takes(5, effect, plan.level, nearest, coefficients=2, unit="networks")


def _outside(networks: list[Network]) -> tuple[str, ...]:
    out = [n for n in networks if n.dose.side in ("below", "above")]
    if not out:
        return ()
    return (f"In {len(out)} of {len(networks)} networks ε50 lies below the smallest or above the largest ε.",)


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
