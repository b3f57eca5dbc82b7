"""How archives write ages: the legal forms of DICOM, the common illegal ones, and those that say nothing.

(0010,1010) Patient's Age has the value representation AS: three digits and one of D, W, M, Y (PS3.5, 6.2).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

LEGAL: tuple[Callable[[int], str], ...] = (lambda years: f"{years:03d}Y", lambda years: f"{years * 12:03d}M")
ILLEGAL: tuple[Callable[[int], str], ...] = (
    lambda years: f"{years}",
    lambda years: f"{years}Y",
    lambda years: f"{years:03d}",
    lambda years: f"{years:03d}y",
)
"""Against the standard, but not to be mistaken: two digits are years."""
SAYS_NOTHING: tuple[str | None, ...] = (None, "", "414Y", "-45", "XXXY")
"""No tag, an empty one, older than anyone, negative, no number."""


def write_age(years: int, rng: np.random.Generator) -> tuple[str | None, float | None]:
    """How a file states an age of `years` (15 … 83), and the age in years that can be read from it.

    None for the text: the tag is absent; None for the age: the file does not say.

    >>> LEGAL[0](45), LEGAL[1](45), ILLEGAL[1](45)
    ('045Y', '540M', '45Y')
    """
    kind = rng.random()
    if kind < 0.06:
        return SAYS_NOTHING[rng.integers(len(SAYS_NOTHING))], None
    if kind < 0.2:
        return ILLEGAL[rng.integers(len(ILLEGAL))](years), float(years)
    in_months = kind > 0.96
    return LEGAL[int(in_months)](years), float(years)
