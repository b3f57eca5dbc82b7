"""Images in, blocks of searched rows out: what a search hands back is measured and judged here, whoever wrote it.

A point counts only where it is a number everywhere, lies within the ball (with the rounding that iterates of PGD have)
and in [0, 1], and where the unmodified network misclassifies it in float32. A point outside is replaced by the clean
image. One that a search called adversarial and that is not counts as what the network says of it. Both are said.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain, islice
from typing import Any

import numpy as np
import torch
from torch import Tensor

from advassay.attacks.attack_step import measure_perturbation
from advassay.attacks.checks.inputs import check_images, clipped
from advassay.attacks.engine.failure_indicators import RowFacts, failure_flags
from advassay.attacks.engine.finished_rows import measure_last
from advassay.attacks.engine.preflight import FIRST_IMAGES, Preflight
from advassay.attacks.suite.counted_network import CountedNetwork
from advassay.attacks.suite.search import GRADIENT, SearchResult, SearchRule, SearchTask, is_inside
from advassay.attacks.trajectory_stream import AttackStream, Item, computing, undecided_text
from advassay.classifier_state import one_at_a_time
from advassay.errors import AttackError, ExtensionError, InputError
from advassay.record_columns import columns_of, unset_columns
from advassay.spec.attack_components import UPDATE_RULES
from advassay.success import correct_on_clean, predicted
from advassay.trajectory import TrajectoryRows

SearchedRow = tuple[SearchResult, str, float, Tensor, int, int, int]
"""The image's result, step size, ε, point, forward and backward passes, queries to success."""


class SearchStream(AttackStream):
    """An AttackStream of a rule that searches: the same blocks, of rows with both ends alone."""

    def __iter__(self) -> Iterator[TrajectoryRows]:
        rule = UPDATE_RULES.get(self.rules.update)
        if not isinstance(rule, SearchRule):
            raise ExtensionError(
                f"update: expected an instance of {SearchRule.__module__}.SearchRule, got {type(rule).__qualname__}.",
                "Derive a rule that searches from that class.",
            )
        rule.check_installed()
        items = iter(self._items)
        taken = list(islice(items, FIRST_IMAGES))
        if not taken:
            return
        self._prepare(rule, taken)
        network = CountedNetwork(self.classifier)
        given: dict[str, Item] = {}
        settled: list[SearchResult] = []
        found = rule.search(network, self._tasks(network, chain(taken, items), given, settled), self.rules, self.shape)
        rejected = _Rejected(rule)
        self._progress.start(self._task, None, "gradient steps")
        try:
            while results := self._next_results(found, settled):
                with computing(self.classifier, self.shape):
                    began = time.monotonic()
                    block = self._block(network, results, given, rejected)
                    self.cost.seconds += time.monotonic() - began
                yield block
            if given:
                raise ExtensionError(
                    f"update: expected a result of {rule.name} for each image, got none for {len(given)} of them.",
                    "A search hands back one result a task, whatever it found.",
                )
        finally:
            self._progress.finish(self._task)
            self.notes += [*rejected.notes(), *([undecided_text(len(self._undecided))] if self._undecided else [])]
            if self._clipped:
                self.notes.append(f"{self._clipped} pixel values lay outside [0, 1] by rounding and were clipped")

    def _prepare(self, rule: SearchRule, taken: list[Item]) -> None:
        """Examine the network on the first images, and refuse what the search makes no sense for."""
        preflight = Preflight(
            self.classifier, self.rules, shape=self.shape, precision=self.precision, known=self.known, choose=False
        )
        with one_at_a_time():
            self._device = preflight.check_arguments()
        first = self._examined or taken
        with computing(self.classifier, self.shape):
            labels = np.array([item.label for item in first], np.int64)
            batch = preflight.take(np.stack([item.image for item in first]), labels, None)
            preflight.examine(batch, [row for item in first for row in self._grid(item).rows])
        self._classes, self.suspicions = preflight.classes, preflight.warnings
        self.notes += preflight.notes
        if self._classes < rule.least_classes:
            raise AttackError(
                f"update: {rule.name} needs {rule.least_classes} or more classes, got {self._classes}.",
                "Use apgd, which is aimed at the only other class anyway.",
            )

    def _tasks(
        self, network: CountedNetwork, items: Iterator[Item], given: dict[str, Item], settled: list[SearchResult]
    ) -> Iterator[SearchTask]:
        """The images that the network gets right; of the others there is nothing to search (`settled`)."""
        while several := list(islice(items, self.shape.batch_size)):
            clean = torch.stack([self._taken(item) for item in several]).to(self._device)
            logits = network.score(clean, self.shape.batch_size).cpu().numpy()
            self.cost.forward_passes += len(clean)
            for item, image, own in zip(several, clean, logits, strict=True):
                given[item.image_id] = item
                epsilons = tuple(sorted({epsilon for _, epsilon in item.points if epsilon > 0}))
                order = [int(c) for c in np.argsort(-own, kind="stable") if c != item.label]
                task = SearchTask(item.image_id, image, int(item.label), epsilons, tuple(order))
                if epsilons and self.rules.steps and predicted(own[None])[0] == item.label:
                    yield task
                else:
                    settled.append(_nothing(task))

    def _taken(self, item: Item) -> Tensor:
        """The image of an item that is new, checked, as the network takes it."""
        check_images(np.asarray(item.image)[None], np.array([item.label]))
        self._check_classes(item)
        if item.image_id in self._seen:
            raise InputError(f"image_ids: each image once, got {item.image_id} twice.", "Give distinct image_ids.")
        self._seen.add(item.image_id)
        image, outside = clipped(item.image)
        self._clipped += outside
        return torch.from_numpy(image)

    def _next_results(self, found: Iterator[SearchResult], settled: list[SearchResult]) -> list[SearchResult]:
        """The results of the next block; empty where nothing is left."""
        results: list[SearchResult] = []
        began = time.monotonic()
        with computing(self.classifier, self.shape):
            while not self._block_is_full(len(results), began):
                result = next(found, None)
                results += settled
                settled.clear()
                if result is None:
                    break
                results.append(result)
                self._count(result)
        self.cost.seconds += time.monotonic() - began
        return results

    def _count(self, result: SearchResult) -> None:
        """Add what the search took of one image."""
        forward, backward = result.total(result.forward_passes), result.total(result.backward_passes)
        self.cost.gradient_evaluations += backward
        self.cost.forward_passes += forward
        self._progress.advance(self._task, round(max(backward, forward / GRADIENT)))

    def _block(
        self,
        network: CountedNetwork,
        results: list[SearchResult],
        given: dict[str, Item],
        rejected: _Rejected,
    ) -> TrajectoryRows:
        """The rows of these images, of each as its grid lists them."""
        rows: list[SearchedRow] = []
        steps: list[float] = []
        for result in results:
            task, item = result.task, given.pop(result.task.image_id)
            if result.failure:
                rejected.failures.setdefault(result.failure, []).append(task.image_id)
            points = {0.0: task.image}
            counts = {0.0: (0, 0, 0)}
            first = result.queries_to_success
            for k, epsilon in enumerate(task.epsilons):
                points[epsilon] = self._within(result, k, rejected)
                queries = 0 if first is None else int(first[k])
                counts[epsilon] = int(result.forward_passes[k]), int(result.backward_passes[k]), queries
            for row in self._grid(item).rows:
                rows.append((result, row.step_size, row.epsilon, points[row.epsilon], *counts[row.epsilon]))
                steps.append(row.step)
        clean_of = {result.task.image_id: i for i, result in enumerate(results)}
        of = np.array([clean_of[row[0].task.image_id] for row in rows])
        clean, last = torch.stack([result.task.image for result in results]), torch.stack([row[3] for row in rows])
        logits = network.score(torch.cat([clean, last]), self.shape.batch_size).cpu().numpy()
        self.cost.forward_passes += len(logits)
        block = self._rows(rows, of, clean, last, logits)
        self._note_rejected(block, rows, rejected)
        step = np.array(steps)
        facts = RowFacts(step, np.zeros(len(rows), bool), np.zeros(len(rows), bool), of)
        flags = failure_flags(block, facts)
        # A search takes no gradient and stops where it has found something: these would say what is not so.
        flags |= {name: np.zeros(len(rows), bool) for name in ("zero_gradient", "not_converged", "epsilon_inactive")}
        flags["unchanged"] &= correct_on_clean(block.logits.swapaxes(0, 1), block.label)  # the others are not searched
        flags |= {warning.flag: np.ones(len(rows), bool) for warning in self.suspicions}
        self._undecided.update(block.image_id[flags["nan"]].tolist())
        return replace(block, flags=flags)

    def _within(self, result: SearchResult, k: int, rejected: _Rejected) -> Tensor:
        """The point at the task's amplitude k where it may be judged; else the clean image."""
        task, point = result.task, result.points[k].float()
        if is_inside(point, task.image, task.epsilons[k]):
            return point
        rejected.outside.add(task.image_id)
        return task.image

    def _rows(
        self,
        rows: list[SearchedRow],
        of: np.ndarray,
        clean: Tensor,
        last: Tensor,
        logits: np.ndarray,
    ) -> TrajectoryRows:
        n, k = len(rows), UPDATE_RULES.get(self.rules.update).recorded_steps(self.rules.steps)
        index = torch.from_numpy(of).to(clean.device)
        columns: dict[str, Any] = unset_columns(n, k, logits.shape[1])
        columns["image_id"] = np.array([row[0].task.image_id for row in rows], dtype=str)
        columns["step_size"] = np.array([row[1] for row in rows], dtype=str)
        columns["epsilon"] = np.array([row[2] for row in rows])
        columns["restart"] = np.zeros(n, np.int32)
        columns["label"] = np.array([row[0].task.label for row in rows], np.int64)
        columns["logits"][:, 0] = logits[: len(clean)][of]
        columns["logits"][:, -1] = logits[len(clean) :] if k else columns["logits"][:, 0]
        columns["scored_float32"][:] = True
        epsilon = torch.tensor([row[2] for row in rows], dtype=torch.float32, device=clean.device)
        measured = measure_perturbation(last, clean[index], epsilon, self.rules.norm).cpu().numpy()
        for place, name in enumerate(columns_of("perturbation")):
            columns[name][:, 0], columns[name][:, -1] = 0.0, measured[:, place]
        for name, values in measure_last(clean, last, index).items():
            columns[name] = values.cpu().numpy()
        columns["forward_passes"] = np.array([row[4] for row in rows], np.int32)
        columns["backward_passes"] = np.array([row[5] for row in rows], np.int32)
        columns["queries_to_success"] = np.array([row[6] for row in rows], np.int32)
        final = {
            (row[0].task.image_id, row[1], row[2]): point.cpu().numpy()
            for row, point in zip(rows, last, strict=True)
            if self._keep_images(row[0].task.image_id)
        }
        return TrajectoryRows(**columns, flags={}, final_images=final)

    def _note_rejected(
        self,
        block: TrajectoryRows,
        rows: list[SearchedRow],
        rejected: _Rejected,
    ) -> None:
        """Remember points that were called adversarial, lie within the ball and are not misclassified."""
        decided = predicted(block.logits[:, -1])
        for row, decision in zip(rows, decided.tolist(), strict=True):
            task = row[0].task
            if row[2] not in task.epsilons or not row[0].claimed[task.epsilons.index(row[2])]:
                continue
            if decision in (task.label, -1) and task.image_id not in rejected.outside:
                rejected.correct.add(task.image_id)


class _Rejected:
    """What a search handed back and was not counted."""

    def __init__(self, rule: SearchRule) -> None:
        self.by = rule.name if rule.library is None else f"{rule.name} ({rule.library[0]})"
        self.outside: set[str] = set()
        self.correct: set[str] = set()
        self.failures: dict[str, list[str]] = {}

    def notes(self) -> Iterator[str]:
        if self.outside:
            yield (
                f"{self.by} handed back points outside the ball or [0, 1], or no numbers, for {len(self.outside)} "
                "images: the clean image stands in their place, and they are not counted."
            )
        if self.correct:
            yield (
                f"{self.by} called points adversarial that the network decides correctly in float32, for "
                f"{len(self.correct)} images: they are not counted."
            )
        for failure, images in self.failures.items():
            yield f"{self.by} could not go on for {len(images)} images ({failure}); what it had seen until then counts."


def _nothing(task: SearchTask) -> SearchResult:
    """Of an image of which there is nothing to search."""
    n = len(task.epsilons)
    none = np.zeros(n, np.int64)
    return SearchResult(task, task.image.expand(n, *task.image.shape), np.zeros(n, bool), none, none)
