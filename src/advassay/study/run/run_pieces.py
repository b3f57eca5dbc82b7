"""A run in pieces: consecutive images of its sample, which several processes attack at once.

What passes between them are places in the sample, names of points and counts; rows go from each process into the store.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from advassay.study.gradient_counts import Point


@dataclass(frozen=True)
class Piece:
    """Images `start` up to `stop` (not included) of a run's sample, and the points that they lack."""

    start: int
    stop: int
    points: frozenset[Point]

    @property
    def images(self) -> int:
        return self.stop - self.start


@dataclass(frozen=True)
class BegunRun:
    """What a run that was begun still lacks."""

    run_id: str
    lacking: tuple[Piece, ...]
    steps: int
    """Gradient steps that these pieces take."""
    batch_images: int
    """Images that fill a batch."""


@dataclass(frozen=True)
class PieceDone:
    """What attacking a piece gave."""

    images: int
    rows: int
    """Rows that the store did not have."""
    gradient_evaluations: int


def lacking_pieces(image_ids: Sequence[str], missing: Mapping[str, frozenset[Point]]) -> tuple[Piece, ...]:
    """The missing points as pieces, as long as they can be.

    >>> one, both = frozenset({("e", 0.1)}), frozenset({("e", 0.1), ("e", 0.2)})
    >>> found = lacking_pieces("abcdef", {"a": one, "b": one, "d": both, "e": one})
    >>> [(piece.start, piece.stop, len(piece.points)) for piece in found]
    [(0, 2, 1), (3, 4, 2), (4, 5, 1)]
    """
    found, start = [], 0
    for points, group in groupby(missing.get(image_id) for image_id in image_ids):
        stop = start + sum(1 for _ in group)
        if points:
            found.append(Piece(start, stop, points))
        start = stop
    return tuple(found)
