"""Tiny networks and images: everything here runs in milliseconds on one thread."""

import pytest
import torch
from torch import nn

import advassay as aa


def small_cnn(channels: int = 3, classes: int = 3, side: int = 16, seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    inner = (side - 3) // 2 + 1
    return nn.Sequential(
        nn.Conv2d(channels, 8, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, stride=2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(8 * inner * inner, classes),
    ).eval()


@pytest.fixture
def network() -> nn.Sequential:
    return small_cnn()


@pytest.fixture
def classifier(network: nn.Sequential) -> aa.Classifier:
    return aa.Classifier(network).eval()


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(8, 3, 16, 16, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def labels(network: nn.Sequential, images: torch.Tensor) -> torch.Tensor:
    """What the network says of the clean images, so that every image counts."""
    return network(images).argmax(1)
