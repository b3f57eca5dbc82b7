"""Gradient steps of an arm per image, shared prefixes counted once, and amplitudes its steps cannot reach."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise

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


def gradient_steps(arm: Arm) -> int:
    """Gradients per image over the arm's whole grid: an upper bound, close to what the engine takes.

    The gradient at the clean image is one for all. After it, trajectories of different ε are one as long as none has
    reached its boundary: with sign steps of absolute size s for ⌈ε/s⌉ − 1 steps. The trunk follows the largest ε, each
    smaller one branches off where it is first projected. Raw-gradient updates may share more, which depends on the
    gradients and is not counted; ε-relative steps part at once; random starts share nothing, nor do rules that use ε
    themselves.

    >>> gradient_steps(Arm())  # the reference study's grid: 110 instead of 200
    110
    >>> gradient_steps(Arm(step_sizes=(0.005,))), gradient_steps(Arm(step_sizes=("epsilon/4",)))
    (60, 191)
    """
    if arm.steps == 0:
        return 0
    if arm.random_start or not UPDATE_RULES.get(arm.update).shares_iterates:
        return arm.restarts * arm.steps * len(arm.epsilons) * len(arm.step_sizes)
    return 1 + sum(_after_the_first(arm, rule) for rule in arm.step_sizes)


def _after_the_first(arm: Arm, rule: float | str) -> int:
    """Gradients of one step size after the clean image's."""
    if isinstance(rule, str) or UPDATE_RULES.get(arm.update).step_meaning != "length" or rule <= 0:
        return (arm.steps - 1) * len(arm.epsilons)
    *smaller, _ = sorted(arm.epsilons)
    branches = (max(0, arm.steps - max(1, math.ceil(epsilon / rule - 1e-9))) for epsilon in smaller)
    return arm.steps - 1 + sum(branches)


def steps_at(arm: Arm, points: Iterable[Point]) -> int:
    """Gradients per image at some points of the arm's grid only."""
    epsilons: dict[str, list[float]] = {}
    for step_size, epsilon in points:
        epsilons.setdefault(step_size, []).append(epsilon)
    rules = {step_size_name(rule): rule for rule in arm.step_sizes}
    parts = [
        arm.model_copy(update={"step_sizes": (rules[name],), "epsilons": tuple(at)}) for name, at in epsilons.items()
    ]
    return sum(map(gradient_steps, parts)) - max(0, len(parts) - 1)  # the clean image's gradient is taken once


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

    Each row holds K + 1 iterates of all columns over steps, and about 80 bytes of keys.
    """
    rows = len(arm.epsilons) * len(arm.step_sizes) * arm.restarts
    return rows * ((arm.steps + 1) * bytes_per_iterate(classes) + 80)
