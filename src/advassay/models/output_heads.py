"""Probabilities back to logits: what a network gives, and how its last layer is undone.

Attacks need logits. Where a file's graph can be seen (ONNX, torch.export, Keras) its last softmax or sigmoid is taken
off. Where it cannot (TorchScript, functions) the logarithm stands in for the logit.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from advassay.model_document import Preprocessing
from advassay.models.loaded_model import single_output
from advassay.models.preprocessing_steps import network_input

Outputs = Literal["logits", "softmax", "sigmoid"]

SMALLEST = 1e-30
"""Probability below which its logarithm is cut, so that it stays a number."""
NEAREST_ONE = 1e-7
"""Distance from 0 and 1 at which a sigmoid's probability is cut."""


class LogProbabilities(nn.Module):
    """Softmax probabilities (image, class) as their logarithms, which are logits of the same distribution."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.training = network.training

    def forward(self, images: Tensor) -> Tensor:
        return single_output(self.network(images)).clamp_min(SMALLEST).log()


class LogOdds(nn.Module):
    """Sigmoid probabilities as their logits, log p − log(1 − p), within ±16."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.training = network.training

    def forward(self, images: Tensor) -> Tensor:
        return torch.logit(single_output(self.network(images)), eps=NEAREST_ONE)


def as_logits(network: nn.Module, outputs: Outputs) -> nn.Module:
    """A network that gives `outputs` as one that gives logits."""
    if outputs == "softmax":
        return LogProbabilities(network)
    return LogOdds(network) if outputs == "sigmoid" else network


@torch.no_grad()
def kind_of_outputs(network: nn.Module, steps: Preprocessing, side: int) -> Outputs:
    """What a network gives, by what it gives on noise, black, white and a smooth image of `side` pixels.

    softmax: several outputs within [0, 1] whose sum is 1 on each. sigmoid: outputs within [0, 1] on all. Else logits.
    """
    shape = (steps.channels or 3, side, side)
    noise = np.random.default_rng(0).random((3, *shape), np.float32)
    smooth = np.broadcast_to(np.linspace(0, 1, side, dtype=np.float32), shape)
    images = np.stack([*noise, np.zeros(shape, np.float32), np.ones(shape, np.float32), smooth])
    given = torch.from_numpy(network_input(steps, images))
    found = torch.cat([single_output(network(image[None])) for image in given])
    if not bool(((found >= 0) & (found <= 1)).all()) or not bool((found > 0).any()):
        return "logits"
    if found.shape[1] > 1 and bool(((found.sum(dim=1) - 1).abs() < 1e-4).all()):
        return "softmax"
    return "sigmoid"
