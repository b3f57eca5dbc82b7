"""Amplitudes that an arm's steps cannot reach: steps × step size is less than ε, so larger ε change nothing."""

from __future__ import annotations

from collections.abc import Iterator

from advassay.attack_spec import Arm, largest_reach, step_size_name


def reach(arm: Arm, rule: float | str) -> float | None:
    """The largest perturbation that the arm's steps add up to; None where no number of steps says it.

    >>> reach(Arm(), 0.01), reach(Arm(), "epsilon/4")
    (0.2, None)
    """
    return largest_reach(rule, arm.steps, arm.update, random_start=arm.random_start)


def unreachable(arm: Arm, rule: float | str) -> list[float]:
    """The arm's amplitudes above its reach, in rising order."""
    most = reach(arm, rule)
    return [] if most is None else sorted(epsilon for epsilon in arm.epsilons if epsilon > most * (1 + 1e-9))


def reach_notes(name: str, arm: Arm) -> Iterator[str]:
    """One sentence for each step size that does not reach all of the arm's amplitudes.

    >>> print(*reach_notes("A", Arm(steps=10, epsilons=(0.05, 0.2, 0.3))))
    Arm A, step size 0.01: 10 steps change an image by at most 0.1, so ε = 0.2, 0.3 are not reached and are one \
trajectory.
    """
    for rule in arm.step_sizes:
        beyond = unreachable(arm, rule)
        if not beyond:
            continue
        listed = ", ".join(f"{epsilon:g}" for epsilon in beyond)
        verdict = "is not reached" if len(beyond) == 1 else "are not reached and are one trajectory"
        yield (
            f"Arm {name}, step size {step_size_name(rule)}: {arm.steps} steps change an image by at most "
            f"{reach(arm, rule):g}, so ε = {listed} {verdict}."
        )
