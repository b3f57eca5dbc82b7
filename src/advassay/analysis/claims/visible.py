"""Where an effect can show: away from the ceiling and the floor of success."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from advassay.analysis.claims.statement import CEILING

Bound = Literal["ceiling", "floor"]


def bound(rates: Sequence[float]) -> Bound | None:
    """The end of the scale at which all these success rates stand; None where at least one is away from it.

    >>> bound([1.0, 0.99]), bound([0.01, 0.0]), bound([1.0, 0.9]), bound([])
    ('ceiling', 'floor', None, None)
    """
    if not rates:
        return None
    if min(rates) >= CEILING:
        return "ceiling"
    return "floor" if max(rates) <= 1 - CEILING else None


def at_bound(at: Bound) -> str:
    """What standing at it means, in words.

    >>> at_bound("ceiling")
    '98 % or more have fallen'
    """
    return (
        f"{100 * CEILING:.0f} % or more have fallen"
        if at == "ceiling"
        else f"{100 - 100 * CEILING:.0f} % or fewer have fallen"
    )


def needed(at: Bound) -> str:
    """The amplitudes that would show more."""
    return "smaller" if at == "ceiling" else "larger"
