"""Minimal ε per image and ε50, the amplitude at which half of the attackable images have fallen.

An image's minimal ε is only known to lie between two amplitudes of the grid. Every image is judged at every ε, so
the non-parametric maximum-likelihood estimate (Turnbull, JRSS-B 38 (1976)) is the cumulative share fallen at each
grid point, and says nothing between them; ε50 is read off on a straight line over ln ε between its neighbours.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
from scipy import stats

from advassay.analysis.groups import Part, grouped, names_of
from advassay.analysis.intervals import effective_n, wilson
from advassay.analysis.packed import Packed
from advassay.analysis.points import Cell, pooled, shared_key
from advassay.analysis.selection import packs_of
from advassay.analysis.trend import Link, fit_trend
from advassay.errors import SpecError
from advassay.records.store import Records
from advassay.success import Reading


def minimal_epsilon(
    records: Records, *, arm: str | None = None, step_size: str | None = None, success: Reading = "last"
) -> pl.DataFrame:
    """Smallest ε of the grid at which each attackable image has fallen by the last iterate.

    Columns: cohort, arm, image_id, label, above, upto: the minimal ε lies in (above, upto]. above = 0: fallen at
    the smallest ε already (left-censored); upto null: at none (right-censored).
    """
    frames = [_per_image(pack, success) for pack in packs_of(records, arm, step_size)]
    return pl.concat(frames) if frames else pl.DataFrame()


def _per_image(pack: Packed, success: Reading) -> pl.DataFrame:
    kept, first = _first(pack, success)
    grid = np.r_[pack.epsilons, np.nan]
    return pl.DataFrame(
        {
            "cohort": [pack.header.cohort] * len(first),
            "arm": [pack.header.arm] * len(first),
            "image_id": pack.image_ids[kept].tolist(),
            "label": pack.labels[kept],
            "above": np.r_[0.0, pack.epsilons][first],
            "upto": pl.Series(grid[first], nan_to_null=True),
        }
    )


def _first(pack: Packed, success: Reading) -> tuple[np.ndarray, np.ndarray]:
    """(images judged at every ε and attackable (image,) bool, index of the first ε at which each fell)."""
    kept = np.asarray(pack.attackable.all(0))
    fallen = pack.fallen(success)[:, -1, kept]
    return kept, np.where(fallen.any(0), fallen.argmax(0), len(pack.epsilons))


def epsilon50(
    records: Records, by: str | Sequence[str] = "cohort", *, arm: str | None = None, step_size: str | None = None,
    success: Reading = "last", link: Link = "logit", level: float = 0.95,
) -> pl.DataFrame:  # fmt: skip
    """ε at which half of the attackable images have fallen, one row per curve (`by` as in `success_curve`).

    Columns: what the curve's images share (cohort, image_type, arm, step_size, class …), n, patients, smallest,
    largest (of the grid), estimate, low, high (null outside the grid), text ("0.043 [0.031, 0.060]", "< 0.02",
    "> 0.20"), fit, fit_low, fit_high, fit_text: the same from the dose–response fit on ln ε (`link` logit or probit)
    with patient-clustered covariance (Fieller's interval; null where it has none, or the curve is too flat to say).
    low and high invert the band of Wilson bounds with effective n: where they cross one half.
    Raises SpecError where curves of different ε are pooled.
    """
    if link not in ("logit", "probit"):
        raise SpecError(f'link: "logit" or "probit", got {link!r}.', "Leave link out for logit.")
    groups = grouped(records, names_of(by), arm, step_size)
    return pl.DataFrame([_row(group, success, link, level) for group in groups], infer_schema_length=None)


def _row(group: list[Part], success: Reading, link: Link, level: float) -> dict[str, Any]:
    grid = group[0].pack.epsilons
    if any(part.pack.epsilons.tolist() != grid.tolist() for part in group):
        raise SpecError(
            f"by: cohorts with the same ε can be pooled, {group[0].pack.header.image_type} has others.",
            'Take by="cohort", or an arm whose ε all of them share.',
        )
    points = pooled([(part, _reached(part.pack, success)) for part in group])
    size = effective_n(points)
    low, high = wilson(points.rate * size, size, level)
    estimate, earliest, latest = (_crossing(grid, share) for share in (points.rate, high, low))
    known = bool(points.n.any())
    return shared_key(group) | {
        "n": int(points.n[0]), "patients": int(points.patients.max(initial=0)), "smallest": float(grid[0]),
        "largest": float(grid[-1]), "estimate": _inside(estimate, grid), "low": _inside(earliest, grid),
        "high": _inside(latest, grid),
        "text": _text(estimate, earliest, latest, grid) if known else "no attackable image",
    } | _fitted(group, grid, success, link, level)  # fmt: skip


def _reached(pack: Packed, success: Reading) -> list[Cell]:
    """Images judged at every ε that have fallen at it or at a smaller one."""
    kept, first = _first(pack, success)
    at = np.full(len(kept), len(pack.epsilons))
    at[kept] = first
    return [({"epsilon": float(e)}, at <= i, kept) for i, e in enumerate(pack.epsilons)]


def _crossing(grid: np.ndarray, share: np.ndarray) -> float:
    """ε at which `share` first reaches 1/2: 0 below the grid, infinity beyond, NaN without images."""
    if np.isnan(share).any():
        return float("nan")
    above = np.flatnonzero(share >= 0.5)
    if not above.size:
        return float("inf")
    k = int(above[0])
    if k == 0:
        return float(grid[0]) if share[0] == 0.5 else 0.0
    weight = (0.5 - share[k - 1]) / (share[k] - share[k - 1])
    return float(np.exp(np.log(grid[k - 1]) + weight * (np.log(grid[k]) - np.log(grid[k - 1]))))


def _inside(value: float, grid: np.ndarray) -> float | None:
    return value if grid[0] <= value <= grid[-1] else None


def _text(estimate: float, low: float, high: float, grid: np.ndarray) -> str:
    def written(value: float) -> str:
        if value < grid[0]:
            return f"< {grid[0]:.3g}"
        return f"> {grid[-1]:.3g}" if value > grid[-1] else f"{value:.3g}"

    alone = _inside(estimate, grid) is None and written(low) == written(high) == written(estimate)
    return written(estimate) if alone else f"{written(estimate)} [{written(low)}, {written(high)}]"


def _fitted(
    group: list[Part], grid: np.ndarray, success: Reading, link: Link, level: float
) -> dict[str, float | str | None]:
    points = pooled([(part, _judged(part.pack, success)) for part in group])
    trend = fit_trend(grid, points, link=link)
    if not trend.converged or trend.slope <= 0:
        return {"fit": None, "fit_low": None, "fit_high": None, "fit_text": None}
    quantile = stats.t.ppf(0.5 + level / 2, max(trend.patients - 1, 1))
    roots = _fieller(trend.intercept, trend.slope, trend.covariance, quantile)
    with np.errstate(over="ignore", under="ignore"):  # of a slope that is almost 0, ε50 lies beyond every number
        fit, low, high = np.exp([-trend.intercept / trend.slope, *((-np.inf, np.inf) if roots is None else roots)])
    ends = {"fit": fit, "fit_low": None if roots is None else low, "fit_high": high}
    known = {name: float(value) if value is not None and 0 < value < np.inf else None for name, value in ends.items()}
    return known | {"fit_text": _text(fit, low, high, grid)}


def _judged(pack: Packed, success: Reading) -> list[Cell]:
    fallen = pack.fallen(success)[:, -1]
    return [({"epsilon": float(e)}, fallen[i], pack.attackable[i]) for i, e in enumerate(pack.epsilons)]


def _fieller(intercept: float, slope: float, covariance: np.ndarray, quantile: float) -> tuple[float, float] | None:
    """Interval of −intercept / slope (Finney, Probit Analysis (1971) §4.6); None where slope is not clear of 0."""
    q2 = quantile**2
    a = slope**2 - q2 * covariance[1, 1]
    b = 2 * (intercept * slope - q2 * covariance[0, 1])
    c = intercept**2 - q2 * covariance[0, 0]
    discriminant = b**2 - 4 * a * c
    if a <= 0 or discriminant < 0:
        return None
    root = np.sqrt(discriminant)
    return float((-b - root) / (2 * a)), float((-b + root) / (2 * a))
