"""What becomes of rows: ended at their last iterate, retired at their success, restarted, complete, handed out.

A row ends when the unmodified network has scored its last iterate in float32. Where only first successes are asked for,
it retires as soon as one is confirmed. Restarts are rows of their own, begun when the row before them has ended without
success; some are begun early to fill a batch, and are taken back where they turn out not to be needed. Images of which
nothing is left open leave the engine as one block of rows, with their flags.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from torch import Tensor

from advassay.attacks.engine.failure_indicators import RowFacts, failure_flags
from advassay.attacks.engine.image_state import Grid, Records, SharedIterates
from advassay.attacks.ssim import similarities
from advassay.record_columns import columns_of, unset_columns
from advassay.success import correct_on_clean, is_adversarial
from advassay.trajectory import TrajectoryRows


def measure_last(clean: Tensor, last: Tensor, of: Tensor) -> dict[str, Tensor]:
    """Record columns that are measured on last iterates (iterate, …): name → float32 (iterate,).

    `clean`: the images they belong to, each once; `of` (iterate,) int64 says which.
    """
    return {"ssim": similarities(clean, last, of)}


class RowEndings:
    """Ends the rows of an attack, and says of which images nothing is left open.

    begin         called with (image, rows) that are to begin: restarts
    drop_retired  called when rows that wait in queues were retired
    judged        a verifier judges the iterates of a surrogate; else every logit is float32's
    """

    def __init__(
        self,
        records: Records,
        *,
        restarts: int,
        judged: bool,
        begin: Callable[[int, np.ndarray], None],
        drop_retired: Callable[[], None],
    ) -> None:
        self.records, self._restarts, self._judged = records, restarts, judged
        self._begin, self._drop_retired = begin, drop_retired
        self.complete: list[int] = []
        """Images of which nothing is left open, until `take_complete`."""

    def end(self, at: SharedIterates, ends: np.ndarray, x: Tensor) -> None:
        """Close the rows of iterates (`ends`) that are their last, and begin restarts of those without success.

        `x`: the iterates as they are recorded, (iterate, channel, height, width).
        """
        records = self.records
        which = np.flatnonzero(ends)
        rows = at.rows[ends[at.owner]]
        images, of = np.unique(at.image[which], return_inverse=True)
        last = x[records.index(which)]
        # Each image's statistics once, however many of its rows end together.
        for name, found in measure_last(records.pixels[records.index(images)], last, records.index(of)).items():
            getattr(records.rows, name)[rows] = np.repeat(found.cpu().numpy(), at.count[which])
        # An early row that was not needed has not counted as running.
        np.subtract.at(records.images.n_running_rows, records.rows.image[rows], records.rows.ran[rows])
        records.rows.over[rows] = True
        self._keep_last(at, which, last)
        self.go_on_after(rows)

    def retire(self, rows: np.ndarray) -> None:
        """End rows at their success; what would follow is not known."""
        of_row, images = self.records.rows, self.records.images
        of_row.retired[rows] = True
        of_row.first_success[rows] = 2
        np.subtract.at(images.n_running_rows, of_row.image[rows], of_row.ran[rows])
        of_row.over[rows] = True

    def go_on_after(self, rows: np.ndarray) -> None:
        """Begin restarts of rows that are over and did not succeed; end early ones that are not needed."""
        if self._restarts == 1:
            return
        of_row, images = self.records.rows, self.records.images
        cancelled = False
        for row in rows[of_row.ran[rows]].tolist():
            again = int(of_row.next_restart[row])
            while again >= 0 and not of_row.retired[row] and self._survived(np.array([row]))[0]:
                if not of_row.early[again]:
                    if not of_row.ran[again]:
                        self._begin(int(of_row.image[again]), np.array([again]))
                    again = -1
                    break
                # Begun early, and needed now: from here on it counts, and may itself be over already.
                of_row.early[again], of_row.ran[again] = False, True
                if not of_row.over[again]:
                    images.n_running_rows[of_row.image[again]] += 1
                    again = -1
                    break
                row, again = again, int(of_row.next_restart[again])
            # What is left of the chain is not needed: its row succeeded, or none before it did not.
            while again >= 0 and of_row.early[again]:
                of_row.early[again] = False
                cancelled |= not of_row.over[again]
                of_row.retired[again] = True
                again = int(of_row.next_restart[again])
        if cancelled:
            self._drop_retired()

    def note_complete(self, images: np.ndarray) -> None:
        """List those of the images of which nothing is left open."""
        of = self.records.images
        done = (of.n_running_rows[images] == 0) & (of.n_pending_verifications[images] == 0) & ~of.complete[images]
        if done.any():
            images = np.unique(images[done])
            of.complete[images] = True
            self.complete += images.tolist()

    def take_complete(self) -> np.ndarray:
        """The complete images, int64; the list is empty afterwards."""
        done, self.complete = np.array(self.complete, np.int64), []
        return done

    def _survived(self, rows: np.ndarray) -> np.ndarray:
        """Which of rows that have ended count and were not misclassified at the end, (row,) bool."""
        records = self.records
        ends = [0, records.steps]
        # Float32 has scored both ends of every row, so this is never a surrogate's verdict.
        logits = records.verified[rows][:, ends] if self._judged else records.values[rows][:, ends, : records.classes]
        labels, targets = records.labels(records.rows.image[rows])
        counts = correct_on_clean(logits.swapaxes(0, 1), labels, targets)
        survived: np.ndarray = counts & ~is_adversarial(logits[:, 1], labels, targets)
        return survived

    def _keep_last(self, at: SharedIterates, which: np.ndarray, last: Tensor) -> None:
        """Keep the last iterates of images that are to be handed back."""
        kept = np.flatnonzero(self.records.images.kept[at.image[which]])
        if not len(kept):
            return
        pixels = last[self.records.index(kept)].cpu().numpy()
        first = at.first
        for own, i in zip(pixels, kept.tolist(), strict=True):
            start = int(first[which[i]])
            self.records.final.update(dict.fromkeys(at.rows[start : start + int(at.count[which[i]])].tolist(), own))


# ---- what leaves the engine ------------------------------------------------------------------------------------------


def build_block(records: Records, images: np.ndarray, *, judged: bool) -> TrajectoryRows:
    """The begun rows of the images, image after image, of each as its grid lists them.

    `judged`: float32 has judged some iterates of a surrogate; its logits stand there.
    """
    of_row, of_image, rows = records.rows, records.images, records.begun_rows(images)
    image = of_row.image[rows]
    # Images numbered as given, because grids and ids are looked up by that number for all rows at once.
    number = np.empty(len(of_image.label), np.int64)
    number[images] = np.arange(len(images))
    grids = [records.grid[i] for i in images.tolist()]
    within = rows - of_image.first_row[image]
    logits, scored = records.values[rows, :, : records.classes], records.scored[rows]
    if judged:
        logits = np.where(scored[..., None], records.verified[rows], logits)
    # Any: in a call of keywords alone the type checker would match them with `flags` too.
    measured: dict[str, Any] = {name: records.values[rows, :, place] for name, place in records.place.items()}
    measured |= {name: getattr(of_row, name)[rows] for name in columns_of("last iterate")}
    measured |= unset_columns(len(rows), records.steps, records.classes, columns_of("search"))
    block = TrajectoryRows(
        image_id=np.array([records.image_id[i] for i in images.tolist()], dtype=str)[number[image]],
        step_size=_of_grids(grids, "step_size", number[image], within),
        epsilon=_of_grids(grids, "epsilon", number[image], within),
        restart=_of_grids(grids, "restart", number[image], within),
        label=of_image.label[image],
        target=of_image.target[image],
        logits=logits,
        scored_float32=scored,
        **measured,
        final_images=_kept_images(records, images, records.final),
        iterate_images=_kept_images(records, images, records.iterates),
    )
    facts = RowFacts(
        of_row.step[rows],
        of_row.retired[rows],
        of_row.nan_gradient[rows],
        # One number for each image and step size: rows of one group differ in ε and restart alone.
        number[image] * max(len(grid) for grid in grids) + _of_grids(grids, "rule", number[image], within),
    )
    return replace(block, flags=failure_flags(block, facts))


def _kept_images(
    records: Records, images: np.ndarray, kept: dict[int, np.ndarray]
) -> dict[tuple[str, str, float], np.ndarray]:
    """The pixels that are to be handed back, of restart 0; `kept`: by row."""
    return {
        (records.image_id[i], r.step_size, r.epsilon): kept[row]
        for i in (images.tolist() if kept else ())
        for row, r in enumerate(records.grid[i].rows, int(records.images.first_row[i]))
        if row in kept and r.restart == 0
    }


def _of_grids(grids: list[Grid], name: str, image: np.ndarray, within: np.ndarray) -> np.ndarray:
    """Column `name` of each row's grid: of the grid of `image` at place `within`."""
    # Nearly always all images are attacked at the same points, and share one grid.
    if all(grid is grids[0] for grid in grids):
        found: np.ndarray = getattr(grids[0], name)[within]
        return found
    n = np.array([len(g) for g in grids])
    return np.concatenate([getattr(g, name) for g in grids])[(np.cumsum(n) - n)[image] + within]
