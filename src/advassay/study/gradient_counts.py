"""Gradient steps of an arm per image, shared prefixes counted once, and amplitudes its steps cannot reach."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from itertools import pairwise

import numpy as np

from advassay.record_columns import bytes_per_iterate
from advassay.spec.attack_components import UPDATE_RULES
from advassay.spec.attack_spec import Arm, largest_reach, step_size_name


def largest_reachable_epsilon(arm: Arm, rule: float | str) -> float | None:
    """The largest perturbation that the arm's steps add up to; None where no number of steps says it.

    >>> largest_reachable_epsilon(Arm(), 0.01), largest_reachable_epsilon(Arm(), "epsilon/4")
    (0.2, None)
    """
    return largest_reach(rule, arm.steps, arm.update, random_start=arm.random_start)


def unreachable_epsilons(arm: Arm, rule: float | str) -> list[float]:
    """The arm's amplitudes above its reach, in rising order."""
    most = largest_reachable_epsilon(arm, rule)
    return [] if most is None else sorted(epsilon for epsilon in arm.epsilons if epsilon > most * (1 + 1e-9))


def reach_notes(name: str, arm: Arm) -> Iterator[str]:
    """One sentence for each step size that does not reach all of the arm's amplitudes.

    >>> print(*reach_notes("A", Arm(steps=10, epsilons=(0.05, 0.2, 0.3))))
    Arm A, step size 0.01: 10 steps change an image by at most 0.1, so ε = 0.2, 0.3 are not reached and are one \
trajectory.
    """
    for rule in arm.step_sizes:
        beyond = unreachable_epsilons(arm, rule)
        if not beyond:
            continue
        listed = ", ".join(f"{epsilon:g}" for epsilon in beyond)
        verdict = "is not reached" if len(beyond) == 1 else "are not reached and are one trajectory"
        yield (
            f"Arm {name}, step size {step_size_name(rule)}: {arm.steps} steps change an image by at most "
            f"{largest_reachable_epsilon(arm, rule):g}, so ε = {listed} {verdict}."
        )


Point = tuple[str, float]
"""(step size's name, ε)."""


def gradient_steps(arm: Arm, start: np.ndarray | None = None, direction: np.ndarray | None = None) -> int:
    """Gradients per image over the arm's whole grid: what the engine takes of an image whose pixels go steadily.

    The gradient at the clean image is one for all. After it, trajectories of different ε are one as long as no pixel
    has gone farther than the smallest: the trunk follows the largest ε, each smaller one branches off where it is first
    projected (`shared_steps`). ε-relative steps part at once; random starts share nothing, nor do rules
    that use ε themselves. A search is counted by its own rule.

    `start`: float32 pixel values of one image and `direction`, 1 or -1 for each, the way it is moved; by default all
    grey levels that prepared images can have, both ways. So the number is an upper bound for every image, and exact for
    one with many grey levels of which some are moved one way all the time. Fewer are taken of an image where each pixel
    turns or stops at 0 or 1, of one whose few grey levels rounding keeps within ε for a step more, and by raw-gradient
    updates, which share as much as their gradients allow.

    >>> gradient_steps(Arm())  # the reference study's grid: 110 instead of 200
    110
    >>> gradient_steps(Arm(step_sizes=(0.005,))), gradient_steps(Arm(step_sizes=("epsilon/4",)))
    (60, 191)
    """
    if arm.steps == 0:
        return 0
    if (rule := UPDATE_RULES.get(arm.update)).searches:
        return rule.gradient_steps(arm.steps, len(arm.epsilons))
    if arm.random_start or not UPDATE_RULES.get(arm.update).shares_iterates:
        return arm.restarts * arm.steps * len(arm.epsilons) * len(arm.step_sizes)
    return 1 + sum(_after_the_first(arm, rule, start, direction) for rule in arm.step_sizes)


def _after_the_first(arm: Arm, rule: float | str, start: np.ndarray | None, direction: np.ndarray | None) -> int:
    """Gradients of one step size after the clean image's."""
    if isinstance(rule, str) or UPDATE_RULES.get(arm.update).step_meaning != "length" or rule <= 0:
        return (arm.steps - 1) * len(arm.epsilons)
    *smaller, _ = sorted(arm.epsilons)
    extents = None
    if arm.norm == "linf":
        most = min(arm.steps, TRIED)
        extents = _grey_extents(rule, most) if start is None else _extents(rule, most, start, direction)
    return arm.steps - 1 + sum(arm.steps - shared_steps(epsilon, rule, arm.steps, extents) for epsilon in smaller)


TRIED = 512
"""Steps of which is tried what they add up to; a larger amplitude is taken to part at the very step that reaches it."""


def shared_steps(epsilon: float, step: float, steps: int, extents: np.ndarray | None = None) -> int:
    """Of `steps` gradients, those that ε has in common with a larger one, the clean image's counted.

    extents: float32 (step,), what 1, 2, … sign steps add up to in the engine's arithmetic. Where ε is a multiple of the
    step, rounding decides whether the step that reaches ε goes past it; without extents it is taken to.

    >>> shared_steps(0.02, 0.01, 20), shared_steps(0.025, 0.01, 20), shared_steps(0.5, 0.01, 20)
    (2, 3, 20)
    """
    reached = max(1, math.ceil(epsilon / step - 1e-4))  # the step that comes as far as ε, or next to it by rounding
    if extents is not None and reached <= len(extents):
        beyond = np.flatnonzero(extents > np.float32(epsilon))
        reached = int(beyond[0]) + 1 if len(beyond) else len(extents) + 1
    return min(steps, reached)


@cache
def _grey_extents(step: float, steps: int) -> np.ndarray:
    """`_extents` of an image with every 16-bit grey level (and so every 8-bit one), moved up and down."""
    levels = np.arange(2**16, dtype=np.float32) / np.float32(2**16 - 1)
    return np.maximum(*(_extents(step, steps, levels, np.float32(way)) for way in (1, -1)))


def _extents(step: float, steps: int, start: np.ndarray, direction: np.ndarray | np.float32 | None) -> np.ndarray:
    """How far 1, 2, … `steps` sign steps take the pixel that gets farthest, float32 (step,): the operations of
    attacks/updates.py in their order, of a trajectory that no ε holds back.
    """
    move = np.float32(step) * (np.float32(1) if direction is None else direction)
    x, found = start, []
    for _ in range(steps):
        offset = x + move - start
        found.append(np.abs(offset).max())
        x = np.clip(start + offset, np.float32(0), np.float32(1))
    return np.array(found, np.float32)


def steps_at(arm: Arm, points: Iterable[Point]) -> int:
    """Gradients per image at some points of the arm's grid only."""
    epsilons: dict[str, list[float]] = {}
    for step_size, epsilon in points:
        epsilons.setdefault(step_size, []).append(epsilon)
    rules = {step_size_name(rule): rule for rule in arm.step_sizes}
    parts = [
        arm.model_copy(update={"step_sizes": (rules[name],), "epsilons": tuple(at)}) for name, at in epsilons.items()
    ]
    total = sum(map(gradient_steps, parts))
    if UPDATE_RULES.get(arm.update).searches:
        return total
    return total - max(0, len(parts) - 1)  # the clean image's gradient is taken once


def missing_steps(arm: Arm, images: int, recorded: Mapping[Point, int]) -> int:
    """Gradients still to do, where `recorded` says how many images of a nested sample each point already has."""
    levels = sorted({min(count, images) for count in recorded.values()} | {images})
    return sum(
        (above - level) * steps_at(arm, (point for point, count in recorded.items() if count <= level))
        for level, above in pairwise(levels)
    )


def control_steps(arm: Arm, images: int) -> int:
    """Gradients that the controls beside an arm take at most, on a sample of `images`.

    Two at ε = 0; then the cross-check, should every image stand at each of its amplitudes to the end (APGD, several
    starts). What the arm fells is not attacked again, and what falls then is retired: usually it is a fraction.

    >>> control_steps(Arm(), 16)  # 16 · (2 + 3 amplitudes · 2 starts · 20 steps)
    1952
    """
    from advassay.attacks.sanity_controls import CROSS_CHECKED, STRONGER_RESTARTS, stronger_steps

    checked = min(CROSS_CHECKED, sum(epsilon > 0 for epsilon in arm.epsilons))
    stronger = checked * STRONGER_RESTARTS * stronger_steps(arm)
    return images * (min(arm.steps, 2) + stronger)


def record_bytes(arm: Arm, classes: int) -> int:
    """Bytes that one attacked image adds to the records, before compression.

    Each row holds K + 1 iterates of all columns over steps (of a search both ends), and about 80 bytes of keys.
    """
    rows = len(arm.epsilons) * len(arm.step_sizes) * arm.restarts
    iterates = UPDATE_RULES.get(arm.update).recorded_steps(arm.steps) + 1
    return rows * (iterates * bytes_per_iterate(classes) + 80)
