"""Numbers as readers see them: one place, so that page, captions and alt texts agree."""

from __future__ import annotations

import math
from collections.abc import Sequence


def percent(value: float | None, digits: int = 1) -> str:
    """A share, or a difference of two, as percent; an en dash where there is none.

    >>> percent(0.125), percent(-0.5, 0), percent(None), percent(float("nan"))
    ('12.5 %', '−50 %', '–', '–')
    """
    return "–" if value is None or math.isnan(value) else f"{_digits(100 * value, f'.{digits}f')} %"


def points(difference: float | None) -> str:
    """A difference of two shares in percentage points, its sign always written; an en dash where there is none.

    >>> points(0.125), points(-0.03), points(0.0), points(None)
    ('+12.5', '−3.0', '0.0', '–')
    """
    if difference is None or math.isnan(difference):
        return "–"
    text = _digits(100 * difference, "+.1f")
    return text[1:] if text in ("+0.0", "−0.0") else text


def interval(low: float | None, high: float | None) -> str:
    """Two shares as an interval in percent.

    >>> interval(0.1, 0.25)
    '10.0 – 25.0 %'
    """
    if low is None or high is None or math.isnan(low) or math.isnan(high):
        return "–"
    return f"{100 * low:.1f} – {100 * high:.1f} %"


def amplitude(epsilon: float) -> str:
    """ε with its size in grey levels of an 8-bit image.

    >>> amplitude(0.02)
    'ε = 0.02 (5.1/255)'
    """
    return f"ε = {epsilon:g} ({grey_levels(epsilon)}/255)"


def grey_levels(epsilon: float) -> str:
    """ε in steps of an 8-bit scale: one decimal where it is not whole, two digits below one step.

    >>> grey_levels(0.02), grey_levels(0.1), grey_levels(5 / 255), grey_levels(0.0005)
    ('5.1', '25.5', '5', '0.13')
    """
    levels = 255 * epsilon
    return f"{levels:.2g}" if levels < 1 else f"{levels:.1f}".removesuffix(".0")


def count(number: int) -> str:
    """Thousands set apart by a narrow no-break space.

    >>> count(1234567)
    '1\u202f234\u202f567'
    """
    return f"{number:,}".replace(",", "\u202f")


def number(value: float | None, digits: int = 3) -> str:
    """A plain number with `digits` significant digits; an en dash where there is none.

    >>> number(0.98123), number(-0.5), number(None), number(float("inf"))
    ('0.981', '−0.5', '–', '∞')
    """
    return "–" if value is None or math.isnan(value) else _digits(value, f".{digits}g")


def _digits(value: float, style: str) -> str:
    """With a minus sign, and a sign for infinity."""
    return format(value, style).replace("-", "−").replace("inf", "∞")


def listed(items: Sequence[str]) -> str:
    """Items as an English list.

    >>> listed(["a"]), listed(["a", "b", "c"])
    ('a', 'a, b and c')
    """
    return "" if not items else items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"
