"""What a conclusion is: a statement put to the test, with everything its verdict rests on."""

from __future__ import annotations

from typing import Any, Literal

from advassay.attack_spec import Frozen

Verdict = Literal["supported", "contradicted", "undecided"]

LEVEL = 0.95
CEILING = 0.98
"""At or above this success rate everywhere (or at or below 1 − this) a trend cannot show."""
FEWEST_COHORTS = 2
"""Cohorts below which conclusions 1, 3 and 4 give no verdict about a study: one cohort is a case, not a pattern."""


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
    breadth: str = ""
    """What a verdict rests on, e.g. "in 5 of 8 cohorts"; empty where undecided."""
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
    def told(self) -> str:
        """The verdict with what it rests on, e.g. "supported in 5 of 8 cohorts"."""
        return f"{self.verdict} {self.breadth}".rstrip()

    @property
    def interval(self) -> tuple[float | None, float | None]:
        return self.low, self.high


def finite(value: float | None) -> float | None:
    """Numbers as JSON has them: None for NaN and infinity."""
    return None if value is None or value != value or value in (float("inf"), float("-inf")) else float(value)


def lone(own: str) -> str:
    """Why a study of one cohort gets no verdict, with that cohort's own result beside."""
    return f"one cohort: a verdict about a study needs at least {FEWEST_COHORTS}. By itself: {own}"


def majority(supporting: int, against: int, cohorts: int) -> Verdict:
    """The verdict of cohorts that each speak for themselves: more than half of at least two decide.

    >>> majority(5, 1, 8), majority(1, 2, 3), majority(4, 4, 8), majority(1, 0, 1)
    ('supported', 'contradicted', 'undecided', 'undecided')
    """
    if cohorts < FEWEST_COHORTS:
        return "undecided"
    return "supported" if 2 * supporting > cohorts else "contradicted" if 2 * against > cohorts else "undecided"


def in_cohorts(verdict: Verdict, supporting: int, against: int, cohorts: int) -> str:
    """How many cohorts a verdict holds in; empty where there is none.

    >>> in_cohorts("supported", 5, 1, 8), in_cohorts("undecided", 1, 1, 8)
    ('in 5 of 8 cohorts', '')
    """
    if verdict == "undecided":
        return ""
    return f"in {supporting if verdict == 'supported' else against} of {cohorts} cohorts"


def signed(value: float, digits: int = 3) -> str:
    """A number that always wears its sign, with a true minus.

    >>> signed(-0.25), signed(0.5, 1)
    ('−0.250', '+0.5')
    """
    return f"{value:+.{digits}f}".replace("-", "−")


def span(estimate: float, low: float, high: float, digits: int = 3) -> str:
    """An estimate with its interval, signed.

    >>> span(-0.25, -0.5, 0.0, 2)
    '−0.25 [−0.50, +0.00]'
    """
    return f"{signed(estimate, digits)} [{signed(low, digits)}, {signed(high, digits)}]"


def tally(names: list[str]) -> str:
    """How many, and which.

    >>> tally(["X-TB", "H-BR"]), tally([])
    ('2 (X-TB, H-BR)', 'none')
    """
    return f"{len(names)} ({listed(names)})" if names else "none"


def listed(names: list[str]) -> str:
    """ "X-TB, H-BR" or "none"."""
    return ", ".join(names) if names else "none"
