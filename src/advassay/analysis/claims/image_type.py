"""Conclusion 2: histology is less sensitive to amplitude than X-ray."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from advassay.analysis.claims.amplitude import over_epsilon
from advassay.analysis.claims.directions import Course
from advassay.analysis.claims.statement import LEVEL, Conclusion, Verdict, finite, listed
from advassay.analysis.dose import epsilon50
from advassay.analysis.selection import packs_of
from advassay.records.store import Records

KINDS = {
    "X-ray": {
        "x ray", "x rays", "xray", "xrays", "cxr", "radiograph", "radiographs", "radiography", "chest x ray",
        "chest x rays", "chest xray", "chest radiograph", "chest radiographs", "chest radiography",
    },
    "histology": {
        "histology", "histological", "histopathology", "histopathological", "pathology", "digital pathology",
        "microscopy", "light microscopy",
    },
}  # fmt: skip
"""Image types that the conclusion compares, with the names they go by (lower case, spaces for hyphens)."""
NEITHER = "neither"
PUBLISHED = "Histology is less sensitive to amplitude than X-ray."
FEWEST = 4
"""Independent cohorts of each type below which cohorts cannot stand for their type."""


@dataclass(frozen=True)
class Unit:
    """Cohorts that share images, as one: the mean of their values (slopes per doubling of ε, logarithms of ε50) and its
    standard error."""

    cohorts: tuple[str, ...]
    kind: str
    value: float
    error: float


def kind_of(image_type: str | None) -> str:
    """The compared type that a cohort's free text names, or "neither".

    >>> kind_of("Chest X-Ray"), kind_of("histopathology"), kind_of("fundus")
    ('X-ray', 'histology', 'neither')
    """
    name = " ".join((image_type or "").lower().replace("-", " ").replace("_", " ").split())
    return next((kind for kind, names in KINDS.items() if name in names), NEITHER)


def image_type(records: Records, level: float = LEVEL) -> Conclusion:
    """Welch's t test of the slopes of independent cohorts; below 4 + 4 undecided, the image-level difference (its
    interval speaks about these cohorts only) as description.

    All slopes are of one arm, at its own grid of ε: the first in which most cohorts of the scarcer type have one (of
    several, most cohorts).
    """
    arm = comparing_arm(records, level)
    units = independent_units(records, arm, level) if arm else []
    xray, histology = [u for u in units if u.kind == "X-ray"], [u for u in units if u.kind == "histology"]
    enough = min(len(xray), len(histology)) >= FEWEST
    if enough:
        estimate, low, high, p = _welch(histology, xray, level)
        test = "Welch's t test, independent cohorts as units"
    else:
        estimate, low, high, p = _described(histology, xray, level)
        test = "none (description): mean slopes of the cohorts at hand, interval over their images"
    verdict, reason = _verdict(enough, len(xray), len(histology), low, high, arm)
    details = _details(records, arm, level) if arm else ()
    comparisons = _comparisons(units, details, level)
    return Conclusion(
        number=2,
        title="Image type",
        statement="Success depends less on ε in histology than in X-ray images.",
        estimand="slope of the logit of success per doubling of ε, histology minus X-ray",
        estimate=finite(estimate),
        low=finite(low),
        high=finite(high),
        test=test,
        p=finite(p),
        n=len(xray) + len(histology),
        unit="independent cohorts",
        verdict=verdict,
        breadth=f"over {len(xray)} X-ray and {len(histology)} histology cohorts" if verdict != "undecided" else "",
        reason=reason + _beside(comparisons) + _left_aside(details),
        level=level,
        published=PUBLISHED,
        alternatives=(
            "Cohorts of a type share hardware, stains and tasks; the classifier's accuracy and confidence differ too.",
            "Equal ε is not equal visibility where image types differ in contrast: see ε50 / clean contrast.",
        ),
        details=(*details, *comparisons),
    )


def comparing_arm(records: Records, level: float) -> str | None:
    """The arm that both types are compared in: a slope belongs to its update, loss and ε, not to the cohort alone."""

    def scarcer(arm: str) -> tuple[int, int]:
        kinds = [unit.kind for unit in independent_units(records, arm, level)]
        return min(kinds.count(kind) for kind in KINDS), len(kinds)

    return max(records.arms, key=scarcer, default=None)


def independent_units(records: Records, arm: str, level: float) -> list[Unit]:
    """Cohorts with a slope in the arm, those that share images merged (X-NR2 and X-NR3 are one archive)."""
    packs = packs_of(records, arm)
    courses = [c for c in (over_epsilon(pack, level) for pack in packs) if c.trend is not None and c.trend.converged]
    images = {pack.header.cohort: set(pack.image_ids) for pack in packs}
    merged: list[list[Course]] = []
    for c in courses:
        touching = [group for group in merged if any(images[c.cohort] & images[other.cohort] for other in group)]
        merged = [group for group in merged if group not in touching] + [[c, *(x for g in touching for x in g)]]
    return [_unit(group) for group in merged]


def _unit(group: list[Course]) -> Unit:
    slopes = [c.trend.slope * np.log(2) for c in group if c.trend]
    errors = [c.trend.standard_error * np.log(2) for c in group if c.trend]
    names = tuple(sorted(c.cohort for c in group))
    return Unit(names, kind_of(group[0].image_type), float(np.mean(slopes)), float(np.mean(errors)))


def _welch(a: list[Unit], b: list[Unit], level: float) -> tuple[float, float, float, float]:
    x, y = np.array([u.value for u in a]), np.array([u.value for u in b])
    result = stats.ttest_ind(x, y, equal_var=False)
    low, high = result.confidence_interval(level)
    return float(x.mean() - y.mean()), float(low), float(high), float(result.pvalue)


def _described(a: list[Unit], b: list[Unit], level: float) -> tuple[float, float, float, float]:
    if not a or not b:
        return (float("nan"),) * 4
    difference = np.mean([u.value for u in a]) - np.mean([u.value for u in b])
    error = np.sqrt(sum(u.error**2 for u in a) / len(a) ** 2 + sum(u.error**2 for u in b) / len(b) ** 2)
    half = stats.norm.ppf(0.5 + level / 2) * error
    return float(difference), float(difference - half), float(difference + half), float("nan")


def _verdict(enough: bool, xray: int, histology: int, low: float, high: float, arm: str | None) -> tuple[Verdict, str]:
    if arm is None:
        return "undecided", "No cohort was attacked."
    counted = f"{xray} independent X-ray and {histology} histology cohorts with a slope in arm {arm}"
    if not enough:
        return "undecided", f"too few cohorts: {counted}, {FEWEST} + {FEWEST} are needed."
    if high < 0:
        return "supported", f"The whole interval is below 0 ({counted})."
    if low > 0:
        return "contradicted", f"The whole interval is above 0: histology is more sensitive ({counted})."
    return "undecided", f"The interval includes 0 ({counted})."


OVER_COHORTS = "over cohorts (Welch)"
OVER_IMAGES = "over images, of these cohorts alone, mean contrasts taken as known"
QUANTITIES = {"epsilon50_fit": "ε50", "epsilon50_over_contrast": "ε50 / clean contrast"}


def _comparisons(units: list[Unit], details: tuple[dict[str, Any], ...], level: float) -> tuple[dict[str, Any], ...]:
    """ε50, and ε50 relative to contrast (equal visibility): ratio of geometric means, histology over X-ray.

    An ε50 outside the attacked grid is an extrapolation and does not enter. Cohorts that share images count once.
    From 4 + 4 the interval is Welch's on the logarithms; below, it describes these cohorts over their images, as the
    difference of slopes does.
    """
    values = {row["cohort"]: row for row in details}
    rows = []
    for key, name in QUANTITIES.items():
        logs: dict[str, list[Unit]] = {kind: [] for kind in KINDS}
        for unit in units:
            known = [
                values[cohort]
                for cohort in unit.cohorts
                if values[cohort]["within_grid"] and values[cohort][key] is not None
            ]
            if known and unit.kind in logs:
                middle = float(np.mean([np.log(row[key]) for row in known]))
                error = float(np.mean([_log_error(row, level) for row in known]))
                logs[unit.kind].append(Unit(tuple(row["cohort"] for row in known), unit.kind, middle, error))
        rows.append(_ratio(f"ratio of {name}, histology / X-ray", logs["histology"], logs["X-ray"], level))
    return tuple(rows)


def _log_error(row: dict[str, Any], level: float) -> float:
    """Standard error of ln ε50 as the fit's interval says it; NaN where that has an open end."""
    low, high = row["epsilon50_fit_low"], row["epsilon50_fit_high"]
    if low is None or high is None:
        return float("nan")
    return float(np.log(high / low) / (2 * stats.norm.ppf(0.5 + level / 2)))


def _ratio(name: str, histology: list[Unit], xray: list[Unit], level: float) -> dict[str, Any]:
    row: dict[str, Any] = {"cohort": name, "compared_as": "comparison", "n": len(histology) + len(xray)}
    if not histology or not xray:
        return row
    enough = min(len(histology), len(xray)) >= FEWEST
    middle, low, high, p = (_welch if enough else _described)(histology, xray, level)
    return row | {
        "ratio": float(np.exp(middle)), "ratio_low": finite(np.exp(low)), "ratio_high": finite(np.exp(high)),
        "p": finite(p), "interval": None if finite(low) is None else OVER_COHORTS if enough else OVER_IMAGES,
    }  # fmt: skip


def _beside(comparisons: tuple[dict[str, Any], ...]) -> str:
    """The ratios, in words."""
    known = [row for row in comparisons if "ratio" in row]
    told = [
        f"{row['cohort']} {row['ratio']:.2f}"
        + (f" [{row['ratio_low']:.2f}, {row['ratio_high']:.2f}]" if row.get("ratio_low") is not None else "")
        for row in known
    ]
    return f" Beside it: {'; '.join(told)} (above 1: histology needs more)." if told else ""


def _left_aside(details: tuple[dict[str, Any], ...]) -> str:
    """Cohorts of another type, named: they are compared with nothing."""
    aside = [f"{row['cohort']} ({row['image_type'] or 'no type'})" for row in details if row["compared_as"] == NEITHER]
    return f" Neither X-ray nor histology, so not compared: {listed(aside)}." if aside else ""


def _details(records: Records, arm: str, level: float) -> tuple[dict[str, Any], ...]:
    halves = {row["cohort"]: row for row in epsilon50(records, arm=arm, level=level).iter_rows(named=True)}
    rows = []
    for pack in packs_of(records, arm):
        slope, low, high = over_epsilon(pack, level).slope_per_doubling(level)
        contrast = float(np.nanmean(pack.contrast)) if np.isfinite(pack.contrast).any() else float("nan")
        half = halves[pack.header.cohort]
        fit = half["fit"]
        rows.append(
            {
                "cohort": pack.header.cohort, "image_type": pack.header.image_type,
                "compared_as": kind_of(pack.header.image_type), "arm": pack.header.arm,
                "slope_per_doubling": finite(slope), "low": finite(low), "high": finite(high),
                "epsilon50": half["text"], "epsilon50_fit": fit,
                "within_grid": fit is not None and half["smallest"] <= fit <= half["largest"],
                "epsilon50_fit_low": half["fit_low"], "epsilon50_fit_high": half["fit_high"],
                "clean_contrast": finite(contrast),
                "epsilon50_over_contrast": finite(fit / contrast) if fit is not None and contrast > 0 else None,
                "n": half["n"], "patients": half["patients"],
            }
        )  # fmt: skip
    return tuple(rows)
