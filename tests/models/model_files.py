"""Small real networks and images for the tests of models/."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn


class TinyNetwork(nn.Module):
    """Two convolutions with batch norm, a maximum pool, a linear head; any size from 8 px on."""

    def __init__(self, outputs: int = 3, channels: int = 3, seed: int = 0) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.stem = nn.Conv2d(channels, 8, 3, stride=2, padding=1)
            self.norm = nn.BatchNorm2d(8, eps=1e-3)
            self.second = nn.Conv2d(8, 16, 3, padding=1)
            self.dropout = nn.Dropout(0.5)
            self.head = nn.Linear(16, outputs)
            with torch.no_grad():
                self.norm.running_mean.uniform_(-0.2, 0.2)
                self.norm.running_var.uniform_(0.05, 0.2)
                self.head.weight.mul_(4)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.norm(self.stem(images)))
        x = nn.functional.max_pool2d(torch.relu(self.second(x)), 2)
        return self.head(self.dropout(x.mean(dim=(2, 3))))


class WithHead(nn.Module):
    """A network behind a softmax or a sigmoid."""

    def __init__(self, network: nn.Module, kind: str) -> None:
        super().__init__()
        self.network, self.kind = network, kind

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        z = self.network(images)
        return torch.softmax(z, dim=1) if self.kind == "softmax" else torch.sigmoid(z)


def colour_images(count: int = 6, side: int = 32, channels: int = 3, seed: int = 1) -> np.ndarray:
    """8-bit images as float32 (image, channel, height, width) in [0, 1], each channel with a level of its own."""
    rng = np.random.default_rng(seed)
    level = rng.uniform(0.1, 0.9, (count, channels, 1, 1))
    pixels = np.clip(level + rng.normal(0, 0.15, (count, channels, side, side)), 0, 1)
    return (np.round(pixels * 255) / 255).astype(np.float32)


def logits_of(network: nn.Module, images: np.ndarray) -> torch.Tensor:
    """What the network gives in eval mode."""
    with torch.no_grad():
        return network.eval()(torch.from_numpy(images))


def save_torchscript(network: nn.Module, path: Path, example: np.ndarray | None = None) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch announces that torch.jit will go
        given = torch.from_numpy(colour_images(1) if example is None else example)
        torch.jit.trace(network.eval(), given).save(str(path))
    return path


def save_exported(network: nn.Module, path: Path, *, batch: int | None = None, side: int = 32) -> Path:
    """A .pt2 of one batch size, or of any."""
    example = torch.from_numpy(colour_images(batch or 2, side))
    shapes = None if batch else ({0: torch.export.Dim("batch")},)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.export.save(torch.export.export(network.eval(), (example,), dynamic_shapes=shapes), str(path))
    return path


def save_onnx(
    network: nn.Module, path: Path, *, opset: int, side: int = 32, batch: int = 1, dynamic: bool = True
) -> Path:
    """By torch's exporter that needs no further library."""
    example = torch.from_numpy(colour_images(batch, side))
    axes = {"images": {0: "batch"}, "logits": {0: "batch"}} if dynamic else None
    return export_onnx(network, (example,), path, opset, input_names=["images"], dynamic_axes=axes)


def export_onnx(network: nn.Module, given: tuple[torch.Tensor, ...], path: Path, opset: int, **more: Any) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch announces that this exporter will go
        torch.onnx.export(
            network.eval(), given, str(path), opset_version=opset, dynamo=False, output_names=["logits"], **more
        )
    return path
