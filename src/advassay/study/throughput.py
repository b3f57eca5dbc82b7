"""How fast this machine takes gradients of a network: measured in a few seconds, for estimates only."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor, nn

BATCH = 8
REPEATS = 2

TRAINING_COST = 1.5
"""A training update per image against an attack's gradient: weights need gradients too, and Adam moves them."""
CPU_PREPARED_PER_SECOND = 150.0
"""Images decoded, hashed, resized and encoded per second on one core, measured at 128 px."""


@dataclass(frozen=True)
class Throughput:
    """Of one network at one image size on this machine."""

    gradients_per_second: float
    """Images per second, forward and backward to the image."""
    parameters: int

    @property
    def training_images_per_second(self) -> float:
        return self.gradients_per_second / TRAINING_COST

    @property
    def checkpoint_bytes(self) -> int:
        return 4 * self.parameters


def measure(architecture: str, *, channels: int, classes: int, image_size_px: int, device: str) -> Throughput:
    """Time a few gradients of the untrained network. Raises TrainingError for a network that cannot be built."""
    import torch

    from advassay.training.network import build_network

    network = build_network(architecture, channels=channels, classes=classes, image_size_px=image_size_px, seed=0)
    parameters = sum(p.numel() for p in network.parameters())
    network = network.to(device).eval().requires_grad_(False)
    images = torch.rand(BATCH, channels, image_size_px, image_size_px, device=device, requires_grad=True)
    seconds = [_seconds(network, images, device) for _ in range(1 + REPEATS)]
    return Throughput(BATCH / min(seconds[1:]), parameters)


def _seconds(network: nn.Module, images: Tensor, device: str) -> float:
    import torch

    began = time.perf_counter()
    torch.autograd.grad(network(images).sum(), images)
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - began
