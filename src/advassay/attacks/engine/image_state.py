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

from advassay.attacks.attack_step import GRADIENT_COLUMNS, PERTURBATION_COLUMNS
from advassay.attacks.engine.iterates import SharedIterates
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
