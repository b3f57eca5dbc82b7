"""When things happen during training, counted in optimiser updates: how many, when to evaluate, how large a step."""

from __future__ import annotations

import math

from advassay.spec.study_spec import TrainingSpec

WARM_UP_SHARE = 0.1
FINAL_RATE_SHARE = 0.01


def updates_for(spec: TrainingSpec, training_images: int) -> int:
    """Optimiser updates of every network of a cohort.

    `training_images`: images of the full training split. A size series keeps the number that follows from the full
    split, so that its members differ in data and not in optimisation.

    >>> updates_for(TrainingSpec(epochs=6), 496)
    93
    >>> updates_for(TrainingSpec(updates=60), 496)
    60
    """
    return spec.updates_for(training_images)


def evaluation_updates(updates: int, evaluations: int) -> tuple[int, ...]:
    """After which updates the network is evaluated: evenly spread, the last update always among them.

    >>> evaluation_updates(60, 5)
    (12, 24, 36, 48, 60)
    >>> evaluation_updates(2, 5)
    (1, 2)
    """
    return tuple(sorted({max(1, round(updates * k / evaluations)) for k in range(1, evaluations + 1)}))


def learning_rate_factor(update: int, updates: int) -> float:
    """Share of the learning rate used by update number `update` (from 0): linear warm-up, then cosine decay.

    The warm-up takes the first tenth of the updates: Adam's second moments are unreliable until then. The cosine
    (Loshchilov & Hutter 2017, SGDR, eq. 5, one cycle) ends at 1 % of the rate.

    >>> [round(learning_rate_factor(k, 20), 2) for k in (0, 1, 2, 11, 19)]
    [0.5, 1.0, 1.0, 0.51, 0.02]
    """
    warm_up = max(1, round(WARM_UP_SHARE * updates))
    if update < warm_up:
        return (update + 1) / warm_up
    done = (update - warm_up) / max(1, updates - warm_up)
    return FINAL_RATE_SHARE + (1 - FINAL_RATE_SHARE) * 0.5 * (1 + math.cos(math.pi * done))
