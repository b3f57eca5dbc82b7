"""The scheduler: every (image, step size, ε, restart) through constant-shape batches, sharing what is equal.

The state of all images is a set of columns (image_state.py), a batch is a set of indices into them, and everything
that happens to a batch is an operation over the whole of it. One gradient is taken of each shared iterate; then its
rows part where the step size or the projection of their ε makes the next iterate differ, and each part goes on as one.
Batches are filled with the deepest iterates first, so that branches end before new images begin and memory stays
bounded by the batch, whatever the number of images. Short batches are padded, never ragged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from advassay.attacks.attack_step import (
    PERTURBATION_COLUMNS,
    GradientModel,
    Proposal,
    Visit,
    get_update_rule,
    measure_gradient,
    measure_perturbation,
)
from advassay.attacks.engine.finished_rows import RowEndings, build_block
from advassay.attacks.engine.float32_verifier import Comparisons, Float32Verifier
from advassay.attacks.engine.image_state import (
    Branches,
    Grid,
    IteratePool,
    IterateQueues,
    Records,
    SharedIterates,
    as_branches,
    split_by_projection,
    split_by_step_size,
)
from advassay.attacks.random_init import random_start
from advassay.spec.attack_spec import PGD, Arm
from advassay.success import is_adversarial
from advassay.trajectory import Cost, TrajectoryRows

X, SIZES, STATE = 0, 1, 2
"""Columns of the iterate pool: pixels; what is measured of the perturbation; from here on the update rule's state."""
AT_ONCE = 2**19
"""Pixel values that are projected and measured together: at the first step every image may part into every ε at once,
and arithmetic in float64 holds several copies."""


class BatchScheduler:
    """Runs the update rule of an attack over images handed in with `add`, a batch at a time with `run_batch`."""

    def __init__(
        self,
        steering: GradientModel,
        verifying: GradientModel,
        rules: PGD | Arm,
        *,
        classes: int,
        cost: Cost,
        batch_size: int,
        keep_images: Callable[[str], bool],
        keep_iterates: bool = False,
        verifier: Float32Verifier | None = None,
        first_success_only: bool = False,
    ) -> None:
        self.steering, self.verifying, self.verifier = steering, verifying, verifier
        self.rules, self.batch_size, self.keep_images = rules, batch_size, keep_images
        self.cost, self.first_success_only, self.keep_iterates = cost, first_success_only, keep_iterates
        self.compared: Comparisons | None = None
        """How steering compared with float32 on the images handed out last."""
        self._rule = get_update_rule(rules)
        # Trajectories then begin one by one, and none passes through the clean image, which is scored apart.
        self._apart = rules.steps > 0 and (rules.random_start or not self._rule.shares_iterates)
        self.records = Records(rules.steps, classes, targeted=rules.targeted, keyed=verifier is not None)
        self._pool = IteratePool()
        self._queues = IterateQueues(self.records, self._pool)
        self._endings = RowEndings(
            self.records, restarts=rules.restarts, judged=verifier is not None, begin=self._begin,
            drop_retired=self._drop_retired,
        )  # fmt: skip
        self._beginning: list[tuple[int, np.ndarray]] = []
        """(image, rows) to be put into the pool before the next batch."""
        self._n_beginning = 0
        """Iterates that they will be."""
        self._held: SharedIterates | None = None
        """Adversarial iterates behind one that waits for its verdict (float32_verifier.choose)."""
        self._settled: list[int] = []

    # ---- what comes in and goes out ---------------------------------------------------------------------------------

    @property
    def needs_images(self) -> bool:
        """Whether another image is wanted to fill the next batch."""
        return self._n_waiting < self.batch_size and self._queues.n_to_score < self.batch_size

    @property
    def is_empty(self) -> bool:
        return not self._n_waiting and not self._queues.n_to_score

    @property
    def n_complete(self) -> int:
        """Images that can be handed out if float32 has nothing more to judge of them."""
        return len(self._endings.complete)

    @property
    def _n_waiting(self) -> int:
        """Iterates that can be stepped from."""
        return self._queues.n_to_step + self._n_beginning

    def add(self, image_id: str, pixels: Tensor, label: int, target: int, grid: Grid) -> None:
        """Queue an image (channel, height, width) with its declared rows (restart 0)."""
        image = self.records.enter(image_id, pixels, label, target, grid)
        self.records.images.kept[image] = self.keep_images(image_id)
        first = int(self.records.images.first_row[image])
        self._begin(image, first + grid.declared)
        if self._apart:
            self._ask_for_clean(image, np.arange(first, first + len(grid)))

    def run_batch(self) -> None:
        """Step from one batch of iterates, or score one in float32."""
        self._start_trajectories()
        if not self._must_score_first() and (at := self._pick()) is not None:
            self._gradient_step(self._with_early_restarts(at))
        else:
            self._score()

    def _must_score_first(self) -> bool:
        # A gradient costs three times as much as a score, and few places of its batch may be filled: where ended rows
        # may be followed by restarts, these are to fill it.
        restarts = self.rules.restarts > 1 and self._queues.n_ended > 0 and self._n_waiting < self.batch_size
        return restarts or self._queues.n_to_score >= self.batch_size

    def requeue_unverified(self) -> int:
        """Run rows of complete images again of which float32 must judge more; how many others are settled now.

        Rows ended at their first success are taken as they are.
        """
        done = self._endings.take_complete()
        if not len(done):
            return 0
        if self.verifier is None or self.first_success_only:
            self._settled += done.tolist()
            return len(done)
        again, settled = self.verifier.rows_to_rerun(self.records, done)
        self._settled += settled.tolist()
        self.records.images.complete[self.records.rows.image[again]] = False
        for image in np.unique(self.records.rows.image[again]).tolist():
            mine = again[self.records.rows.image[again] == image]
            self._begin(image, mine[np.lexsort((self.records.rows.epsilon[mine], self.records.rows.step[mine]))])
        return len(settled)

    def collect(self) -> TrajectoryRows | None:
        """The begun rows of settled images as one block, in the order they were settled in; None where there are none.

        Hands them out once: their places are free afterwards.
        """
        if not self._settled:
            return None
        images, self._settled = np.array(self._settled, np.int64), []
        block = build_block(self.records, images, judged=self.verifier is not None)
        self.compared = None if self.verifier is None else self.verifier.comparisons(self.records, images)
        self.records.leave(images)
        return block

    # ---- batches ----------------------------------------------------------------------------------------------------

    def _begin(self, image: int, rows: np.ndarray) -> None:
        """Have rows begin with the next batch."""
        self.records.rows.ran[rows] = True
        self.records.images.n_running_rows[image] += len(rows)
        self._beginning.append((image, rows))
        self._n_beginning += len(rows) if self._apart else 1

    def _start_trajectories(self) -> None:
        """Put what has begun since the last batch into the pool, all at once."""
        if not self._beginning:
            return
        begun, self._beginning, self._n_beginning = self._beginning, [], 0
        rows = np.concatenate([rows for _, rows in begun])
        count = np.ones(len(rows), np.int64) if self._apart else np.array([len(rows) for _, rows in begun])
        image = self.records.rows.image[rows] if self._apart else np.array([image for image, _ in begun])
        at = self._trajectories(rows, image, count)
        if self.rules.steps:
            self._queues.append(at)
        else:  # the clean image is the last iterate too
            self._queues.put(at)

    def _trajectories(self, rows: np.ndarray, image: np.ndarray, count: np.ndarray) -> SharedIterates:
        """Iterates 0 of `rows`, put into the pool; `image`, `count`: of each iterate."""
        x = self._start_points(rows) if self._apart else self.records.pixels[self.records.index(image)]
        epsilon = self.records.index(self.records.rows.epsilon[rows[np.cumsum(count) - count]])
        return SharedIterates(self._store_start(x, epsilon), image, np.zeros(len(image), np.int64), count, rows)

    def _start_points(self, rows: np.ndarray) -> Tensor:
        """Random starts, keyed by content; clean images where the attack has none."""
        rules, records = self.rules, self.records
        points = []
        for row in rows.tolist():
            image = int(records.rows.image[row])
            r = records.grid[image].rows[row - int(records.images.first_row[image])]
            clean = records.pixels[image]
            if rules.random_start or r.restart:
                clean = random_start(clean, r.epsilon, rules.norm, rules.seed, records.image_id[image], r.restart)
            points.append(clean)
        return torch.stack(points)

    def _ask_for_clean(self, image: int, rows: np.ndarray) -> None:
        """Queue the clean image to be scored, as iterate 0 of all its rows."""
        x = self.records.pixels[image][None]
        slot = self._store_start(x, torch.zeros(1, device=x.device))
        zero, one = np.zeros(1, np.int64), np.array([len(rows)])
        self._queues.ask(SharedIterates(slot, np.array([image]), zero, one, rows))

    def _store_start(self, x: Tensor, epsilon: Tensor) -> np.ndarray:
        """Slots of iterates from which nothing has been changed yet."""
        sizes = x.new_zeros(len(x), len(PERTURBATION_COLUMNS))
        return self._pool.store(x, sizes, *self._rule.initial_state(x, epsilon, self.records.classes))

    def _pick(self) -> SharedIterates | None:
        """The next batch to step from."""
        # Where rows end at their first success, a step taken before the verdict is known may be one too many.
        waits = self.first_success_only and self.verifier is not None
        return self._queues.take_to_step(self.batch_size, pass_over_undecided=waits)

    def _with_early_restarts(self, at: SharedIterates) -> SharedIterates:
        """The batch, its free places filled with restarts that its rows may need next: cheaper there than in a batch of
        their own. Those that turn out not to be needed never count as run."""
        room = self.batch_size - len(at)
        # Where a surrogate steers, verdicts come late, and hardly any restart would be known to be needed in time.
        if not room or self.rules.restarts == 1 or self.verifier is not None:
            return at
        of_row = self.records.rows
        again = of_row.next_restart[at.rows]
        again = again[again >= 0]
        again = again[~(of_row.ran[again] | of_row.early[again])][:room]
        if not len(again):
            return at
        of_row.early[again] = True
        return SharedIterates.joined(
            [at, self._trajectories(again, of_row.image[again], np.ones(len(again), np.int64))]
        )

    def _drop_retired(self) -> None:
        """Take retired rows out of the queues."""
        # Where a verifier judges, last iterates that wait to be scored are ended as any other row.
        self._queues.drop_retired(unscored_too=self.verifier is None)

    # ---- one step ---------------------------------------------------------------------------------------------------

    def _gradient_step(self, at: SharedIterates) -> None:
        """One gradient of every iterate, recorded; then one update, by which their rows part."""
        records = self.records
        visit = self._visit(at, *self._gradients(at))
        self.cost.gradient_evaluations += len(at)
        assert visit.gradient is not None
        measured = measure_gradient(visit.gradient)
        # Where it is not a number no step is taken: of an image with a NaN in part, its other pixels still move.
        visit.gradient = visit.gradient.nan_to_num(nan=0.0, posinf=torch.inf, neginf=-torch.inf)
        visit.state = self._rule.observe(visit, self.rules)
        point, logits = self._rule.recorded(visit)
        if self.keep_iterates:
            records.keep_iterates(at, point)
        sizes = self._sizes(point, visit) if self._rule.records_another_point else self._gather(SIZES, at.slot)
        known = torch.cat([logits, measured, sizes], dim=1)
        if self.first_success_only:
            # The only case in which who goes on is known from the logits alone: a transfer more, steps less.
            values = known.cpu().numpy()
            self._record(at, values)
            at, visit = self._drop_solved(at, visit, values[:, : records.classes])
            if not len(at):
                return
            known = known[:0]
        # Only the clean image is shared by rows of several step sizes; it comes last in a batch, if at all.
        branches = split_by_step_size(at, records.rows) if at.step[-1] == 0 else as_branches(at)
        proposal = self._rule.propose(self._of_branches(visit, branches, len(at)), self.rules)
        moved = torch.cat([known.reshape(-1), proposal.extent]).cpu().numpy()  # one copy: a GPU waits once a batch
        if len(known):
            self._record(at, moved[: known.numel()].reshape(known.shape))
        self._pool.release(at.slot)
        leaves = split_by_projection(branches, records.rows, moved[known.numel() :])
        slot = self._advance(proposal, visit.clean if len(branches.count) == len(at) else None, at, branches, leaves)
        parent = branches.parent[leaves.parent]
        step = at.step[parent] + 1
        if self.first_success_only:
            records.rows.position[leaves.rows] = step.repeat(leaves.count)
        self._queues.put(SharedIterates(slot, at.image[parent], step, leaves.count, leaves.rows))

    def _gradients(self, at: SharedIterates) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor | None]:
        """Iterates, logits, gradients, labels and targets, of a batch padded with its first iterate."""
        n, x = len(at), self._padded(at)
        labels, targets = self._labels(at)
        pad = [each if each is None or len(x) == n else _padded(each, len(x)) for each in (labels, targets)]
        logits, gradient = self.steering.gradient(x, *pad)  # type: ignore[arg-type]
        # A full batch is not sliced: four views less are felt beside a network that costs nothing.
        return (
            (x, logits, gradient, labels, targets)
            if len(x) == n
            else (x[:n], logits[:n], gradient[:n], labels, targets)
        )

    def _visit(
        self,
        at: SharedIterates,
        x: Tensor,
        logits: Tensor,
        gradient: Tensor | None,
        labels: Tensor,
        targets: Tensor | None,
    ) -> Visit:
        records = self.records
        # Rows that share an iterate are sorted by step size, then ε: the first has the smallest of both.
        first = at.rows[at.first]
        return Visit(
            x=x,
            clean=records.pixels.index_select(0, records.index(at.image)),
            gradient=gradient,
            logits=logits,
            labels=labels,
            targets=targets,
            step_size=records.index(records.rows.step[first]),
            epsilon=records.index(records.rows.epsilon[first]),
            step=records.index(at.step),
            state=tuple(self._gather(STATE + i, at.slot) for i in range(self._pool.n_columns - STATE)),
        )

    def _of_branches(self, visit: Visit, branches: Branches, n: int) -> Visit:
        """The visit with one entry a branch."""
        if len(branches.parent) == n:
            return visit
        # The clean image's gradient serves several step sizes.
        index, rows = self.records.index, self.records.rows
        visit, first = visit.at(index(branches.parent)), branches.rows[branches.first]
        visit.step_size, visit.epsilon = index(rows.step[first]), index(rows.epsilon[first])
        return visit

    def _advance(
        self, proposal: Proposal, clean: Tensor | None, at: SharedIterates, branches: Branches, leaves: Branches
    ) -> np.ndarray:
        """Slots of the new iterates, projected, clipped and measured; `clean`: of the branches, where it is at hand."""
        slots = []
        n, whole = len(leaves.parent), len(leaves.parent) == len(branches.parent)
        first = leaves.rows[leaves.first]
        epsilon, index = self.records.index(self.records.rows.epsilon[first]), self.records.index(leaves.parent)
        for part in _split_for_memory(n, proposal.origin[0].numel()):
            # Nothing is copied where nothing has parted: that is most batches.
            every = whole and part.start == 0 and part.stop >= n
            ends, mine = epsilon[part], proposal if every else proposal.at(index[part])
            x = mine.next_iterate(ends, self.rules)
            if proposal.origin is clean:
                origin = mine.origin
            elif every and clean is not None:
                origin = clean
            else:
                of = at.image[branches.parent[leaves.parent[part]]]
                origin = self.records.pixels.index_select(0, self.records.index(of))
            sizes = measure_perturbation(x, origin, ends, self.rules.norm)
            share = self._rule.boundary_share(mine, ends, self.rules)
            if share is not None:
                sizes[:, PERTURBATION_COLUMNS.index("boundary_share")] = share
            slots.append(self._pool.store(x, sizes, *mine.state))
        return slots[0] if len(slots) == 1 else np.concatenate(slots)

    def _record(self, at: SharedIterates, values: np.ndarray) -> None:
        """Write what a gradient pass showed, and queue what float32 must judge of it."""
        self.records.write_step(
            at, values, starts_apart=self._apart, another_point=self._rule.records_another_point,
            final=self.verifier is None,
        )  # fmt: skip
        if self.verifier is None:
            return
        logits = values[:, : self.records.classes]
        if self._apart:  # where the trajectories start is no iterate of the record
            at, kept = at.having((at.step > 0)[at.owner])
            logits = logits[kept]
            if not len(at):
                return
        ask, hold = self.verifier.choose(self.records, at, logits)
        if ask is not None:
            self._pool.keep(ask.slot)
            self._queues.ask(ask)
        if hold is not None:
            self._pool.keep(hold.slot)
            self._held = hold if self._held is None else SharedIterates.joined([self._held, hold])

    def _drop_solved(self, at: SharedIterates, visit: Visit, logits: np.ndarray) -> tuple[SharedIterates, Visit]:
        """Without rows whose success is confirmed by this batch: where each logit is float32's."""
        if self.verifier is not None:
            return at, visit
        solved = is_adversarial(logits, *self.records.labels(at.image))
        if self._apart:
            # Where a trajectory starts is no iterate of the record.
            solved &= at.step > 0
        # A row that has only its last iterate to come is ended as any other.
        solved &= at.step + 1 < self.rules.steps
        if not solved.any():
            return at, visit
        rows = at.rows[solved[at.owner]]
        self._endings.retire(rows)
        self._endings.go_on_after(rows)
        self._endings.note_complete(at.image[solved])
        left, kept = at.having(~self.records.rows.retired[at.rows])
        self._pool.release(at.slot[~kept])
        return left, visit.at(self.records.index(np.flatnonzero(kept))) if len(left) else visit

    # ---- float32 scores ---------------------------------------------------------------------------------------------

    def _score(self) -> None:
        """Score one batch with the unmodified network; end the rows of which it was the last iterate."""
        at = self._queues.take_to_score(self.batch_size)
        if at is None:
            return
        records = self.records
        x = self._padded(at)
        logits = self.verifying.score(x)[: len(at)]
        self.cost.forward_passes += len(at)
        ends = at.step == self.rules.steps
        sizes = self._gather(SIZES, at.slot)
        shown = x[: len(at)]
        if self._rule.records_another_point and ends.any():
            shown, logits, sizes = self._kept_points(at, ends, shown, logits, sizes)
        values = torch.cat([logits, sizes], dim=1).cpu().numpy()
        records.write_scores(at, values, ends, final=self.verifier is None)
        if not ends.all():
            pending, kept = at.having((~ends)[at.owner])
            np.subtract.at(records.images.n_pending_verifications, pending.image, 1)
            self._learn(pending, values[kept, : records.classes])
        if ends.any():
            if self.keep_iterates:
                last, which = at.having(ends[at.owner])
                records.keep_iterates(last, shown[records.index(which)])
            self._endings.end(at, ends, shown)
        self._pool.release(at.slot)
        self._endings.note_complete(at.image)

    def _kept_points(
        self, at: SharedIterates, ends: np.ndarray, x: Tensor, logits: Tensor, sizes: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The same with, of last iterates, the point that the update rule has kept."""
        labels, targets = self._labels(at)
        visit = self._visit(at, x, logits, None, labels, targets)
        visit.state = self._rule.observe(visit, self.rules)
        last = self.records.index(ends)
        point, kept = self._rule.recorded(visit)
        return (
            torch.where(last.view(-1, 1, 1, 1), point, x),
            torch.where(last[:, None], kept, logits),
            torch.where(last[:, None], self._sizes(point, visit), sizes),
        )

    def _learn(self, at: SharedIterates, judged: np.ndarray) -> None:
        """Float32 scores that were asked for are there."""
        if self.verifier is None:
            return
        self.verifier.compare(self.records, at, judged)
        self.cost.rescored, self.cost.changed = self.verifier.total.compared, self.verifier.total.changed
        if self.first_success_only:
            of_row = self.records.rows
            # The clean image is scored for all rows of an image, those that may never run among them.
            running = of_row.ran[at.rows] & ~of_row.retired[at.rows]
            solved = at.rows[running & (of_row.first_success[at.rows] == 2)]
            # What waits to be scored as its last iterate is ended as any other row.
            solved = np.unique(solved[of_row.position[solved] < self.rules.steps])
            if len(solved):
                self._endings.retire(solved)
                self._drop_retired()
        if self._held is not None:
            before = self._held
            ask, self._held = self.verifier.release(self.records, before)
            # Kept before they are released, or their slots would be free in between.
            for part in (ask, self._held):
                if part is not None:
                    self._pool.keep(part.slot)
            self._pool.release(before.slot)
            if ask is not None:
                self._queues.ask(ask)

    # ---- tensors ----------------------------------------------------------------------------------------------------

    def _gather(self, column: int, slots: np.ndarray) -> Tensor:
        return self._pool.gather(column, self.records.index(slots))

    def _padded(self, at: SharedIterates) -> Tensor:
        """The iterates, and the first one again up to the constant batch size."""
        # One shape means one compiled graph, and results that do not depend on how full a batch is.
        slots = at.slot
        if len(slots) < self.batch_size:
            slots = np.concatenate([slots, slots[:1].repeat(self.batch_size - len(slots))])
        return self._gather(X, slots)

    def _labels(self, at: SharedIterates) -> tuple[Tensor, Tensor | None]:
        labels, targets = self.records.labels(at.image)
        return self.records.index(labels), None if targets is None else self.records.index(targets)

    def _sizes(self, point: Tensor, visit: Visit) -> Tensor:
        """What is measured of the perturbation at points that are not the iterates themselves."""
        parts = [
            measure_perturbation(point[p], visit.clean[p], visit.epsilon[p], self.rules.norm)
            for p in _split_for_memory(len(point), point[0].numel())
        ]
        return torch.cat(parts)


def _padded(values: Tensor, n: int) -> Tensor:
    """`values` with the first repeated, up to `n`."""
    return torch.cat([values, values[:1].expand(n - len(values))])


def _split_for_memory(n: int, values: int) -> Iterator[slice]:
    """Slices of `n` images of so many pixel values that are small enough to be worked on together."""
    # At least one, however large an image is.
    each = max(1, AT_ONCE // values)
    return (slice(start, start + each) for start in range(0, n, each))
