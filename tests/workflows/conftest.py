"""One small network, its images, and one evaluation of them, made once for all tests of this room."""

from __future__ import annotations

import numpy as np
import pytest
from tiny_models import TinyCnn, bars, trained_cnn

import advassay as aa
from advassay.workflows import EvaluationResult


@pytest.fixture(scope="session")
def network() -> TinyCnn:
    return trained_cnn()


@pytest.fixture(scope="session")
def images() -> tuple[np.ndarray, np.ndarray]:
    """(uint8 (40, 28, 28), labels) that the network was not trained on."""
    return bars(40, seed=2)


@pytest.fixture(scope="session")
def quick(
    tmp_path_factory: pytest.TempPathFactory, network: TinyCnn, images: tuple[np.ndarray, np.ndarray]
) -> EvaluationResult:
    """The network evaluated on 32 of the images, of two classes by name and two images a patient. Read only."""
    pixels, labels = images
    folder = tmp_path_factory.mktemp("quick")
    (folder / "key").write_bytes(bytes(range(32)))
    return aa.evaluate(
        network, pixels, np.array(["wide", "tall"])[labels], store=folder / "mine", preset="quick", device="cpu",
        class_names=["wide", "tall"], patients=[f"p{i // 2}" for i in range(40)], positive="tall",
        key_file=folder / "key",
    )  # fmt: skip
