"""Progress on stderr: bars with time left on a terminal, an occasional plain line elsewhere (logs, CI)."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Any

from advassay.progress import Silent

PLAIN_SECONDS = 30.0
"""Pause between two plain lines about one task."""


class Bars:
    """A Progress drawn with Rich. Use as a context manager, so that the bars are closed on an error."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[unit]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
        )
        self._tasks: dict[str, Any] = {}

    def __enter__(self) -> Bars:
        self._progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._progress.stop()

    def start(self, task: str, total: float | None, unit: str) -> None:
        self._tasks[task] = self._progress.add_task(task, total=total, unit=unit)

    def advance(self, task: str, amount: float = 1) -> None:
        if task in self._tasks:
            self._progress.advance(self._tasks[task], amount)

    def finish(self, task: str) -> None:
        if task not in self._tasks:
            return
        bar = self._progress.tasks[self._progress.task_ids.index(self._tasks.pop(task))]
        self._progress.update(bar.id, total=bar.total or bar.completed, completed=bar.total or bar.completed)


class Lines:
    """A Progress in plain lines: when a task begins, twice a minute while it runs, and when it has ended."""

    def __init__(self, seconds: float = PLAIN_SECONDS) -> None:
        self._pause = seconds
        self._tasks: dict[str, _Task] = {}

    def __enter__(self) -> Lines:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        return

    def start(self, task: str, total: float | None, unit: str) -> None:
        self._tasks[task] = _Task(total, unit)
        self._say(f"{task}: begins" + (f", {total:g} {unit}" if total else ""))

    def advance(self, task: str, amount: float = 1) -> None:
        state = self._tasks.get(task)
        if state is None:
            return
        state.done += amount
        if time.monotonic() - state.said >= self._pause:
            state.said = time.monotonic()
            self._say(f"{task}: {state.so_far()}")

    def finish(self, task: str) -> None:
        state = self._tasks.pop(task, None)
        if state is not None:
            self._say(f"{task}: done in {duration(time.monotonic() - state.began)}")

    def _say(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)


class _Task:
    def __init__(self, total: float | None, unit: str) -> None:
        self.total, self.unit, self.done = total, unit, 0.0
        self.began = self.said = time.monotonic()

    def so_far(self) -> str:
        if not self.total or not self.done:
            return f"{self.done:g} {self.unit}"
        left = (time.monotonic() - self.began) / self.done * max(0.0, self.total - self.done)
        return f"{self.done:g} of {self.total:g} {self.unit}, {duration(left)} left"


class Quiet(Silent):
    """A Progress that says nothing, with the same face as the others."""

    def __enter__(self) -> Quiet:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        return


def progress(quiet: bool = False) -> Bars | Lines | Quiet:
    """What fits where stderr goes."""
    if quiet:
        return Quiet()
    return Bars() if sys.stderr.isatty() else Lines()


def duration(seconds: float) -> str:
    """Seconds as people say them.

    >>> duration(42), duration(150), duration(7500), duration(200_000)
    ('42 s', '2 min 30 s', '2 h 5 min', '2.3 days')
    """
    if seconds < 60:
        return f"{seconds:.0f} s"
    if seconds < 3600:
        return f"{seconds // 60:.0f} min {seconds % 60:.0f} s"
    if seconds < 48 * 3600:
        return f"{seconds // 3600:.0f} h {seconds % 3600 // 60:.0f} min"
    return f"{seconds / 86400:.1f} days"


def size(count: float) -> str:
    """Bytes as people say them.

    >>> size(900), size(2_500_000)
    ('900 B', '2.5 MB')
    """
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"
