"""How many gradient steps an arm costs per image, with shared prefixes counted once."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from itertools import pairwise

from advassay.attack_spec import Arm, step_size_name

Point = tuple[str, float]
"""(step size's name, ε)."""


def gradient_steps(arm: Arm) -> int:
    """Gradients per image over the arm's whole grid (an upper bound where sharing depends on the gradients' size).

    Trajectories of different ε are one as long as none has reached its boundary. With sign steps of absolute size s
    that is so for the first ⌊ε/s⌋ steps: the trunk follows the largest ε, each smaller one branches off where it is
    first projected. Raw-gradient updates may share more, which is not counted; ε-relative steps, random starts and
    apgd share nothing.

    >>> gradient_steps(Arm())  # the reference study's grid: 110 instead of 200
    110
    >>> gradient_steps(Arm(step_sizes=(0.005,))), gradient_steps(Arm(step_sizes=("epsilon/4",)))
    (60, 200)
    """
    return arm.restarts * sum(_of_step_size(arm, rule) for rule in arm.step_sizes)


def _of_step_size(arm: Arm, rule: float | str) -> int:
    alone = arm.steps * len(arm.epsilons)
    if isinstance(rule, str) or arm.random_start or arm.update != "projected-sign" or rule <= 0:
        return alone
    shared = [min(arm.steps, math.floor(epsilon / rule + 1e-9)) for epsilon in arm.epsilons]
    trunk = max(range(len(shared)), key=lambda i: arm.epsilons[i])
    return arm.steps + sum(arm.steps - steps for i, steps in enumerate(shared) if i != trunk)


def steps_at(arm: Arm, points: Iterable[Point]) -> int:
    """Gradients per image at some points of the arm's grid only."""
    epsilons: dict[str, list[float]] = {}
    for step_size, epsilon in points:
        epsilons.setdefault(step_size, []).append(epsilon)
    rules = {step_size_name(rule): rule for rule in arm.step_sizes}
    return sum(
        gradient_steps(arm.model_copy(update={"step_sizes": (rules[name],), "epsilons": tuple(at)}))
        for name, at in epsilons.items()
    )


def missing_steps(arm: Arm, images: int, recorded: Mapping[Point, int]) -> int:
    """Gradients still to do, where `recorded` says how many images of a nested sample each point already has."""
    levels = sorted({min(count, images) for count in recorded.values()} | {images})
    return sum(
        (above - level) * steps_at(arm, (point for point, count in recorded.items() if count <= level))
        for level, above in pairwise(levels)
    )


def record_bytes(arm: Arm, classes: int) -> int:
    """Bytes that one attacked image adds to the records, before compression.

    Each row holds K + 1 iterates of `classes` logits, four sizes (4 bytes each) and a flag, and about 80 bytes of keys.
    """
    rows = len(arm.epsilons) * len(arm.step_sizes) * arm.restarts
    return rows * ((arm.steps + 1) * (4 * classes + 4 * 4 + 1) + 80)
