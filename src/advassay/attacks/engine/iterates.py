"""Iterates under way: which rows share one, where its pixels are, where its rows part, and in what order they wait."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from advassay.attacks.engine.image_state import Records, RowColumns


class SharedIterates:
    """Iterates, each shared bit for bit by some rows of one image: one entry an iterate, but for `rows`.

    slot     where its pixels are in the `IteratePool`
    image    index of its image in the `Records`
    step     number of updates behind it
    count    how many rows share it
    rows     indices of those rows in the `Records`, iterate after iterate; of each sorted by step size, then ε
    audited  bool, or None for none: drawn at random from outside the uncertainty band, to be scored in float32
    """

    __slots__ = ("_first", "_owner", "audited", "count", "image", "rows", "slot", "step")

    def __init__(
        self,
        slot: np.ndarray,
        image: np.ndarray,
        step: np.ndarray,
        count: np.ndarray,
        rows: np.ndarray,
        audited: np.ndarray | None = None,
    ) -> None:
        self.slot, self.image, self.step, self.count, self.rows = slot, image, step, count, rows
        self.audited = audited
        self._owner: np.ndarray | None = None
        self._first: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.slot)

    @property
    def first(self) -> np.ndarray:
        """Position in `rows` of each iterate's first row."""
        # Asked for by nearly every operation on a batch, and a batch's rows never change.
        if self._first is None:
            self._first = self.count.cumsum() - self.count
        return self._first

    @property
    def owner(self) -> np.ndarray:
        """Of each entry of `rows`, which iterate it belongs to."""
        if self._owner is None:
            self._owner = np.arange(len(self.slot)).repeat(self.count)
        return self._owner

    def between(self, start: int, end: int) -> SharedIterates:
        """The iterates `start` … `end` − 1."""
        if start == 0 and end == len(self):
            return self
        bounds = [int(self.first[at]) if at < len(self) else len(self.rows) for at in (start, end)]
        rows = self.rows[bounds[0] : bounds[1]]
        audited = None if self.audited is None else self.audited[start:end]
        slot, image, step, count = (c[start:end] for c in (self.slot, self.image, self.step, self.count))
        return SharedIterates(slot, image, step, count, rows, audited)

    def having(self, kept: np.ndarray) -> tuple[SharedIterates, np.ndarray]:
        """With the rows where `kept` alone; iterates without any are left out. Also which remain, (iterate,) bool."""
        if kept.all():
            return self, np.ones(len(self), bool)
        count = np.bincount(self.owner[kept], minlength=len(self))
        left = count > 0
        audited = None if self.audited is None else self.audited[left]
        slot, image, step = self.slot[left], self.image[left], self.step[left]
        return SharedIterates(slot, image, step, count[left], self.rows[kept], audited), left

    @staticmethod
    def joined(parts: Sequence[SharedIterates]) -> SharedIterates:
        """One after the other; `parts` must not be empty."""
        if len(parts) == 1:
            return parts[0]
        joined = SharedIterates(
            np.concatenate([part.slot for part in parts]),
            np.concatenate([part.image for part in parts]),
            np.concatenate([part.step for part in parts]),
            np.concatenate([part.count for part in parts]),
            np.concatenate([part.rows for part in parts]),
        )
        if any(part.audited is not None for part in parts):
            marks = [np.zeros(len(part), bool) if part.audited is None else part.audited for part in parts]
            joined.audited = np.concatenate(marks)
        return joined


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


def as_branches(at: SharedIterates) -> Branches:
    """Each iterate as one branch."""
    return Branches(np.arange(len(at)), at.count, at.rows)


def split_by_step_size(at: SharedIterates, rows: RowColumns) -> Branches:
    """Rows of each iterate, parted by step size."""
    step = rows.step[at.rows]
    cuts = step[1:] != step[:-1]
    cuts[at.first[1:] - 1] = True
    return _split_rows(at.owner, at.rows, cuts)


def split_by_projection(of: Branches, rows: RowColumns, extent: np.ndarray) -> Branches:
    """Parted again by ε: amplitudes that the step stays within (`extent`, one a branch) go on together, each smaller
    one alone."""
    owner = np.arange(len(of.count)).repeat(of.count)
    epsilon = rows.epsilon[of.rows]
    alone = ~(epsilon >= extent[owner])  # NaN reaches beyond every ε
    # Sorted by ε, those alone come first; the first that is not alone has another ε than the last that is.
    cuts = alone[:-1] & (epsilon[1:] != epsilon[:-1])
    cuts[of.first[1:] - 1] = True
    return _split_rows(owner, of.rows, cuts)


def _split_rows(owner: np.ndarray, rows: np.ndarray, cuts: np.ndarray) -> Branches:
    """`rows` parted after each entry where `cuts`; `owner`: what each row is of."""
    first = np.empty(np.count_nonzero(cuts) + 1, np.int64)
    first[0], first[1:] = 0, np.flatnonzero(cuts) + 1
    count = np.empty_like(first)
    count[:-1], count[-1] = first[1:] - first[:-1], len(rows) - first[-1]
    return Branches(owner[first], count, rows)


class IteratePool:
    """Pixels of iterates that wait, with what an update rule keeps beside them; slots are reused.

    A tensor for all, so that a batch is gathered and written back in one operation each, and no waiting iterate keeps
    a whole batch alive as a view of it would.
    """

    def __init__(self) -> None:
        self._free = np.arange(0)
        self._columns: list[Tensor] = []
        self._references = np.zeros(0, np.int32)

    def __len__(self) -> int:
        """Slots there are, used or not."""
        return len(self._references)

    @property
    def n_columns(self) -> int:
        return len(self._columns)

    def store(self, *columns: Tensor) -> np.ndarray:
        """Slots that now hold the entries of `columns` (entry, …), the same columns at every call."""
        n = len(columns[0])
        if n > len(self._free):
            self._grow(n, columns)
        # The slot freed last is taken first: its memory is still in the processor's cache.
        slots, self._free = self._free[:n], self._free[n:]
        # An iterate may be stepped from, scored and held back at once; its pixels go when the last of these is done.
        self._references[slots] = 1
        at = torch.from_numpy(slots).to(columns[0].device)
        for kept, given in zip(self._columns, columns, strict=True):
            kept.index_copy_(0, at, given)
        return slots

    def gather(self, column: int, slots: Tensor) -> Tensor:
        """A copy of the column's entries at `slots` (int64, on the pool's device)."""
        return self._columns[column].index_select(0, slots)

    def keep(self, slots: np.ndarray) -> None:
        """Count one more user of each slot, each given once."""
        self._references[slots] += 1

    def release(self, slots: np.ndarray) -> None:
        """Count one user less of each slot, each given once; those without any may be reused."""
        left = self._references[slots] - 1
        self._references[slots] = left
        self._free = np.concatenate([slots[left == 0], self._free])

    def _grow(self, n: int, like: Sequence[Tensor]) -> None:
        # By half and not by double: at 256 px a slot is a megabyte, and old and new stand side by side for a moment.
        old = len(self)
        size = max(old + n - len(self._free), old + old // 2)
        if not self._columns:
            self._columns = [t.new_empty((0, *t.shape[1:])) for t in like]
        for i, column in enumerate(self._columns):
            grown = column.new_empty((size, *column.shape[1:]))
            grown[:old] = column
            self._columns[i] = grown
        self._free = np.concatenate([self._free, np.arange(old, size)])
        self._references = np.concatenate([self._references, np.zeros(size - old, np.int32)])


class IterateQueues:
    """Iterates that wait: to be stepped from, the deepest first, and to be scored in float32."""

    def __init__(self, records: Records, pool: IteratePool) -> None:
        self._records, self._pool = records, pool
        self._to_step: deque[SharedIterates] = deque()
        self._to_score: deque[SharedIterates] = deque()
        # Counted along, because every batch asks several times and a queue may hold thousands of parts.
        self.n_to_step = self.n_to_score = self.n_ended = 0
        """Iterates that wait to be stepped from; to be scored; of the latter those that are the last of their rows."""

    def append(self, at: SharedIterates) -> None:
        """Queue iterates that begin trajectories, behind all that is under way."""
        self._to_step.append(at)
        self.n_to_step += len(at)

    def put(self, at: SharedIterates) -> None:
        """Queue iterates that a batch has led to: scored where they are the last, else stepped from next.

        They come with the deepest first, as the batch was, and each is deeper than anything that was left waiting when
        the batch was picked. So putting them in front keeps the queue in order.
        """
        last = at.step == self._records.steps
        n_last = int(np.count_nonzero(last))
        if last[:n_last].all():
            ended, going_on = at.between(0, n_last), at.between(n_last, len(at))
        else:  # some waited for a verdict and have been overtaken
            ended, going_on = (at.having(which[at.owner])[0] for which in (last, ~last))
        if n_last:
            self._to_score.append(ended)
            self.n_to_score += n_last
            self.n_ended += n_last
        if n_last < len(at):
            self._to_step.appendleft(going_on)
            self.n_to_step += len(at) - n_last

    def ask(self, at: SharedIterates) -> None:
        """Queue iterates whose trajectories go on to be scored in float32."""
        np.add.at(self._records.images.n_pending_verifications, at.image, 1)
        self._to_score.append(at)
        self.n_to_score += len(at)

    def take_to_step(self, room: int, *, pass_over_undecided: bool) -> SharedIterates | None:
        """The next batch to step from: the deepest iterates, but none whose row waits for the verdict of a success."""
        undecided = self._take_undecided() if pass_over_undecided and self._to_step else None
        taken = _take(self._to_step, room)
        if undecided is not None:
            self._to_step.appendleft(undecided)
        self.n_to_step -= 0 if taken is None else len(taken)
        return taken

    def take_to_score(self, room: int) -> SharedIterates | None:
        """The next batch to score."""
        taken = _take(self._to_score, room)
        if taken is not None:
            self.n_to_score -= len(taken)
            self.n_ended -= int(np.count_nonzero(taken.step == self._records.steps))
        return taken

    def drop_retired(self, *, unscored_too: bool) -> None:
        """Take retired rows out; `unscored_too`: also last iterates that wait to be scored."""
        steps, retired = self._records.steps, self._records.rows.retired
        self._to_step = self._without(self._to_step, lambda part: retired[part.rows])
        self.n_to_step = sum(map(len, self._to_step))
        if unscored_too:
            before = self.n_to_score
            # A clean image is scored for all rows of an image, whatever has become of them.
            self._to_score = self._without(
                self._to_score, lambda part: retired[part.rows] & (part.step == steps)[part.owner]
            )
            self.n_to_score = sum(map(len, self._to_score))
            self.n_ended -= before - self.n_to_score

    def _without(
        self, queue: deque[SharedIterates], dropped: Callable[[SharedIterates], np.ndarray]
    ) -> deque[SharedIterates]:
        left: deque[SharedIterates] = deque()
        for part in queue:
            kept, which = part.having(~dropped(part))
            self._pool.release(part.slot[~which])
            if len(kept):
                left.append(kept)
        return left

    def _take_undecided(self) -> SharedIterates | None:
        """Take the iterates out of the queue of which a row's success waits for its verdict."""
        whole = SharedIterates.joined(list(self._to_step))
        undecided = np.logical_or.reduceat(self._records.rows.first_success[whole.rows] == 1, whole.first)
        if not undecided.any():
            return None
        self._to_step.clear()
        if not undecided.all():
            self._to_step.append(whole.having(~undecided[whole.owner])[0])
        return whole.having(undecided[whole.owner])[0]


def _take(queue: deque[SharedIterates], room: int) -> SharedIterates | None:
    """Up to `room` iterates from the front of the queue; None where it is empty."""
    parts: list[SharedIterates] = []
    taken = 0
    while queue and taken < room:
        part = queue.popleft()
        if len(part) > room - taken:
            queue.appendleft(part.between(room - taken, len(part)))
            part = part.between(0, room - taken)
        parts.append(part)
        taken += len(part)
    return SharedIterates.joined(parts) if parts else None
