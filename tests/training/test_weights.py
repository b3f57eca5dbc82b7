from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from advassay.errors import TrainingError
from advassay.models.timm_networks import build_network
from advassay.training.start_weights import load_start_weights, start_weights_path

IMAGENET = "weights/inception_v3_keras_imagenet_notop_fp16.safetensors"


def _network(channels: int, classes: int, seed: int) -> nn.Module:
    return build_network("test_resnet", channels=channels, classes=classes, image_size_px=32, seed=seed).eval()


def _tensors(network: nn.Module) -> dict[str, Tensor]:
    return {name: t.contiguous().clone() for name, t in network.state_dict().items()}


def test_a_grey_stem_answers_as_the_rgb_one_to_the_grey_image_repeated(tmp_path: Path) -> None:
    rgb = _network(3, 2, seed=1)
    save_file(_tensors(rgb), tmp_path / "rgb.safetensors")
    grey = _network(1, 2, seed=2)
    start = load_start_weights(grey, tmp_path / "rgb.safetensors")
    assert (start.used, start.head) == (start.wanted + 2, True)
    images = torch.rand(3, 1, 32, 32) * 2 - 1
    with torch.inference_mode():
        torch.testing.assert_close(grey(images), rgb(images.expand(-1, 3, -1, -1)), rtol=1e-4, atol=1e-5)


def test_a_head_of_other_classes_is_left_out_and_the_rest_is_used(tmp_path: Path) -> None:
    save_file(_tensors(_network(3, 7, seed=1)), tmp_path / "seven.safetensors")
    network = _network(3, 2, seed=2)
    own_head = network.get_classifier().weight.clone()
    start = load_start_weights(network, tmp_path / "seven.safetensors")
    assert (start.used, start.head) == (start.wanted, False)
    assert torch.equal(network.get_classifier().weight, own_head)


def test_weights_that_do_not_fit_are_refused_by_name_and_the_network_stays_as_it_was(tmp_path: Path) -> None:
    tensors = _tensors(_network(3, 2, seed=1))
    stem = next(name for name in tensors if name.endswith("conv1.0.weight") or name == "conv1.weight")
    for number, (change, match) in enumerate(
        [
            ({"extra.weight": torch.zeros(1)}, "1 unknown .extra.weight"),
            ({stem: None}, f"1 missing .{stem}"),
            ({stem: torch.zeros(1, 2, 3, 3)}, f"1 of another shape .{stem} .1, 2, 3, 3."),
        ]
    ):
        file = tmp_path / f"{number}.safetensors"
        save_file({name: t for name, t in (tensors | change).items() if t is not None}, file)
        network = _network(3, 2, seed=2)
        before = _tensors(network)
        with pytest.raises(TrainingError, match=match):
            load_start_weights(network, file)
        assert all(torch.equal(t, before[name]) for name, t in network.state_dict().items())


def test_a_pickle_is_never_read(tmp_path: Path) -> None:
    torch.save({"w": torch.zeros(1)}, tmp_path / "weights.safetensors")
    with pytest.raises(TrainingError, match="a safetensors file is needed"):
        load_start_weights(_network(1, 2, seed=0), tmp_path / "weights.safetensors")


@pytest.mark.parametrize(
    ("data", "weights", "match"),
    [(False, "w.safetensors", "none was given"), (True, "/etc/passwd", "inside"), (True, "w.safetensors", "no file")],
)
def test_start_weights_are_looked_for_in_the_data_folder_only(
    data: bool, weights: str, match: str, tmp_path: Path
) -> None:
    with pytest.raises(TrainingError, match=match):
        start_weights_path(tmp_path if data else None, weights)


def test_every_tensor_of_the_imagenet_inception_backbone_is_used(data: Path) -> None:
    path = start_weights_path(data, IMAGENET)
    assert path is not None
    network = build_network("inception_v3", channels=1, classes=2, image_size_px=75, seed=0).eval()
    start = load_start_weights(network, path)
    assert start.used == start.wanted == 470
    assert not start.head
    with torch.inference_mode():
        assert network.forward_features(torch.rand(1, 1, 75, 75)).shape == (1, 2048, 1, 1)
        with pytest.raises(RuntimeError):
            network(torch.rand(1, 1, 74, 74))
