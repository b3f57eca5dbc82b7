"""What a conclusion is: a statement put to the test, with everything its verdict rests on."""

from __future__ import annotations

from typing import Any, Literal

from advassay.attack_spec import Frozen

Verdict = Literal["supported", "contradicted", "undecided"]

LEVEL = 0.95
CEILING = 0.98
"""At or above this success rate everywhere (or at or below 1 − this) a trend cannot show."""


class Conclusion(Frozen):
    """One conclusion of the reference study as a tested statement about these records."""

    number: int
    """1 amplitude, 2 image type, 3 iterations, 4 confidence, 5 training size."""
    title: str
    statement: str
    """What is claimed."""
    estimand: str
    """The quantity that decides, in words with its unit."""
    estimate: float | None
    low: float | None
    high: float | None
    bounds: Literal["interval", "undecided"] = "interval"
    """What low and high are: a confidence interval of `level`, or the estimate if every undecided cohort spoke against
    (low) or for (high) the statement."""
    test: str
    p: float | None
    """Of the test, where it gives one."""
    n: int
    """Units that decide (cohorts, networks or images, as `unit` says)."""
    unit: str
    verdict: Verdict
    reason: str
    """Why this verdict, with the numbers."""
    level: float = LEVEL
    margin: float | None = None
    """The smallest effect that counts, in the estimand's unit; null where none is used."""
    published: str
    """What the reference study states (Kovalev & Voynov 2019)."""
    alternatives: tuple[str, ...] = ()
    """What else could explain the result."""
    details: tuple[dict[str, Any], ...] = ()
    """A table: one row per cohort, arm or network."""

    @property
    def interval(self) -> tuple[float | None, float | None]:
        return self.low, self.high


def finite(value: float | None) -> float | None:
    """Numbers as JSON has them: None for NaN and infinity."""
    return None if value is None or value != value or value in (float("inf"), float("-inf")) else float(value)


def listed(names: list[str]) -> str:
    """ "X-TB, H-BR" or "none"."""
    return ", ".join(names) if names else "none"
