"""The scheduler: every (image, step size, ε, restart) through constant-shape batches, sharing what is equal.

The state of all images is a set of columns (image_state.py), a batch is a set of indices into them, and everything
that happens to a batch is an operation over the whole of it. One gradient is taken of each shared iterate; then its
rows part where the step size or the projection of their ε makes the next iterate differ (branching.py), and each part
goes on as one. Batches are filled with the deepest iterates first, so that branches end before new images begin and
memory stays bounded by the batch, whatever the number of images. Short batches are padded, never ragged.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from advassay.attacks.engine.branching import Branches, pieces, split_by_projection, split_by_step_size, unparted
from advassay.attacks.engine.failure_indicators import RowFacts, failure_flags
from advassay.attacks.engine.float32_verifier import Comparisons, Float32Verifier
from advassay.attacks.engine.image_state import Grid, IteratePool, Records, SharedIterates
from advassay.attacks.gradient_model import GradientModel
from advassay.attacks.random_init import random_start
from advassay.attacks.ssim import similarities
from advassay.attacks.update_rule import Proposal, Visit, measure_perturbation, update_rule
from advassay.spec.attack_spec import PGD, Arm
from advassay.success import correct_on_clean, is_adversarial
from advassay.trajectory import Cost, TrajectoryRows

X, SIZES, STATE = 0, 1, 2
"""Columns of the iterate pool: pixels; ‖δ‖∞, ‖δ‖₂ and boundary share; from here on the update rule's state."""


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
        verifier: Float32Verifier | None = None,
        first_success_only: bool = False,
    ) -> None:
        self.steering, self.verifying, self.verifier = steering, verifying, verifier
        self.rules, self.batch_size, self.keep_images = rules, batch_size, keep_images
        self.cost, self.first_success_only = cost, first_success_only
        self.compared: Comparisons | None = None
        """How steering compared with float32 on the images handed out last."""
        self._rule = update_rule(rules)
        self._apart = rules.steps > 0 and (rules.random_start or not self._rule.shares_iterates)
        self.records = Records(rules.steps, classes, targeted=rules.targeted, keyed=verifier is not None)
        self._pool = IteratePool()
        self._beginning: list[tuple[int, np.ndarray]] = []  # (image, rows) to be put into the pool
        self._waiting: deque[SharedIterates] = deque()  # the deepest first
        self._to_verify: deque[SharedIterates] = deque()
        self._held: SharedIterates | None = None
        self._n_waiting = self._n_to_verify = self._n_ended = 0
        self._complete: list[int] = []
        self._settled: list[int] = []

    # ---- what comes in and goes out ---------------------------------------------------------------------------------

    @property
    def needs_images(self) -> bool:
        """Whether another image is wanted to fill the next batch."""
        return self._n_waiting < self.batch_size and self._n_to_verify < self.batch_size

    @property
    def is_empty(self) -> bool:
        return not self._n_waiting and not self._n_to_verify

    @property
    def n_complete(self) -> int:
        """Images that can be handed out if float32 has nothing more to judge of them."""
        return len(self._complete)

    def add(self, image_id: str, pixels: Tensor, label: int, target: int, grid: Grid) -> None:
        """Queue an image (channel, height, width) with its declared rows (restart 0)."""
        image = self.records.enter(image_id, pixels, label, target, grid)
        self.records.images.kept[image] = self.keep_images(image_id)
        first = int(self.records.images.first_row[image])
        self._begin(image, first + grid.declared)
        if self._apart:  # then no trajectory passes through the clean image
            self._ask_for_clean(image, np.arange(first, first + len(grid)))

    def run_batch(self) -> None:
        """Step from one batch of iterates, or score one in float32."""
        self._start_trajectories()
        if not self._must_verify_first() and (at := self._pick()) is not None:
            self._gradient_step(self._with_early_restarts(at))
        else:
            self._verify()

    def _must_verify_first(self) -> bool:
        # A gradient costs three times as much as a score, and few places of its batch may be filled: where ended rows
        # may be followed by restarts, these are to fill it.
        restarts = self.rules.restarts > 1 and self._n_ended > 0 and self._n_waiting < self.batch_size
        return restarts or self._n_to_verify >= self.batch_size

    def requeue_unverified(self) -> int:
        """Run rows of complete images again of which float32 must judge more; how many others are settled now.

        Rows ended at their first success are taken as they are.
        """
        done = np.array(self._complete, np.int64)
        self._complete = []
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
        block = self._block(images)
        self.compared = None if self.verifier is None else self.verifier.comparisons(self.records, images)
        self.records.leave(images)
        return block

    def _block(self, images: np.ndarray) -> TrajectoryRows:
        records, rows = self.records, self.records.begun_rows(images)
        of_row, of_image = records.rows, records.images
        image = of_row.image[rows]
        number = np.empty(len(of_image.label), np.int64)
        number[images] = np.arange(len(images))
        grids = [records.grid[i] for i in images.tolist()]
        within = rows - of_image.first_row[image]
        logits = records.values[rows, :, : records.classes]
        scored = records.scored[rows]
        if self.verifier is not None:
            logits = np.where(scored[..., None], records.verified[rows], logits)
        n_rules = max(len(g) for g in grids)
        block = TrajectoryRows(
            image_id=np.array([records.image_id[i] for i in images.tolist()], dtype=str)[number[image]],
            step_size=_of_grids(grids, "step_size", number[image], within),
            epsilon=_of_grids(grids, "epsilon", number[image], within),
            restart=_of_grids(grids, "restart", number[image], within),
            label=of_image.label[image],
            target=of_image.target[image],
            logits=logits,
            gradient_norm=records.values[rows, :, Records.NORM],
            boundary_share=records.values[rows, :, Records.SHARE],
            linf=records.values[rows, :, Records.LINF],
            l2=records.values[rows, :, Records.L2],
            scored_float32=scored,
            ssim=of_row.ssim[rows],
            final_images={
                (records.image_id[i], r.step_size, r.epsilon): records.final[row]
                for i in (images.tolist() if records.final else ())
                for row, r in enumerate(records.grid[i].rows, int(of_image.first_row[i]))
                if row in records.final and r.restart == 0
            },
        )
        facts = RowFacts(
            of_row.step[rows],
            of_row.retired[rows],
            of_row.nan_gradient[rows],
            number[image] * n_rules + _of_grids(grids, "rule", number[image], within),
        )
        return replace(block, flags=failure_flags(block, facts))

    # ---- queues -----------------------------------------------------------------------------------------------------

    def _begin(self, image: int, rows: np.ndarray) -> None:
        self.records.rows.ran[rows] = True
        self.records.images.n_running_rows[image] += len(rows)
        self._beginning.append((image, rows))
        self._n_waiting += len(rows) if self._apart else 1

    def _start_trajectories(self) -> None:
        """Put what has begun since the last batch into the pool, all at once."""
        if not self._beginning:
            return
        begun, self._beginning = self._beginning, []
        rows = np.concatenate([rows for _, rows in begun])
        count = np.ones(len(rows), np.int64) if self._apart else np.array([len(rows) for _, rows in begun])
        image = self.records.rows.image[rows] if self._apart else np.array([image for image, _ in begun])
        self._n_waiting -= len(image)
        at = self._trajectories(rows, image, count)
        if not self.rules.steps:
            self._queue(at)
            return
        self._waiting.append(at)  # behind all that is under way
        self._n_waiting += len(at)

    def _trajectories(self, rows: np.ndarray, image: np.ndarray, count: np.ndarray) -> SharedIterates:
        """Iterates 0 of `rows`, put into the pool; `image`, `count`: of each iterate."""
        x = self._start_points(rows) if self._apart else self.records.pixels[self._index(image)]
        epsilon = self._index(self.records.rows.epsilon[rows[np.cumsum(count) - count]])
        slot = self._pool.store(x, x.new_zeros(len(x), 3), *self._rule.initial_state(x, epsilon, self.records.classes))
        return SharedIterates(slot, image, np.zeros(len(image), np.int64), count, rows)

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
        epsilon = torch.zeros(1, device=x.device)
        slot = self._pool.store(x, x.new_zeros(1, 3), *self._rule.initial_state(x, epsilon, self.records.classes))
        zero, one = np.zeros(1, np.int64), np.array([len(rows)])
        self._ask(SharedIterates(slot, np.array([image]), zero, one, rows))

    def _queue(self, at: SharedIterates) -> None:
        """Iterates that a batch has led to: scored where they are the last, else stepped from next.

        They come with the deepest first, as the batch was, and each is deeper than anything that was left waiting when
        the batch was picked. So putting them in front keeps the queue in order.
        """
        last = at.step == self.rules.steps
        n_last = int(np.count_nonzero(last))
        if last[:n_last].all():
            ended, going_on = at.between(0, n_last), at.between(n_last, len(at))
        else:  # some waited for a verdict and have been overtaken
            ended, going_on = (at.having(which[at.owner])[0] for which in (last, ~last))
        if n_last:
            self._to_verify.append(ended)
            self._n_to_verify += n_last
            self._n_ended += n_last
        if n_last < len(at):
            self._waiting.appendleft(going_on)
            self._n_waiting += len(at) - n_last

    def _ask(self, at: SharedIterates) -> None:
        """Queue iterates whose trajectories go on to be scored in float32."""
        np.add.at(self.records.images.n_pending_verifications, at.image, 1)
        self._to_verify.append(at)
        self._n_to_verify += len(at)

    def _pick(self) -> SharedIterates | None:
        """The next batch to step from: the deepest iterates, but none whose success waits for its verdict."""
        parts: list[SharedIterates] = []
        may_wait = self.first_success_only and self.verifier is not None
        put_back = self._take_undecided() if may_wait and self._waiting else None
        self._n_waiting -= _take(self._waiting, self.batch_size, parts)
        if put_back is not None:
            self._waiting.appendleft(put_back)
        return SharedIterates.joined(parts) if parts else None

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

    def _take_undecided(self) -> SharedIterates | None:
        """Take the iterates out of the queue of which a row's success waits for its verdict."""
        whole = SharedIterates.joined(list(self._waiting))
        undecided = np.logical_or.reduceat(self.records.rows.first_success[whole.rows] == 1, whole.first)
        if not undecided.any():
            return None
        self._waiting.clear()
        if not undecided.all():
            self._waiting.append(whole.having(~undecided[whole.owner])[0])
        return whole.having(undecided[whole.owner])[0]

    # ---- one batch --------------------------------------------------------------------------------------------------

    def _gradient_step(self, at: SharedIterates) -> None:
        """One gradient of every iterate, recorded; then one update, by which their rows part."""
        classes = self.records.classes
        visit = self._visit(at, *self._gradients(at))
        self.cost.gradient_evaluations += len(at)
        assert visit.gradient is not None
        norms = torch.linalg.vector_norm(visit.gradient.flatten(1), dim=1, dtype=torch.float64).float()
        # Where it is not a number no step is taken: of an image with a NaN in part, its other pixels still move.
        visit.gradient = visit.gradient.nan_to_num(nan=0.0, posinf=torch.inf, neginf=-torch.inf)
        visit.state = self._rule.observe(visit, self.rules)
        point, logits = self._rule.recorded(visit)
        sizes = self._sizes(point, visit) if self._rule.records_another_point else self._gather(SIZES, at.slot)
        known = torch.cat([logits, norms[:, None], sizes], dim=1)
        if self.first_success_only:
            # The only case in which who goes on is known from the logits alone: a transfer more, steps less.
            values = known.cpu().numpy()
            self._record(at, values)
            self._choose_to_verify(at, values[:, :classes])
            at, visit = self._drop_solved(at, visit, values[:, :classes])
            if not len(at):
                return
            known = known[:0]
        # Only the clean image is shared by rows of several step sizes; it comes last in a batch, if at all.
        branches = split_by_step_size(at, self.records.rows) if at.step[-1] == 0 else unparted(at)
        proposal = self._rule.propose(self._of_branches(visit, branches, len(at)), self.rules)
        moved = torch.cat([known.reshape(-1), proposal.extent]).cpu().numpy()  # one copy: a GPU waits once a batch
        reach = moved[known.numel() :]
        if len(known):
            values = moved[: known.numel()].reshape(known.shape)
            self._record(at, values)
            self._choose_to_verify(at, values[:, :classes])
        self._pool.release(at.slot)
        leaves = split_by_projection(branches, self.records.rows, reach)
        slot = self._advance(proposal, visit.clean if len(branches.count) == len(at) else None, at, branches, leaves)
        parent = branches.parent[leaves.parent]
        step = at.step[parent] + 1
        if self.first_success_only:
            self.records.rows.position[leaves.rows] = step.repeat(leaves.count)
        self._queue(SharedIterates(slot, at.image[parent], step, leaves.count, leaves.rows))

    def _gradients(self, at: SharedIterates) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor | None]:
        """Iterates, logits, gradients, labels and targets, of a batch padded with its first iterate."""
        n, x = len(at), self._padded(at)
        labels, targets = self._labels(at)
        pad = [each if each is None or len(x) == n else _padded(each, len(x)) for each in (labels, targets)]
        logits, gradient = self.steering.gradient(x, *pad)  # type: ignore[arg-type]
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
        of_row, first = self.records.rows, at.rows[at.first]
        return Visit(
            x=x,
            clean=self.records.pixels.index_select(0, self._index(at.image)),
            gradient=gradient,
            logits=logits,
            labels=labels,
            targets=targets,
            step_size=self._index(of_row.step[first]),
            epsilon=self._index(of_row.epsilon[first]),
            step=self._index(at.step),
            state=tuple(self._gather(STATE + i, at.slot) for i in range(self._pool.n_columns - STATE)),
        )

    def _of_branches(self, visit: Visit, branches: Branches, n: int) -> Visit:
        """The visit with one entry a branch."""
        if len(branches.parent) == n:
            return visit
        # The clean image's gradient serves several step sizes.
        visit, first = visit.at(self._index(branches.parent)), branches.rows[branches.first]
        visit.step_size = self._index(self.records.rows.step[first])
        visit.epsilon = self._index(self.records.rows.epsilon[first])
        return visit

    def _advance(
        self, proposal: Proposal, clean: Tensor | None, at: SharedIterates, branches: Branches, leaves: Branches
    ) -> np.ndarray:
        """Slots of the new iterates, projected, clipped and measured; `clean`: of the branches, where it is at hand."""
        slots = []
        n, whole = len(leaves.parent), len(leaves.parent) == len(branches.parent)
        first = leaves.rows[leaves.first]
        epsilon, index = self._index(self.records.rows.epsilon[first]), self._index(leaves.parent)
        for part in pieces(n, proposal.origin[0].numel()):
            every = whole and part.start == 0 and part.stop >= n
            ends, mine = epsilon[part], proposal if every else proposal.at(index[part])
            x = mine.next_iterate(ends, self.rules)
            if proposal.origin is clean:
                origin = mine.origin
            elif every and clean is not None:
                origin = clean
            else:
                of = at.image[branches.parent[leaves.parent[part]]]
                origin = self.records.pixels.index_select(0, self._index(of))
            sizes = measure_perturbation(x, origin, ends, self.rules.norm)
            share = self._rule.boundary_share(mine, ends, self.rules)
            if share is not None:
                sizes[:, 2] = share
            slots.append(self._pool.store(x, sizes, *mine.state))
        return slots[0] if len(slots) == 1 else np.concatenate(slots)

    def _record(self, at: SharedIterates, values: np.ndarray) -> None:
        """Write what a gradient pass showed: `values` (iterate, class + 4) as in Records.values."""
        records = self.records
        owner, places = at.owner, records.places(at)
        shown = values[owner]
        shown[self._farther(at), Records.SHARE] = 0
        nowhere = np.isnan(values[:, Records.NORM])
        if nowhere.any():
            records.rows.nan_gradient[at.rows[nowhere[owner]]] = True
        flat = records.values.reshape(-1, records.classes + 4)
        if self._apart and (at.step == 0).any():
            # Iterate 0 of the record is the clean image, scored apart, not where the trajectory starts.
            start = (at.step == 0)[owner]
            if not self._rule.records_another_point:
                shown[start, Records.LINF :] = 0
            flat[places[start], records.classes :] = shown[start, records.classes :]
            flat[places[~start]] = shown[~start]
            places = places[~start]
        else:
            flat[places] = shown
        if self.verifier is None:
            records.scored.reshape(-1)[places] = True

    def _farther(self, at: SharedIterates) -> np.ndarray:
        """Of each entry of `at.rows`, whether its ε reaches beyond the iterate: only the smallest can be at its end."""
        epsilon = self.records.rows.epsilon[at.rows]
        farther: np.ndarray = epsilon != epsilon[at.first][at.owner]
        return farther

    def _drop_solved(self, at: SharedIterates, visit: Visit, logits: np.ndarray) -> tuple[SharedIterates, Visit]:
        """Without rows whose success is confirmed by this batch: where each logit is float32's."""
        if self.verifier is not None:
            return at, visit
        solved = is_adversarial(logits, *self.records.labels(at.image))
        if self._apart:
            solved &= at.step > 0
        # A row that has only its last iterate to come is ended as any other.
        solved &= at.step + 1 < self.rules.steps
        if not solved.any():
            return at, visit
        rows = at.rows[solved[at.owner]]
        self._retire(rows)
        self._go_on_after(rows)
        self._note_complete(at.image[solved])
        left, kept = at.having(~self.records.rows.retired[at.rows])
        self._pool.release(at.slot[~kept])
        return left, visit.at(self._index(np.flatnonzero(kept))) if len(left) else visit

    def _choose_to_verify(self, at: SharedIterates, logits: np.ndarray) -> None:
        if self.verifier is None:
            return
        if self._apart:  # where the trajectories start is no iterate of the record
            at, kept = at.having((at.step > 0)[at.owner])
            logits = logits[kept]
            if not len(at):
                return
        ask, hold = self.verifier.choose(self.records, at, logits)
        if ask is not None:
            self._pool.keep(ask.slot)
            self._ask(ask)
        if hold is not None:
            self._pool.keep(hold.slot)
            self._held = hold if self._held is None else SharedIterates.joined([self._held, hold])

    def _verify(self) -> None:
        """Score one batch with the unmodified network; end the rows of which it was the last iterate."""
        parts: list[SharedIterates] = []
        self._n_to_verify -= _take(self._to_verify, self.batch_size, parts)
        if not parts:
            return
        at = SharedIterates.joined(parts)
        records = self.records
        x = self._padded(at)
        logits = self.verifying.score(x)[: len(at)]
        self.cost.forward_passes += len(at)
        ends = at.step == self.rules.steps
        self._n_ended -= int(np.count_nonzero(ends))
        sizes = self._gather(SIZES, at.slot)
        shown = x[: len(at)]
        if self._rule.records_another_point and ends.any():
            labels, targets = self._labels(at)
            visit = self._visit(at, shown, logits, None, labels, targets)
            visit.state = self._rule.observe(visit, self.rules)
            last = self._index(ends)
            point, kept = self._rule.recorded(visit)
            shown = torch.where(last.view(-1, 1, 1, 1), point, shown)
            logits = torch.where(last[:, None], kept, logits)
            sizes = torch.where(last[:, None], self._sizes(point, visit), sizes)
        values = torch.cat([logits, sizes], dim=1).cpu().numpy()
        owner, places = at.owner, records.places(at)
        flat = records.values.reshape(-1, records.classes + 4)
        if self.verifier is None:
            flat[places, : records.classes] = values[owner, : records.classes]
        else:
            records.verified.reshape(-1, records.classes)[places] = values[owner, : records.classes]
        records.scored.reshape(-1)[places] = True
        if ends.any():
            mine = ends[owner]
            last_sizes = values[owner[mine], records.classes :]
            last_sizes[self._farther(at)[mine], 2] = 0
            flat[places[mine], Records.LINF :] = last_sizes
        if not ends.all():
            mine = (~ends)[owner]
            pending, kept_at = at.having(mine)
            np.subtract.at(records.images.n_pending_verifications, pending.image, 1)
            self._learn(pending, values[kept_at, : records.classes])
        if ends.any():
            self._end(at, ends, shown)
        self._pool.release(at.slot)
        self._note_complete(at.image)

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
                self._retire(solved)
                self._drop_retired()
        if self._held is not None:
            before = self._held
            ask, self._held = self.verifier.release(self.records, before)
            for part in (ask, self._held):
                if part is not None:
                    self._pool.keep(part.slot)
            self._pool.release(before.slot)
            if ask is not None:
                self._ask(ask)

    def _retire(self, rows: np.ndarray) -> None:
        """End rows at their success; what would follow is not known."""
        of_row, images = self.records.rows, self.records.images
        of_row.retired[rows] = True
        of_row.first_success[rows] = 2
        np.subtract.at(images.n_running_rows, of_row.image[rows], of_row.ran[rows])
        of_row.over[rows] = True

    def _go_on_after(self, rows: np.ndarray) -> None:
        """Begin restarts of rows that are over and did not succeed; end early ones that are not needed."""
        if self.rules.restarts == 1:
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
                of_row.early[again], of_row.ran[again] = False, True
                if not of_row.over[again]:
                    images.n_running_rows[of_row.image[again]] += 1
                    again = -1
                    break
                row, again = again, int(of_row.next_restart[again])
            while again >= 0 and of_row.early[again]:
                of_row.early[again] = False
                cancelled |= not of_row.over[again]
                of_row.retired[again] = True
                again = int(of_row.next_restart[again])
        if cancelled:
            self._drop_retired()

    def _drop_retired(self) -> None:
        """Take retired rows out of the queue."""
        self._waiting = self._without_retired(self._waiting)
        self._n_waiting = sum(map(len, self._waiting)) + self._n_beginning()
        if self.verifier is None:  # else what waits there is ended as any other row
            before = self._n_to_verify
            self._to_verify = self._without_retired(self._to_verify)
            self._n_to_verify = sum(map(len, self._to_verify))
            self._n_ended -= before - self._n_to_verify

    def _without_retired(self, queue: deque[SharedIterates]) -> deque[SharedIterates]:
        left: deque[SharedIterates] = deque()
        for part in queue:
            keep = ~self.records.rows.retired[part.rows]
            if queue is self._to_verify:  # a clean image is scored for all rows, whatever has become of them
                keep |= (part.step < self.rules.steps)[part.owner]
            kept, which = part.having(keep)
            self._pool.release(part.slot[~which])
            if len(kept):
                left.append(kept)
        return left

    def _n_beginning(self) -> int:
        return sum(len(rows) if self._apart else 1 for _, rows in self._beginning)

    def _end(self, at: SharedIterates, ends: np.ndarray, x: Tensor) -> None:
        """Close rows that have come to their last iterate, and begin restarts of those that did not succeed."""
        records = self.records
        which = np.flatnonzero(ends)
        rows = at.rows[ends[at.owner]]
        images, of = np.unique(at.image[which], return_inverse=True)
        last = x[self._index(which)]
        likeness = similarities(records.pixels[self._index(images)], last, self._index(of)).cpu().numpy()
        records.rows.ssim[rows] = np.repeat(likeness, at.count[which])
        np.subtract.at(records.images.n_running_rows, records.rows.image[rows], records.rows.ran[rows])
        records.rows.over[rows] = True
        self._keep_last(at, which, last)
        self._go_on_after(rows)

    def _keep_last(self, at: SharedIterates, which: np.ndarray, last: Tensor) -> None:
        kept = np.flatnonzero(self.records.images.kept[at.image[which]])
        if not len(kept):
            return
        pixels = last[self._index(kept)].cpu().numpy()
        first = at.first
        for own, i in zip(pixels, kept.tolist(), strict=True):
            start = int(first[which[i]])
            self.records.final.update(dict.fromkeys(at.rows[start : start + int(at.count[which[i]])].tolist(), own))

    def _survived(self, rows: np.ndarray) -> np.ndarray:
        """Which of rows that have ended count and were not misclassified at the end, (row,) bool."""
        records = self.records
        ends = [0, self.rules.steps]
        logits = records.values[rows][:, ends, : records.classes]
        if self.verifier is not None:
            logits = records.verified[rows][:, ends]
        labels, targets = records.labels(records.rows.image[rows])
        counts = correct_on_clean(logits.swapaxes(0, 1), labels, targets)
        survived: np.ndarray = counts & ~is_adversarial(logits[:, 1], labels, targets)
        return survived

    def _note_complete(self, images: np.ndarray) -> None:
        """List images of which nothing is left open."""
        of = self.records.images
        done = (of.n_running_rows[images] == 0) & (of.n_pending_verifications[images] == 0) & ~of.complete[images]
        if done.any():
            images = np.unique(images[done])
            of.complete[images] = True
            self._complete += images.tolist()

    # ---- tensors ----------------------------------------------------------------------------------------------------

    def _index(self, values: np.ndarray) -> Tensor:
        """A column as a tensor on the network's device."""
        tensor = torch.from_numpy(values)
        return tensor.to(self.records.pixels.device, non_blocking=True) if self.records.pixels.is_cuda else tensor

    def _gather(self, column: int, slots: np.ndarray) -> Tensor:
        return self._pool.gather(column, self._index(slots))

    def _padded(self, at: SharedIterates) -> Tensor:
        """The iterates, and the first one again up to the constant batch size."""
        slots = at.slot
        if len(slots) < self.batch_size:
            slots = np.concatenate([slots, slots[:1].repeat(self.batch_size - len(slots))])
        return self._gather(X, slots)

    def _labels(self, at: SharedIterates) -> tuple[Tensor, Tensor | None]:
        labels, targets = self.records.labels(at.image)
        return self._index(labels), None if targets is None else self._index(targets)

    def _sizes(self, point: Tensor, visit: Visit) -> Tensor:
        parts = [
            measure_perturbation(point[p], visit.clean[p], visit.epsilon[p], self.rules.norm)
            for p in pieces(len(point), point[0].numel())
        ]
        return torch.cat(parts)


def _padded(values: Tensor, n: int) -> Tensor:
    """`values` with the first repeated, up to `n`."""
    return torch.cat([values, values[:1].expand(n - len(values))])


def _take(queue: deque[SharedIterates], room: int, parts: list[SharedIterates]) -> int:
    """Move up to `room` iterates from the front of `queue` to `parts`; returns how many."""
    taken = 0
    while queue and taken < room:
        part = queue.popleft()
        if len(part) > room - taken:
            queue.appendleft(part.between(room - taken, len(part)))
            part = part.between(0, room - taken)
        parts.append(part)
        taken += len(part)
    return taken


def _of_grids(grids: list[Grid], name: str, image: np.ndarray, within: np.ndarray) -> np.ndarray:
    """Column `name` of each row's grid: of the grid of `image` at place `within`."""
    if all(grid is grids[0] for grid in grids):
        found: np.ndarray = getattr(grids[0], name)[within]
        return found
    n = np.array([len(g) for g in grids])
    return np.concatenate([getattr(g, name) for g in grids])[(np.cumsum(n) - n)[image] + within]
