"""Networks small enough to attack in milliseconds."""

import torch
from torch import nn


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
