"""The plan's gradient steps are those the engine takes: to the step, and of no image fewer than it takes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from advassay.attacks import Item, tune_batch_size
from advassay.classifier import Classifier
from advassay.spec.attack_spec import Arm, step_size_name
from advassay.study.gradient_counts import gradient_steps, missing_steps, steps_at

ARMS = [
    Arm(precision="exact"),
    Arm(step_sizes=(0.005,), precision="exact"),
    Arm(epsilons=(0.01, 0.02, 0.03), precision="exact"),
    Arm(step_sizes=("1/255",), epsilons=("1/255", "4/255", "8/255", 0.02), steps=12, precision="exact"),
    Arm(step_sizes=(2.0**-7,), epsilons=(2.0**-7, 2.0**-6, 3 * 2.0**-7, 0.1), steps=9, precision="exact"),
    Arm(step_sizes=(0.01, "epsilon/4"), epsilons=(0.02, 0.06, 0.2), steps=7, precision="exact"),
    Arm(epsilons=(0.001, 0.015), steps=4, precision="exact"),
    Arm(epsilons=(0.0, 0.02), steps=4, precision="exact"),
    Arm(epsilons=(0.01, 0.05), steps=5, random_start=True, precision="exact"),
    Arm(epsilons=(0.01, 0.05), steps=5, update="apgd", precision="exact"),
    Arm(epsilons=(0.01, 0.05), steps=0, precision="exact"),
]


def gradients(arm: Arm, images: np.ndarray, direction: np.ndarray) -> list[float]:
    """Gradients that the engine takes of each image (image, 1, height, width), whose pixels a linear network moves one
    way: up where `direction` (height, width) is 1, down where it is -1.
    """
    from advassay.attacks.stream import stream

    network = nn.Sequential(nn.Flatten(), nn.Linear(direction.size, 2, bias=False))
    with torch.no_grad():
        network[1].weight.copy_(torch.from_numpy(np.stack([-direction.ravel(), direction.ravel()]) * 1e-4))
    classifier = Classifier(network)
    points = frozenset((step_size_name(rule), epsilon) for rule in arm.step_sizes for epsilon in arm.epsilons)
    taken = []
    for place, image in enumerate(images):
        item = Item(str(place), image, 0, points)
        shape = tune_batch_size(classifier, image, precision="exact", device="cpu", most=2)
        attack = stream(classifier, [item], arm, shape=shape)
        list(attack)
        taken.append(attack.cost.gradient_evaluations)
    return taken


@pytest.mark.parametrize("arm", ARMS)
def test_of_an_image_with_all_grey_levels_the_engine_takes_what_is_planned(arm: Arm) -> None:
    levels = (np.arange(2**16, dtype=np.float32) / np.float32(2**16 - 1)).reshape(1, 1, 256, 256)
    image = np.concatenate([levels, levels], axis=3)
    direction = np.ones((256, 512), np.float32)
    direction[:, 256:] = -1
    assert gradients(arm, image, direction) == [gradient_steps(arm)]


@pytest.mark.parametrize("arm", ARMS)
def test_of_any_image_the_engine_takes_what_its_own_pixels_say_and_no_more_than_planned(arm: Arm) -> None:
    rng = np.random.default_rng(0)
    direction = rng.choice(np.array([-1, 1], np.float32), (8, 8))
    images = np.concatenate([
        (0.3 + 0.4 * rng.random((4, 1, 8, 8))).astype(np.float32),  # no pixel comes to 0 or 1
        np.full((1, 1, 8, 8), 0.5, np.float32),
        rng.integers(0, 2, (1, 1, 8, 8)).astype(np.float32),  # half of the pixels cannot move
        (rng.integers(0, 256, (2, 1, 8, 8)) / 255).astype(np.float32),
    ])  # fmt: skip
    taken = gradients(arm, images, direction)
    assert taken == [gradient_steps(arm, image[0], direction) for image in images]
    assert max(taken) <= gradient_steps(arm)


@pytest.mark.parametrize("arm", [ARMS[0], Arm(epsilons=(0.02, 0.06, 0.2), norm="l2", steps=12, precision="exact")])
def test_of_a_network_that_turns_the_pixels_the_engine_takes_fewer(arm: Arm) -> None:
    from advassay.attacks.stream import stream

    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.GELU(), nn.Flatten(), nn.Linear(8 * 36, 16), nn.GELU(), nn.Linear(16, 2)
    )
    classifier = Classifier(network)
    points = frozenset(("0.01", epsilon) for epsilon in arm.epsilons)
    pixels = np.random.default_rng(1).random((3, 1, 8, 8)).astype(np.float32)
    images = [Item(str(place), image, 0, points) for place, image in enumerate(pixels)]
    shape = tune_batch_size(classifier, images[0].image, precision="exact", device="cpu", most=2)
    attack = stream(classifier, images, arm, shape=shape)
    list(attack)
    assert attack.cost.gradient_evaluations <= 3 * gradient_steps(arm)


def test_only_missing_points_and_images_are_counted() -> None:
    arm = Arm(epsilons=(0.02, 0.1), steps=10)
    first, second = ("0.01", 0.02), ("0.01", 0.1)
    assert missing_steps(arm, 8, {first: 8, second: 8}) == 0
    assert missing_steps(arm, 8, {first: 0, second: 0}) == 8 * gradient_steps(arm)
    assert missing_steps(arm, 8, {first: 8, second: 3}) == 5 * 10
    assert missing_steps(arm, 8, {first: 5, second: 3}) == 2 * 10 + 3 * steps_at(arm, [first, second])
