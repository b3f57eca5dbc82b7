"""Conclusion 5: no dependence on the size of the training set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from advassay.analysis.claims.statement import LEVEL, Conclusion, Verdict, finite, listed, signed, span
from advassay.analysis.claims.visible import Bound, at_bound, bound, needed
from advassay.analysis.packed import Packed
from advassay.analysis.selection import USUAL_EPSILON, packs_of
from advassay.records.store import Records

PUBLISHED = "No dependence of success on the size of the training set was found (H-BR)."
MARGIN = 0.02
"""Change of the success rate per doubling of the training set that still counts as none."""
FEWEST_SIZES = 3
FEWEST_SEEDS = 3
NO_SPREAD = 1e-12
"""A standard error below this is rounding: the networks do not differ at all."""


@dataclass(frozen=True)
class Network:
    """One trained network under the main arm at one ε."""

    cohort: str
    size: int
    seed: int
    epsilon: float
    rate: float
    accuracy: float
    n: int


@dataclass(frozen=True)
class Line:
    """Slope of success per doubling of the training set, with its standard error and degrees of freedom."""

    slope: float
    error: float
    freedom: int

    def interval(self, level: float) -> tuple[float, float]:
        half = stats.t.ppf(0.5 + level / 2, self.freedom) * self.error
        return self.slope - half, self.slope + half

    def p_equivalence(self, margin: float) -> float | None:
        """Two one-sided tests (Schuirmann 1987): the larger p of slope ≤ −margin and slope ≥ margin.

        None where the networks leave no residual: without a spread there is no test.
        """
        if self.error <= NO_SPREAD:
            return None
        low, high = (self.slope + margin) / self.error, (margin - self.slope) / self.error
        return float(max(stats.t.sf(low, self.freedom), stats.t.sf(high, self.freedom)))


def training_size(records: Records, epsilon: float | None = None, level: float = LEVEL) -> Conclusion:
    """Unit = one trained network. Supported where the slope is equivalent to 0 within the margin, contradicted where
    its interval excludes 0 and equivalence fails; with fewer than 3 sizes or 3 seeds undecided. A series whose
    networks all stand at the ceiling or floor shows nothing and does not enter; where most of those that enter do, an
    equivalence is no evidence, since little could have changed.
    """
    found = networks(records)
    series = {cohort: _at_one_epsilon(found, cohort, epsilon) for cohort in _with_series(found)}
    all_ = [network for part in series.values() for network in part]
    enough = [cohort for cohort, part in series.items() if _sufficient(part)]
    open_ = [cohort for cohort in enough if _bound(series[cohort]) is None]
    used = [network for network in all_ if network.cohort in open_]
    line = fit_line(used) if used else None
    verdict, reason, p = _verdict(line, series, enough, open_, level)
    low, high = line.interval(level) if line and line.error > NO_SPREAD else (None, None)
    return Conclusion(
        number=5,
        title="Training size",
        statement="Success does not depend on the number of training images.",
        estimand="change of the success rate per doubling of the training set, over networks, unadjusted",
        estimate=line.slope if line else None,
        low=low,
        high=high,
        test="least squares over networks (one level per cohort); "
        f"equivalence within ±{MARGIN:g} by two one-sided tests",
        p=p,
        n=len(used) or len(all_),
        unit="networks",
        verdict=verdict,
        breadth=f"over {len(used)} networks of {listed(open_)}" if verdict != "undecided" else "",
        reason=reason,
        level=level,
        margin=MARGIN,
        published=PUBLISHED,
        alternatives=(
            "A smaller set also changes clean accuracy and confidence, which act on success: see the adjusted slope.",
            "All sizes train for the same number of updates; a longer training of larger sets is another question.",
        ),
        details=(*(_network_row(n) for n in all_), *_slopes(found, enough, level)),
    )


def networks(records: Records) -> list[Network]:
    """Every network under the main arm at every ε, success at the last iterate."""
    packs = packs_of(records, primary=False)
    return [network for pack in packs for e in pack.epsilons for network in _network(pack, float(e))]


def _network(pack: Packed, epsilon: float) -> list[Network]:
    at, header = pack.at(epsilon), pack.header
    attackable, present = pack.attackable[at], pack.present[at]
    if not attackable.any() or header.train_size is None:
        return []
    rate = float(pack.last[at, -1, attackable].mean())
    accuracy = float(pack.correct[at, 0, present].mean())
    return [Network(header.cohort, header.train_size, header.seed or 0, epsilon, rate, accuracy, int(attackable.sum()))]


def _with_series(found: list[Network]) -> list[str]:
    sizes: dict[str, set[int]] = {}
    for network in found:
        sizes.setdefault(network.cohort, set()).add(network.size)
    return [cohort for cohort, of_cohort in sizes.items() if len(of_cohort) > 1]


def _at_one_epsilon(found: list[Network], cohort: str, epsilon: float | None) -> list[Network]:
    """The cohort's networks at the ε nearest to the wanted one (None = 0.02) that all of them were attacked at, and
    at which most of them, or else some, stand away from ceiling and floor, where there is one.
    """
    wanted = USUAL_EPSILON if epsilon is None else epsilon
    mine = [network for network in found if network.cohort == cohort]
    names = {(n.size, n.seed) for n in mine}
    at = {e: {(n.size, n.seed) for n in mine if n.epsilon == e} for e in sorted({n.epsilon for n in mine})}
    shared = [e for e, attacked in at.items() if attacked == names]
    parts = [[n for n in mine if n.epsilon == e] for e in sorted(shared, key=lambda e: abs(e - wanted))]
    visible = [part for part in parts if _bound(part) is None]
    return next((part for part in visible if not _crowded(part)), next(iter([*visible, *parts]), []))


def _bound(part: list[Network]) -> Bound | None:
    return bound([network.rate for network in part])


def _crowded(part: list[Network]) -> bool:
    """Whether most of the networks stand at one end of the scale."""
    at_ends = [network for network in part if bound([network.rate])]
    return len(at_ends) > len(part) / 2


def _at_bounds(series: dict[str, list[Network]]) -> str:
    """The series of which every network stands at one end of the scale, and where."""
    stuck = [(cohort, part, at) for cohort, part in series.items() if (at := _bound(part))]
    return "; ".join(
        f"{cohort} at ε = {part[0].epsilon:g}: at the {at} in all {len(part)} networks ({at_bound(at)}), {needed(at)} "
        "amplitudes are needed"
        for cohort, part, at in stuck
    )


def _sufficient(part: list[Network]) -> bool:
    sizes = {n.size for n in part}
    replicated = [size for size in sizes if len({n.seed for n in part if n.size == size}) >= FEWEST_SEEDS]
    return len(replicated) >= FEWEST_SIZES


def fit_line(used: list[Network], adjusted: bool = False) -> Line:
    """Least squares of success on log2 size with one intercept per cohort (and clean accuracy where `adjusted`)."""
    cohorts = sorted({n.cohort for n in used})
    columns = [np.log2([n.size for n in used])]
    if adjusted:
        columns.append(np.array([n.accuracy for n in used]))
    x = np.column_stack([*columns, *([float(n.cohort == c) for n in used] for c in cohorts)])
    y = np.array([n.rate for n in used])
    beta, _, rank, _ = np.linalg.lstsq(x, y, rcond=None)
    freedom = len(y) - int(rank)
    variance = float(((y - x @ beta) ** 2).sum()) / max(freedom, 1) * np.linalg.pinv(x.T @ x)[0, 0]
    return Line(float(beta[0]), float(np.sqrt(max(variance, 0))), max(freedom, 1))


def _verdict(
    line: Line | None, series: dict[str, list[Network]], enough: list[str], open_: list[str], level: float
) -> tuple[Verdict, str, float | None]:
    if not series:
        return "undecided", "not enough networks: no cohort has a series of training sizes.", None
    stuck = _at_bounds(series)
    aside = f" Without {stuck}." if stuck else ""
    if not enough:
        told = "; ".join(
            f"{cohort}: {len({n.size for n in part})} sizes × {len({n.seed for n in part})} seeds"
            for cohort, part in series.items()
        )
        need = f"{FEWEST_SIZES} sizes with {FEWEST_SEEDS} seeds each are needed"
        return "undecided", f"not enough networks: {told}; {need}.{f' And {stuck}.' if stuck else ''}", None
    if line is None:
        at = next(_bound(series[cohort]) for cohort in enough)
        return "undecided", f"{at}: {stuck}.", None
    where = ", ".join(f"{cohort} at ε = {series[cohort][0].epsilon:g}" for cohort in open_)
    p = line.p_equivalence(MARGIN)
    if p is None:
        slope = f"Slope {signed(line.slope, 4)} per doubling ({where})"
        return "undecided", f"{slope}: the networks leave no spread to test.", p
    low, high = line.interval(level)
    told = f"Slope {span(line.slope, low, high, 4)} per doubling ({where}).{aside}"
    used = [network for cohort in open_ for network in series[cohort]]
    if p < 1 - level and _crowded(used):
        at_ends = sum(bound([network.rate]) is not None for network in used)
        reason = f" {at_ends} of {len(used)} networks stand at the ceiling or floor, where little can change: other"
        return "undecided", told + reason + " amplitudes are needed.", p
    if p < 1 - level:
        return "supported", told + f" Within ±{MARGIN:g} (equivalence p = {p:.2g}).", p
    if low > 0 or high < 0:
        return "contradicted", told + " The interval excludes 0.", p
    return "undecided", told + " Neither a dependence nor its absence is shown: more networks are needed.", p


def _network_row(network: Network) -> dict[str, Any]:
    return {
        "row": "network", "cohort": network.cohort, "train_size": network.size, "seed": network.seed,
        "epsilon": network.epsilon, "rate": network.rate, "clean_accuracy": network.accuracy, "n": network.n,
    }  # fmt: skip


def _slopes(found: list[Network], cohorts: list[str], level: float) -> list[dict[str, Any]]:
    """Slopes at every ε of each sufficient series: unadjusted, then adjusted for clean accuracy."""
    rows = []
    for cohort in cohorts:
        for epsilon in sorted({n.epsilon for n in found if n.cohort == cohort}):
            part = [n for n in found if n.cohort == cohort and n.epsilon == epsilon]
            if not _sufficient(part):
                continue
            for adjusted in (False, True):
                line = fit_line(part, adjusted)
                low, high = line.interval(level) if line.error > NO_SPREAD else (None, None)
                rows.append(
                    {
                        "row": "slope adjusted for clean accuracy" if adjusted else "slope", "cohort": cohort,
                        "epsilon": epsilon, "slope_per_doubling": finite(line.slope), "low": finite(low),
                        "high": finite(high), "n": len(part),
                    }
                )  # fmt: skip
    return rows
