"""Failure indicators: signs, seen in recorded paths, that an attack did less than it could.

Cf. Pintor et al. 2022 ("Indicators of Attack Failure") and Carlini et al. 2019. A flag is not a verdict: it says
where to look. All are (row,) bool; a row's path has K + 1 iterates.

nan              a logit of some iterate is not a number: no decision there, neither success nor robustness
nan_gradient     the loss gradient was not a number somewhere in the image at some iterate: no step was taken there
zero_gradient    the loss gradient was exactly zero at some iterate, so that update moved nothing
saturated        p_y of some iterate rounds to 1 in float32, or is within 4 spacings of it: softmax losses lose their
                 gradient there, or part of it
unchanged        the last iterate is the clean image although ε, the step and K are above 0
epsilon_inactive still correct, and no iterate had a pixel on the ε-boundary (where ε clips the gradient: no gradient
                 value was clipped): a larger ε would change nothing
not_converged    still correct, and more than 5% of the rise of the loss came in the last quarter of the steps
success_lost     misclassified at some iterate, not at the last
non_monotone     still correct at the last iterate, although a smaller ε of the same step size has
retired          ended at its first success, because only that was asked for; later iterates are NaN

Indicators of images "still correct" are about images first classified correctly.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from advassay.success import correct_on_clean, has_succeeded, margin, undecided
from advassay.trajectory import TrajectoryRows

NEARLY_ONE = np.float32(1 - 2**-22)
LATE_SHARE = 0.05
"""Part of the loss's whole rise that may fall in the last quarter of the steps before it counts as not converged."""


class RowFacts(NamedTuple):
    """What a block's columns do not say of its rows, (row,) each."""

    step: np.ndarray
    """Step size in use."""
    retired: np.ndarray
    nan_gradient: np.ndarray
    group: np.ndarray
    """The same number for rows of the same image and step size."""


def failure_flags(rows: TrajectoryRows, facts: RowFacts) -> dict[str, np.ndarray]:
    """Every indicator of the rows of finished images, (row,) bool each. All rows of an image are given together."""
    logits = rows.logits.swapaxes(0, 1)  # the shared definition of success, with rows in the place of images
    targets = rows.target if (rows.target >= 0).any() else None
    succeeded = has_succeeded(logits, rows.label, targets=targets).T
    down = succeeded[:, -1] | facts.retired
    unknown = undecided(logits).T
    stands = correct_on_clean(logits, rows.label, targets) & ~down & ~unknown[:, -1]
    moves = (rows.epsilon > 0) & (facts.step > 0) & (rows.logits.shape[1] > 1)
    flags = {
        "nan": unknown.any(axis=1) & ~facts.retired,
        "nan_gradient": facts.nan_gradient,
        "zero_gradient": (rows.gradient_norm[:, :-1] == 0).any(axis=1),
        "saturated": (_float32_probability(rows) >= NEARLY_ONE).any(axis=1),
        "unchanged": (rows.linf[:, -1] == 0) & moves & ~facts.retired,
        "epsilon_inactive": (rows.boundary_share[:, 1:] == 0).all(axis=1) & moves & stands,
        "not_converged": _late_rise(rows, targets) & stands,
        "success_lost": succeeded.any(axis=1) & stands,
        "non_monotone": _smaller_epsilon_succeeds(rows, down, facts.group) & stands,
    }
    return flags | ({"retired": facts.retired} if facts.retired.any() else {})


def _float32_probability(rows: TrajectoryRows) -> np.ndarray:
    """p_y as a float32 softmax computes it, (row, step)."""
    shifted = rows.logits - rows.logits.max(axis=-1, keepdims=True)
    # In float32, because the question is what the attack's own softmax has rounded away.
    exponential = np.exp(shifted, dtype=np.float32)
    own = np.take_along_axis(exponential, rows.label[:, None, None], axis=2)[..., 0]
    return own / exponential.sum(axis=-1, dtype=np.float32)


def _late_rise(rows: TrajectoryRows, targets: np.ndarray | None) -> np.ndarray:
    """Whether the best of the last quarter beats the best before by more than LATE_SHARE of the whole rise, (row,)."""
    steps = rows.logits.shape[1] - 1
    quarter = max(1, steps // 4)
    if steps < 2:
        return np.zeros(len(rows), bool)
    with np.errstate(invalid="ignore"):
        gain = margin(rows.logits.swapaxes(0, 1), rows.label if targets is None else targets).T
        gain = -gain if targets is None else gain
        # The best so far and not the last: a trajectory may swing without having stopped to climb.
        before, late = gain[:, : steps + 1 - quarter].max(axis=1), gain[:, -quarter:].max(axis=1)
        rise = np.maximum(before, late) - gain[:, 0]
        return late - before > LATE_SHARE * rise


def _smaller_epsilon_succeeds(rows: TrajectoryRows, succeeded: np.ndarray, group: np.ndarray) -> np.ndarray:
    """Whether a row of the same image, step size and restart 0 with a smaller ε is misclassified at its end, (row,)."""
    lowest = np.full(group.max(initial=0) + 1, np.inf)
    # Restarts try again where the declared run failed, and would make any ε look weaker than a smaller one.
    declared = succeeded & (rows.restart == 0)
    np.minimum.at(lowest, group[declared], rows.epsilon[declared])
    return lowest[group] < rows.epsilon
