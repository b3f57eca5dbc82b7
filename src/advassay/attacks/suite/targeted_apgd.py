"""Targeted Auto-PGD (Croce & Hein 2020, arXiv 2003.01690): towards each of the most likely other classes in turn.

Our own Auto-PGD (update_rules/auto_pgd.py) runs once a target, with the loss that is asked for where it is defined (the
difference of logits ratio needs four classes when it is targeted) and the margin else. Any misclassification counts.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from advassay.attacks.engine.preflight_cache import PreflightCache
from advassay.attacks.suite.counted_network import CountedNetwork
from advassay.attacks.suite.search import MOST_TARGETS, SearchResult, SearchTask
from advassay.attacks.trajectory_stream import AttackStream, Item
from advassay.progress import Silent
from advassay.spec.attack_components import LOSSES
from advassay.spec.attack_spec import PGD, Arm, step_size_name
from advassay.store_documents import ExecutionConfig
from advassay.success import is_adversarial, margin
from advassay.trajectory import Cost, TrajectoryRows

STEP = step_size_name("epsilon")
"""Names the rows; Auto-PGD uses no step size."""


def targeted_apgd_search(
    network: CountedNetwork, tasks: Iterator[SearchTask], rules: PGD | Arm, shape: ExecutionConfig
) -> Iterator[SearchResult]:
    """Every task towards each target, all amplitudes side by side."""
    known = PreflightCache()
    for task in tasks:
        targets = task.others[:MOST_TARGETS]
        loss = rules.loss if len(task.others) + 1 >= LOSSES.get(rules.loss).minimum_classes[1] else "margin"
        attack = PGD(
            epsilon=task.epsilons[-1], step_size="epsilon", steps=rules.steps, update="apgd", loss=loss,
            norm=rules.norm, random_start=True, seed=rules.seed, targeted=True,
        )  # fmt: skip
        points = frozenset((STEP, epsilon) for epsilon in task.epsilons)
        pixels = task.image.cpu().numpy()
        items = [Item(_name(task, target), pixels, task.label, points, target) for target in targets]
        stream = AttackStream(
            network.classifier, items, attack, {STEP: "epsilon"}, shape=shape, precision="exact",
            keep_images=lambda image_id: True, progress=Silent(), task="apgd-targeted", images_per_block=np.inf,
            every_seconds=np.inf, known=known,
        )  # fmt: skip
        yield _result(task, targets, TrajectoryRows.concatenate(list(stream)), stream.cost)


def _name(task: SearchTask, target: int) -> str:
    """Keys the random start of this image and target."""
    return f"{task.image_id} towards {target}"


def _result(task: SearchTask, targets: tuple[int, ...], rows: TrajectoryRows, cost: Cost) -> SearchResult:
    """At each amplitude the first target's point that is misclassified, else the one with the smallest margin."""
    last = rows.logits[:, -1]
    wrong, left = is_adversarial(last, rows.label), margin(last, rows.label)
    place = {(str(i), float(e)): r for r, (i, e) in enumerate(zip(rows.image_id, rows.epsilon, strict=True))}
    points, claimed = [], []
    for epsilon in task.epsilons:
        at = [place[_name(task, target), epsilon] for target in targets]
        best = next((row for row in at if wrong[row]), min(at, key=lambda row: left[row]))
        points.append(torch.from_numpy(rows.final_images[str(rows.image_id[best]), STEP, epsilon]))
        claimed.append(bool(wrong[best]))
    n = len(task.epsilons)
    backward = cost.gradient_evaluations
    forward = cost.forward_passes + backward  # the engine counts a gradient's own forward pass with it
    moved = torch.stack(points).to(task.image.device)
    return SearchResult(task, moved, np.array(claimed), np.full(n, forward // n), np.full(n, backward // n))
