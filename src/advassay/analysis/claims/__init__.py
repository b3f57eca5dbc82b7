"""The reference study's five conclusions, each put to the test on these records; any may come out either way."""

from __future__ import annotations

from advassay.analysis.claims.amplitude import amplitude
from advassay.analysis.claims.confidence import confidence
from advassay.analysis.claims.image_type import image_type
from advassay.analysis.claims.iterations import iterations
from advassay.analysis.claims.statement import LEVEL, Conclusion, Verdict
from advassay.analysis.claims.training_size import training_size
from advassay.analysis.intervals import checked_level
from advassay.errors import SpecError
from advassay.records.store import Records


def conclusions(records: Records, epsilon: float | None = None, level: float = LEVEL) -> list[Conclusion]:
    """All five, in the reference study's order.

    `epsilon` is the amplitude of conclusions 3–5 (None = 0.02); each arm is judged at its recorded ε nearest to it.
    Where nearly all or nearly none have fallen there, conclusions 1, 2, 4 and 5 look at amplitudes or an arm that show
    more; reason and details say which. Verdicts: supported, contradicted, undecided, each with its reason; the
    details hold the numbers per cohort, arm or network. Raises SpecError for an ε outside (0, 1] or a level outside
    (0, 1).
    """
    checked_level(level)
    if epsilon is not None and not 0 < epsilon <= 1:
        raise SpecError(
            f"epsilon: above 0 and at most 1, got {epsilon:g}.",
            "Give a fraction of the [0, 1] range, as 0.02: the recorded amplitude nearest to it is taken.",
        )
    return [
        amplitude(records, level),
        image_type(records, level),
        iterations(records, epsilon, level),
        confidence(records, epsilon, level),
        training_size(records, epsilon, level),
    ]


__all__ = [
    "Conclusion",
    "Verdict",
    "amplitude",
    "conclusions",
    "confidence",
    "image_type",
    "iterations",
    "training_size",
]
