"""Progress under a name and a total that the stage itself does not know."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from advassay.progress import Progress, Silent


class Told:
    """Passes one stage's progress on as `task` with `total` units (an estimate: it never runs past it)."""

    def __init__(self, progress: Progress, task: str, total: float) -> None:
        self._progress, self._task, self._left = progress, task, float(total)
        self._total = total

    def start(self, task: str, total: float | None, unit: str) -> None:
        self._progress.start(self._task, self._total, unit)

    def advance(self, task: str, amount: float = 1) -> None:
        step = min(amount, self._left)
        self._left -= step
        self._progress.advance(self._task, step)

    def finish(self, task: str) -> None:
        self._progress.finish(self._task)


@contextmanager
def begun(progress: Progress, task: str, total: float, unit: str) -> Iterator[Progress]:
    """One task made of several stages: they report to what this yields, and only their advances count, to `total`."""
    told = Told(progress, task, total)
    told.start(task, total, unit)
    try:
        yield _Part(told)
    finally:
        told.finish(task)


class _Part(Silent):
    """Passes a stage's advances on to a task that has begun already."""

    def __init__(self, told: Told) -> None:
        self._told = told

    def advance(self, task: str, amount: float = 1) -> None:
        self._told.advance(task, amount)
