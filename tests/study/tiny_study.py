"""A study that trains and attacks in a few seconds, and ways to compare stores."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from advassay.records import open_records
from advassay.study import RunEnvironment, make_environment
from advassay.trajectory import TrajectoryRows

TINY = """
name: tiny
image_size_px: 40
sources:
  chest: {kind: phantoms, phantom: chest, images: 120, size_px: 40, signal: 3, prevalence: {tuberculosis: 0.5}}
  breast: {kind: phantoms, phantom: histology, images: 100, size_px: 40, signal: 3}
cohorts:
  X-TB:
    source: chest
    image_type: X-ray
    classes: {tuberculosis: {tuberculosis: present}, norm: {norm: present}}
    per_class: 40
  H-BR:
    source: breast
    image_type: histology
    classes: {tumour: {tissue: tumour}, normal: {tissue: normal}}
    per_class: 40
    train_sizes: [0.5, 1.0]
training: {architecture: test_resnet, updates: 4, batch_size: 16, evaluations: 1, learning_rate: 0.003}
attack:
  steps: 3
  images: 10
  epsilons: [0.02, 0.1]
  series_epsilons: [0.02]
  arms:
    A: {}
    C: {loss: margin, step_sizes: [epsilon/4], epsilons: [0.005], images: 6}
"""


def cpu(store: Path, **more: object) -> RunEnvironment:
    return make_environment(store, device="cpu", **more)  # type: ignore[arg-type]


def recorded(store: Path) -> dict[str, TrajectoryRows]:
    """run_id → all its rows."""
    records = open_records(store)
    return {header.run_id: records.run(header.run_id).rows() for header in records.headers}


def assert_equal_records(one: Path, other: Path) -> None:
    first, second = recorded(one), recorded(other)
    assert first.keys() == second.keys()
    for run_id, rows in first.items():
        assert_equal_rows(rows, second[run_id])


def assert_equal_rows(rows: TrajectoryRows, others: TrajectoryRows) -> None:
    for name in ("image_id", "step_size", "epsilon", "label", "logits", "gradient_norm", "linf", "l2", "ssim"):
        np.testing.assert_array_equal(getattr(rows, name), getattr(others, name), err_msg=name)


class Counting:
    """A Progress that adds up what was done, by unit, and may interrupt."""

    def __init__(self, interrupt: Callable[[str, float], bool] = lambda unit, done: False) -> None:
        self.done: dict[str, float] = {}
        self.by_task: dict[str, float] = {}
        """First word of the task → units done."""
        self.tasks: list[str] = []
        self._units: dict[str, str] = {}
        self._interrupt = interrupt

    def start(self, task: str, total: float | None, unit: str) -> None:
        self.tasks.append(task)
        self._units[task] = unit

    def advance(self, task: str, amount: float = 1) -> None:
        unit = self._units[task]
        self.done[unit] = self.done.get(unit, 0) + amount
        kind = task.split()[0]
        self.by_task[kind] = self.by_task.get(kind, 0) + amount
        if self._interrupt(unit, self.done[unit]):
            raise KeyboardInterrupt

    def finish(self, task: str) -> None:
        return
