"""Progress on stderr: bars with time left on a terminal, an occasional plain line elsewhere (logs, CI)."""

from __future__ import annotations

import math
import sys
import time
from types import TracebackType
from typing import Any

from advassay.progress import Silent, StudyProgress

WHOLE = "whole study"
"""The task that all jobs make together."""
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
        from rich.text import Text

        class Remaining(TimeRemainingColumn):
            """Rich's estimate from the speed so far, but what a task states itself where it does."""

            def render(self, task: Any) -> Text:
                stated = task.fields.get("left")
                return super().render(task) if stated is None else Text(stated, style="progress.remaining")

        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[unit]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            Remaining(),
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

    def study_progress(self, study: StudyProgress) -> None:
        if WHOLE not in self._tasks:
            self._tasks[WHOLE] = self._progress.add_task(WHOLE, total=study.of, unit="jobs", left="")
        left = f"{time_left(study)}{speed(study)}"
        self._progress.update(self._tasks[WHOLE], completed=study.done, total=study.of, left=left)

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
        self._study_said = -math.inf

    def __enter__(self) -> Lines:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        return

    def start(self, task: str, total: float | None, unit: str) -> None:
        self._tasks[task] = _Task(total, unit)
        self._say(f"{task}: begins" + (f", {total:g} {unit}" if total else ""))

    def study_progress(self, study: StudyProgress) -> None:
        if study.done < study.of and time.monotonic() - self._study_said >= self._pause:
            self._study_said = time.monotonic()
            left = f", {time_left(study)} left" if study.seconds_left is not None else ""
            self._say(f"{WHOLE}: {study.done} of {study.of} jobs done{left}{speed(study)}")

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


def time_left(study: StudyProgress) -> str:
    """What is left of the whole, in words; empty where nothing is known.

    >>> time_left(StudyProgress(3, 9, 150.0, at_least=True)), time_left(StudyProgress(0, 9, None, at_least=True))
    ('at least 2 min 30 s', '')
    """
    if study.seconds_left is None:
        return ""
    return f"{'at least' if study.at_least else 'about'} {duration(study.seconds_left)}"


def speed(study: StudyProgress) -> str:
    """How fast several workers are together, in words; empty where that is not counted.

    >>> speed(StudyProgress(3, 9, 150.0, True, workers=4, steps_per_second=1234.5))
    ', 1,234 gradient steps/s on 4 workers'
    """
    if study.steps_per_second is None:
        return ""
    return f", {study.steps_per_second:,.0f} gradient steps/s on {study.workers} workers"


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
