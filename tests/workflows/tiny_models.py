"""Small networks and images for the tests of this room: they are trained or made in a second."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

SIDE = 28


class TinyCnn(nn.Module):
    """Two convolutions and a linear layer: (image, 1, 28, 28) → logits."""

    def __init__(self, classes: int = 2) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 8, 3, padding=1)
        self.second = nn.Conv2d(8, 16, 3, padding=1)
        self.head = nn.Linear(16 * 7 * 7, classes)

    def forward(self, images: Tensor) -> Tensor:
        x = functional.max_pool2d(functional.relu(self.first(images)), 2)
        x = functional.max_pool2d(functional.relu(self.second(x)), 2)
        return self.head(x.flatten(1))


def bars(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """(uint8 (image, 28, 28), labels): noise with a wide bar (0) or a tall one (1) somewhere in it."""
    rng = np.random.default_rng(seed)
    images = rng.normal(90, 25, (n, SIDE, SIDE))
    labels = np.arange(n) % 2
    for image, label in zip(images, labels, strict=True):
        top, left = rng.integers(2, 10), rng.integers(6, 19)
        bar = (slice(top, top + 16), slice(left, left + 3))
        image[bar if label else bar[::-1]] += 40
    return np.clip(images, 0, 255).astype(np.uint8), labels


def as_input(images: np.ndarray) -> Tensor:
    """float32 (image, 1, height, width) in [0, 1]."""
    return torch.from_numpy(images[:, None].astype(np.float32) / 255)


def trained_cnn() -> TinyCnn:
    """A network that tells the bars apart in most images it has not seen."""
    torch.manual_seed(0)
    network = TinyCnn()
    images, labels = bars(512, seed=1)
    inputs, targets = as_input(images), torch.from_numpy(labels)
    optimiser = torch.optim.Adam(network.parameters(), 2e-3)
    for step in range(120):
        batch = torch.arange(64) + 64 * (step % 8)
        optimiser.zero_grad()
        functional.cross_entropy(network(inputs[batch]), targets[batch]).backward()
        optimiser.step()
    return network.eval()


def write_folders(root: Path, images: np.ndarray, labels: np.ndarray, names: tuple[str, ...]) -> Path:
    """A folder per class; file names begin with a patient, two images each."""
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        folder = root / names[label]
        folder.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / f"p{number // 4:03d}_{number}.png"), image)
    return root
