"""Minimal ε of every image, and ε50 of every curve, as tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from advassay.analysis.dose_response.epsilon50 import Epsilon50, epsilon50_of
from advassay.analysis.dose_response.pooling import Bound, pool
from advassay.analysis.dose_response.thresholds import thresholds
from advassay.analysis.dose_response.wording import GREY_LEVELS, epsilon50_text
from advassay.analysis.groups import Part, grouped, names_of
from advassay.analysis.interval_text import interval_text
from advassay.analysis.packed import Packed
from advassay.analysis.points import shared_key
from advassay.analysis.selection import packs_of
from advassay.analysis_plan import DoseReading
from advassay.records.store import Records
from advassay.success import Reading


def minimal_epsilon(
    records: Records, *, arm: str | None = None, step_size: str | None = None, success: Reading = "last",
    dose: DoseReading = "monotone",
) -> pl.DataFrame:  # fmt: skip
    """Smallest ε of the grid at which each attackable image is misclassified by the last iterate.

    Columns: cohort, arm, image_id, label, above, upto: the minimal ε lies in (above, upto]. above = 0: misclassified at
    the smallest ε already (left-censored); upto null: at none (right-censored). `dose` "as recorded": the ε from which
    on every larger one misclassifies it.
    """
    frames = [_per_image(pack, success, dose) for pack in packs_of(records, arm, step_size)]
    return pl.concat(frames) if frames else pl.DataFrame()


def _per_image(pack: Packed, success: Reading, dose: DoseReading) -> pl.DataFrame:
    data = thresholds(pack, success, dose)
    return pl.DataFrame(
        {
            "cohort": [pack.header.cohort] * data.images,
            "arm": [pack.header.arm] * data.images,
            "image_id": pack.image_ids[data.kept].tolist(),
            "label": pack.labels[data.kept],
            "above": np.r_[0.0, data.doses][data.category],
            "upto": pl.Series(np.r_[data.doses, np.nan][data.category], nan_to_null=True),
        }
    )


def epsilon50(
    records: Records, by: str | Sequence[str] = "cohort", *, arm: str | None = None, step_size: str | None = None,
    success: Reading = "last", dose: DoseReading = "monotone", level: float = 0.95,
) -> pl.DataFrame:  # fmt: skip
    """ε at which half of the attackable images are misclassified, one row per curve (`by` as in `success_curve`).

    Columns: what the curve's images share (cohort, image_type, arm, step_size, class …), cohorts, n, patients,
    smallest, largest (of the grid), estimate, low, high (null outside the grid), text ("0.043 [0.031, 0.060]",
    "< 0.02", "between 0.02 and 0.04"), text_255 (the same text in 1/255), side (of the grid: inside, below, above,
    unknown), method, bracket_low, bracket_high (the
    amplitudes that bracket ε50 without a curve; null where open), ever (share that falls at some amplitude, fitted),
    fit_p (goodness of fit; null where the grid is too short to tell).

    Several cohorts in one curve (by="image_type") are pooled as cohorts: random effects on ln ε50, never their images
    thrown together. See docs/explanation/statistics.md.
    """
    groups = grouped(records, names_of(by), arm, step_size)
    rows = [_row(group, success, dose, level) for group in groups]
    return pl.DataFrame(rows, infer_schema_length=None)


def _row(group: list[Part], success: Reading, dose: DoseReading, level: float) -> dict[str, Any]:
    found = [epsilon50_of(thresholds(part.pack, success, dose, part.images), level) for part in group]
    key = shared_key(group) | {
        "cohorts": len({part.pack.header.cohort for part in group}),
        "n": sum(one.data.images for one in found),
        "patients": sum(one.data.n_patients for one in found),
        "smallest": float(min(one.data.doses[0] for one in found)),
        "largest": float(max(one.data.doses[-1] for one in found)),
    }
    return key | (_alone(found[0], level) if len(found) == 1 else _pooled(found, level))


def _alone(found: Epsilon50, level: float) -> dict[str, Any]:
    low, high = found.interval(level) if found.side != "unknown" else (float("nan"),) * 2
    edges = [None if at in (-1, len(found.data.doses)) else float(found.data.doses[at]) for at in found.bracket]
    return {
        "estimate": found.estimate if found.trusted else None, "low": _inside(low), "high": _inside(high),
        "text": epsilon50_text(found, level), "text_255": epsilon50_text(found, level, GREY_LEVELS),
        "side": found.side, "method": "log-logistic" if found.trusted else "bracket", "bracket_low": edges[0],
        "bracket_high": edges[1],
        "ever": found.curve.ever if found.curve else None, "fit_p": found.fit_p,
    }  # fmt: skip


def _pooled(found: list[Epsilon50], level: float) -> dict[str, Any]:
    """Random effects on ln ε50; a cohort outside its grid enters as a bound."""
    known = [one for one in found if one.side != "unknown"]
    bounds: list[Bound] = [{"below": "at most", "above": "at least"}.get(one.side, "value") for one in known]  # type: ignore[misc]
    pooled = pool(np.array([one.log for one in known]), np.array([one.variance for one in known]), None, bounds)
    estimate, low, high = (float(np.exp(x)) for x in pooled.interval(np.ones(1), level))
    estimable = np.isfinite(high)
    text = [interval_text("epsilon", estimate * unit, low * unit, high * unit) for unit in (1.0, GREY_LEVELS)]
    return {
        "estimate": estimate if estimable else None, "low": low if estimable else None,
        "high": high if estimable else None, "text": text[0] if estimable else "too few cohorts inside the grid",
        "text_255": text[1] if estimable else "too few cohorts inside the grid",
        "side": "inside" if estimable else "unknown", "method": "random effects over cohorts", "bracket_low": None,
        "bracket_high": None, "ever": None, "fit_p": None,
    }  # fmt: skip


def _inside(value: float) -> float | None:
    return float(value) if np.isfinite(value) and value > 0 else None
