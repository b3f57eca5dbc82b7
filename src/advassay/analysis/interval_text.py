"""What may be printed of a number: an estimate with its interval as text, and counts of patients.

One way to write rates, ratios and ε50 for the page, Markdown and terminals. An interval that is too wide to say
anything is called not determined; tables in CSV and JSON keep its numbers. Patients are counted only where they are
known.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from math import isfinite, isinf
from typing import Literal

import polars as pl

from advassay.store_documents import Preparation

Kind = Literal["ratio", "points", "epsilon"]
"""ratio: of two ε50. points: a difference of two success rates, in [−1, 1]. epsilon: an amplitude."""

WIDEST_RATIO = 1000.0
"""Upper over lower end of an interval of a ratio or an amplitude, above which nothing is determined."""
WIDEST_POINTS = 2.0
"""Width of an interval of a difference of rates from which on it holds every possible value, 200 percentage points."""
TOO_WIDE = {
    "ratio": f"interval wider than {WIDEST_RATIO:.0f}-fold",
    "epsilon": f"interval wider than {WIDEST_RATIO:.0f}-fold",
    "points": f"interval wider than {100 * WIDEST_POINTS:.0f} points",
}
NOT_DETERMINED = "not determined"


def is_too_wide(kind: Kind, low: float, high: float) -> bool:
    """Whether both ends together say nothing: farther apart than the widest interval that is printed, or open.

    >>> is_too_wide("ratio", 2.76e-05, 109012.0), is_too_wide("ratio", 0.5, 4.0), is_too_wide("points", -1.4, 1.2)
    (True, False, True)
    """
    if low != low or high != high or isinf(low) or isinf(high):
        return True
    return high - low >= WIDEST_POINTS if kind == "points" else low <= 0 or high > WIDEST_RATIO * low


def one_sided(kind: Kind, low: float, high: float) -> str:
    """The only end that says something: "at least 1.3", "at most 0.4"; empty where both ends do, or none.

    It is the end that is not open or, in an interval that is too wide, the one that lies on the near side of no effect.

    >>> one_sided("ratio", 1.3, float("inf")), one_sided("ratio", 1.3, 9000.0), one_sided("ratio", 0.01, 9000.0)
    ('at least 1.3', 'at least 1.3', '')
    """
    if not is_too_wide(kind, low, high) or low != low or high != high:
        return ""
    nothing = 0.0 if kind == "points" else 1.0
    no_low, no_high = isinf(low) or (kind != "points" and low <= 0), isinf(high)
    if (no_high and not no_low) or (not no_low and kind != "epsilon" and low >= nothing):
        return f"at least {written(kind, low)}"
    if (no_low and not no_high) or (not no_high and kind != "epsilon" and high <= nothing):
        return f"at most {written(kind, high)}"
    return ""


def interval_text(kind: Kind, estimate: float, low: float, high: float, unit: str = "") -> str:
    """ "3.9 [2.9, 5.3]", "at least 1.3", or "not determined (interval wider than 1000-fold)"; `unit` follows a number.

    >>> interval_text("ratio", 3.9, 2.9, 5.3, " times"), interval_text("points", 0.05, 0.01, 0.09)
    ('3.9 times [2.9, 5.3]', '5.0 [1.0, 9.0]')
    >>> interval_text("ratio", 1.74, 2.76e-05, 109012.0)
    'not determined (interval wider than 1000-fold)'
    """
    if not is_too_wide(kind, low, high):
        return f"{written(kind, estimate)}{unit} [{written(kind, low)}, {written(kind, high)}]"
    end = one_sided(kind, low, high)
    return f"{end}{unit}" if end else f"{NOT_DETERMINED} ({TOO_WIDE[kind]})"


def written(kind: Kind, value: float) -> str:
    """One number of this kind."""
    return percent_points(value) if kind == "points" else factor(value)


def percent_points(value: float) -> str:
    """A difference of two rates in percentage points.

    >>> percent_points(0.123), percent_points(-0.004), percent_points(-0.0001)
    ('12.3', '−0.4', '0.0')
    """
    if not isfinite(value):
        return "∞" if value > 0 else "−∞"
    text = f"{100 * value:.1f}"
    return "0.0" if text == "-0.0" else text.replace("-", "−")


def factor(value: float) -> str:
    """A ratio or an amplitude with three significant digits, never with an exponent.

    >>> factor(3.9123), factor(0.51), factor(float("inf")), factor(109012.3), factor(0.0000276)
    ('3.91', '0.51', '∞', '109012', '0.0000276')
    """
    if not isfinite(value):
        return "∞"
    return f"{Decimal(f'{value:.3g}'):f}" if value < 100 else f"{value:.0f}"


def with_known_patients(frame: pl.DataFrame, preparations: Mapping[str, Preparation]) -> pl.DataFrame:
    """`frame` with null in `patients` (and in `cluster`, the column that names them) where no patient is known.

    Inside the analysis an image without a patient is a cluster of its own; a reader must not take these for patients.
    `preparations`: cohort → its document. A frame without the columns cohort and patients or cluster stays as it is.

    >>> frame = pl.DataFrame({"cohort": ["A"], "n": [3], "patients": [3]})
    >>> with_known_patients(frame, {})["patients"].to_list()
    [3]
    """
    columns = [name for name in ("patients", "cluster") if name in frame.columns]
    unknown = [name for name, prepared in preparations.items() if not prepared.patients_known]
    if "cohort" not in frame.columns or not unknown:
        return frame
    hidden = pl.col("cohort").is_in(unknown)
    return frame.with_columns(pl.when(hidden).then(None).otherwise(pl.col(name)).alias(name) for name in columns)
