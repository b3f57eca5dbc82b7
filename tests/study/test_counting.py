"""The plan's gradient steps are close to those the engine takes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from advassay.attacks import Item, tune_batch_size
from advassay.classifier import Classifier
from advassay.spec.attack_spec import Arm, step_size_name
from advassay.study.gradient_counts import gradient_steps, missing_steps, steps_at


@pytest.mark.parametrize(
    "arm",
    [
        Arm(precision="exact"),
        Arm(step_sizes=(0.005,), precision="exact"),
        Arm(step_sizes=(0.01, "epsilon/4"), epsilons=(0.02, 0.06, 0.2), steps=7, precision="exact"),
        Arm(epsilons=(0.001, 0.015), steps=4, precision="exact"),
        Arm(epsilons=(0.01, 0.05), steps=5, random_start=True, precision="exact"),
        Arm(epsilons=(0.01, 0.05), steps=0, precision="exact"),
    ],
)
def test_counted_steps_bound_the_engines_closely(arm: Arm) -> None:
    from advassay.attacks.stream import stream

    torch.manual_seed(0)
    classifier = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(9, 2)))
    points = frozenset((step_size_name(rule), epsilon) for rule in arm.step_sizes for epsilon in arm.epsilons)
    images = [Item(str(i), np.full((1, 3, 3), 0.5, np.float32), 0, points) for i in range(3)]
    shape = tune_batch_size(classifier, images[0].image, precision="exact", device="cpu", most=2)
    attack = stream(classifier, images, arm, shape=shape)
    list(attack)
    assert 0.9 * gradient_steps(arm) <= attack.cost.gradient_evaluations / 3 <= gradient_steps(arm)


def test_only_missing_points_and_images_are_counted() -> None:
    arm = Arm(epsilons=(0.02, 0.1), steps=10)
    first, second = ("0.01", 0.02), ("0.01", 0.1)
    assert missing_steps(arm, 8, {first: 8, second: 8}) == 0
    assert missing_steps(arm, 8, {first: 0, second: 0}) == 8 * gradient_steps(arm)
    assert missing_steps(arm, 8, {first: 8, second: 3}) == 5 * 10
    assert missing_steps(arm, 8, {first: 5, second: 3}) == 2 * 10 + 3 * steps_at(arm, [first, second])
