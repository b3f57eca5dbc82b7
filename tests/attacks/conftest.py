"""Tiny networks and images: everything here runs in milliseconds on one thread."""

from collections import OrderedDict

import pytest
import torch
from tiny_networks import small_cnn
from torch import nn

import advassay as aa
from advassay.attacks.surrogate import speed_trial
from advassay.attacks.surrogate.speed_trial import SpeedTrial


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


@pytest.fixture(autouse=True)
def surrogates_win(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests of what surrogates do need them where they do not pay: on networks of a few layers, on a busy machine.

    test_speed_trial.py tests when they are set aside.
    """
    monkeypatch.setattr(speed_trial, "_CHOSEN", OrderedDict())
    if request.module.__name__ != "test_speed_trial":
        monkeypatch.setattr(SpeedTrial, "choose", lambda trial, wanted, build: build(tuple(wanted)).rewrites)
