"""The state of an attack under way, as columns: one entry an image, a row (step size × ε × restart) or an iterate.

Per-image Python happens when an image enters (`Records.enter`) and when it leaves (`Records.leave`). Between the two
the scheduler and the verifier read and write these columns for a whole batch at a time. `SharedIterates` are what is
under way: which rows share an iterate, where its pixels are (`IteratePool`), where its rows part (`Branches`) and in
what order they wait (`IterateQueues`).
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, NamedTuple, get_type_hints

import numpy as np
import torch
from torch import Tensor

from advassay.attacks.attack_step import GRADIENT_COLUMNS, PERTURBATION_COLUMNS
from advassay.identity import draw
from advassay.record_columns import PATH_COLUMNS, columns_of


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


class _Columns:
    """Arrays of one length, which grow together; declared as Annotated[np.ndarray, dtype, value where nothing is]."""

    def __init__(self, **more: tuple[np.dtype, object]) -> None:
        hints = get_type_hints(type(self), include_extras=True)
        self._kinds = {name: hint.__metadata__ for name, hint in hints.items()} | more
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
    """One entry a row; beside these the columns of the record that are measured on the last iterate."""

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
    key: Annotated[np.ndarray, np.uint64, 0]
    """Tells it from all others by content: what is drawn at random for it is drawn from this."""


class Records:
    """All columns, and the images themselves. An image's rows stand side by side.

    Columns of iterates are (row, K + 1, …): `values` holds the steering logits and behind them what is measured of the
    gradient and of the perturbation, each at its `place`; `verified` float32's logits where `scored`; `required` says
    which iterates float32 was found to have to judge.
    """

    def __init__(self, steps: int, classes: int, *, targeted: bool, keyed: bool) -> None:
        self.steps, self.classes, self.path, self.targeted = steps, classes, steps + 1, targeted
        self.keyed = keyed
        """Whether rows get their `key`: where nothing is drawn at random, it is not computed."""
        measured = (*GRADIENT_COLUMNS, *PERTURBATION_COLUMNS)
        self.place = {name: classes + i for i, name in enumerate(measured)}
        """Measured column → its place in the last axis of `values`."""
        self.sizes = slice(classes + len(GRADIENT_COLUMNS), classes + len(measured))
        """Places of what is measured of the perturbation."""
        # Not 0: what a row that retired never came to must not look like a result.
        self._unset = np.array([np.nan] * classes + [PATH_COLUMNS[name].fill for name in measured], np.float32)
        self.images = ImageColumns()
        last = {name: PATH_COLUMNS[name] for name in columns_of("last iterate")}
        self.rows = RowColumns(**{name: (column.numpy_dtype, column.fill) for name, column in last.items()})
        self.values = np.empty((0, self.path, len(self._unset)), np.float32)
        self.verified = np.empty((0, self.path, classes), np.float32)
        self.scored = np.empty((0, self.path), bool)
        self.required = np.empty((0, self.path), bool)
        self.image_id: dict[int, str] = {}
        self.grid: dict[int, Grid] = {}
        self.pixels = torch.empty(0)
        """Clean images, (image, channel, height, width) on the network's device."""
        self.final: dict[int, np.ndarray] = {}
        """Row → its last iterate, where the image is to be kept."""
        self.iterates: dict[int, np.ndarray] = {}
        """Row → all its iterates (K + 1, channel, height, width), where these are to be kept too."""
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
        self.values[rows], self.verified[rows] = self._unset, np.nan
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
                    self.iterates.pop(row, None)

    def keep_iterates(self, at: SharedIterates, shown: Tensor) -> None:
        """Keep the pixels of iterates, `shown` (iterate, channel, height, width), for rows of images to be kept."""
        kept = np.flatnonzero(self.images.kept[at.image])
        if not len(kept):
            return
        pixels = shown[self.index(kept)].cpu().numpy()
        for own, i in zip(pixels, kept.tolist(), strict=True):
            start, step = int(at.first[i]), int(at.step[i])
            for row in at.rows[start : start + int(at.count[i])].tolist():
                if row not in self.iterates:
                    clean = self.pixels[int(at.image[i])].cpu().numpy()
                    self.iterates[row] = np.full((self.path, *own.shape), np.nan, np.float32)
                    self.iterates[row][0] = clean  # iterate 0 of the record, wherever the trajectory starts
                if step > 0:
                    self.iterates[row][step] = own

    def begun_rows(self, images: np.ndarray) -> np.ndarray:
        """Rows of the images that have been begun, image after image, of each as its grid lists them."""
        n = self.images.n_rows[images]
        rows = np.repeat(self.images.first_row[images] - (np.cumsum(n) - n), n) + np.arange(n.sum())
        return rows[self.rows.ran[rows]]

    def write_step(
        self, at: SharedIterates, values: np.ndarray, *, starts_apart: bool, another_point: bool, final: bool
    ) -> None:
        """Write what a gradient pass showed: `values` (iterate, …) as in `self.values`.

        `starts_apart`: iterate 0 of the record is the clean image, scored apart, and not where the trajectory starts.
        `another_point`: sizes are of a point that the update rule has kept. `final`: the logits are float32's.
        """
        owner, places = at.owner, self.places(at)
        shown = values[owner]
        shown[self._reaches_farther(at), self.place["boundary_share"]] = 0
        # A gradient with a NaN anywhere has a NaN norm.
        nowhere = np.isnan(values[:, self.place["gradient_norm"]])
        if nowhere.any():
            self.rows.nan_gradient[at.rows[nowhere[owner]]] = True
        flat = self.values.reshape(-1, self.values.shape[-1])
        if starts_apart and (at.step == 0).any():
            start = (at.step == 0)[owner]
            if not another_point:
                # What is measured of the clean image is 0, wherever a random start lies.
                shown[start, self.sizes] = 0
            flat[places[start], self.classes :] = shown[start, self.classes :]
            flat[places[~start]] = shown[~start]
            places = places[~start]
        else:
            flat[places] = shown
        if final:
            self.scored.reshape(-1)[places] = True

    def write_scores(self, at: SharedIterates, values: np.ndarray, ends: np.ndarray, *, final: bool) -> None:
        """Write float32's logits, `values` (iterate, class + sizes), and sizes of the last iterates (`ends`).

        `final`: there are no others, and they stand with the steering ones.
        """
        owner, places = at.owner, self.places(at)
        flat = self.values.reshape(-1, self.values.shape[-1])
        if final:
            flat[places, : self.classes] = values[owner, : self.classes]
        else:
            self.verified.reshape(-1, self.classes)[places] = values[owner, : self.classes]
        self.scored.reshape(-1)[places] = True
        if ends.any():
            # No gradient is taken at the last iterate, so nothing else writes its sizes.
            mine = ends[owner]
            sizes = values[owner[mine], self.classes :]
            sizes[self._reaches_farther(at)[mine], self.place["boundary_share"] - self.sizes.start] = 0
            flat[places[mine], self.sizes] = sizes

    def _reaches_farther(self, at: SharedIterates) -> np.ndarray:
        """Of each entry of `at.rows`, whether its ε reaches beyond the iterate: only the smallest can be at its end."""
        epsilon = self.rows.epsilon[at.rows]
        farther: np.ndarray = epsilon != epsilon[at.first][at.owner]
        return farther

    def places(self, at: SharedIterates) -> np.ndarray:
        """Of each entry of `at.rows`, where its iterate is in a column of iterates seen as (row · (K + 1), …)."""
        return at.rows * self.path + at.step[at.owner]

    def index(self, values: np.ndarray) -> Tensor:
        """A column, or indices, as a tensor on the network's device."""
        tensor = torch.from_numpy(values)
        # Not waited for: the copy is ordered before the operation that uses it.
        return tensor.to(self.pixels.device, non_blocking=True) if self.pixels.is_cuda else tensor

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


# ---- iterates under way ----------------------------------------------------------------------------------------------


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
