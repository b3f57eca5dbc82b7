"""Failure indicators: signs, seen in one image's recorded paths, that an attack did less than it could.

Cf. Pintor et al. 2022 ("Indicators of Attack Failure") and Carlini et al. 2019. A flag is not a verdict: it says
where to look. All are (row,) bool; a row's path has K + 1 iterates.

nan              a logit of some iterate is not a number: no decision there, neither success nor robustness
nan_gradient     the loss gradient was not a number somewhere in the image at some iterate: no step was taken there
zero_gradient    the loss gradient was exactly zero at some iterate, so that update moved nothing
saturated        p_y of some iterate rounds to 1 in float32, or is within 4 spacings of it: softmax losses lose their
                 gradient there, or part of it
unchanged        the last iterate is the clean image although ε, the step and K are above 0
epsilon_inactive not fallen, and no iterate had a pixel on the ε-boundary (literal: no gradient value was clipped): a
                 larger ε would change nothing
not_converged    not fallen, and more than 5% of the rise of the loss came in the last quarter of the steps
success_lost     fallen at some iterate, not at the last
non_monotone     not fallen at the last iterate, although a smaller ε of the same step size has
retired          ended at its first success, because only that was asked for; later iterates are NaN

Indicators of images "not fallen" are about images first classified correctly.
"""

from __future__ import annotations

import numpy as np

from advassay.attacks.work import Work
from advassay.success import attackable, fallen, margin, undecided

NEARLY_ONE = np.float32(1 - 2**-22)
LATE_SHARE = 0.05
"""Part of the loss's whole rise that may fall in the last quarter of the steps before it counts as not converged."""


def failure_flags(work: Work) -> dict[str, np.ndarray]:
    """Every indicator of one finished image, (row,) bool each."""
    fell = _fallen(work)
    down = fell[:, -1] | work.retired
    decided = ~undecided(work.logits.swapaxes(0, 1))[-1]
    stands = _attackable(work) & ~down & decided & work.ran
    moves = (work.epsilon > 0) & (work.step > 0) & (work.logits.shape[1] > 1)
    flags = {
        "nan": np.isnan(work.logits).any(axis=(1, 2)) & work.ran & ~work.retired,
        "nan_gradient": work.nan_gradient.copy(),
        "zero_gradient": (work.gradient_norm[:, :-1] == 0).any(axis=1),
        "saturated": (_float32_probability(work) >= NEARLY_ONE).any(axis=1),
        "unchanged": (work.linf[:, -1] == 0) & moves & work.ran & ~work.retired,
        "epsilon_inactive": (work.boundary_share[:, 1:] == 0).all(axis=1) & moves & stands,
        "not_converged": _late_rise(work) & stands,
        "success_lost": fell.any(axis=1) & stands,
        "non_monotone": _weaker_fell(work, down) & stands,
    }
    return flags | ({"retired": work.retired.copy()} if work.retired.any() else {})


def _fallen(work: Work) -> np.ndarray:
    """(row, step): the shared definition of success, with this image's rows in the place of images."""
    n = len(work.rows)
    targets = None if work.target < 0 else np.full(n, work.target)
    return fallen(work.logits.swapaxes(0, 1), np.full(n, work.label), targets=targets).T


def _attackable(work: Work) -> np.ndarray:
    """(row,): the same for every row that has run."""
    n = len(work.rows)
    targets = None if work.target < 0 else np.full(n, work.target)
    return attackable(work.logits.swapaxes(0, 1), np.full(n, work.label), targets)


def _float32_probability(work: Work) -> np.ndarray:
    """p_y as a float32 softmax computes it, (row, step)."""
    shifted = work.logits - work.logits.max(axis=-1, keepdims=True)
    exponential = np.exp(shifted, dtype=np.float32)
    return exponential[..., work.label] / exponential.sum(axis=-1, dtype=np.float32)


def _late_rise(work: Work) -> np.ndarray:
    """Whether the best of the last quarter beats the best before by more than LATE_SHARE of the whole rise, (row,)."""
    steps = work.logits.shape[1] - 1
    quarter = max(1, steps // 4)
    if steps < 2:
        return np.zeros(len(work.rows), bool)
    wanted = work.label if work.target < 0 else work.target
    gain = margin(work.logits.swapaxes(0, 1), np.full(len(work.rows), wanted)).T
    gain = gain if work.target >= 0 else -gain
    with np.errstate(invalid="ignore"):
        before, late = gain[:, : steps + 1 - quarter].max(axis=1), gain[:, -quarter:].max(axis=1)
        rise = np.maximum(before, late) - gain[:, 0]
        return late - before > LATE_SHARE * rise


def _weaker_fell(work: Work, fell: np.ndarray) -> np.ndarray:
    """Whether a row of the same step size and restart 0 with a smaller ε has fallen at its last iterate, (row,)."""
    lowest: dict[str, float] = {}
    for row, down in zip(work.rows, fell, strict=True):
        if down and row.restart == 0:
            lowest[row.step_size] = min(row.epsilon, lowest.get(row.step_size, np.inf))
    return np.array([lowest.get(r.step_size, np.inf) < r.epsilon for r in work.rows])
