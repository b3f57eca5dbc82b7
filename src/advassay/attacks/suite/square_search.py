"""Square attack for L∞ (Andriushchenko, Croce, Flammarion and Hein 2020, arXiv 1912.00049): no gradient at all.

It begins with vertical stripes of ±ε, one sign a column and channel. Each query sets one random square to ±ε, one sign
a channel, and is kept where the loss rises. The square's area is a share p of the image, which begins at P_FIRST and is
halved after the queries of HALVED_AFTER, given for a budget of 10,000 and rescaled to the budget at hand, as in the
authors' code. Two things differ from it. The square may lie in the last row and column too, which their draw of a
place leaves out. And every draw is keyed by seed, image and amplitude, so that no image depends on another.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from math import sqrt

import numpy as np
import torch

from advassay.attacks.losses import attack_loss
from advassay.attacks.suite.counted_network import CountedNetwork
from advassay.attacks.suite.search import SearchResult, SearchTask, ball
from advassay.identity import canonical_float, draw
from advassay.spec.attack_spec import PGD, Arm
from advassay.store_documents import ExecutionConfig
from advassay.success import is_adversarial

P_FIRST = 0.8
"""Share of the image that the first squares cover: the authors' value for L∞ with a rescaled schedule."""
HALVED_AFTER = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
"""Queries of a budget of 10,000 after which the share is halved."""
REDRAWS = 20
"""A square that would change nothing is drawn anew, at most so often: it would be a query for nothing."""


def share_at(query: int, budget: int) -> float:
    """Share of the image that the square of this query covers.

    >>> share_at(1, 10_000), share_at(11, 10_000), share_at(999, 1000)
    (0.8, 0.4, 0.0015625)
    """
    rescaled = query / budget * 10_000
    return P_FIRST / 2.0 ** sum(rescaled > after for after in HALVED_AFTER)


def side_at(query: int, budget: int, height: int, width: int) -> int:
    """Side of the square in pixels, at least 1 and at most the image's smaller side."""
    return min(max(round(sqrt(share_at(query, budget) * height * width)), 1), height, width)


@dataclass
class _Try:
    """One image at one amplitude."""

    of: _Image
    place: int
    """Of the amplitude among the task's."""
    rng: np.random.Generator
    low: np.ndarray
    """float32 (channel, height, width), like the next two: the ends of the ball, and the best point so far."""
    high: np.ndarray
    best: np.ndarray
    loss: float = -np.inf
    queries: int = 0

    def proposal(self, budget: int) -> np.ndarray:
        """The point of the next query, float32 (channel, height, width)."""
        channels, height, width = self.best.shape
        if self.queries == 0:
            return np.where(self._signs(channels, 1, width), self.high, self.low)
        side = side_at(self.queries, budget, height, width)
        for _ in range(REDRAWS):
            top, left = (int(self.rng.integers(size - side + 1)) for size in (height, width))
            window = slice(None), slice(top, top + side), slice(left, left + side)
            square = np.where(self._signs(channels, 1, 1), self.high[window], self.low[window])
            if not np.array_equal(square, self.best[window]):
                break
        point = self.best.copy()
        point[window] = square
        return point

    def _signs(self, *shape: int) -> np.ndarray:
        return self.rng.random(shape) < 0.5


@dataclass
class _Image:
    """One image and what has come of its amplitudes."""

    task: SearchTask
    left: int
    points: list[np.ndarray]
    claimed: list[bool] = field(default_factory=list)
    queries: list[int] = field(default_factory=list)

    def result(self) -> SearchResult:
        none = np.zeros(len(self.queries), np.int64)
        points, claimed = torch.from_numpy(np.stack(self.points)).to(self.task.image.device), np.array(self.claimed)
        queries = np.array(self.queries, np.int64)
        first = np.where(claimed, queries, 0)
        return SearchResult(self.task, points, claimed, queries, none, queries_to_success=first)


def square_search(
    network: CountedNetwork, tasks: Iterator[SearchTask], rules: PGD | Arm, shape: ExecutionConfig
) -> Iterator[SearchResult]:
    """Every task at every amplitude, a batch of them side by side; a place that is done is taken by the next."""
    waiting = _tries(tasks, rules.seed)
    running: list[_Try] = []
    while True:
        while len(running) < shape.batch_size and (more := next(waiting, None)) is not None:
            running.append(more)
        if not running:
            return
        points = [each.proposal(rules.steps) for each in running]
        labels = torch.tensor([each.of.task.label for each in running], device=network.device)
        logits = network.score(torch.from_numpy(np.stack(points)).to(network.device), shape.batch_size)
        losses = attack_loss(logits, labels, rules.loss).tolist()
        wrong = is_adversarial(logits.cpu().numpy(), labels.cpu().numpy())
        going = []
        for each, point, loss, found in zip(running, points, losses, wrong.tolist(), strict=True):
            each.queries += 1
            if found or loss > each.loss:
                each.best, each.loss = point, loss
            if not found and each.queries < rules.steps:
                going.append(each)
                continue
            image = each.of
            image.points[each.place], image.claimed[each.place] = each.best, found
            image.queries[each.place] = each.queries
            image.left -= 1
            if not image.left:
                yield image.result()
        running = going


def _tries(tasks: Iterator[SearchTask], seed: int) -> Iterator[_Try]:
    for task in tasks:
        n, clean = len(task.epsilons), task.image.cpu().numpy()
        image = _Image(task, n, [clean] * n, [False] * n, [0] * n)
        for place, epsilon in enumerate(task.epsilons):
            rng = np.random.default_rng(draw(seed, "square", task.image_id, canonical_float(epsilon)))
            low, high = (end.cpu().numpy() for end in ball(task.image, epsilon))
            yield _Try(image, place, rng, low, high, clean)
