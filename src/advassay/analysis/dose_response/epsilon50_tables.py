"""Minimal ε of every image and ε50 of every curve, as tables and as text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from advassay.analysis.conclusions.conclusion import as_ratio
from advassay.analysis.conclusions.effect_sizes import Effect, Value, joined, overall, values_of
from advassay.analysis.conclusions.evidence import repeats
from advassay.analysis.dose_response.epsilon50 import Epsilon50, Side, epsilon50_of
from advassay.analysis.dose_response.thresholds import distinct_doses, thresholds
from advassay.analysis.interval_text import interval_text, is_too_wide
from advassay.analysis.outcome_arrays import OutcomeArrays, load_outcomes, packs_of, runs_of, step_sizes
from advassay.analysis.success_curves import RunSubset, group_columns, run_subsets, shared_key
from advassay.records.store_reader import Records
from advassay.spec.analysis_plan import DoseReading
from advassay.success import Reading

GREY_LEVELS = 255.0
"""Steps of an 8-bit grey scale in the [0, 1] range."""


def epsilon50_text(found: Epsilon50, level: float = 0.95, unit: float = 1.0) -> str:
    """ "0.0031 [0.0026, 0.0037]", "< 0.02" or "> 0.2 [0.1, > 0.2]"; `unit` 255 = grey levels of 255.

    Where the curve is not trusted the amplitudes that bracket ε50 are printed alone: "between 0.002 and 0.005",
    "at most 0.005", or "< 0.001 to > 0.1" where nothing narrows it down.
    """
    if found.side == "unknown":
        return "no attackable image"
    doses = found.data.doses * unit
    low, high = (bound * unit for bound in found.interval(level))
    ends = [written_inside(value, doses[0], doses[-1]) for value in (low, high)]
    if found.side == "inside" and not found.trusted:
        return _between(ends)
    if doses[0] <= low and high <= doses[-1] and is_too_wide("epsilon", low, high):
        return interval_text("epsilon", found.estimate * unit, low, high)
    middle = written_inside(found.estimate * unit, doses[0], doses[-1])
    shown_outside = (found.side == "below" and high <= doses[0]) or (found.side == "above" and low >= doses[-1])
    return middle if shown_outside else f"{middle} [{ends[0]}, {ends[1]}]"


def _between(ends: list[str]) -> str:
    if ends[0].startswith("<") and ends[1].startswith(">"):
        return f"{ends[0]} to {ends[1]}"
    if ends[0].startswith("<"):
        return f"at most {ends[1]}"
    return f"at least {ends[0]}" if ends[1].startswith(">") else f"between {ends[0]} and {ends[1]}"


def written_inside(value: float, smallest: float, largest: float) -> str:
    """An amplitude, or which end of the grid it lies beyond.

    >>> written_inside(0.003, 0.001, 0.1), written_inside(0.5, 0.001, 0.1)
    ('0.003', '> 0.1')
    """
    if value < smallest:
        return f"< {smallest:.3g}"
    return f"> {largest:.3g}" if value > largest else f"{value:.3g}"


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


def _per_image(pack: OutcomeArrays, success: Reading, dose: DoseReading) -> pl.DataFrame:
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
    thrown together; main networks of several seeds are averaged, cohorts that share images count once, and what lies
    beyond the grids is said to. See docs/explanation/statistics.md.
    """
    groups = run_subsets(records, group_columns(by), arm, step_size)
    rows = [_row(records, group, success, dose, level) for group in groups]
    return pl.DataFrame(rows, infer_schema_length=None)


def _row(records: Records, group: list[RunSubset], success: Reading, dose: DoseReading, level: float) -> dict[str, Any]:
    found = [epsilon50_of(thresholds(part.pack, success, dose, part.images), level) for part in group]
    key = shared_key(group) | {
        "cohorts": len({part.pack.header.cohort for part in group}),
        "n": sum(one.data.images for one in found),
        "patients": sum(one.data.n_patients for one in found),
        "smallest": float(min(one.data.doses[0] for one in found)),
        "largest": float(max(one.data.doses[-1] for one in found)),
    }
    if len(found) == 1:
        return key | _alone(found[0], level)
    networks = [_networks(records, part) for part in group]
    return key | _pooled(networks, success, dose, level)


def _networks(records: Records, part: RunSubset) -> list[RunSubset]:
    """The part, and the same images under the cohort's main networks of other seeds on the same amplitudes."""
    found = [part]
    for run in runs_of(records, part.pack.header.arm, primary=False):
        if part.pack.step_size not in (*step_sizes(run), "any"):
            continue
        other = load_outcomes(run, part.pack.step_size)
        if not repeats(other, part.pack):
            continue
        wanted = set(part.pack.image_ids[part.images])
        images = np.array([image in wanted for image in other.image_ids], bool)
        found.append(RunSubset(other, images, part.key))
    return found


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


def _pooled(networks: list[list[RunSubset]], success: Reading, dose: DoseReading, level: float) -> dict[str, Any]:
    """Random effects on ln ε50 over cohorts; of some only a bound is known (`Epsilon50.known`).

    Nothing beyond all grids is printed. Where a bound is all that is known of the cohorts together, there is no
    estimate, and the side of the grid is unknown unless the bound lies at its end.
    """
    masks = {id(part.pack): part.images for parts in networks for part in parts}
    grids = [distinct_doses(part.pack)[0] for parts in networks for part in parts]
    smallest, largest = min(grid[0] for grid in grids), max(grid[-1] for grid in grids)

    def value(pack: OutcomeArrays) -> Value | None:
        one = epsilon50_of(thresholds(pack, success, dose, masks[id(pack)]), level)
        if one.known is None:
            return None
        log, bound = one.known
        header = pack.header
        return Value((header.cohort,), header.image_type, log, one.variance, one.freedom, one.data.images, bound)

    main = [[part.pack for part in parts] for parts in networks]
    effect = overall(joined(values_of(main, value), main), level)
    numbers = as_ratio(effect.estimate), as_ratio(effect.low), as_ratio(effect.high)
    side, bounded = _pooled_side(effect, smallest, largest), _is_bound(effect)
    low, high = numbers[1:]
    texts = [_pooled_text(side, bounded, numbers, (smallest, largest), unit) for unit in (1.0, GREY_LEVELS)]
    return {
        "estimate": numbers[0] if side == "inside" else None,
        "low": low if effect.known and low >= smallest * (1 - _ROUNDING) else None,
        "high": high if effect.known and high <= largest * (1 + _ROUNDING) else None,
        "text": texts[0], "text_255": texts[1], "side": side, "method": "random effects over cohorts",
        "bracket_low": None, "bracket_high": None, "ever": None, "fit_p": None,
    }  # fmt: skip


_ROUNDING = 1e-9
"""Far below any step between two amplitudes, far above the rounding of exp(log ε)."""


def _is_bound(effect: Effect) -> bool:
    """Whether one end is all that is known."""
    return effect.known and bool(np.isinf(effect.low) or np.isinf(effect.high))


def _pooled_side(effect: Effect, smallest: float, largest: float) -> Side:
    """On which side of the grids ε50 lies."""
    if not effect.known:
        return "unknown"
    estimate, low, high = as_ratio(effect.estimate), as_ratio(effect.low), as_ratio(effect.high)
    if _is_bound(effect):
        if high <= smallest * (1 + _ROUNDING):
            return "below"
        return "above" if low >= largest * (1 - _ROUNDING) else "unknown"
    # NaN compares false: what is not known lies on neither side.
    if estimate < smallest or high < smallest:
        return "below"
    return "above" if estimate > largest or low > largest else "inside"


def _pooled_text(
    side: Side, bounded: bool, numbers: tuple[float, float, float], grid: tuple[float, float], unit: float
) -> str:
    estimate, low, high = (number * unit for number in numbers)
    smallest, largest = (end * unit for end in grid)
    middle, first, last = (written_inside(number, smallest, largest) for number in (estimate, low, high))
    if bounded:
        return f"< {smallest:.3g}" if side == "below" else f"> {largest:.3g}" if side == "above" else (
            _between([first, last])
        )  # fmt: skip
    if side == "unknown":
        return "too few cohorts inside the grid"
    if smallest <= low and high <= largest and is_too_wide("epsilon", low, high):
        return interval_text("epsilon", estimate, low, high)
    outside = (side == "below" and high <= smallest) or (side == "above" and low >= largest)
    return middle if outside else f"{middle} [{first}, {last}]"


def _inside(value: float) -> float | None:
    return float(value) if np.isfinite(value) and value > 0 else None
