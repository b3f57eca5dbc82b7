"""Images in, blocks of finished trajectories out, in bounded memory."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain, islice
from operator import length_hint
from typing import Any, NamedTuple

import numpy as np
import torch

from advassay.attack_spec import PGD, Arm, Precision, resolve_step_size, step_size_name
from advassay.attacks.apgd import ApgdEngine
from advassay.attacks.band import starting_width
from advassay.attacks.compiling import backend_of, compile_steering
from advassay.attacks.engine import Engine
from advassay.attacks.examine import PROBES, examine, examine_loss
from advassay.attacks.guards import (
    Suspicion,
    check_classifier,
    check_device,
    check_epsilons,
    check_images,
    check_modes,
    check_normalisation,
    check_steps,
    check_weights,
    clipped,
)
from advassay.attacks.memory import Memory
from advassay.attacks.network import Network, full_float32
from advassay.attacks.precision import REWRITES, Comparisons, Judge, audit_share, iterates_climbed
from advassay.attacks.probe import IMAGES, probe
from advassay.attacks.rewrite import Steering, rewrite, takes_channels_last
from advassay.attacks.work import Row, Work, to_rows
from advassay.classifier import Classifier, one_at_a_time
from advassay.documents import ComputeShape
from advassay.errors import AttackError, InputError
from advassay.progress import Progress, Silent
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


class _First(NamedTuple):
    """The first images, on which the network is examined and measured."""

    items: list[Item]
    images: torch.Tensor
    """float32 (image, channel, height, width), on the network's device like the others."""
    labels: torch.Tensor
    targets: torch.Tensor | None
    digest: str
    """Of all three."""


JUDGED = "judged channels-last"
"""Among what held: the unmodified network took that layout too."""


FIRST_IMAGES = max(PROBES, IMAGES)
"""Images that the network is examined and measured on."""


def no_images(image_id: str) -> bool:
    """Keep no adversarial image."""
    return False


class AttackStream:
    """Iterate for TrajectoryRows blocks; each image's points are complete inside one block.

    `cost`, `notes` and `suspicions` grow while it runs. Blocks come when a batch of images has finished or
    `every_seconds` have passed since the last one, so that a killed run loses little.
    """

    def __init__(
        self,
        classifier: Classifier,
        items: Iterable[Item],
        rules: Arm | PGD,
        step_rules: dict[str, float | str],
        *,
        shape: ComputeShape,
        precision: Precision,
        keep_images: Callable[[str], bool],
        progress: Progress,
        task: str,
        images_per_block: float | None = None,
        every_seconds: float = 20.0,
        expected_images: int | None = None,
        first_success_only: bool = False,
        known: Memory | None = None,
        examined: Sequence[Item] = (),
    ) -> None:
        self.known = known or Memory()
        self.compared: Comparisons | None = None
        """How steering compared with float32 on the images of the latest block; None where every pass was float32."""
        self._examined = list(examined)
        self.classifier, self.rules, self.shape, self.precision = classifier, rules, shape, precision
        self.cost = Cost(batch_size=shape.batch_size)
        self.notes: list[str] = []
        self.suspicions: list[Suspicion] = []
        self._clipped = 0
        self._undecided: set[str] = set()
        self._items, self._step_rules, self._keep_images = items, step_rules, keep_images
        self._progress, self._task = progress, task
        self._expected = expected_images
        self._first_success_only = first_success_only
        self._per_block, self._every = images_per_block or shape.batch_size, every_seconds
        self._device = torch.device(shape.device)
        self._classes = 0
        self._seen: set[str] = set()

    def __iter__(self) -> Iterator[TrajectoryRows]:
        total = self._expected or length_hint(self._items)
        items = iter(self._items)
        taken = list(islice(items, FIRST_IMAGES))
        if not taken:
            return
        waiting = chain(taken, items)
        with one_at_a_time():  # another thread's attack may just have the network in eval mode
            check_classifier(self.classifier)
            check_weights(self.classifier)
            check_device(self.classifier, self._device)
            self._device = self.classifier.mean.device  # which one of several
            found = check_modes(self.classifier) + check_normalisation(self.classifier)
        with computing(self.classifier, self.shape):
            first = self._first(self._examined or taken)
            self._examine(first, found)
            engine = self._engine(first, total)
        self._progress.start(self._task, None, "gradient steps")
        try:
            while (block := self._next_block(engine, waiting)) is not None:
                yield block
        finally:
            self._progress.finish(self._task)
            if self._undecided:
                self.notes.append(undecided_text(len(self._undecided)))
            if self._clipped:
                self.notes.append(f"{self._clipped} pixel values lay outside [0, 1] by rounding and were clipped")
            if engine.judge is not None:
                self.notes.append(engine.judge.account())

    def _first(self, items: list[Item]) -> _First:
        """The first images as the network takes them; what is wrong with them, and with the grid, is an error."""
        images = np.stack([i.image for i in items])
        labels = np.array([i.label for i in items], np.int64)
        targets = np.array([i.target for i in items], np.int64) if self.rules.targeted else None
        check_images(images, labels, targets)
        x, y = torch.from_numpy(clipped(images)[0]).to(self._device), torch.from_numpy(labels).to(self._device)
        goal = None if targets is None else torch.from_numpy(targets).to(self._device)
        digest = hashlib.sha256(repr((images.shape, labels.tolist(), goal if goal is None else goal.tolist())).encode())
        digest.update(x.cpu().contiguous().numpy().data)
        return _First(items, x, y, goal, digest.hexdigest())

    def _examine(self, first: _First, found: list[Suspicion]) -> None:
        """The grid, the network and the loss: broken beyond doubt is an error, what is only suspicious is noted."""
        epsilons = sorted({e for i in first.items for _, e in i.points})
        steps = [r.step for i in first.items for r in self._rows(i)]
        found += check_epsilons(epsilons, self.rules.norm) + check_steps(steps, epsilons, self.rules.update)
        if self.known.suspected is None or not self.known.shared.classes:
            self.known.suspected = self._examine_network(first)
        found += self.known.suspected
        self._classes = self.known.shared.classes
        for item in self._items if isinstance(self._items, Sequence) else ():  # else each as it comes
            self._check_classes(item)
        self.suspicions = found
        self.notes += [f"{s.flag}: {s.text}" for s in found]

    def _examine_network(self, first: _First) -> list[Suspicion]:
        batch_size, shared = self.shape.batch_size, self.known.shared
        examined = shared.once(
            lambda: examine(self.classifier, first.images, first.labels, targets=first.targets, batch_size=batch_size),
            "examined", first.digest, batch_size,
        )  # fmt: skip
        shared.classes = examined.logits.shape[1]
        return examined.suspicions + examine_loss(self.rules.loss, examined, first.labels, first.targets)

    def _engine(self, first: _First, total: int) -> Engine | ApgdEngine:
        """The network that steers, the one that judges, and the queue between them."""
        limits: dict[str, Any] = {
            "batch_size": self.shape.batch_size,
            "keep_images": self._keep_images,
            "first_success_only": self._first_success_only,
        }
        steering = self._steering(first)
        last = self._judges_channels_last(first)
        self.known.held = (*steering.rewrites, *([JUDGED] if last else []))
        score = Network(self.classifier, self.rules.loss, channels_last=last)
        if self.rules.update == "apgd":
            return ApgdEngine(score, self.rules, cost=self.cost, **limits)
        judge = None
        if steering.rewrites:
            climbed = iterates_climbed(self._rows(first.items[0]), self.rules)
            judge = Judge(audit_share(max(total, 1) * climbed))
            if self.known.band is None:
                self.known.band = self._starting_band(steering, score, first)
            judge.start = self.known.band
        steer = Network(steering.module, self.rules.loss, channels_last="channels-last" in steering.rewrites)
        return Engine(steer, score, self.rules, cost=self.cost, judge=judge, **limits)

    def _steering(self, first: _First) -> Steering:
        """The copy that gives gradients: rewritten as far as that holds, or as it is known to have held."""
        wanted = tuple(r for r in self.shape.rewrites if r in REWRITES[self.precision])
        held, copies = self.known.held, self.known.shared.copies
        wanted = wanted if held is None else tuple(r for r in wanted if r in held)
        if not wanted or self.rules.update == "apgd":
            return Steering(self.classifier)
        steering = copies.get(wanted) or rewrite(self.classifier, first.images[:PROBES], wanted, sure=held is not None)
        if steering.module is not self.classifier:  # or what is remembered of a network would keep it alive
            copies[wanted] = steering
        if backend := backend_of(self.shape.rewrites):
            steering = compile_steering(steering, first.images, self.shape.batch_size, backend)
        self.notes += steering.notes
        return steering

    def _judges_channels_last(self, first: _First) -> bool:
        """Whether the unmodified network is given images laid out channels-last; never where every bit is asked for."""
        if self.precision == "exact":
            return False
        if self.known.held is not None:
            return JUDGED in self.known.held
        takes = self.known.shared.once
        return takes(lambda: takes_channels_last(self.classifier, first.images[:PROBES]), "channels-last", first.digest)

    def _starting_band(self, steering: Steering, score: Network, first: _First) -> float:
        """Half width, in logits, that every image's band starts with: measured on the first images, along the margin's
        gradient, whatever the loss."""
        batch_size = self.shape.batch_size
        steer = Network(steering.module, "margin", channels_last="channels-last" in steering.rewrites)
        return self.known.shared.once(
            lambda: starting_width(*probe(steer, score, first.images, first.labels, first.targets, batch_size)),
            "band", first.digest, batch_size, self.shape.rewrites, self.known.held,
        )  # fmt: skip

    def _next_block(self, engine: Engine | ApgdEngine, waiting: Iterator[Item]) -> TrajectoryRows | None:
        """Compute until enough images are complete; None when nothing is left."""
        done: list[Work] = []
        began = time.monotonic()
        with computing(self.classifier, self.shape):
            while True:
                if self._enough(done, began) and (done := self._settled(engine, done)):
                    break
                while engine.hungry and (item := next(waiting, None)) is not None:
                    engine.add(self._work(item))
                if engine.idle:
                    done = self._settled(engine, done)
                if engine.idle:  # and nothing was opened again
                    break
                before = self.cost.gradient_evaluations
                done += engine.run_batch()
                self._progress.advance(self._task, self.cost.gradient_evaluations - before)
        self.cost.seconds += time.monotonic() - began
        if not done:
            return None
        if engine.judge is not None:
            self._mistrust(engine.judge)
            self.compared = engine.judge.comparisons(work.image_id for work in done)
        for work in done:
            if work.flags["nan"].any():
                self._undecided.add(work.image_id)
            work.flags.update({s.flag: np.ones(len(work.rows), bool) for s in self.suspicions})
        return to_rows(done)

    def _enough(self, done: list[Work], began: float) -> bool:
        return len(done) >= self._per_block or (bool(done) and time.monotonic() - began >= self._every)

    def _settled(self, engine: Engine | ApgdEngine, done: list[Work]) -> list[Work]:
        """The finished images of which float32 has judged what it must; the others are opened again."""
        ended = [work for work in done if not work.settled]
        for work in ended:
            work.settled = not engine.reopen(work)
        return [work for work in done if work.settled]

    def _mistrust(self, judge: Judge) -> None:
        """Say it where float32 changed a verdict that was thought safe."""
        if (judge.audit_changed or judge.known_wrong) and not any(s.flag == "audit_changed" for s in self.suspicions):
            text = (
                "float32 changed a steered verdict outside the band, where none was thought possible: steered verdicts "
                "of this run, those between first success and last iterate, are doubtful. Run it with "
                'precision="fast32" or "exact".'
            )
            self.suspicions.append(Suspicion("audit_changed", text))
            self.notes.append(f"audit_changed: {text}")

    def _work(self, item: Item) -> Work:
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
        return Work(item.image_id, x, int(item.label), target, self._rows(item), self.rules.steps, self._classes)

    def _check_classes(self, item: Item) -> None:
        if item.label >= self._classes or (self.rules.targeted and not 0 <= item.target < self._classes):
            raise InputError(
                f"labels: class indices below {self._classes} are needed, got {item.label} (target {item.target}).",
                "Check that the network and the labels belong together, and give targets if the attack is targeted.",
            )

    def _rows(self, item: Item) -> list[Row]:
        """Rows in the order step size (as the arm lists them), ε, restart."""
        unknown = {name for name, _ in item.points} - set(self._step_rules)
        if unknown or not item.points:
            raise AttackError(
                f"points: step sizes of the arm ({', '.join(self._step_rules)}) are needed, got {sorted(unknown)}.",
                "Name them as attack_spec.step_size_name does.",
            )
        order = list(self._step_rules)
        points = sorted(item.points, key=lambda p: (order.index(p[0]), p[1]))
        return [
            Row(name, epsilon, resolve_step_size(self._step_rules[name], epsilon), restart)
            for name, epsilon in points
            for restart in range(self.rules.restarts)
        ]


def undecided_text(images: int) -> str:
    """The note about images with NaN logits."""
    return (
        f"nan: {images} images have NaN logits at some iterate. They are neither success nor robustness there and "
        "leave both denominators; `flags` says which. Look for a division by 0 or a logarithm of 0 inside the network."
    )


@contextmanager
def computing(classifier: Classifier, shape: ComputeShape) -> Iterator[None]:
    """Attack mode, the compute shape's threads and true float32 while inside; all as they were after."""
    with one_at_a_time():
        threads = torch.get_num_threads()
        torch.set_num_threads(shape.threads)
        try:
            with classifier.attack_mode(), full_float32():
                yield
        finally:
            torch.set_num_threads(threads)


def stream(
    classifier: Classifier,
    items: Iterable[Item],
    arm: Arm,
    *,
    shape: ComputeShape,
    keep_images: Callable[[str], bool] = no_images,
    progress: Progress | None = None,
    expected_images: int | None = None,
    first_success_only: bool = False,
    known: Memory | None = None,
    examined: Sequence[Item] = (),
) -> AttackStream:
    """Attack every item at its points with the arm's update; iterate the result for blocks of rows.

    For one `shape`, no recorded number depends on the order of items, their neighbours or where a run was interrupted
    (with `first_success_only`: no success does; flags about the whole run stand from where they arose).
    Under "fast32" and "fast" that holds for one band to begin with and the same rewrites. Both are found on the first
    images where `known` has none; `.known` says what they are once the first block has come, so that a run that goes
    on later can hand them in. It also spares the next stream over the same network its rewriting and examination.
    `keep_images(image_id)` says whose last iterates to hand back. `first_success_only` ends a row at its first
    confirmed success (later iterates are NaN, flag `retired`): much cheaper, and enough for success="any".
    `examined`: images that the network is examined and measured on instead of the first items, so that a run that goes
    on says the same of its network. `expected_images` (by default what `items` says of its length) sets how large a
    share the audit takes.
    Raises AttackError (InputError, EpsilonError, ClassifierError) before the first step where the result would mean
    nothing.
    """
    rules: dict[str, float | str] = {step_size_name(rule): rule for rule in arm.step_sizes}
    task = f"attack {arm.update}, {arm.loss}"
    return AttackStream(
        classifier,
        items,
        arm,
        rules,
        shape=shape,
        precision=arm.precision,
        keep_images=keep_images,
        progress=progress or Silent(),
        task=task,
        expected_images=expected_images,
        first_success_only=first_success_only,
        known=known,
        examined=examined,
    )
