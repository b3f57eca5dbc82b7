"""The proof refuses what a converter or a wrong option would do, with the figures, and accepts what is right."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from model_files import TinyNetwork, colour_images, logits_of
from torch import nn

from advassay.errors import ClassifierError
from advassay.model_document import ModelDocument, Preprocessing
from advassay.models.loaded_model import LoadedModel, ModelParts, ModelRequest, Reference

IMAGES = colour_images()


def model_of(network: nn.Module, runtime: nn.Module, steps: Preprocessing | None = None, **more: object) -> LoadedModel:
    """`network` as a loaded model whose own runtime is `runtime`, which sees (x − 0.45) / 0.25."""

    @contextmanager
    def reference() -> Iterator[Reference]:
        yield Reference("the runtime", lambda images: logits_of(runtime, (images - 0.45) / 0.25).numpy())

    parts = ModelParts(
        network=network.eval(),
        preprocessing=steps or Preprocessing(channels=3, mean=(0.45,), std=(0.25,)),
        open_reference=reference,
        architecture="tiny",
        weights_sha256="0" * 64,
        **more,  # type: ignore[arg-type]
    )
    return LoadedModel(parts, ModelRequest(path=None), "test")  # type: ignore[arg-type]


def test_the_same_network_is_proved_with_the_figures() -> None:
    proof = model_of(TinyNetwork(), TinyNetwork()).prove(IMAGES)
    assert (proof.images, proof.synthetic, proof.runtime, proof.compared) == (6, False, "the runtime", "logits")
    assert proof.largest_difference < proof.tolerance / 10
    assert proof.gradient is not None
    assert (proof.gradient.arithmetic, proof.gradient.directions) == ("float64", 3)
    assert proof.gradient.largest_error < 1e-3
    assert ModelDocument.model_validate_json(model_of(TinyNetwork(), TinyNetwork()).document().model_dump_json())


def swapped_channels() -> nn.Module:
    """What a converter makes that reads RGB as BGR."""
    network = TinyNetwork()
    with torch.no_grad():
        network.stem.weight.copy_(network.stem.weight.flip(1))
    return network


def other_weight() -> nn.Module:
    network = TinyNetwork()
    with torch.no_grad():
        network.second.weight[3, 2, 1, 1] += 0.05
    return network


def other_epsilon() -> nn.Module:
    """Batch norm with torch's default in place of Keras' 1e-3."""
    network = TinyNetwork()
    network.norm.eps = 1e-5
    return network


@pytest.mark.parametrize("changed", [swapped_channels, other_weight, other_epsilon])
def test_a_network_that_was_misread_is_refused_with_the_figures(changed: Callable[[], nn.Module]) -> None:
    with pytest.raises(ClassifierError, match=r"logits differ from those of the runtime by up to [\d.e-]+ \(allowed: "):
        model_of(changed(), TinyNetwork()).prove(IMAGES)


def test_swapped_channels_are_seen_on_grey_images_too() -> None:
    grey = np.repeat(colour_images(channels=1), 3, axis=1)
    with pytest.raises(ClassifierError, match="logits differ"):
        model_of(swapped_channels(), TinyNetwork()).prove(grey)


def test_a_wrong_mean_is_refused_with_the_figures() -> None:
    wrong = Preprocessing(channels=3, mean=(0.5,), std=(0.25,))
    with pytest.raises(ClassifierError, match="Check mean, std, channels and scale"):
        model_of(TinyNetwork(), TinyNetwork(), wrong).prove(IMAGES)


class Straight(torch.autograd.Function):
    """Rounds to 8 bits, with the gradient of the identity."""

    @staticmethod
    def forward(context: object, x: torch.Tensor) -> torch.Tensor:
        return (x * 4).round() / 4

    @staticmethod
    def backward(context: object, gradient: torch.Tensor) -> torch.Tensor:
        return gradient


class Halved(torch.autograd.Function):
    """The identity with half its gradient in the first channel."""

    @staticmethod
    def forward(context: object, x: torch.Tensor) -> torch.Tensor:
        return x.clone()

    @staticmethod
    def backward(context: object, gradient: torch.Tensor) -> torch.Tensor:
        gradient = gradient.clone()
        gradient[:, 0] /= 2
        return gradient


class Before(nn.Module):
    def __init__(self, function: type[torch.autograd.Function], network: nn.Module) -> None:
        super().__init__()
        self.function, self.network = function, network

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.network(self.function.apply(images))


@pytest.mark.parametrize("function", [Straight, Halved])
def test_a_gradient_that_is_not_the_network_s_own_is_refused(function: type[torch.autograd.Function]) -> None:
    network = Before(function, TinyNetwork())
    with pytest.raises(ClassifierError, match="gradient differs from finite differences in float"):
        model_of(network, network).prove(IMAGES)


class Neighbours(nn.Module):
    """Subtracts the mean over the batch."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        z = TinyNetwork().eval()(images)
        return z - z.mean(dim=0, keepdim=True)


def test_logits_that_depend_on_neighbours_are_refused() -> None:
    with pytest.raises(ClassifierError, match="an image alone and among others gave logits"):
        model_of(Neighbours(), Neighbours()).prove(IMAGES)


class Fixed(nn.Module):
    """Computes in float32 whatever comes in."""

    def __init__(self) -> None:
        super().__init__()
        self.network = TinyNetwork().eval()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.network(images.float())

    def double(self) -> Fixed:
        return self


def test_a_network_of_fixed_arithmetic_is_compared_in_float32_and_that_is_said() -> None:
    proof = model_of(Fixed(), TinyNetwork()).prove(IMAGES)
    assert proof.gradient is not None
    assert proof.gradient.arithmetic == "float32"
    assert proof.gradient.tolerance > 0.1


@pytest.mark.parametrize(
    ("steps", "shape"),
    [
        (Preprocessing(channels=3, resize_px=(16, 24)), (3, 16, 24)),
        (Preprocessing(channels=3, resize_shorter_px=20, crop_px=(16, 16)), (3, 16, 16)),
        (Preprocessing(channels=3, crop_px=(40, 44)), (3, 40, 44)),
        (Preprocessing(channels=3, layout="channels-last"), (32, 48, 3)),
    ],
)
def test_preprocessing_in_torch_and_in_numpy_give_the_same_input(steps: Preprocessing, shape: tuple[int, ...]) -> None:
    from advassay.models.preprocessing_steps import PreprocessedNetwork, network_input

    full = steps.model_copy(
        update={
            "value_range": (0.0, 255.0),
            "mean": (10.0, 20.0, 30.0),
            "std": (50.0, 60.0, 70.0),
            "channel_order": "bgr",
        }
    )
    images = np.random.default_rng(0).random((2, 3, 32, 48)).astype(np.float32)
    seen = PreprocessedNetwork(full, nn.Identity())(torch.from_numpy(images))
    expected = network_input(full, images)
    assert expected.shape[1:] == shape
    np.testing.assert_allclose(seen.numpy(), expected, atol=1e-4)  # type: ignore[attr-defined]


def test_black_is_padded_before_the_mean_is_subtracted() -> None:
    from advassay.models.preprocessing_steps import network_input

    steps = Preprocessing(channels=1, crop_px=(4, 4), mean=(0.5,), std=(0.5,))
    padded = network_input(steps, np.ones((1, 1, 2, 2), np.float32))
    assert padded[0, 0].tolist() == [[-1] * 4, [-1, 1, 1, -1], [-1, 1, 1, -1], [-1] * 4]
