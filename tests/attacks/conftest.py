"""Tiny networks and images: everything here runs in milliseconds on one thread."""

import pytest
import torch
from tiny_networks import small_cnn
from torch import nn

import advassay as aa


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
