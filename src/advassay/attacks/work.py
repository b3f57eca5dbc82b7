"""One image under attack and everything its rows have recorded so far; a row = step size × ε × restart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from torch import Tensor

from advassay.success import attackable, fallen, predicted
from advassay.trajectory import TrajectoryRows


class Row(NamedTuple):
    """One trajectory to run: its keys in the record, and the step size in use at its ε."""

    step_size: str
    epsilon: float
    step: float
    restart: int = 0


class Work:
    """An image, its rows, and their recorded paths: arrays (row, step …) over K + 1 iterates, NaN until known."""

    def __init__(
        self, image_id: str, image: Tensor, label: int, target: int, rows: Sequence[Row], steps: int, classes: int
    ) -> None:
        self.image_id, self.image, self.label, self.target = image_id, image, label, target
        self.rows = tuple(rows)
        self.epsilon = np.array([r.epsilon for r in rows], np.float32)
        self.step = np.array([r.step for r in rows], np.float32)
        n, path = len(self.rows), (len(self.rows), steps + 1)
        self.logits = np.full((*path, classes), np.nan, np.float32)
        self.steered = self.logits.copy()
        """Logits of low precision, where there are any; `logits` holds float32's over them where it has judged."""
        self.gradient_norm = np.full(path, np.nan, np.float32)
        self.boundary_share = np.zeros(path, np.float32)
        self.linf = np.zeros(path, np.float32)
        self.l2 = np.zeros(path, np.float32)
        self.scored_float32 = np.zeros(path, bool)
        self.ssim = np.ones(n, np.float32)
        self.ran = np.zeros(n, bool)
        """Rows begun: restarts of images that have already fallen never are."""
        self.open = 0
        """Rows begun and not yet ended."""
        self.waiting = 0
        """Steered iterates that wait to be scored in float32."""
        self.first_success = np.zeros(n, np.int8)
        """Per row: 0 = not fallen yet, 1 = a fallen iterate waits for its float32 verdict, 2 = confirmed."""
        self.nan_gradient = np.zeros(n, bool)
        """Rows with a gradient that was not a number, in whole or in part; those values were taken as 0."""
        self.candidate = np.full(n, -1, np.int32)
        """Per row: the step of the iterate that waits, or waited last."""
        self.retired = np.zeros(n, bool)
        """Rows ended at their first success, by request; their later iterates stay NaN."""
        self.audited: dict[int, np.ndarray] = {}
        """Row → (step,) bool: which of its iterates the audit draws."""
        self.width = 0.0
        """|margin| inside which this image's own comparisons do not trust steering."""
        self.wanted = np.zeros(path, bool)
        """Iterates that float32 was found to have to judge once the image was complete."""
        self.held: list[Node] = []
        """Fallen iterates after one that waits: scored only if that one is not confirmed."""
        self.final: dict[int, np.ndarray] = {}
        """Row → its last iterate, where the image is to be kept."""
        self.settled = False
        """Float32 has judged all that it must."""
        self.flags: dict[str, np.ndarray] = {}
        """Name → (row,) bool, filled when every row has ended."""

    def judged(self) -> np.ndarray:
        """Logits of float32, (row, step, class); NaN where it has not judged."""
        return np.where(self.scored_float32[..., None], self.logits, np.float32(np.nan))

    def retire(self, rows: np.ndarray, step: int) -> None:
        """End rows at their success; what would follow, from the unscored iterate `step` on, is not known."""
        self.retired[rows] = True
        for sizes in (self.linf, self.l2, self.boundary_share):
            sizes[rows, step:] = np.nan
        self.ssim[rows] = np.nan

    def next_restart(self, row: int) -> int | None:
        """The row that tries again where an ended one did not succeed at its last iterate, or None."""
        path, label = self.logits[row][:, None], np.array([self.label])
        targets = None if self.target < 0 else np.array([self.target])
        if fallen(path, label, targets=targets)[-1, 0] or not attackable(path, label, targets)[0]:
            return None
        return self.restart_of(row, 1)

    def restart_of(self, row: int, ahead: int) -> int | None:
        """The row that is the one's restart so many places on, or None."""
        step_size, epsilon, _, restart = self.rows[row]
        wanted = (step_size, epsilon, restart + ahead)
        return next((i for i, r in enumerate(self.rows) if (r.step_size, r.epsilon, r.restart) == wanted), None)


@dataclass(slots=True, eq=False)
class Node:
    """One iterate of one image, shared bit for bit by `rows`; waits to be climbed from or only scored."""

    work: Work
    x: Tensor
    rows: np.ndarray
    step: int
    serial: int
    audited: bool = False
    """Drawn at random from outside the band, to be scored in float32."""


def has_fallen(work: Work, logits: np.ndarray) -> bool:
    """Whether logits (class,) decide against the label (targeted: for the target); NaN decides nothing."""
    decision = int(predicted(logits))
    return decision == work.target if work.target >= 0 else 0 <= decision != work.label


def have_fallen(nodes: Sequence[Node], logits: np.ndarray) -> np.ndarray:
    """`has_fallen` of every node's logits (node, class), bool (node,)."""
    decision = predicted(logits)
    targets = np.array([n.work.target for n in nodes])
    away = (decision >= 0) & (decision != np.array([n.work.label for n in nodes]))
    return np.where(targets >= 0, decision == targets, away)


def to_rows(works: Sequence[Work]) -> TrajectoryRows:
    """The begun rows of finished images as one block, in the images' order."""
    picked = [(w, np.flatnonzero(w.ran)) for w in works]
    each = [(w, w.rows[r]) for w, rows in picked for r in rows]
    names = sorted({name for w in works for name in w.flags})

    def stack(name: str) -> np.ndarray:
        return np.concatenate([getattr(w, name)[rows] for w, rows in picked])

    def flag(name: str) -> np.ndarray:
        return np.concatenate([w.flags.get(name, np.zeros(len(w.rows), bool))[rows] for w, rows in picked])

    return TrajectoryRows(
        image_id=np.array([w.image_id for w, _ in each], dtype=str),
        step_size=np.array([r.step_size for _, r in each], dtype=str),
        epsilon=np.array([r.epsilon for _, r in each], np.float64),
        restart=np.array([r.restart for _, r in each], np.int32),
        label=np.array([w.label for w, _ in each], np.int64),
        target=np.array([w.target for w, _ in each], np.int64),
        logits=stack("logits"),
        gradient_norm=stack("gradient_norm"),
        boundary_share=stack("boundary_share"),
        linf=stack("linf"),
        l2=stack("l2"),
        scored_float32=stack("scored_float32"),
        ssim=stack("ssim"),
        flags={name: flag(name) for name in names},
        final_images={
            (w.image_id, w.rows[r].step_size, w.rows[r].epsilon): image
            for w in works
            for r, image in w.final.items()
            if w.rows[r].restart == 0
        },
    )
