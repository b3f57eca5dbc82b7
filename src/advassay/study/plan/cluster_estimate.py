"""What a plan would take on a cluster: a model, from the rate of one machine or a stated one.

Attacks are divided by images, so their time is the work over the workers. A cohort or a network is one job on one
worker, so a round of such jobs takes at least as long as its longest. Waiting for the network, for batches that are not
full and for the last piece is not in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from advassay.errors import SpecError
from advassay.study.plan.plan_rows import Plan, PlanRow

DIVIDED = ("attack", "re-run")
"""Stages whose images are divided among workers."""
ROUND_STAGES = (("prepare",), ("train",), ("range-finding",), ("attack", "controls", "doubling", "re-run"))
"""Stages that go on side by side; each round waits for the one before."""


@dataclass(frozen=True)
class ClusterShape:
    """The cluster that is asked about."""

    nodes: int = 1
    cores: int | None = None
    """Of each node; a worker has one."""
    gpus: int | None = None
    """In all; a worker has one."""
    gpu_rate: float | None = None
    """Gradient steps per second of one GPU; None = as measured here."""
    price: float | None = None
    """Of an hour of one node, or of one GPU where there are some."""

    @property
    def workers(self) -> int:
        return self.gpus or self.nodes * (self.cores or 1)

    def check(self) -> None:
        """Raise SpecError for shapes that say nothing or too much."""
        if (self.cores is None) == (self.gpus is None):
            raise SpecError("--cores: a cluster has workers on cores or on GPUs.", "Give --cores or --gpus, not both.")
        if self.gpu_rate is not None and self.gpus is None:
            raise SpecError(f"--gpu-rate: {self.gpu_rate:g} is the rate of a GPU.", "Add --gpus.")


@dataclass(frozen=True)
class ClusterEstimate:
    """What the missing work would take. `--json` prints these fields, in `cluster`."""

    workers: int
    seconds: float
    """From beginning to end, of what is certain."""
    seconds_at_most: float
    """With controls and re-runs, should all that is bounded be needed in full."""
    network_bytes: int
    """What nodes read of prepared images and networks, each once, and what they write."""
    cost: float | None
    """At the stated price, of what is certain; null without one."""
    cost_at_most: float | None

    def as_data(self) -> dict[str, Any]:
        return asdict(self)


def estimate_cluster(plan: Plan, shape: ClusterShape, *, threads: int, training_cost: float = 1.5) -> ClusterEstimate:
    """The time of a plan that was timed on this machine with `threads` threads, on a cluster.

    One core is taken to be as fast as one of these threads. `training_cost`: of a training pass against a gradient
    step, where the rate is that of a GPU. Raises SpecError for a plan without times that needs them.
    """
    shape.check()
    seconds, most = (
        sum(
            _round(_timed(plan, stages, shape, threads, training_cost, bound), shape.workers) for stages in ROUND_STAGES
        )
        for bound in (False, True)
    )
    shared = sum(row.bytes or 0 for row in plan.rows if row.stage in ("prepare", "train"))
    written = sum(row.bytes or 0 for row in plan.rows)
    rented = shape.gpus or shape.nodes
    costs = [None if shape.price is None else shape.price * rented * time / 3600 for time in (seconds, most)]
    return ClusterEstimate(shape.workers, seconds, most, written + shape.nodes * shared, *costs)


def _timed(
    plan: Plan, stages: Sequence[str], shape: ClusterShape, threads: int, training_cost: float, bound: bool
) -> list[tuple[bool, float]]:
    """Of each row that counts: whether it can be divided, and its seconds on one worker."""
    rows = [row for row in plan.rows if row.stage in stages and (bound or not row.at_most)]
    return [(row.stage in DIVIDED, _seconds(row, shape, threads, training_cost)) for row in rows if row.missing]


def _seconds(row: PlanRow, shape: ClusterShape, threads: int, training_cost: float) -> float:
    if shape.gpu_rate is not None and row.stage != "prepare":
        return row.missing * (training_cost if row.stage == "train" else 1.0) / shape.gpu_rate
    if row.seconds is None:
        raise SpecError("--no-measure: the time on a cluster follows from this machine's rate.", "Leave it away.")
    return row.seconds * (1 if shape.gpus else threads)


def _round(work: Sequence[tuple[bool, float]], workers: int) -> float:
    """Seconds of a round: the whole over the workers, or its longest job if that takes longer."""
    longest = max((seconds for divided, seconds in work if not divided), default=0.0)
    return max(longest, sum(seconds for _, seconds in work) / workers)
