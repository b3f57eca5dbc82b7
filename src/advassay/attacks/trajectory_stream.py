"""Images in, blocks of finished trajectories out, in bounded memory."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import chain, islice
from operator import length_hint
from typing import NamedTuple

import numpy as np
import torch

from advassay.attacks.checks.inputs import (
    ModelWarning,
    check_images,
    clipped,
)
from advassay.attacks.engine.float32_verifier import (
    Comparisons,
)
from advassay.attacks.engine.image_state import Grid, GridRow
from advassay.attacks.engine.preflight import FIRST_IMAGES, Preflight, PreflightCache
from advassay.attacks.engine.scheduler import BatchScheduler
from advassay.attacks.float32_settings import full_float32
from advassay.classifier import Classifier
from advassay.classifier_state import one_at_a_time
from advassay.errors import AttackError, InputError
from advassay.progress import Progress
from advassay.spec.attack_spec import PGD, Arm, Precision, resolve_step_size
from advassay.store_documents import ExecutionConfig
from advassay.trajectory import Cost, TrajectoryRows


class Item(NamedTuple):
    """One image to attack, at the points of the grid still missing for it."""

    image_id: str
    image: np.ndarray
    """float32 (channel, height, width) in [0, 1]."""
    label: int
    points: frozenset[tuple[str, float]]
    """(step size as written by attack_spec.step_size_name, ε)."""
    target: int = -1
    """Class to reach in a targeted attack."""


GRIDS_KEPT = 1000
"""Sets of points whose rows are kept: nearly all images of a run have one of a few."""


def no_images(image_id: str) -> bool:
    """Keep no adversarial image."""
    return False


class AttackStream:
    """Iterate for TrajectoryRows blocks; each image's points are complete inside one block.

    `cost`, `notes` and `suspicions` grow while it runs. Blocks come when a batch of images has finished or
    `every_seconds` have passed since the last one, so that a killed run loses little. `choose_surrogate`: of the
    shape's rewrites take those that are measured to be worth it, unless `known` says which; else take them all.
    """

    def __init__(
        self,
        classifier: Classifier,
        items: Iterable[Item],
        rules: Arm | PGD,
        step_rules: dict[str, float | str],
        *,
        shape: ExecutionConfig,
        precision: Precision,
        keep_images: Callable[[str], bool],
        keep_iterates: bool = False,
        progress: Progress,
        task: str,
        images_per_block: float | None = None,
        every_seconds: float = 20.0,
        expected_images: int | None = None,
        first_success_only: bool = False,
        known: PreflightCache | None = None,
        examined: Sequence[Item] = (),
        choose_surrogate: bool = False,
    ) -> None:
        self._choose_surrogate = choose_surrogate
        self.known = known or PreflightCache()
        self.compared: Comparisons | None = None
        """How steering compared with float32 on the images of the latest block; None where every pass was float32."""
        self._examined = list(examined)
        self.classifier, self.rules, self.shape, self.precision = classifier, rules, shape, precision
        self.cost = Cost(batch_size=shape.batch_size)
        self.notes: list[str] = []
        self.suspicions: list[ModelWarning] = []
        self._clipped = 0
        self._undecided: set[str] = set()
        self._items, self._step_rules, self._keep_images = items, step_rules, keep_images
        self._keep_iterates = keep_iterates
        self._progress, self._task = progress, task
        self._expected = expected_images
        self._first_success_only = first_success_only
        self._per_block, self._every = images_per_block or shape.batch_size, every_seconds
        self._device = torch.device(shape.device)
        self._classes = 0
        self._seen: set[str] = set()
        self._grids: dict[frozenset[tuple[str, float]], Grid] = {}

    def __iter__(self) -> Iterator[TrajectoryRows]:
        total = self._expected or length_hint(self._items)
        items = iter(self._items)
        taken = list(islice(items, FIRST_IMAGES))
        if not taken:
            return
        waiting = chain(taken, items)
        preflight = Preflight(
            self.classifier, self.rules, shape=self.shape, precision=self.precision, known=self.known,
            choose=self._choose_surrogate,
        )  # fmt: skip
        with one_at_a_time():  # another thread's attack may just have the network in eval mode
            self._device = preflight.check_arguments()
        with computing(self.classifier, self.shape):
            scheduler = self._scheduler(preflight, self._examined or taken, total)
        self._progress.start(self._task, None, "gradient steps")
        try:
            while (block := self._next_block(scheduler, waiting)) is not None:
                yield block
        finally:
            self._progress.finish(self._task)
            if self._undecided:
                self.notes.append(undecided_text(len(self._undecided)))
            if self._clipped:
                self.notes.append(f"{self._clipped} pixel values lay outside [0, 1] by rounding and were clipped")
            if scheduler.verifier is not None:
                self.notes.append(scheduler.verifier.summary())

    def _scheduler(self, preflight: Preflight, first: Sequence[Item], total: int) -> BatchScheduler:
        """The queue, once the network has been examined on the `first` images; `total`: images there will be."""
        labels = np.array([i.label for i in first], np.int64)
        targets = np.array([i.target for i in first], np.int64) if self.rules.targeted else None
        batch = preflight.take(np.stack([i.image for i in first]), labels, targets)
        preflight.examine(batch, [row for item in first for row in self._grid(item).rows])
        self._classes, self.suspicions = preflight.classes, preflight.warnings
        for item in self._items if isinstance(self._items, Sequence) else ():  # else each as it comes
            self._check_classes(item)
        ready = preflight.prepare(batch, self._grid(first[0]).rows, total)
        self.notes += preflight.notes
        return BatchScheduler(
            ready.steering,
            ready.verifying,
            self.rules,
            classes=ready.classes,
            cost=self.cost,
            batch_size=self.shape.batch_size,
            keep_images=self._keep_images,
            keep_iterates=self._keep_iterates,
            verifier=ready.verifier,
            first_success_only=self._first_success_only,
        )

    def _next_block(self, scheduler: BatchScheduler, waiting: Iterator[Item]) -> TrajectoryRows | None:
        """Compute until enough images are complete; None when nothing is left."""
        parts: list[TrajectoryRows] = []
        compared: list[Comparisons] = []
        began, n = time.monotonic(), 0

        def take() -> None:
            nonlocal n
            n += scheduler.requeue_unverified()
            if (part := scheduler.collect()) is not None:
                parts.append(part)
                if scheduler.compared is not None:
                    compared.append(scheduler.compared)

        with computing(self.classifier, self.shape):
            while True:
                full = self._block_is_full(n + scheduler.n_complete, began)
                if full or scheduler.n_complete >= self.shape.batch_size:  # or places would grow with the images
                    take()
                if full and parts:
                    break
                while scheduler.needs_images and (item := next(waiting, None)) is not None:
                    self._add(scheduler, item)
                if scheduler.is_empty:
                    take()
                if scheduler.is_empty:  # and nothing was queued again
                    break
                before = self.cost.gradient_evaluations
                scheduler.run_batch()
                self._progress.advance(self._task, self.cost.gradient_evaluations - before)
        self.cost.seconds += time.monotonic() - began
        if not parts:
            return None
        self.compared = Comparisons.joined(compared) if compared else None
        if scheduler.verifier is not None:
            self._warn_audit_failure(scheduler.verifier.total)
        block = TrajectoryRows.concatenate(parts)
        self._undecided.update(block.image_id[block.flags["nan"]].tolist())
        everywhere = {s.flag: np.ones(len(block), bool) for s in self.suspicions}
        return replace(block, flags={**block.flags, **everywhere})

    def _block_is_full(self, images: int, began: float) -> bool:
        return images >= self._per_block or (images > 0 and time.monotonic() - began >= self._every)

    def _warn_audit_failure(self, total: Comparisons) -> None:
        """Say it where float32 changed a verdict that was thought safe."""
        if (total.audit_changed or total.known_wrong) and not any(s.flag == "audit_changed" for s in self.suspicions):
            text = (
                "float32 changed a steered verdict outside the band, where none was thought possible: steered verdicts "
                "of this run, those between first success and last iterate, are doubtful. Run it with "
                'precision="fast32" or "exact".'
            )
            self.suspicions.append(ModelWarning("audit_changed", text))
            self.notes.append(f"audit_changed: {text}")

    def _add(self, scheduler: BatchScheduler, item: Item) -> None:
        check_images(np.asarray(item.image)[None], np.array([item.label]))
        image, outside = clipped(item.image)
        self._clipped += outside
        self._check_classes(item)
        if item.image_id in self._seen:
            raise InputError(f"image_ids: each image once, got {item.image_id} twice.", "Give distinct image_ids.")
        self._seen.add(item.image_id)
        target = item.target if self.rules.targeted else -1
        x = torch.from_numpy(image)
        if self._device.type == "cuda":
            x = x.pin_memory().to(self._device, non_blocking=True)
        scheduler.add(item.image_id, x, int(item.label), target, self._grid(item))

    def _check_classes(self, item: Item) -> None:
        if item.label >= self._classes or (self.rules.targeted and not 0 <= item.target < self._classes):
            raise InputError(
                f"labels: expected class indices below {self._classes}, got {item.label} (target {item.target}).",
                "Check that the network and the labels belong together, and give targets if the attack is targeted.",
            )

    def _grid(self, item: Item) -> Grid:
        """Rows in the order step size (as the arm lists them), ε, restart."""
        if item.points in self._grids:
            return self._grids[item.points]
        unknown = {name for name, _ in item.points} - set(self._step_rules)
        if unknown or not item.points:
            raise AttackError(
                f"points: expected step sizes of the arm ({', '.join(self._step_rules)}), got {sorted(unknown)}.",
                "Name them as attack_spec.step_size_name does.",
            )
        order = list(self._step_rules)
        points = sorted(item.points, key=lambda p: (order.index(p[0]), p[1]))
        grid = Grid(
            [
                GridRow(name, epsilon, resolve_step_size(self._step_rules[name], epsilon), restart)
                for name, epsilon in points
                for restart in range(self.rules.restarts)
            ]
        )
        if len(self._grids) < GRIDS_KEPT:
            self._grids[item.points] = grid
        return grid


def undecided_text(images: int) -> str:
    """The note about images with NaN logits."""
    return (
        f"nan: {images} images have NaN logits at some iterate. They are neither success nor robustness there and "
        "leave both denominators; `flags` says which. Look for a division by 0 or a logarithm of 0 inside the network."
    )


@contextmanager
def computing(classifier: Classifier, shape: ExecutionConfig) -> Iterator[None]:
    """Attack mode, the configuration's threads and true float32 while inside; all as they were after."""
    with one_at_a_time():
        threads = torch.get_num_threads()
        torch.set_num_threads(shape.threads)
        try:
            with classifier.attack_mode(), full_float32():
                yield
        finally:
            torch.set_num_threads(threads)
