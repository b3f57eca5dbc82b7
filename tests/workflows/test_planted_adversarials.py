"""The active test: an attack that looks again after each step finds what was planted, one that does not misses it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny_models import TinyCnn, as_input, bars
from torch import Tensor, nn

import advassay as aa
from advassay.attacks.suite.planted_adversarials import FeatureReader, plant, run_planted_test
from advassay.classifier import Classifier

EPSILON = 4 / 255
PGD_ARM = aa.Arm(loss="margin", step_sizes=("epsilon/4",), steps=20)
ONE_STEP = aa.Arm(loss="margin", step_sizes=("epsilon",), steps=1)


def ids(n: int) -> list[str]:
    return [f"image {i}" for i in range(n)]


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    return as_input(bars(16, seed=5)[0]).numpy()


def test_pgd_finds_what_was_planted_and_one_step_does_not(network: TinyCnn, pixels: np.ndarray) -> None:
    found = run_planted_test(Classifier(network), pixels, ids(16), PGD_ARM, EPSILON)
    assert found.images == 16
    assert found.features == "penultimate"
    assert found.found >= 15
    assert found.one_step <= 4
    assert found.noise <= 4
    weak = run_planted_test(Classifier(network), pixels, ids(16), ONE_STEP, EPSILON)
    assert (weak.found, weak.images) == (found.one_step, 16)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_the_planted_point_lies_in_the_ball_and_is_decided_otherwise(
    network: TinyCnn, pixels: np.ndarray, norm: str
) -> None:
    from advassay.attacks.suite import planted_adversarials

    seen: list[np.ndarray] = []
    original = planted_adversarials.random_point

    def noted(*args: object) -> np.ndarray:
        seen.append(original(*args))  # type: ignore[arg-type]
        return seen[-1]

    epsilon = EPSILON if norm == "linf" else 0.5
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(planted_adversarials, "random_point", noted)
        planted = plant(FeatureReader(Classifier(network), pixels[:1]), pixels[0], "a", epsilon, norm, 0)  # type: ignore[arg-type]
    assert planted is not None
    points = np.stack(seen)
    change = (points - pixels[0]).reshape(len(points), -1)
    size = np.abs(change).max(1) if norm == "linf" else np.linalg.norm(change, axis=1)
    assert (size <= epsilon * (1 + 1e-5)).all()
    assert points.min() >= 0
    assert points.max() <= 1
    decided = planted(torch.from_numpy(np.concatenate([pixels[:1], points]))).argmax(1)
    assert decided[0] == 0
    assert decided[1:].any()


class Masked(nn.Module):
    """A network that sees whole grey levels only: nearly the same decisions, and a gradient that leads nowhere."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        return self.network((images * 255).round() / 255) + 1e-3 * images.mean((1, 2, 3))[:, None] * torch.tensor(
            [1.0, -1.0]
        )


def test_a_network_whose_gradient_is_masked_shows_that_the_attack_is_weak(network: TinyCnn, pixels: np.ndarray) -> None:
    found = run_planted_test(Classifier(Masked(network)), pixels, ids(16), PGD_ARM, EPSILON)
    assert found.images == 16
    assert found.found <= 2


class Constant(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return torch.stack([images.sum((1, 2, 3)) * 0 + 1, images.sum((1, 2, 3)) * 0], dim=1)


def test_nothing_can_be_planted_where_the_network_knows_nothing(pixels: np.ndarray) -> None:
    found = run_planted_test(Classifier(Constant()), pixels[:4], ids(4), PGD_ARM, EPSILON)
    assert (found.images, found.left_out, found.features) == (0, 4, "logits")


def test_the_test_is_the_same_each_time_and_leaves_the_network_as_it_was(network: TinyCnn, pixels: np.ndarray) -> None:
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    first = run_planted_test(Classifier(network), pixels[:4], ids(4), PGD_ARM, EPSILON)
    assert first == run_planted_test(Classifier(network), pixels[:4], ids(4), PGD_ARM, EPSILON)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert not network.head._forward_pre_hooks
