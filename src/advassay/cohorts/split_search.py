"""A split that puts every class on every side, searched for where the first draw of patients gives none.

Whether such a split exists depends on which patients have images of which classes, not on the seed. With few patients
all assignments are compared, with more the best of several draws is improved patient by patient.
"""

from __future__ import annotations

from functools import cached_property
from itertools import combinations, product

import numpy as np

MOST_COMPARED = 20_000
"""Assignments that are all compared: 9 patients on three sides, 14 on two."""
_CRITICAL = 40
"""Patients of the rarest classes whose sides are also changed two at a time."""
_MOST_STEPS = 200

Score = tuple[int, int, float]
"""Classes without images on a side that needs them, classes missing on the tuning side, distance from the shares."""


class SplitGoal:
    """What a split should be like, and how far an assignment of patients to sides is from it.

    counts: (patient, class) images. shares: of each side, adding up to 1. required: sides that cannot do without a
    class; the others merely should have each.
    """

    def __init__(self, counts: np.ndarray, shares: np.ndarray, required: np.ndarray) -> None:
        self.counts = counts
        self.sides = len(shares)
        self._required = required
        self._desired = ~required & (shares > 0)
        parts = np.hstack([counts, counts > 0]).astype(float)  # images and patients count alike
        self._parts = parts
        self._target = shares[:, None] * parts.sum(axis=0)

    def scores(self, sides: np.ndarray) -> np.ndarray:
        """(assignment, 3): the score of each row of `sides`, (assignment, patient) of indices of sides."""
        have = np.stack([(sides == side).astype(float) @ self._parts for side in range(self.sides)], axis=1)
        return self._scores_of(have)

    def _scores_of(self, have: np.ndarray) -> np.ndarray:
        """`have`: (assignment, side, class twice)."""
        classes = self.counts.shape[1]
        present = self.counts.sum(axis=0) > 0
        lacking = (have[:, :, :classes] == 0) & present
        distance = (((have - self._target) / np.maximum(self._target, 1.0)) ** 2).sum(axis=(1, 2))
        return np.stack(
            [lacking[:, self._required].sum(axis=(1, 2)), lacking[:, self._desired].sum(axis=(1, 2)), distance], axis=1
        )

    def score(self, sides: np.ndarray) -> Score:
        """The score of one assignment, (patient,)."""
        required, desired, distance = self.scores(sides[None])[0]
        return int(required), int(desired), float(distance)

    def exhausts(self) -> bool:
        """Whether all assignments are few enough to be compared."""
        return self.sides ** len(self.counts) <= MOST_COMPARED

    def best(self) -> np.ndarray:
        """The assignment of the lowest score; of equals the first in the order of the patients."""
        every = np.array(list(product(range(self.sides), repeat=len(self.counts))))
        return every[_lowest(self.scores(every))]

    def improved(self, sides: np.ndarray) -> np.ndarray:
        """`sides` after moves of one patient, and of two of the rarest classes, for as long as they lower the score."""
        best, score = sides.copy(), self.score(sides)
        for _ in range(_MOST_STEPS):
            if score[:2] == (0, 0):
                break
            for moves in (self._single_moves, self._double_moves):
                scores = self._scores_of(self._have_after(best, moves))
                place = _lowest(scores)
                if tuple(scores[place]) < score:
                    best[moves[place, :, 0]] = moves[place, :, 1]
                    score = self.score(best)
                    break
            else:
                break
        return best

    def _have_after(self, sides: np.ndarray, moves: np.ndarray) -> np.ndarray:
        """(move, side, class twice): what each side has after each of `moves`, (move, patient moved, 2)."""
        have = np.stack([self._parts[sides == side].sum(axis=0) for side in range(self.sides)])
        after = np.repeat(have[None], len(moves), axis=0)
        number = np.arange(len(moves))
        for place in range(moves.shape[1]):
            patients, to = moves[:, place, 0], moves[:, place, 1]
            after[number, sides[patients]] -= self._parts[patients]
            after[number, to] += self._parts[patients]
        return after

    @cached_property
    def _critical(self) -> list[int]:
        """Patients of the rarest classes, the rarest first."""
        patients = (self.counts > 0).sum(axis=0)
        rarest = np.where(self.counts > 0, patients, len(self.counts) + 1).min(axis=1)
        return np.argsort(rarest, kind="stable")[:_CRITICAL].tolist()

    @cached_property
    def _single_moves(self) -> np.ndarray:
        return np.array([[move] for move in product(self._critical, range(self.sides))])

    @cached_property
    def _double_moves(self) -> np.ndarray:
        singles = list(product(self._critical, range(self.sides)))
        return np.array([[one, other] for one, other in combinations(singles, 2) if one[0] != other[0]])


def _lowest(scores: np.ndarray) -> int:
    return int(np.lexsort(scores.T[::-1])[0])
