"""Where rows that share an iterate part: after one gradient, by step size and by what their ε does to the step."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from advassay.attacks.engine.image_state import RowColumns, SharedIterates

AT_ONCE = 2**19
"""Pixel values that are projected and measured together: at the first step every image may part into every ε at once,
and arithmetic in float64 holds several copies."""


@dataclass(frozen=True)
class Branches:
    """Parts of shared iterates; each goes on as one."""

    parent: np.ndarray
    """Index of what it is a part of."""
    count: np.ndarray
    rows: np.ndarray
    """As in SharedIterates."""

    @property
    def first(self) -> np.ndarray:
        """Position in `rows` of each part's first row."""
        return self.count.cumsum() - self.count


def unparted(at: SharedIterates) -> Branches:
    """Each iterate as one branch."""
    return Branches(np.arange(len(at)), at.count, at.rows)


def split_by_step_size(at: SharedIterates, rows: RowColumns) -> Branches:
    """Rows of each iterate, parted by step size."""
    step = rows.step[at.rows]
    cuts = step[1:] != step[:-1]
    cuts[at.first[1:] - 1] = True
    return _parted(at.owner, at.rows, cuts)


def split_by_projection(of: Branches, rows: RowColumns, extent: np.ndarray) -> Branches:
    """Parted again by ε: amplitudes that the step stays within (`extent`, one a branch) go on together, each smaller
    one alone."""
    owner = np.arange(len(of.count)).repeat(of.count)
    epsilon = rows.epsilon[of.rows]
    alone = ~(epsilon >= extent[owner])  # NaN reaches beyond every ε
    # Sorted by ε, those alone come first; the first that is not alone has another ε than the last that is.
    cuts = alone[:-1] & (epsilon[1:] != epsilon[:-1])
    cuts[of.first[1:] - 1] = True
    return _parted(owner, of.rows, cuts)


def _parted(owner: np.ndarray, rows: np.ndarray, cuts: np.ndarray) -> Branches:
    """`rows` parted after each entry where `cuts`; `owner`: what each row is of."""
    first = np.empty(np.count_nonzero(cuts) + 1, np.int64)
    first[0], first[1:] = 0, np.flatnonzero(cuts) + 1
    count = np.empty_like(first)
    count[:-1], count[-1] = first[1:] - first[:-1], len(rows) - first[-1]
    return Branches(owner[first], count, rows)


def pieces(n: int, values: int) -> Iterator[slice]:
    """Slices of `n` images of so many pixel values that are small enough to be worked on together."""
    # At least one, however large an image is.
    each = max(1, AT_ONCE // values)
    return (slice(start, start + each) for start in range(0, n, each))
