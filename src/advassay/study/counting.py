"""How many gradient steps an arm costs per image, with shared prefixes counted once."""

from __future__ import annotations

import math

from advassay.attack_spec import Arm


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


def record_bytes(arm: Arm, classes: int) -> int:
    """Bytes that one attacked image adds to the records, before compression.

    Each row holds K + 1 iterates of `classes` logits, four sizes (4 bytes each) and a flag, and about 80 bytes of keys.
    """
    rows = len(arm.epsilons) * len(arm.step_sizes) * arm.restarts
    return rows * ((arm.steps + 1) * (4 * classes + 4 * 4 + 1) + 80)
