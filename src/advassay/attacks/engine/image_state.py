"""The state of all images under attack, as columns: one entry an image, a row (step size × ε × restart) or an iterate.

Per-image Python happens when an image enters (`Records.enter`) and when it leaves (`Records.leave`). Between the two
the scheduler and the verifier read and write these columns for a whole batch at a time.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Annotated, NamedTuple, get_type_hints

import numpy as np
import torch
from torch import Tensor

from advassay.identity import draw


class GridRow(NamedTuple):
    """One trajectory to run: its keys in the record, and the step size in use at its ε."""

    step_size: str
    epsilon: float
    step: float
    restart: int = 0


class Grid:
    """The rows of an image as columns; made once for all images that are attacked at the same points."""

    def __init__(self, rows: Sequence[GridRow]) -> None:
        self.rows = tuple(rows)
        self.step_size = np.array([r.step_size for r in rows], dtype=str)
        self.epsilon = np.array([r.epsilon for r in rows], np.float64)
        self.step = np.array([r.step for r in rows], np.float32)
        self.restart = np.array([r.restart for r in rows], np.int32)
        place = {(r.step_size, r.epsilon, r.restart): i for i, r in enumerate(rows)}
        again = [place.get((r.step_size, r.epsilon, r.restart + 1), -1) for r in rows]
        self.next_restart = np.array(again, np.int64)
        """Index of the row that tries again where this one did not succeed, −1 where there is none."""
        self.rule = np.unique(self.step_size, return_inverse=True)[1]
        """Which of the grid's step sizes a row has."""
        self.key = np.array([draw(0, r.step_size, r.epsilon, r.restart) for r in rows], np.uint64)
        """Tells a row from others of its image by content."""
        declared = np.flatnonzero(self.restart == 0)
        # Rows that may go on together must stand side by side: branching only looks for where neighbours differ.
        self.declared = declared[np.lexsort((self.epsilon[declared].astype(np.float32), self.step[declared]))]

    def __len__(self) -> int:
        return len(self.rows)


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


class _Columns:
    """Arrays of one length, which grow together; declared as Annotated[np.ndarray, dtype, value where nothing is]."""

    def __init__(self) -> None:
        hints = get_type_hints(type(self), include_extras=True)
        self._kinds = {name: hint.__metadata__ for name, hint in hints.items()}
        for name, (dtype, _) in self._kinds.items():
            setattr(self, name, np.empty(0, dtype))

    def grow(self, size: int) -> None:
        for name, (dtype, nothing) in self._kinds.items():
            old = getattr(self, name)
            grown = np.full(size, nothing, dtype)
            grown[: len(old)] = old
            setattr(self, name, grown)

    def reset(self, at: slice | int) -> None:
        for name, (_, nothing) in self._kinds.items():
            getattr(self, name)[at] = nothing


class ImageColumns(_Columns):
    """One entry an image."""

    label: Annotated[np.ndarray, np.int64, 0]
    target: Annotated[np.ndarray, np.int64, -1]
    first_row: Annotated[np.ndarray, np.int64, 0]
    n_rows: Annotated[np.ndarray, np.int64, 0]
    n_running_rows: Annotated[np.ndarray, np.int64, 0]
    """Rows begun and not yet ended."""
    n_pending_verifications: Annotated[np.ndarray, np.int64, 0]
    """Iterates that wait to be scored in float32."""
    complete: Annotated[np.ndarray, bool, False]
    """Neither has any."""
    kept: Annotated[np.ndarray, bool, False]
    """Its last iterates are to be handed back."""
    band_width: Annotated[np.ndarray, np.float64, 0.0]
    """|margin|, in logits, inside which the image's own comparisons distrust the surrogate."""
    compared: Annotated[np.ndarray, np.int64, 0]
    changed: Annotated[np.ndarray, np.int64, 0]
    audited: Annotated[np.ndarray, np.int64, 0]
    audit_changed: Annotated[np.ndarray, np.int64, 0]
    known_wrong: Annotated[np.ndarray, np.int64, 0]
    largest_error: Annotated[np.ndarray, np.float64, 0.0]
    """Counts and margin error, in logits, of the comparisons with float32 (float32_verifier.Comparisons)."""


class RowColumns(_Columns):
    """One entry a row."""

    image: Annotated[np.ndarray, np.int64, 0]
    epsilon: Annotated[np.ndarray, np.float32, 0.0]
    step: Annotated[np.ndarray, np.float32, 0.0]
    ran: Annotated[np.ndarray, bool, False]
    """Begun: restarts of images that were misclassified before never are."""
    next_restart: Annotated[np.ndarray, np.int64, -1]
    """The row that tries again where this one does not succeed, −1 where there is none."""
    early: Annotated[np.ndarray, bool, False]
    """Under way before it is known whether it is needed."""
    over: Annotated[np.ndarray, bool, False]
    """Come to its end while it was early."""
    first_success: Annotated[np.ndarray, np.int8, 0]
    """0 = none yet, 1 = an adversarial iterate waits for its float32 verdict, 2 = confirmed."""
    candidate: Annotated[np.ndarray, np.int32, -1]
    """The step of the iterate that waits, or waited last."""
    position: Annotated[np.ndarray, np.int32, 0]
    """The step that the row has come to."""
    retired: Annotated[np.ndarray, bool, False]
    """Ended at its first success, by request; its later iterates stay NaN."""
    nan_gradient: Annotated[np.ndarray, bool, False]
    """Some gradient was not a number, in whole or in part; those values were taken as 0."""
    ssim: Annotated[np.ndarray, np.float32, np.nan]
    key: Annotated[np.ndarray, np.uint64, 0]
    """Tells it from all others by content: what is drawn at random for it is drawn from this."""


class Records:
    """All columns, and the images themselves. An image's rows stand side by side.

    Columns of iterates are (row, K + 1, …): `values` holds the steering logits and behind them what NORM … SHARE name;
    `verified` float32's logits where `scored`; `required` says which iterates float32 was found to have to judge.
    """

    NORM, LINF, L2, SHARE = -4, -3, -2, -1
    """Places in the last axis of `values`: gradient norm, ‖δ‖∞, ‖δ‖₂, boundary share."""

    def __init__(self, steps: int, classes: int, *, targeted: bool, keyed: bool) -> None:
        self.steps, self.classes, self.path, self.targeted = steps, classes, steps + 1, targeted
        self.keyed = keyed
        """Whether rows get their `key`: where nothing is drawn at random, it is not computed."""
        self.images, self.rows = ImageColumns(), RowColumns()
        self.values = np.empty((0, self.path, classes + 4), np.float32)
        self.verified = np.empty((0, self.path, classes), np.float32)
        self.scored = np.empty((0, self.path), bool)
        self.required = np.empty((0, self.path), bool)
        self.image_id: dict[int, str] = {}
        self.grid: dict[int, Grid] = {}
        self.pixels = torch.empty(0)
        """Clean images, (image, channel, height, width) on the network's device."""
        self.final: dict[int, np.ndarray] = {}
        """Row → its last iterate, where the image is to be kept."""
        self._free_images: list[int] = []
        self._free_rows: dict[int, list[int]] = defaultdict(list)
        self._rows_used = 0

    def enter(self, image_id: str, pixels: Tensor, label: int, target: int, grid: Grid) -> int:
        """Take in an image (channel, height, width) with its rows, none of them begun; returns its index."""
        if not self._free_images:
            self._grow_images(pixels)
        image, n = self._free_images.pop(), len(grid)
        first = self._free_rows[n].pop() if self._free_rows[n] else self._new_rows(n)
        self.pixels[image] = pixels
        self.image_id[image], self.grid[image] = image_id, grid
        of_image, of_row, rows = self.images, self.rows, slice(first, first + n)
        # The place was another image's before.
        of_image.reset(image)
        of_image.label[image], of_image.target[image] = label, target
        of_image.first_row[image], of_image.n_rows[image] = first, n
        of_row.reset(rows)
        of_row.image[rows], of_row.epsilon[rows], of_row.step[rows] = image, grid.epsilon, grid.step
        of_row.next_restart[rows] = np.where(grid.next_restart < 0, -1, first + grid.next_restart)
        if self.keyed:
            of_row.key[rows] = grid.key ^ np.uint64(draw(0, image_id))
        # Not 0: what a row that retired never came to must not look like a result.
        self.values[rows], self.verified[rows] = np.nan, np.nan
        self.scored[rows], self.required[rows] = False, False
        return image

    def leave(self, images: np.ndarray) -> None:
        """Forget the images; their places may be taken by others."""
        for image in images.tolist():
            first, n = int(self.images.first_row[image]), int(self.images.n_rows[image])
            # By their number, so that rows of one image always find a place side by side.
            self._free_rows[n].append(first)
            self._free_images.append(image)
            del self.image_id[image], self.grid[image]
            if self.final:
                for row in range(first, first + n):
                    self.final.pop(row, None)

    def begun_rows(self, images: np.ndarray) -> np.ndarray:
        """Rows of the images that have been begun, image after image, of each as its grid lists them."""
        n = self.images.n_rows[images]
        rows = np.repeat(self.images.first_row[images] - (np.cumsum(n) - n), n) + np.arange(n.sum())
        return rows[self.rows.ran[rows]]

    def places(self, at: SharedIterates) -> np.ndarray:
        """Of each entry of `at.rows`, where its iterate is in a column of iterates seen as (row · (K + 1), …)."""
        return at.rows * self.path + at.step[at.owner]

    def labels(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """Labels, and targets where the attack has them, of the images as given."""
        return self.images.label[images], self.images.target[images] if self.targeted else None

    def _grow_images(self, like: Tensor) -> None:
        old = len(self.images.label)
        size = old + max(16, old // 2)
        pixels = like.new_empty((size, *like.shape))
        if old:
            pixels[:old] = self.pixels
        self.pixels = pixels
        self.images.grow(size)
        self._free_images = list(range(size - 1, old - 1, -1))

    def _new_rows(self, n: int) -> int:
        first, old = self._rows_used, len(self.values)
        self._rows_used += n
        if self._rows_used > old:
            size = max(self._rows_used, old + old // 2, 256)
            self.rows.grow(size)
            # Left unset: `enter` sets what it takes, and setting all would touch memory that may never be used.
            for name in ("values", "verified", "scored", "required"):
                column = getattr(self, name)
                grown = np.empty((size, *column.shape[1:]), column.dtype)
                grown[:old] = column
                setattr(self, name, grown)
        return first
