"""ε50 as text: in fractions of the [0, 1] range and in grey levels of 255, "<" and ">" outside the grid."""

from __future__ import annotations

from advassay.analysis.dose_response.epsilon50 import Epsilon50
from advassay.analysis.interval_text import interval_text, is_too_wide

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
