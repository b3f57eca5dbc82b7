"""How long work tells how far it is. Stages report; the command line draws."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol


class Progress(Protocol):
    """Told by a stage: a task begins, advances, ends. Tasks are named by short text ("train X-TB, 480 images")."""

    def start(self, task: str, total: float | None, unit: str) -> None:
        """`task` begins: `total` units of `unit` ("images", "updates", "gradient steps"); None = unknown."""

    def advance(self, task: str, amount: float = 1) -> None:
        """`amount` more units are done."""

    def finish(self, task: str) -> None:
        """`task` has ended."""


@dataclass(frozen=True)
class StudyProgress:
    """How far work of several jobs is."""

    done: int
    of: int
    """Jobs."""
    seconds_left: float | None
    """What the others may take; None where that is not known yet."""
    at_least: bool
    """`seconds_left` leaves out jobs of which nothing is known yet."""
    workers: int = 1
    """Processes that work on it."""
    steps_per_second: float | None = None
    """Gradient steps per second of all of them since they began; None where nobody counts them together."""


def tell_study_progress(progress: Progress, study: StudyProgress) -> None:
    """Pass `study` on to a progress that shows one (it has a method `study_progress`); the others are told nothing."""
    show = getattr(progress, "study_progress", None)
    if show is not None:
        show(study)


class Silent:
    """A Progress that says nothing."""

    def start(self, task: str, total: float | None, unit: str) -> None:
        return

    def advance(self, task: str, amount: float = 1) -> None:
        return

    def finish(self, task: str) -> None:
        return


@contextmanager
def timed_task(progress: Progress, task: str) -> Iterator[None]:
    """`task` is under way inside: for work that takes seconds and has no parts to count."""
    progress.start(task, None, "")
    try:
        yield
    finally:
        progress.finish(task)
