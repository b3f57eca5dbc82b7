"""`evaluate` on a network with a certificate: never below what is proved, and the attack finds what is planted."""

from __future__ import annotations

import gzip
from math import sqrt
from pathlib import Path

import numpy as np
from safetensors.torch import load_file
from torch import nn

import advassay as aa

CERTIFIED, CLEAN = 0.942, 0.982
"""Of convex_mnist_0_1 at ε = 0.1 on 10,000 test images (data/README.md): no correct attack can go below the first."""


def test_robust_accuracy_is_not_below_the_certificate(data: Path, tmp_path: Path) -> None:
    network = nn.Sequential(
        nn.Conv2d(1, 16, 4, 2, 1), nn.ReLU(), nn.Conv2d(16, 32, 4, 2, 1), nn.ReLU(), nn.Flatten(),
        nn.Linear(1568, 100), nn.ReLU(), nn.Linear(100, 10),
    )  # fmt: skip
    network.load_state_dict(load_file(data / "robust" / "convex_mnist_0_1.safetensors"))
    with gzip.open(data / "robust" / "mnist-t10k-images-idx3-ubyte.gz") as file:
        images = np.frombuffer(file.read(), np.uint8, offset=16).reshape(-1, 28, 28)[:200]
    with gzip.open(data / "robust" / "mnist-t10k-labels-idx1-ubyte.gz") as file:
        labels = np.frombuffer(file.read(), np.uint8, offset=8).astype(np.int64)[:200]
    result = aa.evaluate(
        network.eval(), images, labels, store=tmp_path / "mine", preset="quick", device="cpu",
        require="robust_accuracy@0.1 >= 0.5", class_names=[str(digit) for digit in range(10)],
    )  # fmt: skip
    found = result.robust_accuracy(0.1)
    error = sqrt(CERTIFIED * (1 - CERTIFIED) / found.n)
    assert found.n == 32
    assert found.value is not None
    assert CERTIFIED - 3 * error <= found.value <= 1
    assert result.worst_case(0.1).value == found.value  # one arm, whose success is never lost here
    planted = result.answer.evaluation.planted  # type: ignore[union-attr]
    assert planted is not None
    assert planted.found >= 0.75 * planted.images > 0
    assert planted.one_step <= 0.5 * planted.images
